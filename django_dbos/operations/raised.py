"""Exceptions of user code: outcomes of a function, or passing through it from outside."""

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
    """Return True for an exception that came from outside the workflow, and is no outcome of it.

    A worker's threads receive no signals: a KeyboardInterrupt there is the function's own, and the
    next run would end the same way.
    """
    if isinstance(error, BaseExceptionGroup) and error.subgroup(RunInterrupted) is not None:
        # A TaskGroup raises it in this form.
        return True
    if isinstance(error, RunInterrupted):
        return True
    if isinstance(error, Exception | SystemExit | BaseExceptionGroup):
        return False
    if is_coroutine and isinstance(error, asyncio.CancelledError):
        return True
    return not isinstance(error, GeneratorExit) and not run.host.owns_connections


def stand_in(source: str, error: BaseException) -> RuntimeError:
    """Return the substitute, to raise and record, for an error that stops surrounding code."""
    return RuntimeError(f"{source} raised {error!r}, which is no Exception. It counts as failed.")


async def on_thread(function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Call a sync function on the run's thread, and raise any exception of it here.

    A Future doesn't accept StopIteration: on Python 3.11 its awaiting task would wait for ever.
    """
    return given(await sync_to_async(caught)(function, *args, **kwargs))


def given(outcome: tuple[T | None, Exception | None]) -> T:
    """Return the value from a pair that caught() has returned, or raise its error."""
    value, error = outcome
    if error is not None:
        raise error
    return value  # type: ignore[return-value]


def caught(
    function: Callable[P, T], *args: P.args, **kwargs: P.kwargs
) -> tuple[T | None, Exception | None]:
    """Call a function; return its value and None, or None and the exception that it raised."""
    try:
        return function(*args, **kwargs), None
    except Exception as error:
        return None, error
