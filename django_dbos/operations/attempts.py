"""One attempt at a step: its function is called, on a thread or on the loop.

The two colours differ here, so both are written by hand.
"""

from __future__ import annotations

import asyncio
from typing import Any, NoReturn

from django.db import connections
from django.db.transaction import TransactionManagementError

from django_dbos.exceptions import StepTimeout
from django_dbos.interruptions import RunInterrupted
from django_dbos.operations import context, places, threads
from django_dbos.operations.raised import is_foreign, stand_in
from django_dbos.operations.recorder import Recorder
from django_dbos.operations.step_definitions import StepDefinition


def attempt(recorder: Recorder, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Confirm the claim if it is in doubt, and call the function."""
    run, step = recorder.call.run, recorder.step
    run.ensure_claim(always=step.confirm)
    with context.entered(run, recorder.scope()):
        before = _open_blocks()
        value = call_function(recorder, args, kwargs)
        _check_transactions(step, before)
        return value


async def aattempt(recorder: Recorder, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Do the same in an async run, where a sync function runs on a thread.

    An attempt of an async function that takes longer than its timeout raises StepTimeout.
    """
    run, step = recorder.call.run, recorder.step
    with run.attempting():
        # From here on no branch lends the run's place, and none has.
        await places.aregain(run)
        if not step.is_async:
            return await threads.perform(run, attempt, recorder, args, kwargs)
        await run.aensure_claim(always=step.confirm)
        with context.entered(run, recorder.scope()):
            return await _acall_in_time(recorder, args, kwargs)


async def _acall_in_time(recorder: Recorder, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    step = recorder.step
    if step.timeout is None:
        return await _acall_function(recorder, args, kwargs)
    try:
        async with asyncio.timeout(step.timeout) as limit:
            return await _acall_function(recorder, args, kwargs)
    except TimeoutError:
        if not limit.expired():
            raise
        raise StepTimeout(step.name, step.timeout) from None


def call_function(recorder: Recorder, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Call a sync function; wrap a BaseException in an Exception unless it is foreign."""
    try:
        return recorder.step.function(*args, **kwargs)
    except (Exception, RunInterrupted):
        raise
    except BaseException as error:
        _raise_other(recorder, error)


async def _acall_function(recorder: Recorder, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    try:
        return await recorder.step.function(*args, **kwargs)
    except (Exception, RunInterrupted, GeneratorExit):
        # Python throws GeneratorExit into a coroutine that is closed.
        raise
    except BaseException as error:
        _raise_other(recorder, error)


def _raise_other(recorder: Recorder, error: BaseException) -> NoReturn:
    run, step = recorder.call.run, recorder.step
    # A task that is left by a SystemExit stops its whole loop.
    is_plain_exit = isinstance(error, SystemExit) and run.loop is None
    if is_plain_exit or is_foreign(run, error, is_coroutine=step.is_async):
        raise error
    raise stand_in(f"Step {step.name!r}", error) from error


def _open_blocks() -> dict[str, int]:
    """Return how many blocks of transaction.atomic() are open, by database.

    One look-up for each, which is quick only if none of them is asked whether it is there.
    """
    return {alias: len(connections[alias].atomic_blocks) for alias in connections}


def _check_transactions(step: StepDefinition, before: dict[str, int]) -> None:
    """Raise if the step left a transaction open, which would swallow the thread's next writes."""
    for alias, blocks in before.items():
        connection = connections[alias]
        if connection.connection is None:
            continue
        has_block = len(connection.atomic_blocks) > blocks
        if has_block or not (connection.in_atomic_block or connection.autocommit):
            connection.close()
            if not blocks:
                # To forget the block, without which the connection can't be used again.
                connection.connect()
            raise TransactionManagementError(
                f"Step {step.name!r} left a transaction open on database {alias!r}. "
                "It was rolled back. Use `with transaction.atomic():` or @step(atomic=True)."
            )
