"""Holding: the workflows that an executor has claimed, and their release."""

from __future__ import annotations

from collections.abc import Sequence

from django_dbos.core.records import Lane
from django_dbos.core.status import Status
from django_dbos.store import rows
from django_dbos.store.connecting import Connecting
from django_dbos.store.sessions import Session


class Holding(Connecting):
    """Claims that are held."""

    def list_held(self, session: Session, executor_id: str) -> dict[str, int]:
        """Return the claims, by workflow id, that the table says an executor holds."""
        held = session.run("list_held", {"executor_id": executor_id})
        return {row[0]: row[1] for row in held}

    def read_statuses(self, session: Session, workflow_ids: Sequence[str]) -> dict[str, Status]:
        """Return the statuses of these workflows, except deleted ones."""
        params = {"workflow_ids": session.pack(workflow_ids)}
        return {row[0]: Status(row[2]) for row in session.run("read_claims", params)}

    def release_workflows(
        self, session: Session, executor_id: str, workflow_ids: Sequence[str]
    ) -> list[Lane]:
        """Give claims back without counting an attempt; return the lanes of the workflows."""
        params = {"workflow_ids": session.pack(workflow_ids), "executor_id": executor_id}
        return rows.lanes(self._enqueue(session, "release_workflows", params), 1)

    def quarantine(self, session: Session, executor_id: str, workflow_id: str, error: str) -> bool:
        """Quarantine a workflow that can't be claimed, or was claimed and can't be run."""
        params = {"workflow_id": workflow_id, "executor_id": executor_id, "error": error}
        return bool(session.run("quarantine_workflow", params))
