"""The entry of every public operation: from workflow code, from a step, or from outside.

| called from | `enter_workflow` | `enter_step` | `enter` | `enter_anywhere` |
| --- | --- | --- | --- | --- |
| workflow code | inside | inside | inside | inside |
| a step | NotAllowedInStep | inside, with the step | NotAllowedInStep | outside |
| elsewhere | NotInWorkflow | NotInWorkflow | outside | outside |

`inside` takes the run, `outside` doesn't. The sync entries refuse to block a running event loop.
Sync code of an async workflow runs on a thread, so its operations are handed to the run's loop:
therefore a sync entry takes both colours of `inside`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar, TypeVarTuple
from uuid import UUID

from asgiref.sync import sync_to_async
from django.core.exceptions import SynchronousOnlyOperation

from django_dbos.exceptions import NotAllowedInStep, NotInWorkflow
from django_dbos.operations import context, recorded_call
from django_dbos.operations._sync import recorded_call as sync_recorded_call
from django_dbos.operations.context import Scope, StepScope
from django_dbos.operations.run import Run

T = TypeVar("T")
Ts = TypeVarTuple("Ts")

Inside = Callable[[Run, *Ts], T]
AsyncInside = Callable[[Run, *Ts], Awaitable[T]]
InsideStep = Callable[[Run, StepScope | None, *Ts], T]
AsyncInsideStep = Callable[[Run, StepScope | None, *Ts], Awaitable[T]]


def enter_workflow(
    operation: str,
    inside: Inside[*Ts, T],
    ainside: AsyncInside[*Ts, T],
    /,
    *args: *Ts,
) -> T:
    """Do an operation that only workflow code may call."""
    run = run_of(scope_of(operation), operation)
    if run.loop is None:
        return inside(run, *args)
    return run.on_loop(lambda: ainside(run, *args))


async def aenter_workflow(operation: str, inside: AsyncInside[*Ts, T], /, *args: *Ts) -> T:
    """Do an async operation that only workflow code may call."""
    run = run_of(ascope_of(operation), operation)
    return await inside(run, *args)


def enter_step(
    operation: str,
    inside: InsideStep[*Ts, T],
    ainside: AsyncInsideStep[*Ts, T],
    /,
    *args: *Ts,
) -> T:
    """Do an operation that workflow code and steps may call."""
    refuse_on_loop(operation)
    scope = context.current()
    if scope is None:
        raise NotInWorkflow(operation)
    run, step = scope.run, scope.step
    if run.loop is None:
        return inside(run, step, *args)
    return run.on_loop(lambda: ainside(run, step, *args))


async def aenter_step(operation: str, inside: AsyncInsideStep[*Ts, T], /, *args: *Ts) -> T:
    """Do an async operation that workflow code and steps may call."""
    scope = ascope_of(operation)
    if scope is None:
        raise NotInWorkflow(operation)
    return await inside(scope.run, scope.step, *args)


def enter(
    operation: str,
    inside: Inside[*Ts, T],
    ainside: AsyncInside[*Ts, T],
    outside: Callable[[*Ts], T],
    /,
    *args: *Ts,
) -> T:
    """Perform an operation that workflow code and other code may call, but not steps."""
    scope = scope_of(operation)
    if scope is None:
        return outside(*args)
    run = run_of(scope, operation)
    if run.loop is None:
        return inside(run, *args)
    return run.on_loop(lambda: ainside(run, *args))


async def aenter(
    operation: str,
    inside: AsyncInside[*Ts, T],
    outside: Callable[[*Ts], Awaitable[T]],
    /,
    *args: *Ts,
) -> T:
    """Perform an async operation that workflow code and other code may call, but not steps."""
    scope = ascope_of(operation)
    if scope is None:
        return await outside(*args)
    return await inside(run_of(scope, operation), *args)


def enter_anywhere(
    operation: str,
    inside: Inside[*Ts, T],
    ainside: AsyncInside[*Ts, T],
    outside: Callable[[*Ts], T],
    /,
    *args: *Ts,
) -> T:
    """Do an operation that all code may call; in a step it isn't recorded."""
    run = workflow_run(scope_of(operation))
    if run is None:
        return outside(*args)
    if run.loop is None:
        return inside(run, *args)
    return run.on_loop(lambda: ainside(run, *args))


async def aenter_anywhere(
    operation: str,
    inside: AsyncInside[*Ts, T],
    outside: Callable[[*Ts], Awaitable[T]],
    /,
    *args: *Ts,
) -> T:
    """Do an async operation that all code may call; in a step it isn't recorded."""
    run = workflow_run(ascope_of(operation))
    if run is None:
        return await outside(*args)
    return await inside(run, *args)


def perform(operation: str, do: Callable[[], T]) -> T:
    """Read or change other workflows: in workflow code once, with the answer recorded."""
    return enter_anywhere(
        operation,
        lambda run: sync_recorded_call.perform(run, operation, do),
        lambda run: recorded_call.aperform(run, operation, do),
        do,
    )


async def aperform(operation: str, do: Callable[[], T]) -> T:
    """Read or change other workflows from async code, in the same way."""
    return await aenter_anywhere(
        twin_of(operation),
        lambda run: recorded_call.aperform(run, operation, do),
        sync_to_async(do),
    )


# Where a call is made


def refuse_on_loop(operation: str, twin: str = "") -> None:
    """Raise SynchronousOnlyOperation on a running event loop, naming the twin to await."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return
    raise SynchronousOnlyOperation(
        f"{operation}() can't be called on a running event loop, which it would block. "
        f"Use `await {twin or twin_of(operation)}(...)`."
    )


def twin_of(operation: str) -> str:
    """Return the name of an operation's async twin: "queues.apause" of "queues.pause"."""
    module, dot, name = operation.rpartition(".")
    return f"{module}{dot}a{name}"


def scope_of(operation: str) -> Scope | None:
    """Return the scope of a sync call, which is refused on a running event loop."""
    refuse_on_loop(operation)
    return context.current()


def ascope_of(operation: str) -> Scope | None:
    """Return the scope of an async call, which is refused in the code of a sync workflow."""
    scope = context.current()
    refuse_in_sync_workflow(workflow_run(scope), operation)
    return scope


def refuse_in_sync_workflow(run: Run | None, operation: str) -> None:
    """Raise TypeError if a run whose workflow is sync calls an async operation."""
    if run is not None and run.loop is None:
        raise TypeError(
            f"{operation}() was called in workflow {run.definition.name!r}, which is sync. "
            "Call the sync form, or make the workflow async."
        )


def run_of(scope: Scope | None, operation: str) -> Run:
    """Return the run of workflow code; raise NotInWorkflow or NotAllowedInStep elsewhere."""
    if scope is None:
        raise NotInWorkflow(operation)
    if scope.step is not None:
        raise NotAllowedInStep(operation, scope.step.step_name)
    return scope.run


def workflow_run(scope: Scope | None) -> Run | None:
    """Return the run, if workflow code makes the call; None in steps and outside."""
    return scope.run if scope is not None and scope.step is None else None


def id_for(token: UUID) -> str:
    """Return a new workflow's id: its token, or "" for a child, whose id comes later."""
    return str(token) if workflow_run(context.current()) is None else ""
