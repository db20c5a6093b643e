"""Retention on PostgreSQL."""

from __future__ import annotations

from collections.abc import Sequence
from uuid import UUID

from django_dbos.core.retention import OldWorkflow
from django_dbos.store.retention import Place, Retention
from django_dbos.store.sessions import Session


class PostgresRetention(Retention):
    """Deletion by the database's clock; the last statement deletes all tables' rows."""

    first_place = Place("infinity", "", "", "")

    def list_finished(
        self, session: Session, age: float, below: Place, limit: int
    ) -> tuple[list[OldWorkflow], Place | None]:
        params = {"age": age, "limit": limit, **below._asdict()}
        found, place = [], None
        for row in session.run("list_finished", params):
            workflow_id, token, claim_number, name, status, since, is_marked, is_kept, is_orphan = (
                row[:9]
            )
            place = Place(row[9], name, row[10], row[11])
            found.append(
                OldWorkflow(
                    workflow_id=workflow_id,
                    token=str(token),
                    claim_number=claim_number,
                    name=name,
                    status=status,
                    age=since,
                    is_marked=is_marked,
                    is_kept=is_kept,
                    is_orphan=is_orphan,
                )
            )
        return found, place

    def delete_few(
        self, session: Session, chosen: Sequence[OldWorkflow], rows_each: int
    ) -> list[str]:
        params = {
            "workflow_ids": session.pack([row.workflow_id for row in chosen]),
            "claims": session.pack([f"{row.token}/{row.claim_number}" for row in chosen]),
            "rows_each": rows_each,
        }
        return [row[0] for row in session.run("delete_few", params)]

    def mark_deleted(
        self, session: Session, chosen: Sequence[OldWorkflow]
    ) -> list[tuple[str, UUID]]:
        params = {
            "workflow_ids": session.pack([row.workflow_id for row in chosen]),
            "tokens": session.pack([row.token for row in chosen]),
            "claim_numbers": session.pack([row.claim_number for row in chosen]),
        }
        return [(row[0], UUID(str(row[1]))) for row in session.run("mark_deleted", params)]

    def delete_old_runs(self, session: Session, age: float, limit: int) -> int:
        return len(session.run("delete_old_runs", {"age": age, "limit": limit}))

    def delete_marked(self, session: Session, workflow_ids: Sequence[str]) -> list[str]:
        params = {"workflow_ids": session.pack(workflow_ids)}
        return [row[0] for row in session.run("delete_workflows", params)]
