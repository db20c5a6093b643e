"""Learns of commits in other processes by PostgreSQL's LISTEN."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING, Any

from django_dbos.conf import get_settings
from django_dbos.store import listener
from django_dbos.store.listener import Listener, Stop
from django_dbos.store.postgresql.connections import connect
from django_dbos.store.watchdog import Line, get_watchdog

if TYPE_CHECKING:
    import psycopg

    from django_dbos.store.pubsub import Wakeups

# The channels of PostgreSQL's notifications.
ENQUEUED_CHANNEL, CHANGED_CHANNEL = "dbos_enqueued", "dbos_changed"
# Older servers don't know it.
KEEP_IDLE = (
    "SELECT set_config(name, '0', false) FROM pg_settings WHERE name = 'idle_session_timeout'"
)


class PostgresListener(Listener):
    """PostgreSQL's LISTEN, on a connection of its own."""

    def _listen(self, wakeups: Wakeups, stopped: Stop) -> None:
        patience = max(get_settings().lease / 2, 1.0)
        connection, line = connect(self.alias, owner="", purpose="listener", patience=patience)
        try:
            # It is idle by profession.
            connection.execute(KEEP_IDLE)
            for channel in (ENQUEUED_CHANNEL, CHANGED_CHANNEL):
                connection.execute(f"LISTEN {channel}")
            line.waiting_since = 0.0
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
                if wait(listener.LISTEN_TIMEOUT):
                    # By libpq's own calls: psycopg's notifies() takes 0.03 ms more.
                    connection.pgconn.consume_input()
                    heard_at = time.monotonic()
                elif time.monotonic() - heard_at >= line.patience:
                    # Silence may be rest, or the end of the way: an empty query is answered.
                    line.waiting_since = time.monotonic()
                    connection.execute(b"")
                    line.waiting_since, heard_at = 0.0, time.monotonic()
                while told := connection.pgconn.notifies():
                    self._pass_on(wakeups, told.relname.decode(), told.extra)
                if time.monotonic() - looked_at >= listener.LISTEN_TIMEOUT:
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
