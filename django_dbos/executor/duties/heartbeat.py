"""Housekeeping: the heartbeat, and what one look at the table says there is to do.

One statement every heartbeat interval says "alive" and asks for everything else: what is enqueued,
the next due time and deadline, executors that look dead, wake-ups that were lost.
"""

from __future__ import annotations

import logging
import time
from collections import deque
from contextlib import nullcontext
from typing import TYPE_CHECKING

from django_dbos.conf import get_settings
from django_dbos.core.batch.notifications import Notifications
from django_dbos.executor.duties.recovery import SECOND_LOOK, Recovery
from django_dbos.executor.loop import Loop
from django_dbos.executor.throttle import Throttle
from django_dbos.operations import logs
from django_dbos.store import errors
from django_dbos.store.records import HeartbeatReport
from django_dbos.store.sessions import Session

if TYPE_CHECKING:
    from django_dbos.executor.executor import Executor

logger = logging.getLogger("django_dbos.executor")

# How many rows one statement enqueues or expires.
LIMIT = 1_000
# Seconds between sweeps for wake-ups whose sender died (the look sees most of them at the next
# heartbeat), and for executors without a row.
SWEEP_INTERVAL = 30.0
ORPHANS_INTERVAL = 300.0
# The first look for orphans, soon after the start.
FIRST_ORPHANS = 30.0


