"""Schedules: the decorator `@schedule`, and the functions of `dbos.schedules`.

Schedules start workflows at the instants of a cron expression or at an interval, each instant once.
They are declared by the decorator or in DBOS["SCHEDULES"], and written to their table when a worker
starts; or they are made at run time by `create`. Every function has an async twin.
"""

from __future__ import annotations

import builtins
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Literal, TypeVar, Unpack, cast

from asgiref.sync import sync_to_async
from django.apps import apps

from django_dbos.conf import get_settings
from django_dbos.core import names, registry
from django_dbos.core import schedules as core
from django_dbos.core.cron import CronsimMissing
from django_dbos.core.ids import new_uuid
from django_dbos.core.registry import WorkflowDefinition
from django_dbos.core.schedules import StoredSchedule
from django_dbos.exceptions import (
    DbosError,
    ScheduleDoesNotExist,
    ScheduleExists,
    ScheduleIsDeclared,
)
from django_dbos.handles import WorkflowHandle
from django_dbos.operations import context, schedule_options, scheduling
from django_dbos.operations.entry import aperform, perform, workflow_run
from django_dbos.operations.schedule_options import ScheduleOptions
from django_dbos.store import get_store
from django_dbos.workflow_functions import WorkflowFunction

if TYPE_CHECKING:
    from django_dbos.models import Schedule
    from django_dbos.store.base import Store

__all__ = [
    "ScheduleOptions",
    "abackfill",
    "acreate",
    "adelete",
    "aedit",
    "aget",
    "alist",
    "apause",
    "areset",
    "aresume",
    "atrigger",
    "backfill",
    "create",
    "delete",
    "edit",
    "get",
    "list",
    "pause",
    "reset",
    "resume",
    "trigger",
]

W = TypeVar("W", bound=WorkflowFunction[..., Any, Any])
OnExisting = Literal["reject", "replace", "return"]

# Instants that one backfill starts at most.
MAX_BACKFILL = 10_000


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
    over all workers and restarts; `current_workflow().scheduled_at` is the instant.

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
        catch_up_window: How late an instant may be caught up, at least a minute. Default: no limit.
        overlap: What an instant does while an earlier workflow of the schedule is active: "allow"
            starts beside it, "skip" starts nothing, "queue" starts once it has ended (one at
            most), "cancel" cancels it and starts.
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
    if cron is not None and not isinstance(cron, str):
        raise TypeError(
            "@schedule needs its times, such as @schedule('0 3 * * *') or @schedule(every=60), not "
            f"{cron!r}."
        )
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
    given = {key: value for key, value in options.items() if value is not None}

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


# Functions


def create(
    name: str,
    workflow: WorkflowFunction[..., Any, Any] | str,
    cron: str | None = None,
    /,
    *,
    on_existing: OnExisting = "reject",
    **options: Unpack[ScheduleOptions],
) -> None:
    """Create a schedule at run time, in the caller's transaction.

    Args:
        name: The name, at most 200 characters.
        workflow: The workflow, or the name of a registered one.
        cron: The cron expression; it may be given as an option, too.
        on_existing: The effect of a taken name: "reject" raises ScheduleExists, "replace" gives
            the schedule these options, "return" leaves it as it is.
        options: See ScheduleOptions.

    Raises:
        ScheduleExists: There is a schedule of this name.
        ScheduleIsDeclared: A declared schedule has this name, and was to be replaced.
        UnknownWorkflow: No workflow of this name is registered.
        TypeError: An option has another type, or the arguments don't fit the workflow.
        ValueError: An option's value is out of range, or `end` has passed.
        CronsimMissing: `cron` needs the extra `schedules`.

    Example:
        dbos.schedules.create("report-7", report, "0 8 * * MON", args=[7])
    """
    perform("schedules.create", _creation(name, workflow, cron, on_existing, options))


async def acreate(
    name: str,
    workflow: WorkflowFunction[..., Any, Any] | str,
    cron: str | None = None,
    /,
    *,
    on_existing: OnExisting = "reject",
    **options: Unpack[ScheduleOptions],
) -> None:
    """See create()."""
    await aperform("schedules.create", _creation(name, workflow, cron, on_existing, options))


