"""Sweep: wakes workflows whose wake-up was lost.

A process that sends a message, for example, commits it first and then wakes the row that waits for
it. If the process dies in between, the row stays waiting (CORRECTNESS rule 16). The search for such
rows is a part of the heartbeat's statement. Between sweeps it considers, on PostgreSQL, only the
messages and events since the last heartbeat, and the ends and streams of the newest workflows that
are awaited.
"""

from __future__ import annotations

from django_dbos.core.batch.notifications import Notifications
from django_dbos.executor.clock import Clock
from django_dbos.executor.duties.duty import Duty
from django_dbos.executor.duties.heartbeat import Heartbeat
from django_dbos.store.base import Store
from django_dbos.store.records import HeartbeatReport
from django_dbos.store.sessions import Session

# Seconds between two sweeps. The next heartbeat finds most lost wake-ups.
PERIOD = 30.0


class Sweep(Duty):
    """The periodic search of all waits, and the wake-ups that any heartbeat has found lost."""

    def __init__(self, store: Store, clock: Clock, heartbeat: Heartbeat) -> None:
        super().__init__(clock, period=PERIOD)
        self._store = store
        self._heartbeat = heartbeat
        self._is_wanted = False

    def run(self, session: Session) -> None:
        """Make the next heartbeat search all waits."""
        self._heartbeat.search_all()

    def expect_lost(self) -> None:
        """Wake satisfied waits after this heartbeat in any case, since an executor has died."""
        self._is_wanted = True

    def on_heartbeat(self, session: Session, report: HeartbeatReport) -> None:
        """Wake the workflows whose wake-up was lost."""
        if report.has_lost_wakeup or self._is_wanted:
            lanes = self._store.wake_satisfied(session)
            self._store.announce(session, Notifications(lanes=lanes))
            self._is_wanted = bool(lanes)
            if lanes:
                # One statement may not repair all of them; a heartbeat goes first.
                self._heartbeat.hurry()
