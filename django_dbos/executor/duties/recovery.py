"""Recovery: gives the workflows of dead executors back to their queues.

An executor is dead when its lease has run out, or when the lock that its process holds was found
free on two looks. Silence counts only while the database could be reached: for a lease in all, or,
for one whose lock is free, for a few seconds after others had the time to come back. So the first
one back after an outage doesn't take everybody's work, and short interruptions don't keep the dead
alive (CORRECTNESS rules 4 and 5).
"""

from __future__ import annotations

import logging
import time

from django_dbos.conf import Settings
from django_dbos.core import registry
from django_dbos.core.batch.notifications import Notifications
from django_dbos.core.records import Wake
from django_dbos.executor.duties.attendance import Attendance
from django_dbos.operations import logs
from django_dbos.operations.run import Run
from django_dbos.operations.runtime import Host
from django_dbos.store import elsewhere, errors
from django_dbos.store.records import HeartbeatReport, Recovered
from django_dbos.store.sessions import Session

logger = logging.getLogger("django_dbos.executor")

# Seconds between the two looks that find a lock free; for how long its executor could have been
# heard.
SECOND_LOOK, SILENT_LONG = 1.0, 3.0
# A living executor that lost its connection notices at its next heartbeat, and takes its lock
# again: until it has missed one by this much, a free lock says nothing.
MISSED = 1.4


class Recovery:
    """Judges other executors by what one of them sees."""

    def __init__(self, executor: Host[Run], settings: Settings) -> None:
        self._executor = executor
        self._store = executor.store
        self._lease = settings.lease
        self._step_aliases = settings.step_databases
        self._silence = settings.heartbeat_interval * MISSED
        self.attendance = Attendance(settings.heartbeat_interval)
        self._unlocked_since: dict[str, float] = {}
        self._unfinished: set[str] = set()
        """Dead ones that still hold workflows which somebody's transaction has locked."""
        self._has_more = False

    def start(self, session: Session) -> None:
        """Our own heartbeats begin."""
        executor_id = self._executor.executor_id
        self.attendance.begin(self._store.list_heartbeats(session, executor_id))

    def note_failure(self) -> None:
        """A heartbeat of our own has failed: locks that were free may be held again."""
        self.attendance.note_failure()
        self._unlocked_since.clear()

    def judge(self, session: Session, report: HeartbeatReport) -> bool:
        """Recover who is dead; return whether anybody was."""
        now, attendance = time.monotonic(), self.attendance
        attendance.note_beat()
        dead = [
            one
            for one, age in report.expired_executors.items()
            if attendance.on_time(age) >= self._lease
        ]
        self._unlocked_since = {
            one: self._unlocked_since.get(one, now) for one in report.unlocked_executors
        }
        unlocked_long = [
            one
            for one, age in report.unlocked_executors.items()
            if one not in dead
            and now - self._unlocked_since[one] >= SECOND_LOOK
            and attendance.settled(age) >= SILENT_LONG
        ]
        self._has_more = False
        recovered = [one for one in dead if self._recover(session, one, is_unlocked=False)]
        recovered += [one for one in unlocked_long if self._recover(session, one, is_unlocked=True)]
        for executor_id in recovered:
            self._unlocked_since.pop(executor_id, None)
        self._unfinished &= {*report.expired_executors, *report.unlocked_executors}
        return bool(recovered)

    @property
    def suspects_somebody(self) -> bool:
        """Whether to look again soon: at who was seen dead only once, or has more to recover."""
        return bool(self._unlocked_since.keys() - self._unfinished) or self._has_more

    def recover_orphans(self, session: Session) -> None:
        """Workflows under an executor that has no row: nobody would ever miss it."""
        for executor_id in self._store.list_orphans(session):
            self._recover(session, executor_id, is_unlocked=True, is_orphaned=True)

    def _step_databases(self) -> set[str]:
        aliases = {*self._step_aliases, *registry.step_aliases.values()}
        return aliases - {self._store.alias}

    def _recover(self, session: Session, executor_id: str, **signs: bool) -> bool:
        """Recover one, and say whether that changed it; its errors mustn't hold up the others."""
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
        elsewhere.end_sessions(executor_id, self._step_databases())
        self._tell(session, executor_id, recovered)
        return bool(recovered.count) or not recovered.left

    def _tell(self, session: Session, executor_id: str, recovered: Recovered) -> None:
        self._has_more |= bool(recovered.count and recovered.left)
        if recovered.count or executor_id not in self._unfinished:
            logger.warning("Executor %s is dead: %s", executor_id, _summary(recovered))
        if recovered.left:
            self._unfinished.add(executor_id)
        logs.given_up(recovered.given_up)
        wakes = [Wake.of_result(one) for one in recovered.given_up]
        self._store.tell(session, Notifications(wakes=wakes, lanes=recovered.lanes))


def _summary(recovered: Recovered) -> str:
    """What became of a dead executor's workflows, for the log."""
    if not recovered.count and not recovered.left:
        return "it had no workflows"
    said = [f"{len(recovered.enqueued)} of its workflows are enqueued again"]
    if recovered.given_up:
        said.append(f"{len(recovered.given_up)} given up")
    if recovered.left:
        said.append(f"{recovered.left} left for the next look")
    return ", ".join(said)
