"""Sweep: wakes workflows that wait for what is there already, since their wake-up was lost.

Whoever brings what is awaited commits it first, and then wakes the rows that wait for it; a process
that dies in between leaves them waiting (CORRECTNESS rule 16). The search for them is a part of the
heartbeat's statement. Between sweeps it considers only what came since the last heartbeat.
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
    """Has a heartbeat search all waits now and then, and wakes what any heartbeat has found."""

    def __init__(self, store: Store, clock: Clock, heartbeat: Heartbeat) -> None:
        super().__init__(clock, period=PERIOD)
        self._store = store
        self._heartbeat = heartbeat
        self._is_wanted = False

    def run(self, session: Session) -> None:
        """Have the next heartbeat search all waits."""
        self._heartbeat.search_all()

    def expect_lost(self) -> None:
        """Wake what it can after this heartbeat in any case: an executor has died."""
        self._is_wanted = True

    def on_heartbeat(self, session: Session, report: HeartbeatReport) -> None:
        """Wake the workflows whose wake-up was lost."""
        if report.has_lost_wakeup or self._is_wanted:
            self._is_wanted = False
            self._store.announce(session, Notifications(lanes=self._store.wake_satisfied(session)))
