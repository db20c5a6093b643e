"""The workflows of schedules, started and cancelled in the transaction that moves them on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime

from django_dbos.core.batch.notifications import Notifications
from django_dbos.core.records import Lane, NewWorkflow
from django_dbos.fields import instant_to_text
from django_dbos.store import rows
from django_dbos.store.sessions import Params, Row, Session, Statement
from django_dbos.store.starting import Starting, lanes_of


class Scheduled(Starting):
    """The workflows that schedules start."""

    def find_scheduled(
        self, session: Session, names: Sequence[str], limit: int
    ) -> dict[str, list[str]]:
        """Return active workflows of each schedule, `limit` of each at most."""
        params = [{"schedule_name": name, "limit": limit} for name in names]
        found = _run_each(session, "find_scheduled", params)
        return {name: [row[0] for row in rows] for name, rows in zip(names, found, strict=True)}

    def find_ends(
        self, session: Session, asked: Mapping[str, tuple[datetime | None, int]]
    ) -> dict[str, list[tuple[str, str]]]:
        """Return (id, status) of the last ended workflows of each schedule, the latest first.

        `asked` has, for each name, the time of the earliest start that counts, and the number of
        workflows at most. Cancelled workflows are neither successes nor failures, and left out.
        """
        params = [
            {
                "schedule_name": name,
                "after": None if after is None else instant_to_text(after),
                "limit": limit,
            }
            for name, (after, limit) in asked.items()
        ]
        found = _run_each(session, "find_ends", params)
        return {
            name: [(row[0], row[1]) for row in rows]
            for name, rows in zip(asked, found, strict=True)
        }

    def insert_scheduled(self, session: Session, new: Sequence[NewWorkflow]) -> set[str]:
        """Insert the workflows whose ids are free; return those ids."""
        return self._insert_workflows(session, new, [None] * len(new)) if new else set()

    def start_scheduled(self, new: Sequence[NewWorkflow]) -> set[str]:
        """Start workflows in the caller's transaction; return the ids of those that are new."""
        inserted = self._insert_workflows(self.session(), new, [None] * len(new))
        self._announce_inserted(new, inserted)
        return inserted

    def cancel_scheduled(
        self, session: Session, workflow_ids: Sequence[str]
    ) -> tuple[list[str], list[Lane]]:
        """Cancel workflows in the transaction that starts their successor.

        Returns their ids, and the lanes in which that frees places.
        """
        found = self._cancel(workflow_ids, session)
        return sorted(row[0] for row in found), rows.freed(found)

    def announce_scheduled(
        self,
        session: Session,
        new: Sequence[NewWorkflow],
        cancelled: Sequence[str],
        freed: Sequence[Lane],
    ) -> None:
        """Announce what a transaction has started, cancelled and freed, after its commit."""
        started = [workflow for workflow in new if workflow.after is None]
        waiting = [workflow.workflow_id for workflow in new if workflow.after is not None]
        notifications = Notifications.of_cancelled(cancelled, freed)
        notifications.lanes += lanes_of(started)
        notifications.due_at += self._due_soon(workflow.due_in for workflow in started)
        if waiting:
            # The workflow before it may have ended in the meantime (CORRECTNESS rule 68).
            notifications.lanes += self.wake_satisfied(session, waiting)
        self.announce(session, notifications)


def _run_each(session: Session, name: str, params: Sequence[Params]) -> list[list[Row]]:
    statements: list[Statement] = [(name, given) for given in params]
    return session.run_all(statements) if statements else []
