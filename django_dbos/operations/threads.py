"""Threads of an async run: one for its sync code, and more for sync steps side by side.

Sync calls one after the other share a thread and its connection, which asgiref gives the run
(CORRECTNESS rule 39). A sync step that is called while that thread is busy with another one goes to
one of the process's threads for such steps, with a connection of its own that is closed after it.
asyncio's threads don't serve: those are few, and a step that has the loop resolve a host name would
wait for one. A test's transaction is on one connection, so there all steps take turns.
"""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import ParamSpec, TypeVar

from asgiref.sync import sync_to_async
from django.db import connections

from django_dbos.conf import get_settings
from django_dbos.operations import raised
from django_dbos.operations.run import Run

P = ParamSpec("P")
R = TypeVar("R")


async def perform(run: Run, function: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
    """Call a sync function on the run's thread, or beside it if that is busy."""
    if run.sync_steps and not run.host.takes_turns:
        with _threads.in_use() as executor, _counted(run, function) as counted:
            apart = sync_to_async(_apart, thread_sensitive=False, executor=executor)
            return raised.given(await apart(counted, *args, **kwargs))
    return await perform_in_turn(run, function, *args, **kwargs)


async def perform_in_turn(
    run: Run, function: Callable[P, R], *args: P.args, **kwargs: P.kwargs
) -> R:
    """Call a sync function on the run's thread, as soon as that is free."""
    run.sync_steps += 1
    try:
        with _counted(run, function) as counted:
            return await raised.on_thread(counted, *args, **kwargs)
    finally:
        run.sync_steps -= 1


@contextmanager
def _counted(run: Run, function: Callable[P, R]) -> Iterator[Callable[P, R]]:
    """Yield the function; in a run that holds a place, count the call as long as it lasts.

    A call on a thread goes on when the task that awaits it is cancelled, and the place is taken
    until it has returned (CORRECTNESS rule 58).
    """
    if not run.claim.place:
        yield function
        return
    call: Future[None] = Future()
    run.calls_on_threads.add(call)
    call.add_done_callback(run.calls_on_threads.discard)

    def counted(*args: P.args, **kwargs: P.kwargs) -> R:
        if not call.set_running_or_notify_cancel():
            raise RuntimeError("The task that awaited this call has been cancelled.")
        try:
            return function(*args, **kwargs)
        finally:
            call.set_result(None)

    try:
        yield counted
    finally:
        # Without effect once it runs.
        call.cancel()


async def until_returned(run: Run) -> None:
    """Wait for the calls on threads that go on although nothing awaits them."""
    while pending := list(run.calls_on_threads):
        await asyncio.wait([asyncio.wrap_future(call) for call in pending])


class _Threads:
    """Threads for steps side by side in one process: at most CONCURRENCY, started when needed."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._executor: ThreadPoolExecutor | None = None
        self._calls = 0

    @contextmanager
    def in_use(self) -> Iterator[ThreadPoolExecutor]:
        """Keep the threads for the length of a call."""
        with self._lock:
            self._calls += 1
            if self._executor is None:
                count = get_settings().concurrency
                self._executor = ThreadPoolExecutor(count, thread_name_prefix="dbos-step")
            executor = self._executor
        try:
            yield executor
        finally:
            with self._lock:
                self._calls -= 1

    def end_if_idle(self) -> None:
        """End the threads, unless a call needs them."""
        with self._lock:
            if self._executor is not None and not self._calls:
                self._executor.shutdown(wait=False)
                self._executor = None


_threads = _Threads()


def end_idle_threads() -> None:
    """End the threads for steps side by side when an executor stops, unless another uses them."""
    _threads.end_if_idle()


def _forget_threads() -> None:
    """Start over in a forked process, which has none of the threads."""
    global _threads
    _threads = _Threads()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_threads)


def _apart(
    function: Callable[P, R], *args: P.args, **kwargs: P.kwargs
) -> tuple[R | None, Exception | None]:
    try:
        return raised.caught(function, *args, **kwargs)
    finally:
        connections.close_all()
