"""The listener on PostgreSQL: LISTEN brings the notifications of other processes."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING, Any

from django_dbos.conf import get_settings
from django_dbos.core.records import Lane
from django_dbos.store import listener
from django_dbos.store.listener import Listener, Stop
from django_dbos.store.postgresql.connections import connect
from django_dbos.store.watchdog import Line, get_watchdog

if TYPE_CHECKING:
    import psycopg

    from django_dbos.store.pubsub import Wakeups

# The channels of PostgreSQL's notifications.
ENQUEUED_CHANNEL, CHANGED_CHANNEL = "dbos_enqueued", "dbos_changed"
# A connection that was silent for this share of the lease is asked whether it still lives.
SILENCE = 0.75
# Older servers don't have the setting.
KEEP_IDLE = (
    "SELECT set_config(name, '0', false) FROM pg_settings WHERE name = 'idle_session_timeout'"
)


class PostgresListener(Listener):
    """PostgreSQL's LISTEN, on a connection of its own."""

    def _listen(self, wakeups: Wakeups, stopped: Stop) -> None:
        patience = max(get_settings().lease / 2, 1.0)
        connection, line = connect(self.alias, owner="", purpose="listener", patience=patience)
        try:
            # The connection is idle most of the time.
            connection.execute(KEEP_IDLE)
            for channel in (ENQUEUED_CHANNEL, CHANGED_CHANNEL):
                connection.execute(f"LISTEN {channel}")
            line.waiting_since = 0.0
            self.is_connected = True
            wakeups.notify_everything()
            self._receive(wakeups, stopped, connection, line)
        finally:
            connection.close()
            get_watchdog().forget(line)

    def _receive(
        self, wakeups: Wakeups, stopped: Stop, connection: psycopg.Connection[Any], line: Line
    ) -> None:
        last_used = checked_at = received_at = time.monotonic()
        silence = max(get_settings().lease * SILENCE, 1.0)
        # For notifications that come while psycopg reads an answer.
        connection.add_notify_handler(
            lambda notify: self._pass_on(wakeups, notify.channel, notify.payload)
        )
        with stopped.waiting_for(connection.fileno()) as wait:
            while not stopped.is_set():
                if wait(listener.LISTEN_TIMEOUT):
                    # By libpq's own calls: psycopg's notifies() takes 0.03 ms more.
                    connection.pgconn.consume_input()
                    received_at = time.monotonic()
                elif time.monotonic() - received_at >= silence:
                    # Silence may be rest, or a dead connection: a live one answers an empty query.
                    line.waiting_since = time.monotonic()
                    connection.execute(b"")
                    line.waiting_since, received_at = 0.0, time.monotonic()
                while notification := connection.pgconn.notifies():
                    self._pass_on(wakeups, notification.relname.decode(), notification.extra)
                if time.monotonic() - checked_at >= listener.LISTEN_TIMEOUT:
                    checked_at = time.monotonic()
                    last_used = self._linger(wakeups, last_used, stopped)

    def _pass_on(self, wakeups: Wakeups, channel: str, payload: str | bytes) -> None:
        try:
            content = json.loads(payload)
            if channel == CHANGED_CHANNEL:
                wakeups.notify([str(key) for key in content])
            else:
                queue_name, priority = content
                wakeups.notify_lanes([Lane(queue_name, priority)])
        except (TypeError, ValueError):
            # Another release of this package may have another format.
            wakeups.notify_everything()
