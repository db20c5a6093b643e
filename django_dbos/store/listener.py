"""The listener: a thread by which a process learns of commits in other processes.

One thread and one connection for each process, from its first watch until there has been none for
a minute; in tests until the last watch ends, since a test database can't be dropped while a session
is connected to it. Forked processes start their own.
"""

from __future__ import annotations

import abc
import contextlib
import json
import logging
import os
import selectors
import socket
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING

from django.core import mail

from django_dbos.core.backoff import Backoff

if TYPE_CHECKING:
    from django_dbos.store.pubsub import Wakeups

logger = logging.getLogger("django_dbos.store")

# NOTIFY takes less than 8,000 bytes. The longest key, of two names of 255 characters, is 6,200 when
# JSON escapes each.
MAX_PAYLOAD = 7_900
# Seconds without a watch after which the connection is closed.
LINGER = 60.0
# The first and the longest delay in seconds before it connects again.
LISTEN_BACKOFF = (0.1, 5.0)
# Seconds between two checks whether there is still a watch.
LISTEN_TIMEOUT = 5.0


def pack_keys(keys: Iterable[str]) -> list[str]:
    """Return payloads that carry many keys each.

    A hundred notifications would take as long as most of the writes that they report.
    """
    packed: list[list[str]] = []
    room = 0
    for key in keys:
        size = _size_in_json(key)
        if size > room:
            packed.append([])
            room = MAX_PAYLOAD
        packed[-1].append(key)
        room -= size
    return [json.dumps(some) for some in packed]


def _size_in_json(key: str) -> int:
    """Return the length of a key as JSON writes it, with its quotes and its comma."""
    is_plain = key.isascii() and key.isprintable() and '"' not in key and "\\" not in key
    # Nearly all are plain, and each is written below once more.
    return len(key) + 4 if is_plain else len(json.dumps(key)) + 2


def is_testing() -> bool:
    """Return whether Django's test environment is set up, by its outbox."""
    return hasattr(mail, "outbox")


class Stop(threading.Event):
    """An event that also ends a wait for a socket."""

    def __init__(self) -> None:
        super().__init__()
        self._receiver, self._sender = socket.socketpair()

    def set(self) -> None:
        """Set the event and end the wait."""
        super().set()
        with contextlib.suppress(OSError):
            self._sender.send(b"x")

    @contextlib.contextmanager
    def waiting_for(self, descriptor: int) -> Iterator[Callable[[float], bool]]:
        """Yield a function that waits until the descriptor can be read.

        The function takes a timeout in seconds; it returns False after that, or once the event is
        set.
        """
        # Not select(), which fails in a process that has 1,024 files and sockets open.
        with selectors.DefaultSelector() as selector:
            selector.register(descriptor, selectors.EVENT_READ)
            selector.register(self._receiver, selectors.EVENT_READ)
            yield lambda timeout: any(key.fd == descriptor for key, _ in selector.select(timeout))

    def close(self) -> None:
        """Close the sockets after the last wait."""
        self._receiver.close()
        self._sender.close()


class Listener(abc.ABC):
    """A thread that connects, listens, and connects again after its connection was lost."""

    def __init__(self, alias: str) -> None:
        self.alias = alias
        self.is_connected = False
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._stopped: Stop | None = None
        self._pid = 0

    def start(self, wakeups: Wakeups) -> None:
        """Start the thread, unless it runs in this very process."""
        with self._lock:
            if self._thread is not None and self._pid == os.getpid() and self._thread.is_alive():
                return
            self._pid = os.getpid()
            self.is_connected = False
            self._stopped = Stop()
            self._thread = threading.Thread(
                target=self._run, args=(wakeups, self._stopped), name="dbos-listener", daemon=True
            )
            self._thread.start()

    def stop(self) -> None:
        """Stop the thread, which closes its connection."""
        with self._lock:
            thread, self._thread = self._thread, None
            if self._stopped is not None:
                self._stopped.set()
        if thread is not None and self._pid == os.getpid() and thread.is_alive():
            thread.join(5.0)

    def rest(self, wakeups: Wakeups) -> None:
        """Stop in tests, where the last watch has ended: no thread is left behind."""
        if not is_testing():
            return
        with self._lock:
            if wakeups.is_used or self._stopped is None:
                # There is a watch again: each is counted before it starts the thread.
                return
            thread, self._thread = self._thread, None
            self._stopped.set()
        if thread is not None and self._pid == os.getpid():
            thread.join(5.0)

    def _run(self, wakeups: Wakeups, stopped: Stop) -> None:
        backoff = Backoff(*LISTEN_BACKOFF)
        while not stopped.is_set():
            try:
                self._listen(wakeups, stopped)
            except Exception as error:
                if self.is_connected:
                    backoff.reset()
                # A warning once an outage, not at every attempt.
                level = logging.DEBUG if backoff.delay else logging.WARNING
                logger.log(level, "Not listening to the database, trying again: %r", error)
                self.is_connected = False
                stopped.wait(backoff.grow())
        self.is_connected = False
        stopped.close()

    @abc.abstractmethod
    def _listen(self, wakeups: Wakeups, stopped: Stop) -> None:
        """Connect, wake all waiters, and pass notifications on until stopped."""

    def _linger(self, wakeups: Wakeups, last_used: float, stopped: Stop) -> float:
        """Stop after LINGER without a watch; return the time of the last one."""
        now = time.monotonic()
        with self._lock:
            if wakeups.is_used:
                return now
            if now - last_used > LINGER:
                if self._stopped is stopped:
                    self._thread = None
                stopped.set()
        return last_used
