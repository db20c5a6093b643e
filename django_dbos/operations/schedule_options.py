"""The options of schedules, checked as they are given, and the declared schedules.

Checked options are JSON values, as their columns hold them: seconds for durations, and instants in
UTC.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any, Literal, TypedDict

from django.conf import settings as django_settings
from django.utils import timezone

from django_dbos import serializers
from django_dbos.conf import get_settings
from django_dbos.core import cron, durations, names, registry, schedules, zones
from django_dbos.core.registry import WorkflowDefinition
from django_dbos.core.schedules import CatchUp, Definition, Overlap
from django_dbos.operations import queues
from django_dbos.operations.options import HIGHEST_PRIORITY, LOWEST_PRIORITY

SHORTEST_PERIOD = 1.0


class ScheduleOptions(TypedDict, total=False):
    """The options of a schedule. One of `cron` and `every` is required, the others are optional."""

    cron: str | None
    """Five fields: minute, hour, day of month, month, day of week; or `@daily` and its like."""
    every: timedelta | float | None
    """The period instead of `cron`, at least 1 s. Its instants lie on a grid that begins at
    `start`, or at midnight UTC of 1 January 1970."""
    timezone: str
    """The zone whose clock `cron` means. Default: Django's TIME_ZONE."""
    args: Sequence[Any]
    """The positional arguments of the workflow."""
    kwargs: Mapping[str, Any]
    """The keyword arguments of the workflow."""
    queue_name: str | None
    """Default: the workflow's, then DBOS["DEFAULT_QUEUE"]."""
    priority: int
    """From -100 to 100, higher first. Default: 0."""
    partition_key: str | None
    """As in `using()`; a queue that limits its partitions requires it. Default: none."""
    start: datetime | None
    """The first instant at the earliest. Default: now."""
    end: datetime | None
    """The last instant at the latest. Default: no end."""
    jitter: timedelta | float
    """The maximum of a random delay of each start. Default: none."""
    catch_up: Literal["none", "latest", "all"]
    """The instants that start late after a stop: none, the latest (the default), or all."""
    catch_up_window: timedelta | float | None
    """The greatest delay with which an instant is caught up, at least a minute. Default: no
    limit."""
    overlap: Literal["allow", "skip", "queue", "cancel"]
    """The effect of an instant while an earlier workflow of the schedule is active: start beside it
    (the default), start nothing, start once it has ended, or cancel it and start."""
    pause_after_failures: int | None
    """The number of workflows in a row whose failure pauses the schedule. Default: never."""


def checked(given: Mapping[str, Any], *, owner: str) -> dict[str, Any]:
    """Return the given options as stored ones, without the arguments.

    Raises:
        TypeError: There is no such option, or its value has another type.
        ValueError: A value is out of range.
        CronsimMissing: A cron expression is given, and cronsim isn't installed.
    """
    names.check_options(given, ScheduleOptions.__annotations__, owner=owner)
    if given.get("every") is not None and given.get("timezone") is not None:
        raise ValueError(
            f"{owner} takes every or timezone={given['timezone']!r}, not both: a period goes by "
            "no zone's clock. For times of the day use cron."
        )
    options = {
        name: _CHECKS[name](value)
        for name, value in given.items()
        if name not in ("args", "kwargs")
    }
    # The one replaces the other.
    if options.get("cron") is not None and "every" not in options:
        options["every"] = None
    elif options.get("every") is not None and "cron" not in options:
        options["cron"] = None
    return schedules.to_stored(options)


def complete(
    workflow: WorkflowDefinition, given: Mapping[str, Any], *, owner: str
) -> dict[str, Any]:
    """Return all options of a new schedule as stored ones; raise as `checked` does."""
    options = {
        "timezone": default_timezone(),
        **checked(given, owner=owner),
        "workflow": workflow.name,
        "input": input_of(workflow, given.get("args", ()), given.get("kwargs", {})),
    }
    if options.get("queue_name") is None:
        options["queue_name"] = workflow.queue_name or get_settings().default_queue
    check_definition(schedules.of_stored(options, None), owner=owner)
    return options


def check_definition(definition: Definition, *, owner: str) -> None:
    """Raise ValueError for options that contradict each other."""
    queues.check_partition_key(definition.queue_name, definition.partition_key)
    if (definition.cron is None) == (definition.every is None):
        raise ValueError(f"{owner} needs either cron or every, and not both.")
    if definition.every is not None and definition.jitter >= definition.every:
        raise ValueError(
            f"{owner} has a jitter of {definition.jitter:g} s, which must be less than its period "
            f"of {definition.every:g} s."
        )
    if definition.catch_up == CatchUp.NONE and definition.catch_up_window is not None:
        raise ValueError(
            f"{owner} has catch_up='none' and a catch_up_window of {definition.catch_up_window:g} "
            "s, which limits what is caught up. Drop the window, or catch up 'latest' or 'all'."
        )
    if definition.start and definition.end and definition.end < definition.start:
        raise ValueError(
            f"{owner} ends at {definition.end.isoformat()}, before it starts at "
            f"{definition.start.isoformat()}."
        )


def has_ended(definition: Definition, now: datetime) -> bool:
    """Return whether the end of a schedule has passed."""
    return definition.end is not None and definition.end < now


def check_end(definition: Definition, now: datetime, *, owner: str) -> None:
    """Raise ValueError for a new schedule whose end has passed: it would never start anything."""
    if has_ended(definition, now):
        assert definition.end is not None
        raise ValueError(
            f"{owner} ends at {definition.end.isoformat()}, which has passed: it is "
            f"{now.astimezone(UTC).isoformat(timespec='seconds')}. Give it a later end, or none."
        )