def get(name: str) -> Schedule:
    """Return the row of a schedule: next and last instant, options, pause.

    Raises:
        ScheduleDoesNotExist: There is no such schedule.
        DbosError: The call is made in workflow code, which can't record a row.
    """
    _refuse_in_workflow("schedules.get")
    found = _rows().filter(name=name).first()
    if found is None:
        raise ScheduleDoesNotExist(
            name, names.closest(name, _rows().values_list("name", flat=True))
        )
    return cast("Schedule", found)


async def aget(name: str) -> Schedule:
    """See get()."""
    return await sync_to_async(get)(name)


def list() -> builtins.list[Schedule]:  # noqa: A001 - dbos.schedules.list()
    """Return the rows of all schedules, by name.

    Raises:
        DbosError: The call is made in workflow code, which can't record rows.
    """
    _refuse_in_workflow("schedules.list")
    return [*_rows().order_by("name")]


async def alist() -> builtins.list[Schedule]:
    """See list()."""
    return await sync_to_async(list)()


def pause(name: str, reason: str = "", *, by: str = "") -> bool:
    """Pause a schedule. Instants that pass while it is paused aren't caught up.

    Args:
        name: The schedule.
        reason: The reason, for the admin.
        by: The name of the operator, for the admin.

    Returns:
        True if it wasn't paused already.

    Raises:
        ScheduleDoesNotExist: There is no such schedule.
    """
    return perform("schedules.pause", lambda: _pause(name, reason, by))


async def apause(name: str, reason: str = "", *, by: str = "") -> bool:
    """See pause()."""
    return await aperform("schedules.pause", lambda: _pause(name, reason, by))


def resume(name: str) -> bool:
    """Resume a paused schedule from now on. Failures are counted anew.

    Returns:
        True if it was paused.

    Raises:
        ScheduleDoesNotExist: There is no such schedule.
    """
    return perform("schedules.resume", lambda: _resume(name))


async def aresume(name: str) -> bool:
    """See resume()."""
    return await aperform("schedules.resume", lambda: _resume(name))


def trigger(name: str) -> WorkflowHandle[Any]:
    """Start the workflow of a schedule now, beside its instants, even while it is paused.

    The overlap rule isn't applied; to later instants the workflow counts as any other.

    Returns:
        The handle of the workflow.

    Raises:
        ScheduleDoesNotExist: There is no such schedule.
    """
    return WorkflowHandle(perform("schedules.trigger", lambda: _trigger(name)))


async def atrigger(name: str) -> WorkflowHandle[Any]:
    """See trigger()."""
    return WorkflowHandle(await aperform("schedules.trigger", lambda: _trigger(name)))


def backfill(name: str, first: datetime, last: datetime) -> builtins.list[WorkflowHandle[Any]]:
    """Start the workflows of past instants that haven't been started.

    An instant that has started a workflow, whose row is still there, doesn't start another one. The
    overlap rule isn't applied.

    Args:
        name: The schedule.
        first: The first instant at the earliest.
        last: The last instant at the latest; not later than now.

    Returns:
        The handles of the workflows that this call has started, in the order of their instants.

    Raises:
        ScheduleDoesNotExist: There is no such schedule.
        ValueError: `last` is later than now or earlier than `first`, or there are more than 10,000
            instants.
    """
    ids = perform("schedules.backfill", lambda: _backfill(name, first, last))
    return [WorkflowHandle(workflow_id) for workflow_id in ids]


async def abackfill(
    name: str, first: datetime, last: datetime
) -> builtins.list[WorkflowHandle[Any]]:
    """See backfill()."""
    ids = await aperform("schedules.backfill", lambda: _backfill(name, first, last))
    return [WorkflowHandle(workflow_id) for workflow_id in ids]


