"""How a process hears of what others have committed: LISTEN, or a look at the file's version.

One thread and one connection a process, from the first watcher on until nobody has watched for a
minute; in tests until nobody watches, since a test database can't be dropped while one is connected
to it. Forked processes start their own.
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
from pathlib import Path
from typing import TYPE_CHECKING, Any

from django.core import mail
from django.db import connections

from django_dbos.conf import get_settings
from django_dbos.core.records import run_key
from django_dbos.store.socket_notifier import SocketNotifier, drain
from django_dbos.store.watchdog import Line, get_watchdog

if TYPE_CHECKING:
    import psycopg

    from django_dbos.store.sqlite_sessions import OwnConnection
    from django_dbos.store.wakeups import Wakeups

logger = logging.getLogger("django_dbos.store")

# The channels of PostgreSQL's notifications.
ENQUEUED_CHANNEL, CHANGED_CHANNEL = "dbos_enqueued", "dbos_changed"
# NOTIFY takes less than 8,000 bytes. The longest key, of two names of 255 characters, is 6,200 when
# JSON escapes each.
MAX_PAYLOAD = 7_900
# Seconds without a watcher after which the connection is closed.
LINGER = 60.0
FIRST_BACKOFF, LAST_BACKOFF = 0.1, 5.0
# Older servers don't know it.
KEEP_IDLE = (
    "SELECT set_config(name, '0', false) FROM pg_settings WHERE name = 'idle_session_timeout'"
)
# Seconds between two looks whether anybody still watches.
LISTEN_TIMEOUT = 5.0
# Seconds between looks at an SQLite file's version: when it changed lately, and at rest.
BUSY_PAUSE, IDLE_PAUSE, BUSY_TIME = 0.005, 0.02, 1.0
# The same where other processes announce their changes; and the least time between two looks.
NOTIFIED_PAUSE, LEAST_PAUSE = 0.05, 0.002


def pack_keys(keys: Iterable[str]) -> list[str]:
    """Payloads that carry these keys, many in one: a hundred notifications take as long as most
    of what they tell of."""
    packed: list[list[str]] = []
    room = 0
    for key in keys:
        # As JSON writes it, with its quotes and its comma.
        size = len(json.dumps(key)) + 2
        if size > room:
            packed.append([])
            room = MAX_PAYLOAD
        packed[-1].append(key)
        room -= size
    return [json.dumps(some) for some in packed]


def is_testing() -> bool:
    """Whether Django's test environment is set up: its mark is the outbox."""
    return hasattr(mail, "outbox")


class Stop(threading.Event):
    """An event that also ends a wait for a socket."""

    def __init__(self) -> None:
        super().__init__()
        self._receiver, self._sender = socket.socketpair()

    def set(self) -> None:
        super().set()
        with contextlib.suppress(OSError):
            self._sender.send(b"x")

    @contextlib.contextmanager
    def waiting_for(self, descriptor: int) -> Iterator[Callable[[float], bool]]:
        """A function that waits until there is something to read there, for so many seconds.

        It returns False after the time, or when stopped.
        """
        # Not select(), which fails in a process that has 1,024 files and sockets open.
        with selectors.DefaultSelector() as selector:
            selector.register(descriptor, selectors.EVENT_READ)
            selector.register(self._receiver, selectors.EVENT_READ)
            yield lambda timeout: any(key.fd == descriptor for key, _ in selector.select(timeout))

    def close(self) -> None:
        """Close the sockets: nobody waits any more."""
        self._receiver.close()
        self._sender.close()


class Listener(abc.ABC):
    """A thread that connects, listens, and connects again when the connection is lost."""

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
        """Nobody watches any more."""
        if not is_testing():
            return
        with self._lock:
            if wakeups.is_used or self._stopped is None:
                # Somebody does again: whoever starts to watch says so before it starts this.
                return
            thread, self._thread = self._thread, None
            self._stopped.set()
        if thread is not None and self._pid == os.getpid():
            thread.join(5.0)

    def _run(self, wakeups: Wakeups, stopped: Stop) -> None:
        backoff = FIRST_BACKOFF
        while not stopped.is_set():
            try:
                self._listen(wakeups, stopped)
            except Exception as error:
                # Once an outage, not at every attempt.
                is_news = self.is_connected or backoff == FIRST_BACKOFF
                level = logging.WARNING if is_news else logging.DEBUG
                logger.log(level, "Not listening to the database, trying again: %r", error)
                backoff = FIRST_BACKOFF if self.is_connected else backoff
                self.is_connected = False
                stopped.wait(backoff)
                backoff = min(backoff * 2, LAST_BACKOFF)
        self.is_connected = False
        stopped.close()

    @abc.abstractmethod
    def _listen(self, wakeups: Wakeups, stopped: Stop) -> None:
        """Connect, tell everybody to look, and pass on what comes until stopped."""

    def _linger(self, wakeups: Wakeups, last_used: float, stopped: Stop) -> float:
        """Stop once nobody has watched for long; return when somebody last did."""
        now = time.monotonic()
        with self._lock:
            if wakeups.is_used:
                return now
            if now - last_used > LINGER:
                if self._stopped is stopped:
                    self._thread = None
                stopped.set()
        return last_used