def input_of(workflow: WorkflowDefinition, args: Any, kwargs: Any) -> str:
    """Return serialized arguments; raise TypeError if they don't fit the workflow's signature."""
    check_arguments(workflow, args, kwargs)
    label = f"The arguments of workflow {workflow.name!r}"
    return serializers.dumps({"args": list(args), "kwargs": dict(kwargs)}, label=label)


def check_arguments(workflow: WorkflowDefinition, args: Any, kwargs: Any) -> None:
    """Raise TypeError if arguments don't fit a workflow's signature."""
    if isinstance(args, str) or not isinstance(args, Sequence):
        raise TypeError(f"args must be a list or tuple, not {type(args).__name__} {args!r}.")
    if not isinstance(kwargs, Mapping):
        raise TypeError(f"kwargs must be a dict, not {type(kwargs).__name__} {kwargs!r}.")
    try:
        inspect.signature(workflow.function).bind(*args, **kwargs)
    except TypeError as error:
        raise TypeError(
            f"The schedule's args and kwargs don't fit {workflow.name}(): {error}."
        ) from None


def default_timezone() -> str:
    """Return the zone of schedules that name none."""
    return str(django_settings.TIME_ZONE or "UTC")


# Declared schedules


def declared() -> tuple[dict[str, dict[str, Any]], dict[str, Exception]]:
    """Return the options of each schedule that this process declares, and the errors of others.

    Both are by name. The settings' schedules and the decorators' are one set of names.
    """
    found: dict[str, dict[str, Any]] = {}
    problems: dict[str, Exception] = {}
    for name, (workflow_name, options) in _declarations(problems).items():
        try:
            workflow = registry.find(workflow_name)
            found[name] = complete(workflow, options, owner=f"Schedule {name!r}")
        except Exception as error:
            problems[name] = error
    return found, problems


def is_declared(name: str) -> bool:
    """Return whether this process declares a schedule; one whose declaration has gone may go."""
    found, problems = declared()
    return name in found or name in problems


def _declarations(problems: dict[str, Exception]) -> dict[str, tuple[str, dict[str, Any]]]:
    declarations = dict(registry.schedules)
    for name, given in get_settings().schedules.items():
        if name in declarations:
            problems[name] = ValueError(
                f"Schedule {name!r} is declared twice: in DBOS['SCHEDULES'] and by a decorator."
            )
            continue
        options = {key: value for key, value in given.items() if key != "workflow"}
        declarations[name] = (given["workflow"], options)
    return declarations


# Checks of single options


def _cron(value: Any) -> str | None:
    return None if value is None else cron.parse(value)


def _every(value: Any) -> float | None:
    seconds: float | None = durations.to_seconds(value, label="every")
    if seconds is not None and seconds < SHORTEST_PERIOD:
        raise ValueError(f"every must be at least {SHORTEST_PERIOD:g} s, but is {value!r}.")
    return seconds


def _timezone(value: Any) -> str:
    zones.find(value)
    return str(value)


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


def _instant(label: str, value: Any) -> datetime | None:
    if value is None:
        return None
    return to_instant(value, label=label)


def to_instant(value: Any, *, label: str) -> datetime:
    """Return an aware instant in UTC; raise TypeError or ValueError for anything else."""
    if not isinstance(value, datetime):
        raise TypeError(f"{label} must be a datetime, not {type(value).__name__} {value!r}.")
    instant = durations.check_instant(value, label=label)
    if timezone.is_aware(instant):
        return instant.astimezone(UTC)
    if django_settings.USE_TZ:
        raise ValueError(
            f"{label} must be aware of its time zone, but is {value!r}. Use "
            "django.utils.timezone.make_aware()."
        )
    return timezone.make_aware(instant).astimezone(UTC)


def _jitter(value: Any) -> float:
    if value is None:
        raise TypeError("jitter must be seconds or a timedelta, not None.")
    return durations.to_seconds(value, label="jitter")  # type: ignore[no-any-return]


def _window(value: Any) -> float | None:
    seconds: float | None = durations.to_seconds(value, label="catch_up_window")
    least = schedules.GRACE.total_seconds()
    if seconds is not None and seconds < least:
        raise ValueError(f"catch_up_window must be at least {least:g} s, but is {value!r}.")
    return seconds


def _one_of(label: str, known: type[CatchUp] | type[Overlap], value: Any) -> str:
    values = [str(member.value) for member in known]
    if value not in values:
        listed = ", ".join(map(repr, values))
        suggestion = names.suggest(value, values) if isinstance(value, str) else ""
        raise ValueError(f"{label} must be one of {listed}, but is {value!r}.{suggestion}")
    return str(value)


def _failures(value: Any) -> int | None:
    if value is None:
        return None
    if type(value) is not int:
        raise TypeError(
            f"pause_after_failures must be an int, not {type(value).__name__} {value!r}."
        )
    if not 0 < value <= 1_000:
        raise ValueError(f"pause_after_failures must be from 1 to 1,000, but is {value!r}.")
    return value


_CHECKS: dict[str, Callable[[Any], Any]] = {
    "cron": _cron,
    "every": _every,
    "timezone": _timezone,
    "queue_name": _queue_name,
    "priority": _priority,
    "partition_key": names.check_partition_key,
    "start": partial(_instant, "start"),
    "end": partial(_instant, "end"),
    "jitter": _jitter,
    "catch_up": partial(_one_of, "catch_up", CatchUp),
    "catch_up_window": _window,
    "overlap": partial(_one_of, "overlap", Overlap),
    "pause_after_failures": _failures,
}
