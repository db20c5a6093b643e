"""Watchdog: ends the sessions of servers that don't answer any more.

A backend that was stopped, or a network that swallows what it is given behind a proxy that still
answers keepalives: a statement would wait for ever, and with it the thread whose statement it is.
One thread a process looks at all sessions of the engine's own, and shuts down the socket of one
that has waited for too long. Its statement then fails as if the connection had been lost, and is
treated as that: whether it was carried out isn't known.
"""

from __future__ import annotations

import contextlib
import logging
import os
import socket
import threading
import time

logger = logging.getLogger("django_dbos.store")

# Seconds between two looks, at most.
LOOK_INTERVAL = 1.0


class Line:
    """A session's way to its server."""

    def __init__(self, descriptor: int, *, owner: str, what: str, patience: float) -> None:
        # Of our own: the driver may close its descriptor at any time, and the number be another's.
        self._socket = socket.socket(fileno=os.dup(descriptor))
        self._lock = threading.Lock()
        self._is_open = True
        self.owner = owner
        self.what = what
        self.patience = patience
        """Seconds that an answer may take."""
        self.asked_at = 0.0
        """Since when an answer is awaited, on the monotonic clock; 0 while none is."""
        self.is_abandoned = False

    def look(self, patience: float) -> None:
        """Abandon the session if an answer takes longer."""
        asked_at = self.asked_at
        waited = time.monotonic() - asked_at
        if not asked_at or waited < patience or self.is_abandoned:
            return
        self.is_abandoned = True
        logger.warning(
            "The database hasn't answered the %s%s for %.1f s: its session is given up, and "
            "another one made",
            self.what,
            f" of executor {self.owner}" if self.owner else "",
            waited,
        )
        with self._lock, contextlib.suppress(OSError):
            if self._is_open:
                self._socket.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """It isn't watched any more."""
        with self._lock:
            self._is_open = False
            self._socket.close()


class Watchdog:
    """The thread, which runs while there are sessions to be watched."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._lines: set[Line] = set()
        self._limits: dict[str, float] = {}
        self._changed = threading.Event()
        self._thread: threading.Thread | None = None

    def watch(self, descriptor: int, *, owner: str, what: str, patience: float) -> Line:
        """Watch a session from now on; its first answer is awaited."""
        line = Line(descriptor, owner=owner, what=what, patience=patience)
        line.asked_at = time.monotonic()
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
        """From now on an executor's sessions have so many seconds at most: it is to stop."""
        self._limits[owner] = patience
        self._changed.set()

    def relax(self, owner: str) -> None:
        """Undo hurry()."""
        self._limits.pop(owner, None)

    def limit(self, owner: str, patience: float) -> float:
        """The seconds that an answer to an executor may take."""
        return min(patience, self._limits.get(owner, patience))

    def _run(self) -> None:
        while True:
            with self._lock:
                lines = list(self._lines)
                if not lines:
                    self._thread = None
                    return
            pause = LOOK_INTERVAL
            for line in lines:
                patience = self.limit(line.owner, line.patience)
                line.look(patience)
                pause = min(pause, patience / 2)
            self._changed.wait(pause)
            self._changed.clear()


_watchdog = Watchdog()


def get_watchdog() -> Watchdog:
    """The one of this process."""
    return _watchdog


def _leave_to_parent() -> None:
    """In a forked process: neither the thread nor the sessions are its own."""
    global _watchdog
    _watchdog = Watchdog()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_leave_to_parent)
