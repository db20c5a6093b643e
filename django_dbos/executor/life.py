"""An executor's life in a process of its own: its threads work, the main one waits for signals."""

from __future__ import annotations

import contextlib
import ctypes
import gc
import logging
import os
import sys
import threading
from collections.abc import Callable
from typing import NoReturn

from django.db import connections

from django_dbos.executor.executor import Executor
from django_dbos.executor.inbox import Inbox, Notice

logger = logging.getLogger("django_dbos.executor")

# Seconds that are left for releasing the claims of a process that stops at once.
LAST_SECOND = 1.0
# Seconds that steps in progress have to finish after a change of code.
RELOAD_GRACE = 0.3
# The exit code that has the parent of `--reload` start another process: Django's.
CODE_CHANGED = 3


class Life:
    """Makes, starts and stops an executor on a thread, and says in the inbox when it has ended."""

    def __init__(self, make_executor: Callable[[], Executor], inbox: Inbox, *, once: bool) -> None:
        self._make_executor = make_executor
        self._inbox = inbox
        self._once = once
        self._asked = threading.Event()
        self._grace: float | None = None
        self._executor: Executor | None = None
        self.error: BaseException | None = None
        self._thread = threading.Thread(target=self._live, name="dbos-life", daemon=True)

    def begin(self) -> None:
        """Start the thread."""
        self._thread.start()

    def end(self, grace: float | None = None) -> None:
        """Have the work handed over; steps in progress have `grace` seconds (None: the setting)."""
        if not self._asked.is_set():
            self._grace = grace
            self._asked.set()
            if self._executor is not None:
                logger.info("Executor %s hands over", self._executor.executor_id)

    def end_at_once(self) -> NoReturn:
        """Release all claims and end the process, whatever runs."""
        if self._executor is not None:
            last = threading.Thread(target=self._executor.stop_now, daemon=True)
            last.start()
            last.join(LAST_SECOND)
        end_process(1)

    @property
    def has_runs(self) -> bool:
        """Whether functions run on that didn't end in time."""
        return self._executor is not None and bool(self._executor.runs)

    def _live(self) -> None:
        try:
            self._work()
        except BaseException as error:
            self.error = error
        finally:
            connections.close_all()
            self._inbox.tell(Notice.ENDED)

    def _work(self) -> None:
        executor = self._executor = self._make_executor()
        if self._asked.is_set():
            return
        executor.start()
        give_memory_back()
        if self._once:
            threading.Thread(target=self._end_when_idle, name="dbos-once", daemon=True).start()
        self._asked.wait()
        executor.stop(self._grace)

    def _end_when_idle(self) -> None:
        assert self._executor is not None
        self._executor.wait_until_idle()
        self.end()


def run(make_executor: Callable[[], Executor], inbox: Inbox, *, once: bool = False) -> int:
    """Run an executor until the inbox says otherwise; return the exit code."""
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
    if life.has_runs:
        # Python would wait for the threads of some of them before the process ends.
        end_process(code)
    return code


def end_process(code: int) -> NoReturn:
    """End this process without waiting for its threads."""
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError):
            stream.flush()
    os._exit(code)


def give_memory_back() -> None:
    """Give what starting up took for a moment back to the system: a megabyte, with glibc."""
    gc.collect()
    with contextlib.suppress(AttributeError, OSError, TypeError):
        # Other C libraries haven't got it, and Windows has none to be asked like this.
        ctypes.CDLL(None).malloc_trim(0)
