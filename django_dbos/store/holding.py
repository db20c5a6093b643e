"""Holding: the workflows that an executor has claimed, and their release."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from django_dbos.core.queues import HELD
from django_dbos.core.records import Lane
from django_dbos.core.status import Status
from django_dbos.store import rows
from django_dbos.store.connecting import Connecting
from django_dbos.store.records import Held
from django_dbos.store.sessions import Session


class Holding(Connecting):
    """Claims that are held."""

    def list_held(self, session: Session, executor_id: str) -> Held:
        """Return the claims and the lingering places that the table says an executor holds."""
        found = session.run("list_held", {"executor_id": executor_id})
        return Held(
            claims={row[0]: row[1] for row in found if row[2]},
            lingering={row[0]: row[1] for row in found if not row[2]},
            places={row[0]: (row[3], row[4]) for row in found if row[2] and row[4] in HELD},
        )

    def give_places(self, session: Session, executor_id: str) -> bool:
        """Give places to claims that lack them, since they were made as their queue got limits.

        Returns False if there can be none: where there is one writer at a time, a change of the
        queue comes before a claim, or after it. Otherwise a claim may still be under way, and rows
        that others have locked are left for the next call.
        """
        return False

    def read_statuses(self, session: Session, workflow_ids: Sequence[str]) -> dict[str, Status]:
        """Return the statuses of these workflows, except deleted ones."""
        params = {"workflow_ids": session.pack(workflow_ids)}
        return {row[0]: Status(row[2]) for row in session.run("read_claims", params)}

    def release_workflows(
        self,
        session: Session,
        executor_id: str,
        workflow_ids: Sequence[str],
        *,
        still_running: Collection[str] = (),
        heir: str | None = None,
    ) -> list[Lane]:
        """Give claims back without counting an attempt; return the lanes of the workflows.

        The places of those whose functions are `still_running` linger: with the executor `heir` of
        the same process (by default this one), until `free_places`.
        """
        params = {
            "workflow_ids": session.pack(workflow_ids),
            "executor_id": executor_id,
            "still_running": session.pack(list(still_running)),
            "heir": heir or executor_id,
        }
        return rows.lanes(self._enqueue(session, "release_workflows", params), 1)

    def free_places(
        self, session: Session, executor_id: str, lingering: Mapping[str, int]
    ) -> tuple[int, list[Lane]]:
        """Free places that linger with an executor, whose functions have returned.

        Args:
            session: The session.
            executor_id: The executor.
            lingering: The claim numbers by workflow id, as `list_held` returned them.

        Returns:
            The number of the places, and the lanes of their queues. Rows that are locked, or have
            changed since they were listed, keep theirs.
        """
        if not lingering:
            return 0, []
        params = session.pack_rows(list(lingering.items()), "workflow_ids", "claim_numbers")
        freed = session.run("free_places", params | {"executor_id": executor_id})
        return len(freed), rows.freed(freed)

    def move_places(
        self, session: Session, executor_id: str, workflow_ids: Sequence[str], heir: str
    ) -> None:
        """Let places linger with another executor of the same process."""
        params = {
            "workflow_ids": session.pack(workflow_ids),
            "executor_id": executor_id,
            "heir": heir,
        }
        session.run("move_places", params)

    def quarantine(
        self, session: Session, executor_id: str, workflow_id: str, error: str
    ) -> list[Lane] | None:
        """Quarantine a workflow that can't be claimed, or was claimed and can't be run.

        Returns the lanes in which that frees a place; None if the claim is lost.
        """
        params = {"workflow_id": workflow_id, "executor_id": executor_id, "error": error}
        quarantined = session.run("quarantine_workflow", params)
        return rows.freed(quarantined) if quarantined else None
