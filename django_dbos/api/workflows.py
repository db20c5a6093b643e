"""Other workflows: their handles by id, and the results of many."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, Literal, TypeVar, Unpack, overload

from asgiref.sync import sync_to_async
from django.db.models import QuerySet

from django_dbos.core import names
from django_dbos.core.durations import Duration
from django_dbos.core.fork_options import ForkOptions
from django_dbos.exceptions import DbosError
from django_dbos.handles import WorkflowHandle, fork_each
from django_dbos.operations import many_results, outside
from django_dbos.operations._sync import many_results as sync_many_results
from django_dbos.operations._sync import outside as sync_outside
from django_dbos.operations.entry import (
    aenter,
    aperform,
    ascope_of,
    enter,
    perform,
    scope_of,
    workflow_run,
)
from django_dbos.store import get_store

if TYPE_CHECKING:
    from django_dbos.models import Workflow

R = TypeVar("R")


def retrieve_workflow(workflow_id: str) -> WorkflowHandle[Any]:
    """Return the handle of an existing workflow.

    Raises:
        WorkflowDoesNotExist: There is no such workflow.
    """
    names.check_workflow_id(workflow_id)
    perform("retrieve_workflow", lambda: _exists(workflow_id))
    return WorkflowHandle(workflow_id)


async def aretrieve_workflow(workflow_id: str) -> WorkflowHandle[Any]:
    """See retrieve_workflow()."""
    names.check_workflow_id(workflow_id)
    await aperform("retrieve_workflow", lambda: _exists(workflow_id))
    return WorkflowHandle(workflow_id)


@overload
def get_results(
    handles: Iterable[WorkflowHandle[R]],
    timeout: Duration = None,
    *,
    return_exceptions: Literal[False] = False,
) -> list[R]: ...
@overload
def get_results(
    handles: Iterable[WorkflowHandle[R]], timeout: Duration = None, *, return_exceptions: bool
) -> list[R | BaseException]: ...
def get_results(
    handles: Iterable[WorkflowHandle[Any]],
    timeout: Duration = None,
    *,
    return_exceptions: bool = False,
) -> list[Any]:
    """Wait until all of these workflows have ended, and return their results in the same order.

    Thousands are read at once. In workflow code it is one operation: all results are recorded
    together, a replay returns the same ones, and the wait suspends.

    Args:
        handles: The handles of the workflows; their number isn't limited.
        timeout: The maximum wait, in seconds or as a timedelta; 0 doesn't wait. Default: no limit.
        return_exceptions: True returns the errors of workflows in the places of their results.
            Otherwise the first of them, in the order of the handles, is raised once all workflows
            have ended.

    Raises:
        WaitTimeout: Not all of them have ended within the timeout.
        WorkflowCancelled: One was cancelled, or its deadline passed.
        WorkflowDoesNotExist: One of them doesn't exist.
        NotAllowedInStep: The call is made inside a step.
        NotAllowedInAtomic: The call is made inside `atomic()`.

    Example:
        handles = resize.start_many([(photo,) for photo in photos])
        sizes = dbos.get_results(handles, timeout=timedelta(hours=1))
    """
    ids = _ids(handles)
    return enter(
        "get_results",
        sync_many_results.get_results,
        many_results.aget_results,
        sync_outside.get_results,
        ids,
        timeout,
        return_exceptions,
    )


@overload
async def aget_results(
    handles: Iterable[WorkflowHandle[R]],
    timeout: Duration = None,  # noqa: ASYNC109
    *,
    return_exceptions: Literal[False] = False,
) -> list[R]: ...
@overload
async def aget_results(
    handles: Iterable[WorkflowHandle[R]],
    timeout: Duration = None,  # noqa: ASYNC109
    *,
    return_exceptions: bool,
) -> list[R | BaseException]: ...
async def aget_results(
    handles: Iterable[WorkflowHandle[Any]],
    timeout: Duration = None,  # noqa: ASYNC109
    *,
    return_exceptions: bool = False,
) -> list[Any]:
    """See get_results()."""
    return await aenter(
        "aget_results",
        many_results.aget_results,
        outside.aget_results,
        _ids(handles),
        timeout,
        return_exceptions,
    )


def fork_many(
    workflows: Iterable[Workflow | WorkflowHandle[Any] | str],
    *,
    from_step: int | None = None,
    from_failure: bool = False,
    **options: Unpack[ForkOptions],
) -> dict[str, WorkflowHandle[Any] | None]:
    """Fork many workflows: see WorkflowHandle.fork().

    Each is forked in a transaction of its own, or in the caller's.

    Args:
        workflows: A queryset of workflows, or a list of them, of their handles or of their ids.
        from_step: The number of the first step that runs in the forks.
        from_failure: True forks each from the step that failed.
        options: See ForkOptions. An id or deduplication id can't be that of all.

    Returns:
        By workflow id, the handle of its fork; None if it could not be forked. fork() of that one
        says why.

    Raises:
        TypeError, ValueError: An argument or option is of another type, or out of range.
        DbosError: The call is made in workflow code.

    Example:
        failed = Workflow.objects.filter(name="shop.checkout", status="ERROR")
        forks = dbos.fork_many(failed, from_failure=True, queue_name="repairs")
    """
    if workflow_run(scope_of("fork_many")) is not None:
        raise DbosError(_UNRECORDED)
    return fork_each(
        _ids_of(workflows), from_step, from_failure=from_failure, options=dict(options)
    )


async def afork_many(
    workflows: Iterable[Workflow | WorkflowHandle[Any] | str],
    *,
    from_step: int | None = None,
    from_failure: bool = False,
    **options: Unpack[ForkOptions],
) -> dict[str, WorkflowHandle[Any] | None]:
    """See fork_many()."""
    if workflow_run(ascope_of("afork_many")) is not None:
        raise DbosError(_UNRECORDED)

    def fork() -> dict[str, WorkflowHandle[Any] | None]:
        return fork_each(
            _ids_of(workflows), from_step, from_failure=from_failure, options=dict(options)
        )

    return await sync_to_async(fork)()


_UNRECORDED = "fork_many() can't be recorded. Call it in a step, or fork() for each workflow."


def _ids_of(workflows: Iterable[Any]) -> list[str]:
    if isinstance(workflows, str) or not isinstance(workflows, Iterable):
        raise TypeError(
            f"fork_many() takes a list of workflows, not {type(workflows).__name__} {workflows!r}."
        )
    if isinstance(workflows, QuerySet):
        return [str(found) for found in workflows.values_list("workflow_id", flat=True)]
    return [names.check_workflow_id(getattr(one, "workflow_id", one)) for one in workflows]


def _exists(workflow_id: str) -> bool:
    get_store().reader.read_status(workflow_id)
    return True


def _ids(handles: Iterable[WorkflowHandle[Any]]) -> list[str]:
    if isinstance(handles, WorkflowHandle):
        raise TypeError(f"get_results() takes a list of handles, not {handles!r} alone.")
    found = list(handles)
    for handle in found:
        if not isinstance(handle, WorkflowHandle):
            raise TypeError(
                "get_results() takes handles, as start() and retrieve_workflow() return them, not "
                f"{type(handle).__name__} {handle!r}."
            )
    return [names.check_workflow_id(handle.workflow_id) for handle in found]
