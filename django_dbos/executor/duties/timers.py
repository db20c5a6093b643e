"""Timers: enqueue workflows at their due time, and cancel them at their deadline.

The heartbeat's report has the next of these times. The runs of this executor note those that are
set between two heartbeats.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable

from django_dbos import telemetry
from django_dbos.core.backoff import Backoff
from django_dbos.core.batch.notifications import Notifications
from django_dbos.executor.clock import Clock
from django_dbos.executor.duties.duty import Duty
from django_dbos.executor.duties.heartbeat import Heartbeat
from django_dbos.store.base import Store
from django_dbos.store.records import HeartbeatReport
from django_dbos.store.sessions import Session

# How many rows one statement enqueues or cancels.
LIMIT = 1_000
# Seconds until a timer that has found nothing is told the next time; twice as long each time.
FIRST_PAUSE = 0.01


class Timer(Duty):
    """A duty at the time of the last report, or at an earlier one that was noted since.

    `wake` wakes the thread of the duties.
    """

    def __init__(
        self, store: Store, clock: Clock, heartbeat: Heartbeat, wake: Callable[[], None]
    ) -> None:
        super().__init__(clock, period=math.inf)
        self._store = store
        self._heartbeat = heartbeat
        self._wake = wake
        self._noted: deque[float] = deque()
        self._pauses = Backoff(FIRST_PAUSE, heartbeat.period)

    def note(self, seconds: float) -> None:
        """Note a due time, `seconds` from now, once it is committed; from any thread."""
        # Later ones are in the report of the next heartbeat.
        if seconds < self._heartbeat.period:
            self._noted.append(self.clock() + seconds)
            self._wake()

    @property
    def is_due(self) -> bool:
        """True if the earliest time has come.

        This is read before a heartbeat is sent. The times noted until then are in the tables, so
        that the time in the report may replace them.
        """
        while self._noted:
            self.next_at = min(self.next_at, self._noted.popleft())
        return super().is_due

    def run_at(self, seconds: float | None) -> None:
        """Replace the time with that of a report, `seconds` from now; None if nothing is due."""
        self.next_at = math.inf if seconds is None else self.clock() + seconds
        if seconds is None or seconds > 0:
            self._pauses.reset()

    def expect_more(self, *, has_found: bool) -> None:
        """Have a heartbeat report the next time: one statement may not have taken all rows.

        After a run that has found nothing it comes a little later, since the row may be locked. Or
        it was given a later time, another executor has been faster, or the clocks differ by less
        than they can be read.
        """
        if has_found:
            self._pauses.reset()
        self._heartbeat.hurry(0.0 if has_found else self._pauses.grow())


class DueTimer(Timer):
    """The timer of delayed starts, and of timeouts of waits."""

    def run(self, session: Session) -> None:
        """Enqueue the workflows that are due."""
        lanes = self._store.enqueue_due(session, LIMIT)
        self._store.announce(session, Notifications(lanes=lanes))
        self.expect_more(has_found=bool(lanes))

    def on_heartbeat(self, session: Session, report: HeartbeatReport) -> None:
        """Run at the next due time."""
        self.run_at(report.next_due)


class DeadlineTimer(Timer):
    """The timer of deadlines."""

    def run(self, session: Session) -> None:
        """Cancel the workflows that are past their deadline, wherever they run."""
        expired, freed = self._store.expire_deadlines(session, LIMIT)
        self._store.announce(session, Notifications.of_cancelled(expired, freed))
        telemetry.deadlines_passed(expired)
        self.expect_more(has_found=bool(expired))

    def on_heartbeat(self, session: Session, report: HeartbeatReport) -> None:
        """Run at the next deadline."""
        self.run_at(report.next_deadline)
