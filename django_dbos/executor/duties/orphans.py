"""Orphans: recovers workflows whose executor has no row, and so never looks dead."""

from __future__ import annotations

from django_dbos.executor.clock import Clock
from django_dbos.executor.duties.duty import Duty
from django_dbos.executor.duties.recovery import Recovery
from django_dbos.store.base import Store
from django_dbos.store.sessions import Session

# Seconds between two searches, and until the first one.
PERIOD, FIRST = 300.0, 30.0


class Orphans(Duty):
    """The search for claims under ids that no executor has."""

    def __init__(self, store: Store, clock: Clock, recovery: Recovery) -> None:
        super().__init__(clock, period=PERIOD, first=FIRST)
        self._store = store
        self._recovery = recovery

    def run(self, session: Session) -> None:
        """Return the workflows of such executor ids to their queues."""
        for executor_id in self._store.list_orphans(session):
            self._recovery.recover(session, executor_id, is_unlocked=True, is_orphaned=True)
