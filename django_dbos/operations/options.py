"""The options of `WorkflowFunction.using()`, checked as they are given."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from datetime import datetime, timedelta
from functools import partial
from typing import Any, Literal, TypedDict

from django_dbos import telemetry
from django_dbos.conf import get_settings
from django_dbos.core import durations, names
from django_dbos.core.registry import WorkflowDefinition
from django_dbos.operations import attributes, queues
from django_dbos.operations.due_times import check_due

UNSET: Any = object()
LOWEST_PRIORITY, HIGHEST_PRIORITY = -100, 100
RETURN_OR_REJECT = ("return", "reject")
RETURN_REJECT_OR_REPLACE = (*RETURN_OR_REJECT, "replace")


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
    partition_key: str | None
    """The workflow's part of its queue, at most 255 characters, for example a customer: keys are
    served in turn, and a queue may have limits for each of them."""
    deduplication_id: str | None
    """An id that is unique among the active workflows of a queue."""
    unique_for: timedelta | float | None
    """The time from the start on in which the deduplication id stays taken, in seconds or as a
    timedelta, even if the workflow has ended by then. Default: until the workflow has ended."""
    on_existing: Literal["return", "reject"]
    """The answer to a start whose workflow id is taken: "return" (the default) returns a handle
    to the existing workflow, "reject" raises DuplicateWorkflow."""
    on_duplicate: Literal["return", "reject", "replace"]
    """The answer to a start whose deduplication id is taken: "return" (the default), "reject", or
    "replace", which cancels the workflow that has it and starts the new one, both or neither."""
    debounce_key: str | None
    """Has a burst of starts with this key make one run, after `delay` seconds without another
    start. The arguments and options of the last one count; all handles are the same."""
    delay: timedelta | float | None
    """The quiet time after the last start with a debounce key, in seconds or as a timedelta."""
    max_delay: timedelta | float | None
    """The longest time from the first start with a debounce key to the run. Default: no limit."""
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
    partition_key: Any = UNSET
    deduplication_id: Any = UNSET
    unique_for: Any = UNSET
    on_existing: Any = UNSET
    on_duplicate: Any = UNSET
    debounce_key: Any = UNSET
    delay: Any = UNSET
    max_delay: Any = UNSET
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
        """Return the fields of a NewWorkflow that these options determine; not its id.

        Raises:
            ValueError: Options contradict each other, or one lacks another.
        """
        _refuse_contradictions(self)
        queue_name = self.get("queue_name", definition.queue_name) or get_settings().default_queue
        partition_key = self.get("partition_key", None)
        queues.check_partition_key(queue_name, partition_key)
        run_after = self.get("run_after", None)
        unique_for = self.get("unique_for", None)
        timeout = self.get("timeout", definition.timeout)
        return {
            "name": definition.name,
            "version": definition.version,
            "queue_name": queue_name,
            "priority": self.get("priority", 0),
            "delay": run_after if isinstance(run_after, float) else self.get("delay", None),
            "run_at": run_after if isinstance(run_after, datetime) else None,
            "timeout": None if timeout is None else timedelta(seconds=timeout),
            "inherits_deadline": self.timeout is UNSET,
            "partition_key": partition_key or "",
            "deduplication_id": self.get("deduplication_id", None),
            "unique_for": None if unique_for is None else timedelta(seconds=unique_for),
            "debounce_key": self.get("debounce_key", None),
            "max_delay": self.get("max_delay", None),
            "on_existing": self.get("on_existing", "return"),
            "on_duplicate": self.get("on_duplicate", "return"),
            "user_id": self.get("user", None),
            "attributes": self.get("attributes", None),
            "traceparent": telemetry.traceparent(),
            "max_recovery_attempts": definition.max_recovery_attempts,
        }


# Pairs of options that can't both be given, and the reason.
EXCLUSIVE = (
    ("debounce_key", "workflow_id", "the calls of a burst are one workflow, whose id is new"),
    ("debounce_key", "run_after", "delay decides when the workflow runs"),
    ("debounce_key", "deduplication_id", "the debounce key decides what is the same"),
)
# Options that need another one.
NEEDS = (
    ("debounce_key", "delay"),
    ("delay", "debounce_key"),
    ("max_delay", "debounce_key"),
    ("unique_for", "deduplication_id"),
)


def _refuse_contradictions(options: Options) -> None:
    given = {field.name: options.get(field.name, None) for field in fields(options)}
    for name, other, reason in EXCLUSIVE:
        if given[name] is not None and given[other] is not None:
            raise ValueError(f"using() takes {name} or {other}, not both: {reason}.")
    for name, needed in NEEDS:
        if given[name] is not None and given[needed] is None:
            hint = " For a fixed delay use run_after." if name == "delay" else ""
            raise ValueError(f"{name}={given[name]!r} needs a {needed}.{hint}")
    replaces = given["on_duplicate"] == "replace"
    if replaces and given["deduplication_id"] is None:
        raise ValueError('on_duplicate="replace" needs a deduplication_id.')
    if replaces and given["unique_for"] is not None:
        raise ValueError(
            'using() takes unique_for or on_duplicate="replace", not both: with one the first '
            "workflow counts, with the other the last one."
        )
    if given["max_delay"] is not None and given["max_delay"] < given["delay"]:
        raise ValueError(
            f"max_delay must be at least the delay of {given['delay']:g} s, but is "
            f"{given['max_delay']:g} s."
        )


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


def check_run_after(value: Any) -> datetime | float:
    """Return an aware instant or seconds; raise TypeError or ValueError for anything else."""
    if value is None:
        raise TypeError("run_after must be an instant, seconds or a timedelta, not None.")
    checked = _run_after(value)
    assert checked is not None
    return checked


def _timeout(value: Any) -> float | None:
    seconds: float | None = durations.to_seconds(value, label="timeout")
    if seconds == 0:
        raise ValueError("timeout must be more than 0: the workflow could never run.")
    return seconds


def _positive(name: str, value: Any) -> float | None:
    seconds: float | None = durations.to_seconds(value, label=name)
    if seconds == 0:
        raise ValueError(f"{name} must be more than 0, but is {value!r}.")
    return seconds


def _on_existing(value: Any) -> str:
    if value not in RETURN_OR_REJECT:
        raise ValueError(f"on_existing must be 'return' or 'reject', not {value!r}.")
    return str(value)


def _on_duplicate(value: Any) -> str:
    if value not in RETURN_REJECT_OR_REPLACE:
        raise ValueError(f"on_duplicate must be 'return', 'reject' or 'replace', not {value!r}.")
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
    "partition_key": names.check_partition_key,
    "deduplication_id": names.check_deduplication_id,
    "unique_for": partial(_positive, "unique_for"),
    "on_existing": _on_existing,
    "on_duplicate": _on_duplicate,
    "debounce_key": names.check_debounce_key,
    "delay": partial(_positive, "delay"),
    "max_delay": partial(_positive, "max_delay"),
    "user": _user,
    "attributes": attributes.to_text,
}
