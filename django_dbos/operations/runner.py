"""Run a workflow function: load its input, call it, and have its end written.

Sync functions run on the calling thread, async ones on the running loop. Telemetry is notified
when a run starts and when it has ended.
"""

from __future__ import annotations

import asyncio
import concurrent.futures as futures
import logging
import threading
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any

from django.db import connections

from django_dbos import telemetry
from django_dbos.interruptions import RunInterrupted
from django_dbos.operations import completion, context, threads
from django_dbos.operations._sync import completion as sync_completion
from django_dbos.operations.ordering import Branches
from django_dbos.operations.run import Run
from django_dbos.operations.tracking import tracked

logger = logging.getLogger("django_dbos.executor")

# The seconds that a cancelled workflow's async function has to end before get_result() raises.
LAST_WORDS = 1.0

_working_runs: set[int] = set()
_async_runs: dict[str, Run] = {}


def execute(run: Run) -> None:
    """Run a sync workflow function on this thread, to its end.

    It raises nothing but exceptions from outside the workflow, such as a KeyboardInterrupt.
    """
    run.thread_id = threading.get_ident()
    with _observed(run), _working(run):
        raised = _call(run)
        if run.host.owns_connections:
            _drop_open_transactions(run)
        sync_completion.end(run, raised)


async def aexecute(run: Run) -> None:
    """Run an async workflow function on this loop, to its end. Raises as `execute` does."""
    _prepare(run)
    assert run.loop is not None
    _async_runs[run.workflow_id] = run
    try:
        async with _aobserved(run):
            with _working(run), tracked(run.loop):
                raised = await _acall(run)
                await threads.until_returned(run)
                await completion.aend(run, raised)
    finally:
        if _async_runs.get(run.workflow_id) is run:
            del _async_runs[run.workflow_id]


def until_left(workflow_id: str) -> None:
    """Wait a moment until a cancelled workflow's async function has left, if it runs here."""
    if (left := _leaving(workflow_id)) is not None:
        futures.wait([left], LAST_WORDS)


async def auntil_left(workflow_id: str) -> None:
    """See until_left()."""
    if (left := _leaving(workflow_id)) is not None:
        await asyncio.wait([asyncio.wrap_future(left)], timeout=LAST_WORDS)


def _leaving(workflow_id: str) -> futures.Future[None] | None:
    """Return a future that is done once the function has left; None if it doesn't run here."""
    run = _async_runs.get(workflow_id)
    if run is None or run.loop is None or run.task is None or run.loop.is_closed():
        return None
    return asyncio.run_coroutine_threadsafe(_done(run.task), run.loop)


def is_working() -> bool:
    """Return True while a worker in this process runs workflows."""
    return bool(_working_runs)


@contextmanager
def _working(run: Run) -> Iterator[None]:
    """Count a worker's run; while one is under way, a step on a foreign thread is a mistake."""
    if not run.host.owns_connections:
        yield
        return
    _working_runs.add(id(run))
    try:
        yield
    finally:
        _working_runs.discard(id(run))


# The call


def call(run: Run) -> BaseException | None:
    """Call a sync workflow function without writing its end; return the error that it raised."""
    run.thread_id = threading.get_ident()
    return _call(run)


async def acall(run: Run) -> BaseException | None:
    """Call an async workflow function, on a loop of its own: see call()."""
    _prepare(run)
    assert run.loop is not None
    with tracked(run.loop):
        return await _acall(run)


def _prepare(run: Run) -> None:
    """Prepare a run of an async function for the running loop."""
    run.loop = asyncio.get_running_loop()
    run.thread_id = threading.get_ident()
    run.branches = Branches(run.loop)
    run.outside = context.copy_outside()
    run.place_lock = asyncio.Lock()


def _call(run: Run) -> BaseException | None:
    """Call the function; keep its value in `run.value`, and return the error that it raised."""
    try:
        with context.entered(run):
            arguments = run.load(run.claim.input)
            run.value = run.definition.function(*arguments["args"], **arguments["kwargs"])
            run.check_finished("its end")
    except BaseException as error:
        return error
    return None


def _drop_open_transactions(run: Run) -> None:
    """Roll back open transactions, which would swallow the writes of the thread's next workflow.

    On SQLite they would also keep the end of this workflow from being written.
    """
    for alias in connections:
        # One look-up: to ask first whether the thread has used it would be two more.
        connection = connections[alias]
        if connection.in_atomic_block:
            logger.error(
                "Workflow %r left a transaction open on database %r. It was rolled back. Use "
                "`with transaction.atomic():`.",
                run.workflow_id,
                alias,
                extra=run.log_fields,
            )
            connection.close()
            # Django can't use it again: inside its block it refuses to reconnect.
            del connections[alias]


async def _acall(run: Run) -> BaseException | None:
    """See _call()."""
    try:
        arguments = await run.aload(run.claim.input)
    except RunInterrupted as error:
        return error
    with context.entered(run):
        function = run.definition.function
        run.task = asyncio.ensure_future(function(*arguments["args"], **arguments["kwargs"]))
    try:
        await _done(run.task)
    except asyncio.CancelledError as error:
        # The task that awaits the run was cancelled, so nothing needs the workflow any more.
        await _stop_tasks(run)
        return error
    await _stop_tasks(run)
    if run.task.cancelled():
        # Without an interruption the workflow did that itself, and another run would do the same.
        return run.interruption or RuntimeError(
            f"Workflow {run.workflow_id!r} awaited something that was cancelled."
        )
    if (error_raised := run.task.exception()) is not None:
        return error_raised
    run.value = run.task.result()
    try:
        run.check_finished("its end")
    except RunInterrupted as error:
        return error
    return None


async def _done(task: asyncio.Task[Any]) -> None:
    """Wait until a task has ended, in whichever way; asyncio.wait() takes longer."""
    if task.done():
        return
    waiter = asyncio.get_running_loop().create_future()

    def wake(_: object) -> None:
        if not waiter.done():
            waiter.set_result(None)

    task.add_done_callback(wake)
    await waiter


async def _stop_tasks(run: Run) -> None:
    assert run.branches is not None
    left = run.branches.live_tasks()
    if left and run.interruption is None and run.task not in left:
        logger.warning(
            "Workflow %r ended while %d of its tasks were running; they are cancelled. "
            "Await them before it returns.",
            run.workflow_id,
            len(left),
            extra=run.log_fields,
        )
    run.branches.stop()
    await run.until_steps_end()
    for task in left:
        task.cancel()
    if left:
        await asyncio.wait(left)


# The events of a run


@contextmanager
def _observed(run: Run) -> Iterator[None]:
    """Report the run's start and its end."""
    telemetry.run_started(run)
    run.began = time.perf_counter()
    try:
        with telemetry.around("running", run):
            yield
    finally:
        if not run.ends_later:
            telemetry.run_ended(run)


@asynccontextmanager
async def _aobserved(run: Run) -> AsyncIterator[None]:
    """See _observed()."""
    await telemetry.arun_started(run)
    run.began = time.perf_counter()
    try:
        with telemetry.around("running", run):
            yield
    finally:
        if not run.ends_later:
            await telemetry.arun_ended(run)
