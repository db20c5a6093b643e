"""The people who may answer a form: the users, groups and permission named by its workflow."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from django_dbos.core import names

Audience = dict[str, Any]


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


def _listed(value: Any, label: str) -> list[Any]:
    if isinstance(value, str) or not isinstance(value, Iterable):
        raise TypeError(f"{label} must be a list, not {type(value).__name__} {value!r}.")
    return list(value)


def _pk(user: Any) -> str:
    pk = getattr(user, "pk", user)
    if pk is None:
        raise ValueError(f"users can't contain {user!r}, which has no primary key.")
    return names.check_text(str(pk), label="A user's pk")


def _group(group: Any) -> str:
    return names.check_text(getattr(group, "name", group), label="The name of a group")
