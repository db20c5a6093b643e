"""The columns that hold values, and the change of their texts in place."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from django.db import models, transaction
from django.db.models import Q, QuerySet

from django_dbos.conf import get_settings
from django_dbos.models import (
    AtomicCheckpoint,
    Checkpoint,
    Event,
    EventVersion,
    Inquiry,
    Message,
    PastRun,
    Schedule,
    StreamEntry,
    Workflow,
)

# The serialized values of each table. Schedules have the arguments inside of JSON.
VALUE_COLUMNS: dict[type[models.Model], tuple[str, ...]] = {
    Workflow: ("input_text", "output_text", "error_text"),
    Checkpoint: ("output_text", "error_text", "attempt_errors_text"),
    AtomicCheckpoint: ("output_text", "error_text"),
    Message: ("message_text",),
    Event: ("value_text",),
    EventVersion: ("value_text",),
    StreamEntry: ("value_text",),
    PastRun: ("input_text",),
    Inquiry: ("initial_text", "answer_text"),
    Schedule: ("declared", "edited"),
}

Rewrite = Callable[[str], str]


def databases_of(model: type[models.Model], alias: str) -> tuple[str, ...]:
    """Return the aliases that have a table of values, if workflows are in `alias`."""
    return get_settings().step_databases if model is AtomicCheckpoint else (alias,)


def rows_with_values(
    model: type[models.Model], alias: str, condition: Q, batch: int
) -> Iterator[list[Any]]:
    """Return the rows that meet a condition, batch by batch, in the order of their keys.

    Only the key and the values of a row are loaded. Rows that are written meanwhile may be missing.
    """
    rows: QuerySet[Any] = QuerySet(model, using=alias)
    found = rows.filter(condition).order_by("pk").only("pk", *VALUE_COLUMNS[model])
    page = list(found[:batch])
    while page:
        yield page
        page = list(found.filter(pk__gt=page[-1].pk)[:batch])


def rewrite(row: Any, alias: str, change: Rewrite) -> bool:
    """Change the texts of a row's values in place; return False if nothing is to be changed.

    A value that has been replaced since the row was read stays as it is: the condition is a part of
    the statement (CORRECTNESS rule 96).
    """
    model = type(row)
    is_changed = False
    with transaction.atomic(using=alias):
        for column in VALUE_COLUMNS[model]:
            old = getattr(row, column)
            new = _changed(old, change)
            if new != old:
                rows: QuerySet[Any] = QuerySet(model, using=alias)
                same = rows.filter(pk=row.pk, **{column: old})
                is_changed = bool(same.update(**{column: new})) or is_changed
    return is_changed


def texts_of(row: Any) -> list[str]:
    """Return the texts of a row's values that there are."""
    found = []
    for column in VALUE_COLUMNS[type(row)]:
        value = getattr(row, column)
        if isinstance(value, dict):
            value = value.get("input")
        if value is not None:
            found.append(str(value))
    return found


def _changed(old: Any, change: Rewrite) -> Any:
    if isinstance(old, dict):
        # The options of a schedule.
        return {**old, "input": change(old["input"])} if "input" in old else old
    return None if old is None else change(str(old))


def containing(model: type[models.Model], part: str) -> Q:
    """Return the condition that a value of the row contains a text, or may do so."""
    condition = Q()
    for column in VALUE_COLUMNS[model]:
        if isinstance(model._meta.get_field(column), models.JSONField):
            condition |= Q(**{f"{column}__isnull": False})
        else:
            condition |= Q(**{f"{column}__contains": part})
    return condition
