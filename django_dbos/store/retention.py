"""Retention: delete old finished workflows, their rows first."""

from __future__ import annotations

import abc
from collections.abc import Sequence
from typing import NamedTuple
from uuid import UUID

from django_dbos.core.retention import OldWorkflow
from django_dbos.store.connecting import Connecting
from django_dbos.store.sessions import Session

# The tables whose rows belong to workflows, as the statements that delete those rows name them.
DEPENDENTS = (
    "checkpoints", "messages", "events", "event_versions", "entries", "wakes", "past_runs",
    "inquiries",
)  # fmt: skip


class Place(NamedTuple):
    """A place in the walk from the newest workflow to the oldest: the values of its index."""

    created_at: str
    name: str
    queue_name: str
    row: str | int
    """The id that tells rows apart that have the other values in common."""


class Retention(Connecting):
    """Deletion in three stages: mark workflows, delete their rows in other tables, delete them.

    Workflows with few rows may go in one statement instead.
    """

    first_place: Place
    """The place before all workflows."""

    @abc.abstractmethod
    def list_finished(
        self, session: Session, age: float, below: Place, limit: int
    ) -> tuple[list[OldWorkflow], Place | None]:
        """Return the next workflows that were created `age` seconds ago, the newest first.

        Active ones are among them. Beside them is the place to go on below; None behind the last.
        """

    @abc.abstractmethod
    def delete_few(
        self, session: Session, chosen: Sequence[OldWorkflow], rows_each: int
    ) -> list[str]:
        """Delete at once workflows with at most `rows_each` rows in each table; return their ids.

        Those are left out that have changed since they were read; the others may be marked.
        """

    @abc.abstractmethod
    def mark_deleted(
        self, session: Session, chosen: Sequence[OldWorkflow]
    ) -> list[tuple[str, UUID]]:
        """Mark workflows, so that they can't be resumed; return ids and tokens.

        Those are left out that have changed since they were read.
        """

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
    def delete_marked(self, session: Session, workflow_ids: Sequence[str]) -> list[str]:
        """Delete marked workflows with their remaining rows; return the ids of those."""

    def list_strays(
        self, session: Session, table: str, above: str, limit: int
    ) -> tuple[list[str], str | None]:
        """Return the ids in the next `limit` rows of one of DEPENDENTS that no workflow has.

        Beside them is the id to go on above; None behind the last.
        """
        rows = session.run(f"find_stray_{table}", {"above": above, "limit": limit})
        ids = [row[0] for row in rows if row[1]]
        return ids, rows[-1][0] if rows else None

    def delete_strays(self, session: Session, table: str, workflow_id: str) -> int:
        """Delete the rows of a workflow that is gone in one of DEPENDENTS; return how many."""
        return len(session.run(f"delete_stray_{table}", {"workflow_id": workflow_id}))
