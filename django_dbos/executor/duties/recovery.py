"""Recovery: returns the workflows of dead executors to their queues.

An executor is dead when its lease has run out, or when the lock that its process holds was found
free twice. Silence counts only while the database could be reached: for a lease in all, or,
for an executor whose lock is free, for a few seconds after others had the time to come back. So the
first one back after an outage doesn't take all the work of the others, and short interruptions
don't keep the dead alive (CORRECTNESS rules 4 and 5).
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable

from django_dbos import telemetry
from django_dbos.conf import Settings
from django_dbos.core import registry
from django_dbos.core.batch.notifications import Notifications
from django_dbos.core.records import Wake
from django_dbos.executor.clock import Clock
from django_dbos.executor.duties.attendance import Attendance
from django_dbos.executor.duties.duty import Duty
from django_dbos.executor.duties.heartbeat import Heartbeat
from django_dbos.executor.identity import Identity
from django_dbos.store import errors, sessions_elsewhere
from django_dbos.store.records import HeartbeatReport, Recovered
from django_dbos.store.sessions import Session

logger = logging.getLogger("django_dbos.executor")

# Seconds between the two heartbeats that find a lock free, and seconds for which the silent
# executor could have reached the database.
SECOND_LOOK, SILENT_LONG = 1.0, 3.0
# A living executor that lost its connection notices at its next heartbeat, and takes its lock
# again: until it has missed one by this factor, a free lock means nothing.
MISSED = 1.4
# Seconds after which recovery lets the next heartbeat go first. One dead executor may take 2 s,
# for as long as its sessions don't end.
TIME_LIMIT = 2.0


class Recovery(Duty):
    """The judgement of other executors, by the reports of this one's heartbeats."""

    def __init__(
        self,
        identity: Identity,
        settings: Settings,
        clock: Clock,
        *,
        heartbeat: Heartbeat,
        on_recovered: Callable[[], None],
    ) -> None:
        super().__init__(clock, period=math.inf)
        self._identity = identity
        self._store = identity.store
        self._heartbeat = heartbeat
        self._on_recovered = on_recovered
        self._lease = settings.lease
        self._step_aliases = settings.step_databases
        self._silence = settings.heartbeat_interval * MISSED
        self.attendance = Attendance(settings.heartbeat_interval, clock)
        self._unlocked_since: dict[str, float] = {}
        self._unfinished: set[str] = set()
        """Dead executors that still hold workflows which another transaction has locked."""
        self._has_more = False

    def register(self, session: Session) -> None:
        """Begin to judge: the others' heartbeats so far show when the database was reachable."""
        others = self._store.list_heartbeats(session, self._identity.executor_id)
        self.attendance.begin(others)

    def on_disconnect(self) -> None:
        """Forget which locks were free: they may be held again by now."""
        self.attendance.note_failure()
        self._unlocked_since.clear()

    def run(self, session: Session) -> None:
        """Do nothing: this duty judges only by reports."""

    def on_heartbeat(self, session: Session, report: HeartbeatReport) -> None:
        """Recover dead executors; hurry the next heartbeat if others are suspected or left."""
        if self.judge(session, report):
            self._on_recovered()
        if self.suspects_any:
            self._heartbeat.hurry(SECOND_LOOK)

    def judge(self, session: Session, report: HeartbeatReport) -> bool:
        """Recover the executors that are dead; return whether there were any."""
        self.attendance.note_beat()
        expired, unlocked = self._find_dead(report)
        until = self.clock() + TIME_LIMIT
        self._has_more = False
        recovered = []
        for executor_id in [*expired, *unlocked]:
            if self.clock() >= until:
                self._has_more = True
                break
            if self.recover(session, executor_id, is_unlocked=executor_id in unlocked):
                recovered.append(executor_id)
        for executor_id in recovered:
            self._unlocked_since.pop(executor_id, None)
        self._unfinished &= {*report.expired_executors, *report.unlocked_executors}
        return bool(recovered)

    def _find_dead(self, report: HeartbeatReport) -> tuple[list[str], list[str]]:
        """Return the executors whose lease has expired, or whose lock has long been free."""
        now, attendance = self.clock(), self.attendance
        expired = [
            executor_id
            for executor_id, age in report.expired_executors.items()
            if attendance.on_time(age) >= self._lease
        ]
        self._unlocked_since = {
            executor_id: self._unlocked_since.get(executor_id, now)
            for executor_id in report.unlocked_executors
        }
        unlocked = [
            executor_id
            for executor_id, age in report.unlocked_executors.items()
            if executor_id not in expired
            and now - self._unlocked_since[executor_id] >= SECOND_LOOK
            and attendance.settled(age) >= SILENT_LONG
        ]
        return expired, unlocked

    @property
    def suspects_any(self) -> bool:
        """True if a lock was found free only once, or an executor has more to recover."""
        return bool(self._unlocked_since.keys() - self._unfinished) or self._has_more

    def recover(self, session: Session, executor_id: str, **signs: bool) -> bool:
        """Recover one executor, and return whether that changed it.

        Its errors are logged, since they mustn't hold up the recovery of others.
        """
        try:
            recovered = self._store.recover_executor(
                session, executor_id, silence=self._silence, **signs
            )
        except errors.Unavailable:
            raise
        except errors.StoreError as error:
            logger.warning("Executor %s can't be recovered yet: %r", executor_id, error)
            return False
        if recovered is None:
            return False
        sessions_elsewhere.end_sessions(executor_id, self._step_databases())
        self._report(session, executor_id, recovered)
        return bool(recovered.count) or not recovered.left

    def _step_databases(self) -> set[str]:
        aliases = {*self._step_aliases, *registry.step_aliases.values()}
        return aliases - {self._store.alias}

    def _report(self, session: Session, executor_id: str, recovered: Recovered) -> None:
        self._has_more |= bool(recovered.count and recovered.left)
        if recovered.count or executor_id not in self._unfinished:
            telemetry.executor_died(
                executor_id, recovered.enqueued, recovered.given_up, recovered.left
            )
        if recovered.left:
            self._unfinished.add(executor_id)
        ended = recovered.given_up
        wakes = [*map(Wake.of_result, ended), *map(Wake.of_failure, ended)]
        self._store.announce(session, Notifications(wakes=wakes, lanes=recovered.lanes))
