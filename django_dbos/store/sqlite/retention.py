"""Retention on SQLite, by this machine's clock."""

from __future__ import annotations

from collections.abc import Sequence

from django_dbos.store.retention import DEPENDENTS, Retention
from django_dbos.store.sessions import Session
from django_dbos.store.sqlite.parameters import now_text

# SQLite's own value for "no limit".
NO_LIMIT = -1


class SqliteRetention(Retention):
    """Deletion with a statement for each table, in one transaction."""

    def mark_deleted(self, session: Session, age: float, limit: int) -> list[str]:
        params = {"before": now_text(-age), "limit": limit}
        return [row[0] for row in session.run("mark_deleted", params)]

    def delete_old_runs(self, session: Session, age: float, limit: int) -> int:
        return len(session.run("delete_old_runs", {"before": now_text(-age), "limit": limit}))

    def delete_marked(self, session: Session, workflow_ids: Sequence[str]) -> int:
        params = {"workflow_ids": session.pack(workflow_ids)}
        with session.transaction():
            for table in DEPENDENTS:
                self.delete_dependents(session, table, workflow_ids, NO_LIMIT)
            return len(session.run("delete_workflows", params))
