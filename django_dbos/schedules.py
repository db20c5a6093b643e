"""The schedules: `import django_dbos as dbos`, then `dbos.schedules.pause("nightly", by="ada")`.

Schedules start workflows at the instants of a cron expression or at an interval, each instant once.
They are declared by the decorator `@schedule` or in DBOS["SCHEDULES"], and written to their table
when a worker starts; or they are made at run time by `create`. Every function has an async twin.
"""

from __future__ import annotations

import builtins
from collections.abc import Callable
from datetime import datetime
from typing import TYPE_CHECKING, Any, Literal, Unpack

from asgiref.sync import sync_to_async

from django_dbos.core import names, registry
from django_dbos.exceptions import DbosError
from django_dbos.handles import WorkflowHandle
from django_dbos.operations import context, schedule_options, schedules
from django_dbos.operations.entry import aperform, perform, workflow_run
from django_dbos.operations.schedule_options import ScheduleOptions
from django_dbos.workflow_functions import WorkflowFunction

if TYPE_CHECKING:
    from django_dbos.models import Schedule

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

OnExisting = Literal["reject", "replace", "return"]


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
    return schedules.find(name)


async def aget(name: str) -> Schedule:
    """See get()."""
    return await sync_to_async(get)(name)


def list() -> builtins.list[Schedule]:  # noqa: A001 - dbos.schedules.list()
    """Return the rows of all schedules, by name.

    Raises:
        DbosError: The call is made in workflow code, which can't record rows.
    """
    _refuse_in_workflow("schedules.list")
    return schedules.list_all()


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
    return perform("schedules.pause", lambda: schedules.pause(name, reason, by))


async def apause(name: str, reason: str = "", *, by: str = "") -> bool:
    """See pause()."""
    return await aperform("schedules.pause", lambda: schedules.pause(name, reason, by))


def resume(name: str) -> bool:
    """Resume a paused schedule from now on. Failures are counted anew.

    Returns:
        True if it was paused.

    Raises:
        ScheduleDoesNotExist: There is no such schedule.
    """
    return perform("schedules.resume", lambda: schedules.resume(name))


async def aresume(name: str) -> bool:
    """See resume()."""
    return await aperform("schedules.resume", lambda: schedules.resume(name))


def trigger(name: str) -> WorkflowHandle[Any]:
    """Start the workflow of a schedule now, beside its instants, even while it is paused.

    The overlap rule isn't applied; to later instants the workflow counts as any other.

    Returns:
        The handle of the workflow.

    Raises:
        ScheduleDoesNotExist: There is no such schedule.
    """
    return WorkflowHandle(perform("schedules.trigger", lambda: schedules.trigger(name)))


async def atrigger(name: str) -> WorkflowHandle[Any]:
    """See trigger()."""
    return WorkflowHandle(await aperform("schedules.trigger", lambda: schedules.trigger(name)))


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
    ids = perform("schedules.backfill", lambda: schedules.backfill(name, first, last))
    return [WorkflowHandle(workflow_id) for workflow_id in ids]


async def abackfill(
    name: str, first: datetime, last: datetime
) -> builtins.list[WorkflowHandle[Any]]:
    """See backfill()."""
    ids = await aperform("schedules.backfill", lambda: schedules.backfill(name, first, last))
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
    perform("schedules.edit", lambda: schedules.edit(name, options))


async def aedit(name: str, **options: Unpack[ScheduleOptions]) -> None:
    """See edit()."""
    await aperform("schedules.edit", lambda: schedules.edit(name, options))


def reset(name: str) -> bool:
    """Give a declared schedule back the options that are declared.

    Returns:
        True if any had been edited.

    Raises:
        ScheduleDoesNotExist: There is no such schedule.
        ValueError: The schedule was made at run time: nothing is declared.
    """
    return perform("schedules.reset", lambda: schedules.reset(name))


async def areset(name: str) -> bool:
    """See reset()."""
    return await aperform("schedules.reset", lambda: schedules.reset(name))


def delete(name: str) -> None:
    """Delete a schedule. Its workflows stay, those that are active included.

    Raises:
        ScheduleDoesNotExist: There is no such schedule.
        ScheduleIsDeclared: It is declared, and a worker's next start would create it again.
    """
    perform("schedules.delete", lambda: schedules.delete(name))


async def adelete(name: str) -> None:
    """See delete()."""
    await aperform("schedules.delete", lambda: schedules.delete(name))


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
    return lambda: schedules.create(name, stored, on_existing)


def _refuse_in_workflow(operation: str) -> None:
    if workflow_run(context.current()) is not None:
        raise DbosError(f"{operation}() can't be recorded. Call it in a step.")
