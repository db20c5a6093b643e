"""Messaging on SQLite: the message and its receiver's wake-up in one transaction."""

from __future__ import annotations

from collections.abc import Sequence

from django_dbos.core.batch.notifications import Notifications
from django_dbos.core.records import NewMessage
from django_dbos.store.columns import MESSAGE
from django_dbos.store.messaging import Messaging
from django_dbos.store.rows import Rows
from django_dbos.store.sqlite.announcing import SqliteAnnouncing


class SqliteMessaging(SqliteAnnouncing, Messaging):
    """Messages under the database's one write lock."""

    def _insert_messages(
        self, messages: Sequence[NewMessage], notifications: Notifications
    ) -> set[str]:
        session, receivers = self.session(), {message.workflow_id for message in messages}
        with session.transaction():
            params = {"workflow_ids": session.pack(sorted(receivers))}
            missing = receivers - {row[0] for row in session.run("read_claims", params)}
            if not missing:
                session.send_rows({"insert_messages": Rows(MESSAGE, messages)})
                lanes = self._wake_waiting(session, notifications.wakes)
                self._announce_after_commit(Notifications(keys=notifications.all_keys, lanes=lanes))
        return missing
