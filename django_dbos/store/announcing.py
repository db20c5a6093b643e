"""Announcing: after a commit, wake the workflows and notify the processes that wait for it.

Data first, wake-up second, never in one transaction (CORRECTNESS rule 15).
"""

from __future__ import annotations

import abc
import time
from collections.abc import Iterable, Sequence

from django.db import transaction

from django_dbos import telemetry
from django_dbos.conf import get_settings
from django_dbos.core.batch.notifications import Notifications, group_wakes, wakes_of_cancelled
from django_dbos.core.batch.plan import Plan
from django_dbos.core.records import Lane, Wake
from django_dbos.core.status import Status
from django_dbos.store import rows
from django_dbos.store.sessions import Session, Statement
from django_dbos.store.transactions import Transactions

# How many waiting workflows one statement wakes.
WAKE_LIMIT = 10_000


class Announcing(Transactions):
    """Wake-ups and notifications."""

    def announce(self, session: Session, notifications: Notifications) -> None:
        """Wake and notify everything that waits for committed data, here and in other processes."""
        if notifications.is_empty:
            return
        keys = notifications.all_keys
        # Waiters in memory first: they read while the rows are being woken.
        self._notify_here(keys, notifications.lanes)
        woken = self._notify_and_wake(
            session, notifications.news_among(keys), notifications.lanes, notifications.wakes
        )
        if woken:
            self._notify_here([], woken)
            self._notify_and_wake(session, [], woken, [])

    def announce_plans(self, session: Session, plans: Sequence[Plan]) -> None:
        """Announce committed batches; called after their commits."""
        notifications = self._notifications_of(plans)
        waiting = [workflow_id for plan in plans for workflow_id in plan.waiting_ids]
        if waiting:
            # The awaited data may have come while they were still running.
            notifications.lanes += self.wake_satisfied(session, waiting)
        self.announce(session, notifications)

    def _notifications_of(self, plans: Sequence[Plan]) -> Notifications:
        notifications = Notifications.merged([Notifications.of_plan(plan) for plan in plans])
        notifications.due_at = self._due_soon(new.due_in for plan in plans for new in plan.started)
        return notifications

    def _due_soon(self, delays: Iterable[float | None]) -> list[float]:
        """Return when workflows are due that have these delays in seconds, on the monotonic clock.

        Those that are due later than the next heartbeat are left to its report.
        """
        now, interval = time.monotonic(), get_settings().heartbeat_interval
        return [now + delay for delay in delays if delay is not None and delay < interval]

    def wake_for_keys(self, session: Session, key_ids: Sequence[str]) -> bool:
        """Enqueue the workflows that wait for these keys; return whether there were any.

        Executors of this process learn of it first.
        """
        lanes = self._notify_and_wake(session, [], [], [Wake.of_key(key_id) for key_id in key_ids])
        if lanes:
            self._notify_here([], lanes)
            self._notify_and_wake(session, [], lanes, [])
        return bool(lanes)

    def wake_after_cancels(self, session: Session, workflow_ids: Sequence[str]) -> None:
        """Wake the workflows that wait for these ones, which clients have cancelled by SQL.

        Those that aren't cancelled are left out: any process can send a notification.
        """
        found = {
            workflow_id: session.run("read_status", {"workflow_id": workflow_id})
            for workflow_id in workflow_ids
        }
        cancelled = [key for key, read in found.items() if read and read[0][0] == Status.CANCELLED]
        wakes = wakes_of_cancelled(cancelled)
        # The client's commit has notified who waits in memory.
        notified = {key for wake in wakes for key in wake.keys}
        self.announce(session, Notifications(wakes=wakes, notified=notified))

    def wake_after_deletions(self, session: Session, workflow_ids: Sequence[str]) -> None:
        """Wake the workflows that wait for these ones, which are gone (rule 107)."""
        if workflow_ids:
            params = {"workflow_ids": session.pack(workflow_ids)}
            lanes = rows.lanes(self._enqueue(session, "wake_of_deleted", params))
            self.announce(session, Notifications(lanes=lanes))

    def wake_satisfied(
        self, session: Session, workflow_ids: Sequence[str] | None = None
    ) -> list[Lane]:
        """Wake waiting workflows (these, or any) whose wait is over; return their lanes.

        One call wakes WAKE_LIMIT workflows at most.
        """
        ids = None if workflow_ids is None else session.pack(workflow_ids)
        params = {"workflow_ids": ids, "limit": WAKE_LIMIT}
        return rows.lanes(self._enqueue(session, "wake_satisfied", params))

    def _announce_after_commit(self, notifications: Notifications) -> None:
        """Announce once the caller's transaction is committed; at once if there is none."""
        if notifications.is_empty:
            return
        session = self.session()
        if self.commits_by_hand():
            # Django doesn't know when that will be. The sweep finds the rows that wait.
            self._notify_with_commit(session, notifications)
            return

        def announce() -> None:
            self.announce(session, notifications)

        # Notifications only: a lost one must not fail the request whose data is committed.
        transaction.on_commit(announce, using=self.alias, robust=True)

    def _notify_with_commit(self, session: Session, notifications: Notifications) -> None:
        """Have other processes notified by the commit of the open transaction, where possible."""
        return

    def _notify_here(self, keys: Sequence[str], lanes: Sequence[Lane]) -> None:
        self.wakeups.notify(keys)
        self.wakeups.notify_lanes(lanes)
        if keys:
            telemetry.keys_changed(keys)

    @abc.abstractmethod
    def _notify_and_wake(
        self, session: Session, keys: Sequence[str], lanes: Sequence[Lane], wakes: Sequence[Wake]
    ) -> list[Lane]:
        """Notify other processes and enqueue waiting workflows; return the lanes of those."""


def wake_statements(session: Session, wakes: Sequence[Wake]) -> list[Statement]:
    """Return the statements that enqueue the workflows whose waits are over."""
    written, ended, failed = group_wakes(wakes)
    work: list[Statement] = []
    if written:
        rows = [(wake.kind.value, wake.workflow_id, wake.name) for wake in written]
        work.append(("wake_waiting", session.pack_rows(rows, "kinds", "target_ids", "names")))
    for kind, workflow_ids in ended.items():
        params = {"kind": kind, "workflow_ids": session.pack(workflow_ids)}
        work.append(("wake_at_ends", params))
    if failed:
        work.append(("wake_of_failures", {"workflow_ids": session.pack(failed)}))
    return work