def edit(name: str, **options: Unpack[ScheduleOptions]) -> None:
    """Change options of a schedule; they win over what is declared until `reset`.

    Other times count from now on.

    Args:
        name: The schedule.
        options: See ScheduleOptions; those that aren't given stay as they are.

    Raises:
        ScheduleDoesNotExist: There is no such schedule.
        TypeError: An option has another type, or the arguments don't fit the workflow.
        ValueError: An option's value is out of range.
    """
    perform("schedules.edit", lambda: _edit(name, options))


async def aedit(name: str, **options: Unpack[ScheduleOptions]) -> None:
    """See edit()."""
    await aperform("schedules.edit", lambda: _edit(name, options))


def reset(name: str) -> bool:
    """Give a declared schedule back the options that are declared.

    Returns:
        True if any had been edited.

    Raises:
        ScheduleDoesNotExist: There is no such schedule.
        ValueError: The schedule was made at run time: nothing is declared.
    """
    return perform("schedules.reset", lambda: _reset(name))


async def areset(name: str) -> bool:
    """See reset()."""
    return await aperform("schedules.reset", lambda: _reset(name))


def delete(name: str) -> None:
    """Delete a schedule. Its workflows stay, those that are active included.

    Raises:
        ScheduleDoesNotExist: There is no such schedule.
        ScheduleIsDeclared: It is declared, and a worker's next start would create it again.
    """
    perform("schedules.delete", lambda: _delete(name))


async def adelete(name: str) -> None:
    """See delete()."""
    await aperform("schedules.delete", lambda: _delete(name))


# What they do, in the caller's transaction


def _creation(
    name: str,
    workflow: WorkflowFunction[..., Any, Any] | str,
    cron: str | None,
    on_existing: str,
    options: ScheduleOptions,
) -> Callable[[], None]:
    names.check_schedule_name(name)
    if on_existing not in ("reject", "replace", "return"):
        raise ValueError(
            f"on_existing must be 'reject', 'replace' or 'return', not {on_existing!r}."
        )
    workflow_name = workflow.name if isinstance(workflow, WorkflowFunction) else workflow
    if not isinstance(workflow_name, str):
        raise TypeError(
            f"Schedule {name!r} needs a function decorated with @workflow, or its name, not "
            f"{workflow!r}."
        )
    given = {**options} if cron is None else {**options, "cron": cron}
    definition = registry.find(workflow_name)
    stored = schedule_options.complete(definition, given, owner=f"Schedule {name!r}")
    return lambda: _create(name, stored, on_existing)


def _create(name: str, options: dict[str, Any], on_existing: str) -> None:
    store, edited = _store(), core.dumps(options)
    session = store.session()
    with session.transaction():
        now = store.read_clock(session)
        if on_existing == "return" and store.lock_schedule(session, name) is not None:
            return
        schedule_options.check_end(core.of_stored(options, None), now, owner=f"Schedule {name!r}")
        new = scheduling.created(name, now, edited=edited)
        if not store.insert_schedule(session, new):
            existing = _locked(name)
            if on_existing == "reject":
                raise ScheduleExists(name)
            if on_existing == "return":
                return
            if existing.declared is not None:
                raise ScheduleIsDeclared(name)
            store.update_schedules(session, [existing.redefined(now, edited=edited)])
        store.announce_schedules()


def _change(name: str, change: Callable[[StoredSchedule, datetime], StoredSchedule]) -> bool:
    """Change a row under its lock; return whether it is another one now."""
    store = _store()
    session = store.session()
    with session.transaction():
        row = _locked(name)
        changed = change(row, store.read_clock(session))
        if changed == row:
            return False
        store.update_schedules(session, [changed])
        store.announce_schedules()
    return True


def _locked(name: str) -> StoredSchedule:
    """Lock a row; that of a declared schedule is written first, if no worker has done so yet."""
    store, session = get_store(), get_store().session()
    row = store.lock_schedule(session, name)
    if row is None and name in registry.schedules.keys() | get_settings().schedules.keys():
        found, problems = schedule_options.declared()
        if name in problems:
            raise problems[name]
        new = scheduling.created(name, store.read_clock(session), declared=core.dumps(found[name]))
        store.insert_schedule(session, new)
        row = store.lock_schedule(session, name)
    if row is None:
        raise ScheduleDoesNotExist(
            name, names.closest(name, _rows().values_list("name", flat=True))
        )
    return row