class Notifications(Listener):
    """PostgreSQL's LISTEN, on a connection of its own."""

    def _listen(self, wakeups: Wakeups, stopped: Stop) -> None:
        from django_dbos.store.postgresql_connections import connect

        patience = max(get_settings().lease / 2, 1.0)
        connection, line = connect(self.alias, owner="", what="listener", patience=patience)
        try:
            # It is idle by profession.
            connection.execute(KEEP_IDLE)
            for channel in (ENQUEUED_CHANNEL, CHANGED_CHANNEL):
                connection.execute(f"LISTEN {channel}")
            line.asked_at = 0.0
            self.is_connected = True
            wakeups.notify_everything()
            self._hear(wakeups, stopped, connection, line)
        finally:
            connection.close()
            get_watchdog().forget(line)

    def _hear(
        self, wakeups: Wakeups, stopped: Stop, connection: psycopg.Connection[Any], line: Line
    ) -> None:
        last_used = looked_at = heard_at = time.monotonic()
        # Of those that come while psycopg reads an answer.
        connection.add_notify_handler(
            lambda told: self._pass_on(wakeups, told.channel, told.payload)
        )
        with stopped.waiting_for(connection.fileno()) as wait:
            while not stopped.is_set():
                if wait(LISTEN_TIMEOUT):
                    # By libpq's own calls: psycopg's notifies() takes 0.03 ms more.
                    connection.pgconn.consume_input()
                    heard_at = time.monotonic()
                elif time.monotonic() - heard_at >= line.patience:
                    # Silence may be rest, or the end of the way: an empty query is answered.
                    line.asked_at = time.monotonic()
                    connection.execute(b"")
                    line.asked_at, heard_at = 0.0, time.monotonic()
                while told := connection.pgconn.notifies():
                    self._pass_on(wakeups, told.relname.decode(), told.extra)
                if time.monotonic() - looked_at >= LISTEN_TIMEOUT:
                    looked_at = time.monotonic()
                    last_used = self._linger(wakeups, last_used, stopped)

    def _pass_on(self, wakeups: Wakeups, channel: str, payload: str | bytes) -> None:
        try:
            said = json.loads(payload)
            if channel == CHANGED_CHANNEL:
                wakeups.notify([str(key) for key in said])
            else:
                queue_name, priority = said
                wakeups.notify_lanes([(queue_name, priority)])
        except (TypeError, ValueError):
            # Another release of this package may say it in another way.
            wakeups.notify_everything()


class FileChanges(Listener):
    """SQLite's `PRAGMA data_version`, which other connections' commits change (3.5 µs a read).

    It is read when another process announces a change, and on a timer, since not all can.
    """

    def __init__(self, alias: str, own: OwnConnection, notifier: SocketNotifier) -> None:
        super().__init__(alias)
        self._own = own
        """The executors' connection: what they commit themselves, they tell."""
        self._notifier = notifier

    def _listen(self, wakeups: Wakeups, stopped: Stop) -> None:

        name = str(connections[self.alias].settings_dict["NAME"])
        if not name.startswith("file:") and not Path(name).exists():
            # It is not for us to make.
            raise FileNotFoundError(f"{name} isn't there yet.")
        try:
            with self._notifier.received() as receiver:
                version = self._own.version()
                self.is_connected = True
                wakeups.notify_everything()
                last_used = last_change = time.monotonic()
                with self._waiting(wakeups, receiver, stopped) as wait:
                    while not stopped.is_set():
                        wait(time.monotonic() - last_change)
                        seen = self._own.version()
                        if seen != version:
                            version, last_change = seen, time.monotonic()
                            wakeups.notify_everything()
                        last_used = self._linger(wakeups, last_used, stopped)
        finally:
            self._own.close()

    @contextlib.contextmanager
    def _waiting(
        self, wakeups: Wakeups, receiver: socket.socket | None, stopped: Stop
    ) -> Iterator[Callable[[float], None]]:
        """Yield a function that waits for the next read; it takes the seconds since a change."""
        if receiver is None:
            yield lambda since: _pause(stopped, BUSY_PAUSE if since < BUSY_TIME else IDLE_PAUSE)
            return
        with stopped.waiting_for(receiver.fileno()) as is_notified:

            def wait(since: float) -> None:
                if since < LEAST_PAUSE:
                    _pause(stopped, LEAST_PAUSE)
                is_notified(IDLE_PAUSE if since < BUSY_TIME else NOTIFIED_PAUSE)
                for message in drain(receiver):
                    _pass_on_runs(wakeups, message)

            yield wait


def _pass_on_runs(wakeups: Wakeups, message: bytes) -> None:
    """Of cancelled workflows: by the file's version alone any of them might be one."""
    try:
        keys = [str(key) for key in json.loads(message)]
    except (TypeError, ValueError):
        # Anybody who may enter the folder can send one.
        return
    wakeups.notify([key for key in keys if key.startswith(run_key(""))])


def _pause(stopped: Stop, seconds: float) -> None:
    stopped.wait(seconds)
