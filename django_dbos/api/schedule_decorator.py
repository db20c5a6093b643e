"""The decorator `@schedule`, by which code declares a schedule of a workflow."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, Literal, TypeVar

from django_dbos.core import names, registry
from django_dbos.core.cron import CronsimMissing
from django_dbos.core.registry import WorkflowDefinition
from django_dbos.operations import schedule_options
from django_dbos.workflow_functions import WorkflowFunction

W = TypeVar("W", bound=WorkflowFunction[..., Any, Any])


def schedule(
    cron: str | None = None,
    /,
    *,
    every: float | timedelta | None = None,
    name: str | None = None,
    timezone: str | None = None,
    args: Sequence[Any] = (),
    kwargs: Mapping[str, Any] | None = None,
    queue_name: str | None = None,
    priority: int = 0,
    partition_key: str | None = None,
    start: datetime | None = None,
    end: datetime | None = None,
    jitter: float | timedelta = 0.0,
    catch_up: Literal["none", "latest", "all"] = "latest",
    catch_up_window: float | timedelta | None = None,
    overlap: Literal["allow", "skip", "queue", "cancel"] = "allow",
    pause_after_failures: int | None = None,
) -> Callable[[W], W]:
    """Declare a schedule of a workflow; the decorator goes above @workflow.

    A worker writes it to the table of schedules when it starts. Each instant starts one workflow,
    across all workers and restarts; `current_workflow().scheduled_at` is the instant.

    Args:
        cron: Five fields: minute, hour, day of month, month and day of week; or "@daily" and its
            like. It needs the extra `schedules`.
        every: The period instead of `cron`, in seconds or as a timedelta, at least 1 s.
        name: The name, at most 200 characters. Default: the workflow's.
        timezone: The zone whose clock `cron` means. Default: Django's TIME_ZONE.
        args: The positional arguments of the workflow.
        kwargs: Its keyword arguments.
        queue_name: Default: the workflow's, then DBOS["DEFAULT_QUEUE"].
        priority: From -100 to 100, higher first.
        partition_key: The partition of the queue; a queue that limits its partitions requires it.
        start: The first instant at the earliest. Default: now.
        end: The last instant at the latest. Default: no end.
        jitter: The maximum of a random delay of each start, in seconds or as a timedelta.
        catch_up: The instants that start late after a stop: "none", "latest" or "all".
        catch_up_window: The greatest delay with which an instant is caught up, at least a minute.
            Default: no limit.
        overlap: The effect of an instant while an earlier workflow of the schedule is active:
            "allow" starts beside it, "skip" starts nothing, "queue" starts once it has ended (one
            at most), "cancel" cancels it and starts.
        pause_after_failures: The number of workflows in a row whose failure pauses the schedule.
            Default: never.

    Raises:
        TypeError: An option has another type, the arguments don't fit the workflow, or the
            decorator isn't above @workflow.
        ValueError: An option's value is out of range, or another workflow has a schedule of this
            name.

    Example:
        @dbos.schedule("0 3 * * *", timezone="Europe/Berlin", overlap="skip")
        @dbos.workflow
        def nightly_report() -> None:
            send_report()
    """
    _check_cron(cron)
    options = {
        "cron": cron,
        "every": every,
        "timezone": timezone,
        "args": args,
        "kwargs": kwargs or {},
        "queue_name": queue_name,
        "priority": priority,
        "partition_key": partition_key,
        "start": start,
        "end": end,
        "jitter": jitter,
        "catch_up": catch_up,
        "catch_up_window": catch_up_window,
        "overlap": overlap,
        "pause_after_failures": pause_after_failures,
    }
    return _declaring(name, {key: value for key, value in options.items() if value is not None})


def _check_cron(cron: Any) -> None:
    if cron is not None and not isinstance(cron, str):
        raise TypeError(
            "@schedule needs its times, such as @schedule('0 3 * * *') or @schedule(every=60), not "
            f"{cron!r}."
        )


def _declaring(name: str | None, given: dict[str, Any]) -> Callable[[W], W]:
    """Return the decorator that declares a schedule with these options."""

    def decorate(workflow: W) -> W:
        if not isinstance(workflow, WorkflowFunction):
            raise TypeError(f"@schedule goes above @workflow, not on {workflow!r}.")
        definition = registry.find(workflow.name)
        schedule_name = names.check_schedule_name(name or definition.name)
        _check_declaration(definition, given, owner=f"Schedule {schedule_name!r}")
        registry.register_schedule(schedule_name, definition.name, given)
        return workflow

    return decorate


def _check_declaration(
    definition: WorkflowDefinition, given: Mapping[str, Any], *, owner: str
) -> None:
    """Raise for what is wrong in a declaration, as far as it can be known without settings."""
    if ("cron" in given) == ("every" in given):
        raise ValueError(f"{owner} needs either cron or every, and not both.")
    schedule_options.check_arguments(definition, given["args"], given["kwargs"])
    try:
        schedule_options.checked(given, owner=owner)
    except CronsimMissing:
        # A system check reports it: the module must be importable without the extra.
        return