def _pause(name: str, reason: str, by: str) -> bool:
    names.check_text(reason, label="reason", max_length=2_000, allow_empty=True)
    names.check_text(by, label="by", allow_empty=True)
    return _change(
        name, lambda row, now: row if row.paused_at is not None else row.paused(now, by, reason)
    )


def _resume(name: str) -> bool:
    return _change(name, lambda row, now: row if row.paused_at is None else row.resumed(now))


def _edit(name: str, given: Mapping[str, Any]) -> None:
    owner = f"Schedule {name!r}"
    options = schedule_options.checked(given, owner=owner)

    def change(row: StoredSchedule, now: datetime) -> StoredSchedule:
        arguments = _arguments(row, given)
        edited = {**row.edited_options, **options, **arguments}
        changed = core.of_stored(row.declared_options, edited)
        schedule_options.check_definition(changed, owner=owner)
        return row.redefined(now, edited=core.dumps(edited))

    _change(name, change)


def _arguments(row: StoredSchedule, given: Mapping[str, Any]) -> dict[str, str]:
    """Return the edited arguments, if any are given; args and kwargs belong together."""
    if "args" not in given and "kwargs" not in given:
        return {}
    workflow = registry.find(row.definition.workflow)
    args, kwargs = given.get("args", ()), given.get("kwargs", {})
    return {"input": schedule_options.input_of(workflow, args, kwargs)}


def _reset(name: str) -> bool:
    def change(row: StoredSchedule, now: datetime) -> StoredSchedule:
        if row.declared is None:
            raise ValueError(
                f"Schedule {name!r} was made at run time, so that nothing is declared to reset it "
                "to. Edit it."
            )
        return row.redefined(now, edited=None) if row.edited is not None else row

    return _change(name, change)


def _delete(name: str) -> None:
    store = _store()
    session = store.session()
    with session.transaction():
        row = _locked(name)
        if row.declared is not None and schedule_options.is_declared(name):
            raise ScheduleIsDeclared(name)
        store.delete_schedule(session, name)


def _trigger(name: str) -> str:
    store = _store()
    session = store.session()
    with session.transaction():
        row, now = _locked(name), store.read_clock(session)
        start = core.Start(now, str(new_uuid()))
        store.start_scheduled([scheduling.new_workflow(name, row.definition, start)])
    return start.workflow_id


def _backfill(name: str, first: datetime, last: datetime) -> builtins.list[str]:
    begin = schedule_options.to_instant(first, label="first")
    until = schedule_options.to_instant(last, label="last")
    store = _store()
    session = store.session()
    with session.transaction():
        # Under the lock: whoever starts the schedule's instants skips it meanwhile.
        row, now = _locked(name), store.read_clock(session)
        if until > now:
            raise ValueError(f"last must not be later than now, {now}, but is {last!r}.")
        if until < begin:
            raise ValueError(f"last, {last!r}, must not be earlier than first, {first!r}.")
        instants = core.instants_between(row.definition, begin, until, MAX_BACKFILL + 1)
        if len(instants) > MAX_BACKFILL:
            raise ValueError(
                f"Schedule {name!r} has more than {MAX_BACKFILL:,} instants from {first} to "
                f"{last}: backfill fewer at a time."
            )
        new = [
            scheduling.new_workflow(
                name, row.definition, core.Start(instant, core.workflow_id(name, instant))
            )
            for instant in instants
        ]
        inserted = store.start_scheduled(new) if new else set()
    return [workflow.workflow_id for workflow in new if workflow.workflow_id in inserted]


def _store() -> Store:
    """Return the store, for a change in the caller's transaction."""
    store = get_store()
    store.refuse_in_atomic_elsewhere("schedules")
    return store


def _rows() -> Any:
    model: Any = apps.get_model("django_dbos", "Schedule")
    return model.objects.using(get_store().alias)


def _refuse_in_workflow(operation: str) -> None:
    if workflow_run(context.current()) is not None:
        raise DbosError(f"{operation}() can't be recorded. Call it in a step.")
