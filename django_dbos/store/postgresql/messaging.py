"""Messaging on PostgreSQL: outside of transactions one message carries row and wake-up."""

from __future__ import annotations

from collections.abc import Sequence

from django_dbos.conf import get_settings
from django_dbos.core.batch.notifications import Notifications
from django_dbos.core.ids import new_uuid
from django_dbos.core.records import NewMessage
from django_dbos.store import rows, statements
from django_dbos.store.columns import MESSAGE
from django_dbos.store.listener import pack_keys
from django_dbos.store.messaging import Messaging
from django_dbos.store.postgresql.arrays import arrays
from django_dbos.store.postgresql.connecting import PostgresConnecting
from django_dbos.store.postgresql.listener import CHANGED_CHANNEL, ENQUEUED_CHANNEL
from django_dbos.store.postgresql.multi_statements import LAZILY, notify_statements


class PostgresMessaging(PostgresConnecting, Messaging):
    """Messages by few messages to the server."""

    def _insert_messages(
        self, messages: Sequence[NewMessage], notifications: Notifications
    ) -> set[str]:
        if len(messages) == 1 and self.commits_at_once():
            return self._send_and_notify(messages[0], notifications)
        params = arrays(MESSAGE.lists(messages))
        missing = {row[0] for row in self.session().run("send_messages", params)}
        if not missing:
            self._announce_after_commit(notifications)
        return missing

    def _send_and_notify(self, message: NewMessage, notifications: Notifications) -> set[str]:
        """Send three transactions in one message to the server: the row; NOTIFY; the wake-up."""
        session, mark = self.session(), new_uuid().hex
        notify, payloads = notify_statements(CHANGED_CHANNEL, pack_keys(notifications.all_keys))
        params = {**MESSAGE.params(message), **payloads, "lane_channel": ENQUEUED_CHANNEL}
        # The same parameters name the wait that the message may end.
        sent, woken = session.run_then(("send_message", params), [*notify, self._wake()], mark)
        if not sent:
            # It was sent before, or to a missing receiver, or that isn't known: the row decides.
            known = session.run("read_status", {"workflow_id": message.workflow_id})
            return set() if known else {message.workflow_id}
        self._notify_here(notifications.all_keys, rows.lanes(woken))
        return set()

    def _wake(self) -> str:
        """Return the text that wakes the receiver, and notifies executors of its lane."""
        if not get_settings().listen:
            return statements.load(self.vendor, "wake_receiver")
        # Its commit needs no fsync: a wake-up that is lost with the server is found by the sweep.
        # With one, other commits that notify would wait for it.
        return f"{LAZILY};{statements.load(self.vendor, 'wake_and_notify')}"
