"""Retention on SQLite, by this machine's clock."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import UTC, datetime
from uuid import UUID

from django_dbos.core.retention import OldWorkflow
from django_dbos.store.retention import DEPENDENTS, Place, Retention
from django_dbos.store.sessions import Session
from django_dbos.store.sqlite.parameters import now_text

# SQLite's own value for "no limit".
NO_LIMIT = -1


class SqliteRetention(Retention):
    """Deletion with a statement for each table, in one transaction."""

    first_place = Place("9999-12-31 23:59:59.999999", "", "", 0)

    def list_finished(
        self, session: Session, age: float, below: Place, limit: int
    ) -> tuple[list[OldWorkflow], Place | None]:
        now = datetime.now(UTC)
        below = below._replace(created_at=min(below.created_at, now_text(-age)))
        params = {"now": now_text(), "limit": limit, **below._asdict()}
        found, place = [], None
        for row in session.run("list_finished", params):
            workflow_id, token, claim_number, name, status, ended, is_marked, is_kept, is_orphan = (
                row[:9]
            )
            place = Place(row[9], name, row[10], row[11])
            found.append(
                OldWorkflow(
                    workflow_id=workflow_id,
                    token=token,
                    claim_number=claim_number,
                    name=name,
                    status=status,
                    age=None if is_marked or ended is None else _age(ended, now),
                    is_marked=bool(is_marked),
                    is_kept=bool(is_kept),
                    is_orphan=bool(is_orphan),
                )
            )
        return found, place

    def delete_few(
        self, session: Session, chosen: Sequence[OldWorkflow], rows_each: int
    ) -> list[str]:
        # A statement deletes from one table only, and a mark is cheap.
        return []

    def mark_deleted(
        self, session: Session, chosen: Sequence[OldWorkflow]
    ) -> list[tuple[str, UUID]]:
        rows = [[row.workflow_id, row.token, row.claim_number] for row in chosen]
        params = {"chosen": json.dumps(rows), "now": now_text()}
        return [(row[0], UUID(row[1])) for row in session.run("mark_deleted", params)]

    def delete_old_runs(self, session: Session, age: float, limit: int) -> int:
        return len(session.run("delete_old_runs", {"before": now_text(-age), "limit": limit}))

    def delete_marked(self, session: Session, workflow_ids: Sequence[str]) -> list[str]:
        params = {"workflow_ids": session.pack(workflow_ids)}
        with session.transaction():
            for table in DEPENDENTS:
                self.delete_dependents(session, table, workflow_ids, NO_LIMIT)
            return [row[0] for row in session.run("delete_workflows", params)]


def _age(ended: str, now: datetime) -> float:
    return (now - datetime.fromisoformat(ended).replace(tzinfo=UTC)).total_seconds()
