"""The people who may answer a form: the users, groups and permission named by its workflow."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from contextlib import suppress
from typing import Any

from django.apps import apps
from django.core.exceptions import ValidationError
from django.db import Error, transaction
from django.db.models import Q

from django_dbos.core import names

Audience = dict[str, Any]

logger = logging.getLogger("django_dbos.executor")


def of_options(users: Any, groups: Any, permission: str | None) -> Audience | None:
    """Return the checked audience of a form as JSON; None if nobody is named."""
    audience: Audience = {}
    if users is not None:
        audience["users"] = sorted({_pk(user) for user in _listed(users, "users")})
    if groups is not None:
        audience["groups"] = sorted({_group(group) for group in _listed(groups, "groups")})
    if permission is not None:
        label = "permission"
        permission = names.check_text(permission, label=label)
        if "." not in permission:
            raise ValueError(
                f"{label} must be 'app_label.codename', such as 'shop.approve_order', but is "
                f"{permission!r}."
            )
        audience[label] = permission
    return audience or None


def warn_of_unknown(audience: Audience | None, form: str, fields: Mapping[str, Any]) -> None:
    """Log a warning if there are no such groups or users, which may be created later."""
    if not audience or not apps.is_installed("django.contrib.auth"):
        return
    for label, find in (("groups", _unknown_groups), ("users", _unknown_users)):
        named = audience.get(label)
        try:
            unknown = find(named) if named else []
        except (Error, OverflowError) as error:
            # The form is asked for in any case.
            logger.debug("The %s of form %r weren't looked up: %r", label, form, error)
            continue
        if unknown:
            logger.warning(
                "Form %r names %s that don't exist: %r", form, label, unknown, extra=fields
            )


def _unknown_groups(named: list[str]) -> list[str]:
    groups = apps.get_model("auth", "Group")._default_manager
    known = _read(groups.filter(name__in=named).values_list("name", flat=True))
    return [name for name in named if name not in known]


def _unknown_users(named: list[str]) -> list[str]:
    # A process that asks nobody need not import it.
    from django.contrib.auth import get_user_model

    model = get_user_model()
    # Not `pk__in`, which SQLite refuses for a number that no column holds.
    wanted = Q(_connector=Q.OR)
    for text in named:
        with suppress(ValidationError):
            wanted |= Q(pk=model._meta.pk.to_python(text))
    found = model._base_manager.filter(wanted).values_list("pk", flat=True)
    # As text, as the form's audience is compared with a user.
    known = {str(pk) for pk in _read(found)} if wanted else set()
    return [text for text in named if text not in known]


def _read(rows: Any) -> set[Any]:
    """Return values of another app's table, whose errors leave a transaction intact."""
    with transaction.atomic(using=rows.db):
        return set(rows)


def _listed(value: Any, label: str) -> list[Any]:
    if isinstance(value, str):
        raise TypeError(f"{label} must be a list, not the str {value!r}. Write [{value!r}].")
    if not isinstance(value, Iterable):
        raise TypeError(f"{label} must be a list, not {type(value).__name__} {value!r}.")
    return list(value)


def _pk(user: Any) -> str:
    pk = getattr(user, "pk", user)
    if pk is None:
        raise ValueError(f"users can't contain {user!r}, which has no primary key.")
    return names.check_text(str(pk), label="A user's pk")


def _group(group: Any) -> str:
    return names.check_text(getattr(group, "name", group), label="The name of a group")
