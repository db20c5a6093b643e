"""The options of `WorkflowFunction.using()`, checked as they are given."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from datetime import datetime, timedelta
from functools import partial
from typing import Any, Literal, TypedDict

from django_dbos.conf import get_settings
from django_dbos.core import durations, names
from django_dbos.core.registry import WorkflowDefinition
from django_dbos.operations import attributes
from django_dbos.operations.due_times import check_due

UNSET: Any = object()
LOWEST_PRIORITY, HIGHEST_PRIORITY = -100, 100
RETURN_OR_REJECT = ("return", "reject")


class StartOptions(TypedDict, total=False):
    """The options of `using()`; `start_by_name()` takes them as a dict. Each one is optional."""

    workflow_id: str | None
    """The id, at most 255 characters. Default: a new UUIDv7; for a child, one that is derived
    from its parent's."""
    queue_name: str | None
    """Default: the decorator's, then DBOS["DEFAULT_QUEUE"]."""
    priority: int
    """From -100 to 100, higher first. Default: 0."""
    run_after: datetime | timedelta | float | None
    """The earliest start: an instant, or seconds or a timedelta from now. Default: at once.
    `datetime.max` means not before run_now()."""
    timeout: timedelta | float | None
    """The maximum duration from the first run on, in seconds or as a timedelta; past it the
    workflow is cancelled. Default: the decorator's, then for a child its parent's deadline. None
    means no limit."""
    deduplication_id: str | None
    """An id that is unique among the active workflows of a queue."""
    on_existing: Literal["return", "reject"]
    """The answer to a start whose workflow id is taken: "return" (the default) returns a handle
    to the existing workflow, "reject" raises DuplicateWorkflow."""
    on_duplicate: Literal["return", "reject"]
    """The answer to a start whose deduplication id is taken: "return" (the default) or
    "reject"."""
    user: Any
    """The user whom the workflow belongs to, or the user's pk: `current_workflow().user` returns
    it, and access to pages depends on it. Default: for a child its parent's, else None."""
    attributes: dict[str, Any] | None
    """A dict of plain JSON values, by which workflows can be filtered."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """The options of a start; those that aren't given are UNSET."""

    workflow_id: Any = UNSET
    queue_name: Any = UNSET
    priority: Any = UNSET
    run_after: Any = UNSET
    timeout: Any = UNSET
    deduplication_id: Any = UNSET
    on_existing: Any = UNSET
    on_duplicate: Any = UNSET
    user: Any = UNSET
    attributes: Any = UNSET

    def merged(self, given: Mapping[str, Any]) -> Options:
        """Return these options updated with others; raise TypeError for an unknown one."""
        names.check_options(given, [field.name for field in fields(self)], owner="using()")
        return replace(self, **{name: _CHECKS[name](value) for name, value in given.items()})

    def get(self, name: str, default: Any) -> Any:
        """Return an option's value, or the default if it isn't given."""
        value = getattr(self, name)
        return default if value is UNSET else value

    def values(self, definition: WorkflowDefinition) -> dict[str, Any]:
        """Return the fields of a NewWorkflow that these options determine; not its id."""
        run_after = self.get("run_after", None)
        timeout = self.get("timeout", definition.timeout)
        return {
            "name": definition.name,
            "queue_name": self.get("queue_name", definition.queue_name)
            or get_settings().default_queue,
            "priority": self.get("priority", 0),
            "delay": run_after if isinstance(run_after, float) else None,
            "run_at": run_after if isinstance(run_after, datetime) else None,
            "timeout": None if timeout is None else timedelta(seconds=timeout),
            "inherits_deadline": self.timeout is UNSET,
            "deduplication_id": self.get("deduplication_id", None),
            "on_existing": self.get("on_existing", "return"),
            "on_duplicate": self.get("on_duplicate", "return"),
            "user_id": self.get("user", None),
            "attributes": self.get("attributes", None),
            "max_recovery_attempts": definition.max_recovery_attempts,
        }


def _workflow_id(value: Any) -> str | None:
    return None if value is None else names.check_workflow_id(value)


def _queue_name(value: Any) -> str | None:
    return None if value is None else names.check_queue_name(value)


def _priority(value: Any) -> int:
    if type(value) is not int:
        raise TypeError(f"priority must be an int, not {type(value).__name__} {value!r}.")
    if not LOWEST_PRIORITY <= value <= HIGHEST_PRIORITY:
        raise ValueError(
            f"priority must be from {LOWEST_PRIORITY} to {HIGHEST_PRIORITY}, but is {value!r}."
        )
    return value


def _run_after(value: Any) -> datetime | float | None:
    """Return an aware instant, or the seconds until the workflow may begin."""
    return check_due(value, label="run_after")


def _timeout(value: Any) -> float | None:
    seconds: float | None = durations.to_seconds(value, label="timeout")
    if seconds == 0:
        raise ValueError("timeout must be more than 0: the workflow could never run.")
    return seconds


def _return_or_reject(name: str, value: Any) -> str:
    if value not in RETURN_OR_REJECT:
        raise ValueError(f"{name} must be 'return' or 'reject', not {value!r}.")
    return str(value)


def _user(value: Any) -> str | None:
    """Return a user's pk as text; None for None and for anonymous users, who have no pk."""
    pk = getattr(value, "pk", value) if not isinstance(value, str | int) else value
    return None if pk is None else names.check_text(str(pk), label="A user's pk")


_CHECKS: dict[str, Any] = {
    "workflow_id": _workflow_id,
    "queue_name": _queue_name,
    "priority": _priority,
    "run_after": _run_after,
    "timeout": _timeout,
    "deduplication_id": names.check_deduplication_id,
    "on_existing": partial(_return_or_reject, "on_existing"),
    "on_duplicate": partial(_return_or_reject, "on_duplicate"),
    "user": _user,
    "attributes": attributes.to_text,
}
