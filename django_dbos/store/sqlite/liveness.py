"""Liveness on SQLite: locked files beside the database, and recovery in one transaction."""

from __future__ import annotations

import json

from django_dbos.conf import get_settings
from django_dbos.store import rows
from django_dbos.store.liveness import Liveness
from django_dbos.store.records import HeartbeatReport, Recovered
from django_dbos.store.sessions import Params, Session
from django_dbos.store.sqlite.connecting import SqliteConnecting


class SqliteLiveness(SqliteConnecting, Liveness):
    """Executors on one machine."""

    def hold_lock(self, session: Session, executor_id: str) -> bool:
        return self._locks.hold(executor_id)

    def release_lock(self, session: Session, executor_id: str) -> None:
        self._locks.release(executor_id)

    def heartbeat(
        self,
        session: Session,
        executor_id: str,
        previous: HeartbeatReport | None,
        *,
        is_thorough: bool = True,
    ) -> HeartbeatReport:
        found = session.run("heartbeat", {"executor_id": executor_id})
        row = found[0] if found else (False, None, None, None, 0, "{}", "{}", False, False)
        return HeartbeatReport(
            is_registered=bool(found),
            has_enqueued=bool(row[0]),
            next_due=row[1],
            next_deadline=row[2],
            next_schedule=row[3],
            held_count=row[4],
            expired_executors=json.loads(row[5]),
            unlocked_executors={
                executor: age
                for executor, age in json.loads(row[6]).items()
                if self._locks.is_free(executor)
            },
            has_lost_wakeup=bool(row[7]),
            must_drain=bool(row[8]),
        )

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
        with session.transaction():
            signs = {"is_unlocked": is_unlocked, "silence": silence}
            if not is_orphaned and not session.run("declare_dead", dead | signs):
                return None
            found = self._enqueue(session, "recover_workflows", dead)
            params = {
                "workflow_ids": session.pack([row[0] for row in found]),
                "max_recovery_attempts": get_settings().max_recovery_attempts,
            }
            given_up = {row[0] for row in session.run("give_up", params)}
            freed, _ = self._free_dead(session, executor_id)
            self.deregister_executor(session, executor_id)
        return Recovered(
            enqueued=[row[0] for row in found if row[0] not in given_up],
            given_up=sorted(given_up),
            lanes=rows.lanes(found, 2) + freed,
        )
