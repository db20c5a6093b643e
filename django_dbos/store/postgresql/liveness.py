"""Liveness on PostgreSQL: session locks, one heartbeat statement, recovery in small parts."""

from __future__ import annotations

import logging
import time

from django_dbos.conf import get_settings
from django_dbos.core.ids import lock_key
from django_dbos.core.status import Status
from django_dbos.store import errors, rows
from django_dbos.store.liveness import Liveness
from django_dbos.store.postgresql.connecting import PostgresConnecting
from django_dbos.store.postgresql.connections import application_name
from django_dbos.store.records import HeartbeatReport, Recovered
from django_dbos.store.sessions import Params, Row, Session

logger = logging.getLogger("django_dbos.store")

# Workflows that one statement recovers, and the share of a heartbeat's interval that one call may
# take; the next call goes on.
RECOVERY_LIMIT, RECOVERY_SHARE = 1_000, 0.2
# Statements that end a dead executor's sessions, at most, and the seconds between two of them.
END_SESSIONS_TRIES, END_SESSIONS_PAUSE = 40, 0.05
REPORT_COLUMNS = (
    "is_registered",
    "has_enqueued",
    "next_due",
    "next_deadline",
    "next_schedule",
    "held_count",
    "expired_executors",
    "unlocked_executors",
    "has_lost_wakeup",
    "must_drain",
    "message_mark",
    "event_mark",
)


class PostgresLiveness(PostgresConnecting, Liveness):
    """Executors on any number of machines."""

    def __init__(self, alias: str) -> None:
        super().__init__(alias)
        self._warned_roles: set[str] = set()

    def hold_lock(self, session: Session, executor_id: str) -> bool:
        if self.is_pooled:
            return False
        return bool(session.run("take_lock", {"lock_key": lock_key(executor_id)})[0][0])

    def release_lock(self, session: Session, executor_id: str) -> None:
        """Do nothing: the lock ends with its session."""

    def heartbeat(
        self,
        session: Session,
        executor_id: str,
        previous: HeartbeatReport | None,
        *,
        is_thorough: bool = True,
    ) -> HeartbeatReport:
        params = {
            "executor_id": executor_id,
            "is_thorough": is_thorough,
            "message_mark": previous.message_mark if previous else None,
            "event_mark": previous.event_mark if previous else None,
        }
        row = session.run("heartbeat", params)[0]
        found = dict(zip(REPORT_COLUMNS, row, strict=True))
        for column in ("expired_executors", "unlocked_executors"):
            found[column] = {executor: float(age) for executor, age in found[column]}
        return HeartbeatReport(**found)

    def recover_executor(
        self,
        session: Session,
        executor_id: str,
        *,
        is_unlocked: bool,
        is_orphaned: bool = False,
        silence: float = 0.0,
    ) -> Recovered | None:
        dead: Params = {"executor_id": executor_id}
        signs = {"is_unlocked": is_unlocked, "silence": silence}
        if not is_orphaned and not session.run("declare_dead", dead | signs):
            return None
        self._end_sessions(session, executor_id)
        limits = {
            "max_recovery_attempts": get_settings().max_recovery_attempts,
            "limit": RECOVERY_LIMIT,
        }
        recovered: list[Row] = []
        until = time.monotonic() + get_settings().heartbeat_interval * RECOVERY_SHARE
        while found := session.run("recover_workflows", dead | limits):
            recovered += found
            if time.monotonic() > until:
                break
        freed, left = self._free_dead(session, executor_id)
        if not left:
            self.deregister_executor(session, executor_id)
        return Recovered(
            left=left,
            enqueued=[row[0] for row in recovered if row[1] == Status.ENQUEUED],
            given_up=[row[0] for row in recovered if row[1] != Status.ENQUEUED],
            lanes=rows.lanes(recovered, 2) + freed,
        )

    def _end_sessions(self, session: Session, executor_id: str) -> None:
        """End a dead executor's sessions and wait until they are gone.

        Their last writes are then committed, or never will be (rule 6).
        """
        name = {"application_name": application_name(executor_id)}
        for _ in range(END_SESSIONS_TRIES):
            try:
                found = session.run("end_sessions", name)
            except errors.BadStatement as error:
                if not errors.is_of_permission(error):
                    raise
                found = [("another", False)]
            if not all(is_ended for _, is_ended in found):
                self._warn_of_roles({role for role, is_ended in found if not is_ended})
            if not any(is_ended for _, is_ended in found):
                return
            time.sleep(END_SESSIONS_PAUSE)

    def _warn_of_roles(self, roles: set[str]) -> None:
        """Warn once of each role: the fence holds all the same, only locks last longer."""
        for role in sorted(roles - self._warned_roles):
            self._warned_roles.add(role)
            logger.warning(
                "Database sessions that a dead executor left under role %r can't be ended by this "
                "worker's role; their locks are held until they end by themselves. GRANT "
                "that role, or pg_signal_backend, to the worker's role.",
                role,
            )
