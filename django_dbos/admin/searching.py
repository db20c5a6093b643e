"""The search of the list: by the beginning of an id, by name, by attribute, and by user.

An id comes first; only a term that no id begins with is a name, an attribute or a user. Each search
reads an index, or is restricted to the newest workflows (see `is_bounded`).
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from django.db.models import ExpressionWrapper, F, Q, QuerySet
from django.db.models.functions import Collate
from django.db.models.lookups import In

from django_dbos.admin.base import rows_of
from django_dbos.admin.look import Look
from django_dbos.fields import InstantField
from django_dbos.models import Workflow
from django_dbos.models.attributes import attribute_is
from django_dbos.store import get_store

MAX_FOUND = 1_000
USER = "user"


@dataclass(frozen=True, slots=True)
class Found:
    """The meaning of a search term.

    Attributes:
        condition: Selects the workflows.
        is_bounded: No index finds them, so that only the newest workflows are to be searched.
        is_few: They are at most MAX_FOUND, by their ids.
        is_cut: There are more than these.
    """

    condition: Q
    is_bounded: bool = False
    is_few: bool = False
    is_cut: bool = False

    def narrow(self, queryset: QuerySet[Any]) -> QuerySet[Any]:
        """Return those of a queryset's workflows that it stands for, in its order."""
        found = queryset.filter(self.condition)
        if not self.is_few or not get_store().plans_for_limits:
            return found
        # A planner that expects many matches among the newest would walk the index on times,
        # through the whole table if they are old ones: of another expression there is no index.
        order = [_TIMES.get(name, name) for name in found.query.order_by]
        return found.order_by(*order)


def find(term: str, known_names: Collection[str], look: Look) -> Found:
    """Return what a search term stands for. It isn't split into words: ids may contain blanks.

    Attributes are values: who may not see them can't find out by searches which ones there are.
    """
    if ids := _ids_from(term):
        return _few(ids)
    key, equals, value = term.partition("=")
    if equals and key.strip() and look.may_see:
        return _by_attribute(key.strip(), value.strip())
    return _by_name(term, known_names)


def _ids_from(beginning: str) -> list[str]:
    """Return ids by their beginning, as a range: LIKE doesn't use every database's index."""
    ids = rows_of(Workflow).filter(
        workflow_id__gte=beginning, workflow_id__lt=f"{beginning}\U0010ffff"
    )
    ids = ids.order_by("workflow_id").values_list("workflow_id", flat=True)
    # Not a subquery, for which a planner may walk the index on times to find a few matches.
    return list(ids[: MAX_FOUND + 1])


def _few(ids: list[str]) -> Found:
    """Return the workflows with the first MAX_FOUND of these ids."""
    is_cut = len(ids) > MAX_FOUND
    return Found(Q(workflow_id__in=ids[:MAX_FOUND]), is_few=True, is_cut=is_cut)


def _by_name(term: str, known_names: Collection[str]) -> Found:
    """Return the workflows of functions whose names contain the term, or are the term.

    The functions are those that a process knows; others are found by their whole names.
    """
    part = term.strip().lower()
    names = sorted(name for name in known_names if part in name.lower()) or [term.strip()]
    # An index compares a row with one name in no time, but with each of fifty.
    return Found(is_named("name", *names), is_bounded=len(names) > 1)


def _by_attribute(key: str, value: str) -> Found:
    """Return the workflows with an attribute such as `order=17` or `customer.id=7`.

    With `user=7`, also those of that user.
    """
    is_indexed = get_store().indexes_attributes
    found = attribute_is(key, value, indexed=is_indexed)
    if not is_indexed:
        return Found(found | Q(user_id=value) if key == USER else found, is_bounded=True)
    if key == USER:
        return Found(found | Q(user_id=value), is_bounded=True)
    return _few(_newest(found))


def _newest(condition: Q) -> list[str]:
    """Return the newest ids that the attributes' index finds, without the index on times."""
    found = rows_of(Workflow).filter(condition, attributes__isnull=False)
    ids = found.order_by(_TIMES["-created_at"]).values_list("workflow_id", flat=True)
    return list(ids[: MAX_FOUND + 1])


def is_named(column: str, *names: str) -> Q:
    """Return the condition that a name or a queue is one of some, as the list's index compares."""
    collation = get_store().list_collation
    if collation is None:
        return Q(**{f"{column}__in": names})
    return Q(In(Collate(F(column), collation), names))


_TIME = ExpressionWrapper(F("created_at") + timedelta(0), output_field=InstantField())
_TIMES: dict[Any, Any] = {"created_at": _TIME.asc(), "-created_at": _TIME.desc()}
