"""Life of an executor in a process of its own, whose main thread waits for signals."""

from __future__ import annotations

import contextlib
import ctypes
import gc
import logging
import math
import os
import sys
import threading
import time
from collections.abc import Callable
from typing import NoReturn, TypeVar

from django.db import connections

from django_dbos.executor.cli.inbox import Inbox, Notice
from django_dbos.executor.executor import Executor, release_claims
from django_dbos.store import errors
from django_dbos.store.sessions import translated_errors

logger = logging.getLogger("django_dbos.executor")

T = TypeVar("T")

# Seconds in which a process that stops at once may release its claims.
LAST_SECOND = 1.0
# Seconds for which steps in progress may go on after a change of code.
RELOAD_GRACE = 0.3
# Seconds between two attempts to reach the database at the start, and between lines about them.
FIRST_PAUSE, LAST_PAUSE, LOG_INTERVAL = 0.1, 2.0, 30.0
CANNOT_OPEN = "unable to open database file"
# The exit code that makes the parent of `--reload` start another process, as in Django.
CODE_CHANGED = 3
# The exit code by which a child tells the parent of `--processes` that it was drained.
DRAINED = 4


class Life:
    """A thread that makes, starts and stops an executor, and announces its end in the inbox."""

    def __init__(self, make_executor: Callable[[], Executor], inbox: Inbox, *, once: bool) -> None:
        self._make_executor = make_executor
        self._inbox = inbox
        self._once = once
        self._must_end = threading.Event()
        self._grace: float | None = None
        self._executor: Executor | None = None
        self.is_drained = False
        """True if it ends because that was requested, and its runs have ended."""
        self.error: BaseException | None = None
        self._thread = threading.Thread(target=self._live, name="dbos-life", daemon=True)

    def begin(self) -> None:
        """Start the thread."""
        self._thread.start()

    def end(self, grace: float | None = None) -> None:
        """Begin to stop; steps in progress have `grace` seconds (None: DBOS["GRACE_PERIOD"])."""
        if not self._must_end.is_set():
            self._grace = grace
            self._must_end.set()
            if self._executor is not None:
                logger.info("Executor %s hands over", self._executor.executor_id)

    def end_at_once(self) -> NoReturn:
        """Release all claims and end the process, without waiting for runs."""
        if self._executor is not None:
            last = threading.Thread(target=release_claims, args=(self._executor,), daemon=True)
            last.start()
            last.join(LAST_SECOND)
        end_process(1)

    @property
    def has_runs(self) -> bool:
        """True if functions that didn't end in time are still running."""
        return self._executor is not None and self._executor.has_left_runs

    def _live(self) -> None:
        try:
            self._work()
        except BaseException as error:
            self.error = error
        finally:
            connections.close_all()
            self._inbox.notify(Notice.ENDED)

    def _work(self) -> None:
        executor = self._executor = self._when_reachable(self._make_executor)
        if executor is None or self._must_end.is_set():
            return
        executor.on_drained = self._end_drained
        if not self._when_reachable(lambda: _start(executor)):
            return
        give_memory_back()
        if self._once:
            threading.Thread(target=self._end_when_idle, name="dbos-once", daemon=True).start()
        self._must_end.wait()
        executor.stop(self._grace)

    def _when_reachable(self, act: Callable[[], T]) -> T | None:
        """Call `act` once the database is reachable; None if the process ends before that."""
        pause, logged_at = FIRST_PAUSE, -math.inf
        while True:
            try:
                with translated_errors():
                    return act()
            except errors.Unavailable as error:
                if CANNOT_OPEN in str(error):
                    # SQLite's folder isn't there: a mistake, most likely.
                    raise
                if time.monotonic() - logged_at >= LOG_INTERVAL:
                    logged_at = time.monotonic()
                    logger.warning("The database is unavailable, waiting for it: %r", error)
            connections.close_all()
            if self._must_end.wait(pause):
                return None
            pause = min(pause * 2, LAST_PAUSE)

    def _end_drained(self) -> None:
        self.is_drained = True
        self.end()

    def _end_when_idle(self) -> None:
        assert self._executor is not None
        self._executor.wait_until_idle()
        self.end()


def run(
    make_executor: Callable[[], Executor],
    inbox: Inbox,
    *,
    once: bool = False,
    drained_code: int = 0,
) -> int:
    """Run an executor until a notice stops it, or until it is drained; return the exit code."""
    life = Life(make_executor, inbox, once=once)
    life.begin()
    code = 0
    while (notice := inbox.wait()) is not Notice.ENDED:
        if notice is Notice.STOP_NOW:
            life.end_at_once()
        code = CODE_CHANGED if notice is Notice.CODE_CHANGED else 0
        life.end(RELOAD_GRACE if code else None)
    if life.error is not None:
        raise life.error
    if life.is_drained:
        code = drained_code
    if life.has_runs:
        # Python would wait for the threads of some of these runs.
        end_process(code)
    return code


def _start(executor: Executor) -> bool:
    executor.start()
    # This thread needs no connection from here on.
    connections.close_all()
    return True


def end_process(code: int) -> NoReturn:
    """End this process without waiting for its threads."""
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError):
            stream.flush()
    os._exit(code)


def give_memory_back() -> None:
    """Return memory that only the start needed to the system: a megabyte, with glibc."""
    gc.collect()
    with contextlib.suppress(AttributeError, OSError, TypeError):
        # Other C libraries lack it, and Windows has no such handle.
        ctypes.CDLL(None).malloc_trim(0)
