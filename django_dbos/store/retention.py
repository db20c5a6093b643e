"""Retention: delete old finished workflows, their rows first."""

from __future__ import annotations

import abc
from collections.abc import Sequence

from django_dbos.store.connecting import Connecting
from django_dbos.store.sessions import Session

# The tables whose rows belong to workflows, as the statements that delete those rows name them.
DEPENDENTS = (
    "checkpoints", "messages", "events", "event_versions", "entries", "wakes", "past_runs",
    "inquiries",
)  # fmt: skip


class Retention(Connecting):
    """Deletion in three stages: mark workflows, delete their rows in other tables, delete them."""

    @abc.abstractmethod
    def mark_deleted(self, session: Session, age: float, limit: int) -> list[str]:
        """Mark workflows that finished `age` seconds ago, so that they can't be resumed."""

    def delete_dependents(
        self, session: Session, table: str, workflow_ids: Sequence[str], limit: int
    ) -> int:
        """Delete up to `limit` rows of marked workflows in one of DEPENDENTS; return how many."""
        params = {"workflow_ids": session.pack(workflow_ids), "limit": limit}
        return len(session.run(f"delete_{table}", params))

    @abc.abstractmethod
    def delete_old_runs(self, session: Session, age: float, limit: int) -> int:
        """Delete up to `limit` past runs that ended `age` seconds ago; return how many."""

    @abc.abstractmethod
    def delete_marked(self, session: Session, workflow_ids: Sequence[str]) -> int:
        """Delete marked workflows with their remaining rows; return their number."""
