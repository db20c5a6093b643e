"""Announcing on SQLite: waits end in the transaction that writes the awaited rows.

Only one session writes at a time, so nothing can come in between. Other processes learn of it by
the file's version, which a datagram has them read at once.
"""

from __future__ import annotations

from collections.abc import Sequence

from django_dbos.core.batch.notifications import wakes_of
from django_dbos.core.batch.plan import Plan
from django_dbos.core.records import Lane, Wake
from django_dbos.store import rows
from django_dbos.store.announcing import Announcing, wake_statements
from django_dbos.store.listener import pack_keys
from django_dbos.store.sessions import Session
from django_dbos.store.sqlite.connecting import SqliteConnecting
from django_dbos.store.sqlite.listener import SENT


class SqliteAnnouncing(SqliteConnecting, Announcing):
    """Wake-ups within transactions, and datagrams."""

    def announce_plans(self, session: Session, plans: Sequence[Plan]) -> None:
        """Announce committed batches, whose own transactions have woken the waiting rows."""
        notifications = self._notifications_of(plans)
        keys = notifications.all_keys
        self._notify_here(keys, notifications.lanes)
        self._send(keys)

    def _notify_and_wake(
        self, session: Session, keys: Sequence[str], lanes: Sequence[Lane], wakes: Sequence[Wake]
    ) -> list[Lane]:
        woken = self._wake_waiting(session, wakes) if wakes else []
        self._send(keys)
        return woken

    def _send(self, keys: Sequence[str]) -> None:
        """Notify other processes, which check all that they wait for when the file has changed."""
        sent = [key for key in keys if key.startswith(SENT)]
        self._notifier.send([packed.encode() for packed in pack_keys(sent)])

    def _wake_waiting(self, session: Session, wakes: Sequence[Wake]) -> list[Lane]:
        work = wake_statements(session, wakes)
        woken = [row for name, params in work for row in self._enqueue(session, name, params)]
        return rows.lanes(woken)

    def _wake_for_plan(self, session: Session, plan: Plan) -> None:
        """Wake the workflows that wait for a plan's rows, without another commit."""
        if wakes := wakes_of(plan):
            plan.lanes += self._wake_waiting(session, wakes)
        if waiting := plan.waiting_ids:
            # The awaited data may have come while they were still running.
            plan.lanes += self.wake_satisfied(session, waiting)
