"""Inbox: receives signals, and notices of other threads, for the main thread of a worker process.

The main thread does nothing but read from a socket. The kernel may deliver a signal to any thread,
while Python runs handlers in the main thread alone, and a main thread that waits for a lock isn't
woken by a signal to another thread. Python's C handler, however, writes the signal's number to
the wake-up descriptor from whatever thread it runs in, and a socket with data
always wakes its reader. Masking signals in all other threads would do as well, but would have to
reach threads that libraries start, some of them before us or from C.
"""

from __future__ import annotations

import enum
import functools
import logging
import os
import signal
import socket
import threading
import time
from collections import deque
from types import TracebackType
from typing import Any, Self

logger = logging.getLogger("django_dbos.executor")

# A signal to a process group reaches a process twice when the parent, or GNU timeout, sends it too:
# a repeat counts only this many seconds after the first.
SECOND_AFTER = 1.0
# SIGHUP comes when a terminal closes. Windows has neither SIGHUP nor SIGQUIT.
STOPS = [getattr(signal, name) for name in ("SIGTERM", "SIGINT", "SIGHUP") if hasattr(signal, name)]
STOPS_NOW = [getattr(signal, name) for name in ("SIGQUIT",) if hasattr(signal, name)]


class Notice(enum.IntEnum):
    """A notice to the main thread; its value is above those of signals, which share its byte."""

    STOP = 200
    STOP_NOW = 201
    CODE_CHANGED = 202
    ENDED = 203


class Inbox:
    """The receiver of a process's signals, in a `with` on the main thread."""

    def __init__(self) -> None:
        self._reader, self._writer = socket.socketpair()
        self._writer.setblocking(False)
        self._unread: deque[int] = deque()
        self._first_signal_at: float | None = None
        self._handlers: dict[int, Any] = {}
        self._wakeup_fd = -1

    def __enter__(self) -> Self:
        global _current
        self._wakeup_fd = signal.set_wakeup_fd(self._writer.fileno(), warn_on_full_buffer=False)
        for number in (*STOPS, *STOPS_NOW):
            # nohup ignores SIGHUP; that is kept.
            if number != getattr(signal, "SIGHUP", None) or _has_handler(number):
                self._handlers[number] = signal.signal(number, _wake_only)
        _current = self
        _restore_in_forks()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Restore the signals' handlers."""
        global _current
        _current = None
        signal.set_wakeup_fd(self._wakeup_fd)
        for number, handler in self._handlers.items():
            signal.signal(number, signal.SIG_DFL if handler is None else handler)
        self._reader.close()
        self._writer.close()

    def notify(self, notice: Notice) -> None:
        """Make `wait` return a notice; from any thread."""
        try:
            self._writer.send(bytes([notice]))
        except OSError:
            logger.debug("The process no longer waits for %s", notice.name)

    def wait(self, timeout: float | None = None) -> Notice | None:
        """Return the next notice, or None when none came within `timeout` seconds."""
        until = None if timeout is None else time.monotonic() + timeout
        while True:
            while self._unread:
                if (notice := self._read(self._unread.popleft())) is not None:
                    return notice
            try:
                self._reader.settimeout(None if until is None else _left(until))
                self._unread.extend(self._reader.recv(4096))
            except (TimeoutError, BlockingIOError):
                return None

    def _read(self, code: int) -> Notice | None:
        """Return the notice that a byte means; None for a repeat, or another library's signal."""
        if code >= min(Notice):
            return Notice(code)
        if code in STOPS_NOW:
            logger.warning("%s: stopping at once", signal.Signals(code).name)
            return Notice.STOP_NOW
        return self._count(code) if code in STOPS else None

    def _count(self, number: int) -> Notice | None:
        name, now = signal.Signals(number).name, time.monotonic()
        if self._first_signal_at is None:
            self._first_signal_at = now
            logger.info("%s: handing over", name)
            return Notice.STOP
        if now - self._first_signal_at < SECOND_AFTER:
            logger.debug("%s within a second of the first signal: not counted", name)
            return None
        logger.warning("%s again: stopping at once", name)
        return Notice.STOP_NOW


_current: Inbox | None = None


def _left(until: float) -> float:
    return max(until - time.monotonic(), 0.0)


def _has_handler(number: int) -> bool:
    return signal.getsignal(number) is not signal.SIG_IGN


def _wake_only(number: int, frame: object) -> None:
    """Do nothing: a signal with a Python handler is written to the wake-up descriptor."""


# Forks
#
# A process that a step forks shares the socket, but its signals aren't the worker's: the former
# handlers are restored in it. Its signals wait until then.


class _Mask(threading.local):
    before: set[int] = set()


_mask = _Mask()


@functools.cache
def _restore_in_forks() -> None:
    if hasattr(os, "register_at_fork"):
        os.register_at_fork(
            before=_hold_signals,
            after_in_parent=_release_signals,
            after_in_child=_leave_inbox,
        )


def _hold_signals() -> None:
    _mask.before = signal.pthread_sigmask(signal.SIG_BLOCK, [*STOPS, *STOPS_NOW])


def _release_signals() -> None:
    signal.pthread_sigmask(signal.SIG_SETMASK, _mask.before)


def _leave_inbox() -> None:
    if _current is not None:
        _current.close()
    _release_signals()
