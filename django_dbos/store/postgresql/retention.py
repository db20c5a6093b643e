"""Retention on PostgreSQL."""

from __future__ import annotations

from collections.abc import Sequence

from django_dbos.store.retention import Retention
from django_dbos.store.sessions import Session


class PostgresRetention(Retention):
    """Deletion by the database's clock; the last statement deletes all tables' rows."""

    def mark_deleted(self, session: Session, age: float, limit: int) -> list[str]:
        return [row[0] for row in session.run("mark_deleted", {"age": age, "limit": limit})]

    def delete_old_runs(self, session: Session, age: float, limit: int) -> int:
        return len(session.run("delete_old_runs", {"age": age, "limit": limit}))

    def delete_marked(self, session: Session, workflow_ids: Sequence[str]) -> int:
        params = {"workflow_ids": session.pack(workflow_ids)}
        return len(session.run("delete_workflows", params))