class Housekeeping:
    """A thread with a connection of its own, which also holds the lock that shows life."""

    def __init__(self, executor: Executor) -> None:
        self._executor = executor
        self._store = executor.store
        self._settings = get_settings()
        self._session: Session | None = None
        self._has_lock = False
        self._shows_lock = False
        """Whether the table says that it has: without one, silence alone would have to tell."""
        self._previous: HeartbeatReport | None = None
        self._last_beat = time.monotonic()
        self._next_beat = 0.0
        self._due_at: float | None = None
        self._deadline_at: float | None = None
        self._new_dues: deque[float] = deque()
        self._new_deadlines: deque[float] = deque()
        now = time.monotonic()
        self._next_sweep = now + SWEEP_INTERVAL
        self._next_orphans = now + FIRST_ORPHANS
        self._mismatches = 0
        self._throttle = Throttle()
        self._recovery = Recovery(executor, self._settings)
        self.loop = Loop("dbos-housekeeping", self.tick, on_error=self._failed, on_end=self.close)

    def note_due(self, seconds: float) -> None:
        """Something is due in so many seconds; from any thread."""
        self._note(self._new_dues, seconds)

    def note_deadline(self, seconds: float) -> None:
        """A workflow has so many seconds left; from any thread."""
        self._note(self._new_deadlines, seconds)

    def _note(self, times: deque[float], seconds: float) -> None:
        # What is later than the next heartbeat is seen by that.
        if seconds < self._settings.heartbeat_interval:
            times.append(time.monotonic() + seconds)
            self.loop.wake()

    def tick(self) -> float:
        """Do what is due now; return the seconds until something is."""
        # Noted before the look below, and so in the tables when it looks.
        self._due_at = _earliest(self._due_at, self._new_dues)
        self._deadline_at = _earliest(self._deadline_at, self._new_deadlines)
        now = time.monotonic()
        if self._due_at is not None and now >= self._due_at:
            self._enqueue_due()
        if self._deadline_at is not None and now >= self._deadline_at:
            self._expire()
        if now >= self._next_beat:
            self._beat()
        times = (self._next_beat, self._due_at, self._deadline_at)
        return max(min(one for one in times if one is not None) - time.monotonic(), 0.0)

    def register(self) -> None:
        """Take the lock and write the executor's row: done before anything is claimed."""
        self._store.look_for_pooler()
        session = self._own()
        self._recovery.start(session)
        self._has_lock = self._store.hold_lock(session, self._executor.executor_id)
        self._shows_lock = self._has_lock
        self._store.register_executor(session, self._executor.info(), has_lock=self._has_lock)
        self._last_beat = time.monotonic()

    def _beat(self) -> None:
        session, executor_id = self._own(), self._executor.executor_id
        report = self._try_heartbeat(session, executor_id)
        now = time.monotonic()
        silence = now - self._last_beat
        is_late = silence > self._settings.lease
        self._next_beat = now + self._settings.heartbeat_interval
        if is_late or not report.is_registered:
            # Its work may have been, or has been, given to others (CORRECTNESS rule 4).
            self._last_beat = now
            self._executor.reregister()
            return
        self._last_beat = now
        self._previous = report
        self._executor.go_on()
        if not self._has_lock or self._store.is_pooled:
            self._take_lock(session)
        self._act(session, report)

    def _try_heartbeat(self, session: Session, executor_id: str) -> HeartbeatReport:
        try:
            return self._send_heartbeat(session, executor_id)
        except errors.Unavailable:
            # The others may still be on their way back, and what they told is lost.
            self._recovery.note_failure()
            self._next_sweep = 0.0
            raise

    def _send_heartbeat(self, session: Session, executor_id: str) -> HeartbeatReport:
        previous, is_thorough = self._look_before(), self._throttle.is_allowed
        with self._throttle.spent() if is_thorough else nullcontext():
            return self._store.heartbeat(session, executor_id, previous, is_thorough=is_thorough)

    def _look_before(self) -> HeartbeatReport | None:
        """What the next look goes on from. Now and then nothing: then it asks for a sweep."""
        now = time.monotonic()
        if now < self._next_sweep:
            return self._previous
        self._next_sweep = now + SWEEP_INTERVAL
        return None

    def _take_lock(self, session: Session) -> None:
        executor_id = self._executor.executor_id
        self._has_lock = self._store.hold_lock(session, executor_id)
        if self._has_lock or self._shows_lock:
            self._shows_lock = self._has_lock
            self._store.mark_locked(session, executor_id, has_lock=self._has_lock)

    def _act(self, session: Session, report: HeartbeatReport) -> None:
        now = time.monotonic()
        self._due_at = None if report.next_due is None else now + report.next_due
        self._deadline_at = None if report.next_deadline is None else now + report.next_deadline
        if report.has_enqueued:
            self._executor.dispatcher.look_again()
        if not self._store.wakeups.is_listening:
            # Nobody else says that a workflow was cancelled.
            self._executor.doubt_all()
        self._check_held(report)
        recovered = self._recovery.judge(session, report)
        if self._recovery.suspects_somebody:
            # Once more, soon: who looks dead twice is dead.
            self._next_beat = min(self._next_beat, now + SECOND_LOOK)
        # Who died may have committed what others wait for, and told nobody.
        if recovered or report.has_lost_wakeup:
            self._tell(Notifications(lanes=self._store.wake_satisfied(session)))
        if now >= self._next_orphans:
            self._next_orphans = now + ORPHANS_INTERVAL
            self._recovery.recover_orphans(session)

    def _check_held(self, report: HeartbeatReport) -> None:
        if report.held_count is None:
            return
        is_wrong = report.held_count != len(self._executor.runs)
        self._mismatches = self._mismatches + 1 if is_wrong else 0
        if self._mismatches >= 2:
            self._executor.dispatcher.audit()

    def _enqueue_due(self) -> None:
        self._due_at = None
        lanes = self._store.enqueue_due(self._own(), LIMIT)
        self._tell(Notifications(lanes=lanes))
        if lanes:
            self._next_beat = 0.0

    def _expire(self) -> None:
        self._deadline_at = None
        expired = self._store.expire_deadlines(self._own(), LIMIT)
        self._tell(Notifications.of_cancelled(expired))
        logs.deadlines_passed(expired)
        if expired:
            self._next_beat = 0.0

    def _tell(self, notifications: Notifications) -> None:
        self._store.tell(self._own(), notifications)

    def _own(self) -> Session:
        if self._session is None:
            self._session = self._store.connect(self._executor.executor_id, "housekeeping")
        return self._session

    def _failed(self) -> None:
        self.close()
        self._next_beat = 0.0

    def close(self) -> None:
        """Close the connection, and with it give up its lock; the next beat takes it again."""
        if self._session is not None:
            self._session.close()
            self._session = None
        self._has_lock = False
        self._previous = None


def _earliest(known: float | None, noted: deque[float]) -> float | None:
    while noted:
        time_noted = noted.popleft()
        known = time_noted if known is None else min(known, time_noted)
    return known
