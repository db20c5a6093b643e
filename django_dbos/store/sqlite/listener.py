"""The listener on SQLite: it detects commits of other processes by the version of the file."""

from __future__ import annotations

import contextlib
import json
import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from django.db import connections

from django_dbos.core.records import DUE_PREFIX, executor_key, run_key
from django_dbos.store.listener import Listener, Stop
from django_dbos.store.sqlite.socket_notifier import SocketNotifier, drain

if TYPE_CHECKING:
    from django_dbos.store.pubsub import Wakeups
    from django_dbos.store.sqlite.sessions import WorkerConnection

# Seconds between reads of the file's version within BUSY_TIME after a change, and later.
BUSY_PAUSE, IDLE_PAUSE, BUSY_TIME = 0.005, 0.02, 1.0
# The same where other processes announce their changes; and the least time between two reads.
NOTIFIED_PAUSE, LEAST_PAUSE = 0.05, 0.002
# The keys that are sent, since a change of the file isn't taken for them: of cancelled runs and of
# due times.
SENT = (run_key(""), executor_key(""), DUE_PREFIX)


class SqliteListener(Listener):
    """SQLite's `PRAGMA data_version`, which other connections' commits change (3.5 µs a read).

    It is read when another process announces a change, and on a timer, since not all can.
    """

    def __init__(self, alias: str, own: WorkerConnection, notifier: SocketNotifier) -> None:
        super().__init__(alias)
        self._own = own
        """The executors' connection; they notify of their own commits themselves."""
        self._notifier = notifier

    def _listen(self, wakeups: Wakeups, stopped: Stop) -> None:
        name = str(connections[self.alias].settings_dict["NAME"])
        if not name.startswith("file:") and not Path(name).exists():
            # To connect would create it.
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
                    _pass_on(wakeups, message)

            yield wait


def _pass_on(wakeups: Wakeups, message: bytes) -> None:
    """Pass on the keys that the file's version can't name."""
    try:
        keys = [str(key) for key in json.loads(message)]
    except (TypeError, ValueError):
        # Everyone who may enter the folder can send a message.
        return
    wakeups.notify([key for key in keys if key.startswith(SENT)])


def _pause(stopped: Stop, seconds: float) -> None:
    stopped.wait(seconds)
