"""Schedules: start the workflows whose instants have come.

Every executor wakes at the next instant, which the heartbeat's report has. The lock of a schedule's
row decides which of them starts it; there is no leader (CORRECTNESS rules 66 to 69).
"""

from __future__ import annotations

import logging
from collections.abc import Callable

from django_dbos.executor import declared_schedules
from django_dbos.executor.clock import Clock
from django_dbos.executor.duties.heartbeat import Heartbeat
from django_dbos.executor.duties.timers import Timer
from django_dbos.executor.scheduler import Scheduler
from django_dbos.store import errors
from django_dbos.store.base import Store
from django_dbos.store.records import HeartbeatReport
from django_dbos.store.schedules import CHANGED
from django_dbos.store.sessions import Session

logger = logging.getLogger("django_dbos.executor")

# Seconds until an instant is tried again whose workflows another transaction has locked.
LOCK_PAUSE = 1.0


class ScheduleTimer(Timer):
    """The timer of schedules."""

    def __init__(
        self, store: Store, clock: Clock, heartbeat: Heartbeat, wake: Callable[[], None]
    ) -> None:
        super().__init__(store, clock, heartbeat, wake)
        self._scheduler = Scheduler(store)
        self._is_synced = False

    def register(self, session: Session) -> None:
        """Write the schedules that the code and the settings declare, before anything starts."""
        self._sync(session)

    def _sync(self, session: Session) -> None:
        self._is_synced = declared_schedules.sync(self._store, session)

    def run(self, session: Session) -> float | None:
        """Start what is due; return the seconds until the next instant."""
        try:
            return self._scheduler.run(session)
        except errors.LockTimeout as error:
            # The heartbeat comes after this duty, and must not wait for another transaction.
            logger.info("A schedule waits for a lock, and is tried again: %r", error)
            return LOCK_PAUSE

    def on_heartbeat(self, session: Session, report: HeartbeatReport) -> None:
        """Run at the next instant."""
        if not self._is_synced:
            self._sync(session)
        self.run_at(report.next_schedule)

    def note_keys(self, keys: list[str]) -> None:
        """Note that these keys have changed: a schedule's next instant may be among them."""
        if CHANGED in keys:
            self._scheduler.broken = set()
            self.note(0.0)
