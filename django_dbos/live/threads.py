"""The thread of a process on which live data is read, with a connection that lasts.

Django closes a connection at the end of each request, unless CONN_MAX_AGE keeps it. The reads for
thousands of readers share one thread instead, and its connections are closed once they are old, or
haven't been used for a while.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar, TypeVarTuple

from asgiref.sync import sync_to_async
from django.db import close_old_connections, connections

from django_dbos.store.listener import is_testing

T = TypeVar("T")
Ts = TypeVarTuple("Ts")

# Seconds after which the thread's connections are closed: once they are old, and once idle.
MAX_AGE, MAX_IDLE = 60.0, 15.0


class DatabaseThread:
    """A thread that starts with the first call; it is idle, without a connection, in between."""

    def __init__(self) -> None:
        self._executor = ThreadPoolExecutor(1, thread_name_prefix="dbos-live")
        self._opened_at = self._used_at = 0.0
        self._watching: asyncio.AbstractEventLoop | None = None

    async def run(self, function: Callable[[*Ts], T], *args: *Ts) -> T:
        """Call a function that may use the ORM.

        In tests it runs where other sync code does, in the test's own transaction.
        """
        if is_testing():
            return await sync_to_async(_call_in_test)(function, *args)
        loop = asyncio.get_running_loop()
        self._used_at = time.monotonic()
        if self._watching is None or self._watching.is_closed():
            self._watching = loop
            loop.call_later(MAX_IDLE, self._close_if_idle)
        return await loop.run_in_executor(self._executor, self._call, function, *args)

    def _call(self, function: Callable[[*Ts], T], *args: *Ts) -> T:
        now = time.monotonic()
        if now - self._opened_at > MAX_AGE:
            connections.close_all()
            self._opened_at = now
        try:
            return function(*args)
        finally:
            for connection in connections.all(initialized_only=True):
                if connection.errors_occurred:
                    connection.close_if_unusable_or_obsolete()

    def _close_if_idle(self) -> None:
        if time.monotonic() - self._used_at >= MAX_IDLE:
            self._watching = None
            self._executor.submit(connections.close_all)
        elif self._watching is not None:
            self._watching.call_later(MAX_IDLE, self._close_if_idle)


def _call_in_test(function: Callable[[*Ts], T], *args: *Ts) -> T:
    close_old_connections()
    try:
        return function(*args)
    finally:
        close_old_connections()


_thread = DatabaseThread()


async def in_thread(function: Callable[[*Ts], T], *args: *Ts) -> T:
    """Call a function that may use the ORM on the thread for live data."""
    return await _thread.run(function, *args)


def _begin_anew() -> None:
    """Start another thread in a forked process: threads aren't copied."""
    global _thread
    _thread = DatabaseThread()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_begin_anew)
