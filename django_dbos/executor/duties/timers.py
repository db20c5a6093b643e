"""Timers: enqueue what is due, and cancel what is past its deadline, at the right moment.

The heartbeat's report says when that is. What begins between two heartbeats is noted by its run.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable

from django_dbos import telemetry
from django_dbos.core.batch.notifications import Notifications
from django_dbos.executor.clock import Clock
from django_dbos.executor.duties.duty import Duty
from django_dbos.executor.duties.heartbeat import Heartbeat
from django_dbos.store.base import Store
from django_dbos.store.records import HeartbeatReport
from django_dbos.store.sessions import Session

# How many rows one statement enqueues or cancels.
LIMIT = 1_000


class Timer(Duty):
    """Runs at the time that the last report named, or at an earlier one that was noted since.

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

    def note(self, seconds: float) -> None:
        """Note that something is due in so many seconds; from any thread, once it is committed."""
        # The heartbeats after this one report what is due later than the next.
        if seconds < self._heartbeat.period:
            self._noted.append(self.clock() + seconds)
            self._wake()

    @property
    def is_due(self) -> bool:
        """Whether the earliest time has come.

        It is asked before the heartbeat is sent. So what was noted until then is in the tables, and
        the report takes its place.
        """
        while self._noted:
            self.next_at = min(self.next_at, self._noted.popleft())
        return super().is_due

    def run_at(self, seconds: float | None) -> None:
        """Replace the time by that of a report: in so many seconds; None: nothing is due."""
        self.next_at = math.inf if seconds is None else self.clock() + seconds

    def expect_more(self) -> None:
        """Have a heartbeat report what else is due: one statement may not have taken all."""
        self._heartbeat.hurry()


class DueTimer(Timer):
    """Enqueues delayed starts that are due, and waits that time out."""

    def run(self, session: Session) -> None:
        """Enqueue what is due."""
        lanes = self._store.enqueue_due(session, LIMIT)
        self._store.announce(session, Notifications(lanes=lanes))
        if lanes:
            self.expect_more()

    def on_heartbeat(self, session: Session, report: HeartbeatReport) -> None:
        """Run at the next due time."""
        self.run_at(report.next_due)


class DeadlineTimer(Timer):
    """Cancels workflows that are past their deadline."""

    def run(self, session: Session) -> None:
        """Cancel what is past its deadline, wherever it runs."""
        expired = self._store.expire_deadlines(session, LIMIT)
        self._store.announce(session, Notifications.of_cancelled(expired))
        telemetry.deadlines_passed(expired)
        if expired:
            self.expect_more()

    def on_heartbeat(self, session: Session, report: HeartbeatReport) -> None:
        """Run at the next deadline."""
        self.run_at(report.next_deadline)
