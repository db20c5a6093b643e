"""What a function raised: how it ended, or something from outside that only passes through it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING, ParamSpec, TypeVar

from asgiref.sync import sync_to_async

from django_dbos.interruptions import RunInterrupted

if TYPE_CHECKING:
    from django_dbos.operations.run import Run

P = ParamSpec("P")
T = TypeVar("T")


def is_foreign(run: Run, error: BaseException, *, is_coroutine: bool) -> bool:
    """Whether it came from outside the workflow, and so is no outcome of it.

    A worker's threads hear of no signals: there a KeyboardInterrupt is the function's own, and the
    next run would end the same way.
    """
    if isinstance(error, BaseExceptionGroup) and error.subgroup(RunInterrupted) is not None:
        # As a TaskGroup passes it on.
        return True
    if isinstance(error, RunInterrupted):
        return True
    if isinstance(error, Exception | SystemExit | BaseExceptionGroup):
        return False
    if is_coroutine and isinstance(error, asyncio.CancelledError):
        return True
    return not isinstance(error, GeneratorExit) and not run.host.owns_connections


def stand_in(what: str, error: BaseException) -> RuntimeError:
    """The error to raise and record for one that would stop whatever it is raised in."""
    return RuntimeError(f"{what} raised {error!r}, which is no Exception. It counts as failed.")


async def on_thread(function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Call a sync function on the run's thread; whatever it raises arrives.

    A Future takes no StopIteration: on Python 3.11 whoever awaits it would wait for ever.
    """
    return given(await sync_to_async(caught)(function, *args, **kwargs))


def given(outcome: tuple[T | None, Exception | None]) -> T:
    """What caught() has brought."""
    value, error = outcome
    if error is not None:
        raise error
    return value  # type: ignore[return-value]


def caught(
    function: Callable[P, T], *args: P.args, **kwargs: P.kwargs
) -> tuple[T | None, Exception | None]:
    """Call a function; what it returned, or what it raised."""
    try:
        return function(*args, **kwargs), None
    except Exception as error:
        return None, error
