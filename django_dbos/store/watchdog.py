"""Watchdog: abandons the sessions of servers that no longer answer (rule 47).

Behind a stopped backend, or a network that drops packets while a proxy still answers keepalives, a
statement would wait for ever, and its thread with it. One thread of each process checks all of the
engine's own sessions, and shuts down the socket of a session that has waited for too long. Its
statement then fails as if the connection had been lost: whether it was carried out isn't known.
"""

from __future__ import annotations

import contextlib
import logging
import os
import socket
import threading
import time

logger = logging.getLogger("django_dbos.store")

# Seconds between two checks, at most.
CHECK_INTERVAL = 1.0


class Line:
    """A session's line to its server.

    Args:
        descriptor: The session's socket.
        owner: The id of its executor; empty if it belongs to none.
        purpose: The purpose of the session, for the log.
        patience: Seconds that an answer may take.
    """

    def __init__(self, descriptor: int, *, owner: str, purpose: str, patience: float) -> None:
        # A duplicate: the driver may close its descriptor at any time, whose number is used again.
        self._socket = socket.socket(fileno=os.dup(descriptor))
        self._lock = threading.Lock()
        self._is_open = True
        self.owner = owner
        self.purpose = purpose
        self.patience = patience
        self.waiting_since = 0.0
        """When the wait for an answer began, on the monotonic clock; 0 while none is awaited."""
        self.is_abandoned = False

    def check(self, patience: float) -> None:
        """Abandon the session if an answer takes longer than `patience` seconds."""
        waiting_since = self.waiting_since
        waited = time.monotonic() - waiting_since
        if not waiting_since or waited < patience or self.is_abandoned:
            return
        self.is_abandoned = True
        logger.warning(
            "The database hasn't answered the %s%s for %.1f s: its session is abandoned "
            "and replaced",
            self.purpose,
            f" of executor {self.owner}" if self.owner else "",
            waited,
        )
        with self._lock, contextlib.suppress(OSError):
            if self._is_open:
                self._socket.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """Close the duplicate: the session is no longer watched."""
        with self._lock:
            self._is_open = False
            self._socket.close()


class Watchdog:
    """A thread that runs while there are sessions to watch."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._lines: set[Line] = set()
        self._limits: dict[str, float] = {}
        self._changed = threading.Event()
        self._thread: threading.Thread | None = None

    def watch(self, descriptor: int, *, owner: str, purpose: str, patience: float) -> Line:
        """Watch a session from now on, whose first answer is awaited."""
        line = Line(descriptor, owner=owner, purpose=purpose, patience=patience)
        line.waiting_since = time.monotonic()
        with self._lock:
            self._lines.add(line)
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="dbos-watchdog", daemon=True)
                self._thread.start()
        self._changed.set()
        return line

    def forget(self, line: Line) -> None:
        """Stop watching a session that is closed."""
        line.close()
        with self._lock:
            self._lines.discard(line)
        self._changed.set()

    def hurry(self, owner: str, patience: float) -> None:
        """Limit the patience of an executor's sessions, since it is stopping."""
        self._limits[owner] = patience
        self._changed.set()

    def relax(self, owner: str) -> None:
        """Undo `hurry`."""
        self._limits.pop(owner, None)

    def limit(self, owner: str, patience: float) -> float:
        """Return the seconds that an answer to an executor may take."""
        return min(patience, self._limits.get(owner, patience))

    def _run(self) -> None:
        while True:
            with self._lock:
                lines = list(self._lines)
                if not lines:
                    self._thread = None
                    return
            pause = CHECK_INTERVAL
            for line in lines:
                patience = self.limit(line.owner, line.patience)
                line.check(patience)
                pause = min(pause, patience / 2)
            self._changed.wait(pause)
            self._changed.clear()


_watchdog = Watchdog()


def get_watchdog() -> Watchdog:
    """Return this process's watchdog."""
    return _watchdog


def _leave_to_parent() -> None:
    """Start over in a forked process: thread and sessions are its parent's."""
    global _watchdog
    _watchdog = Watchdog()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_leave_to_parent)
