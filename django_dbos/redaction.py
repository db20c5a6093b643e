"""Redaction: the parts of values that nobody sees in the admin, in logs and in exports.

DBOS["REDACT"] is a function, or paths by the names of workflows. A path is a field, such as
`output`, and keys below it: `input.kwargs.card`, `output.*.email`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from django_dbos import encryption
from django_dbos.conf import Paths, get_redact, get_settings

REDACTED = "[redacted]"
ANY = "*"
# An error is shown by its class, which is code.
_KEPT_OF_ERRORS = ("class", "error", "attempt", "at", "seconds", "delay", "retry_after")


def redacted(user: Any, row: Any, field: str, value: Any) -> Any:
    """Return plain JSON as DBOS["REDACT"] lets a user see it; None is nobody in particular.

    The row may be of any table; that of a workflow's step, message and so on has `workflow_id`.
    An exception of a project's function is the caller's to handle.
    """
    rules = get_settings().redact
    if isinstance(rules, tuple):
        return _by_paths(rules, _name_of(rules, row), field, value)
    function = get_redact()
    return value if function is None else function(user, row, field, value)


def is_on() -> bool:
    """Return whether anything may be redacted."""
    return get_settings().redact is not None


def is_error_concealed(workflow_name: str) -> bool:
    """Return whether logs show only the classes of a workflow's errors, without their messages.

    They do while values are encrypted, and where the paths name `error`; for "", a workflow whose
    name isn't known, where the paths of any workflow do.
    """
    if encryption.is_on():
        return True
    rules = get_settings().redact
    if not isinstance(rules, tuple):
        return False
    return any(
        path[0] in ("error", ANY)
        for name, paths in rules
        for path in paths
        if not workflow_name or name in (workflow_name, ANY)
    )


def _by_paths(rules: Paths, name: str, field: str, value: Any) -> Any:
    for path in _paths_for(rules, name):
        if path[0] in (field, ANY):
            value = _without(value, path[1:], is_error="error" in field)
    return value


def _paths_for(rules: Paths, name: str) -> list[Sequence[str]]:
    return [path for names, paths in rules if names in (name, ANY) for path in paths]


def _without(value: Any, path: Sequence[str], *, is_error: bool) -> Any:
    """Return a value whose part at a path is replaced; the value itself if there is none."""
    if not path:
        return _error_without_data(value) if is_error else REDACTED
    key, rest = path[0], path[1:]
    if isinstance(value, dict):
        return {
            name: _without(item, rest, is_error=False) if key in (name, ANY) else item
            for name, item in value.items()
        }
    if isinstance(value, list):
        return [
            _without(item, rest, is_error=False) if key in (str(number), ANY) else item
            for number, item in enumerate(value)
        ]
    return value


def _error_without_data(value: Any) -> Any:
    """Return an error's class and times; of a list, those of each attempt."""
    if isinstance(value, list):
        return [_error_without_data(item) for item in value]
    if not isinstance(value, dict):
        return REDACTED
    return {
        name: item if name in _KEPT_OF_ERRORS and not _is_message(value, name) else REDACTED
        for name, item in value.items()
    }


def _is_message(value: dict[str, Any], name: str) -> bool:
    # An attempt's error is a line of text; a recorded error names its class by that key.
    return name == "error" and "attempt" in value


def _name_of(rules: Paths, row: Any) -> str:
    """Return the name of the workflow that a row belongs to; read only if a rule names one."""
    if all(name == ANY for name, _ in rules):
        return ""
    for attribute in ("workflow_name", "name"):
        if isinstance(found := getattr(row, attribute, None), str):
            return found
    workflow_id = getattr(row, "workflow_id", None)
    if workflow_id is None:
        return ""
    names = _names_of(type(row), str(row._state.db), str(workflow_id))
    return names[0] if names else ""


def _names_of(model: Any, alias: str, workflow_id: str) -> list[str]:
    workflows = model._meta.apps.get_model("django_dbos", "Workflow")._base_manager
    found = workflows.using(alias).filter(pk=workflow_id).values_list("name", flat=True)
    return [str(name) for name in found]
