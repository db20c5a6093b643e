"""Threads of an async run: one for what is sync in it, and more for sync steps side by side.

What comes one by one shares a thread and its connection, which asgiref gives the run
(CORRECTNESS rule 39). A sync step that is called while that thread is busy with another one goes to
one of the process's threads for such steps, with a connection of its own that is closed after it.
Not to asyncio's threads: those are few, and a step that has the loop look up a host would wait for
one. A test's transaction is one connection's, so there all of them take turns.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
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
        apart = sync_to_async(_apart, thread_sensitive=False, executor=_threads())
        return raised.given(await apart(function, *args, **kwargs))
    return await perform_in_turn(run, function, *args, **kwargs)


async def perform_in_turn(
    run: Run, function: Callable[P, R], *args: P.args, **kwargs: P.kwargs
) -> R:
    """Call a sync function on the run's thread, as soon as that is free."""
    run.sync_steps += 1
    try:
        return await raised.on_thread(function, *args, **kwargs)
    finally:
        run.sync_steps -= 1


@functools.cache
def _threads() -> ThreadPoolExecutor:
    """Those of this process, started as they are needed."""
    return ThreadPoolExecutor(get_settings().concurrency, thread_name_prefix="dbos-step")


if hasattr(os, "register_at_fork"):
    # A forked process has none of them.
    os.register_at_fork(after_in_child=_threads.cache_clear)


def _apart(
    function: Callable[P, R], *args: P.args, **kwargs: P.kwargs
) -> tuple[R | None, Exception | None]:
    try:
        return raised.caught(function, *args, **kwargs)
    finally:
        connections.close_all()
