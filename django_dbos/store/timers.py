"""Timers: delayed starts, timeouts of waits, and deadlines that are due."""

from __future__ import annotations

from django_dbos.core.records import Lane
from django_dbos.store import rows
from django_dbos.store.connecting import Connecting
from django_dbos.store.sessions import Session

# The rows that tests move in time.
ADVANCED = ("workflows", "checkpoints", "starts", "inquiries")


class Timers(Connecting):
    """Due times and deadlines."""

    def enqueue_due(self, session: Session, limit: int) -> list[Lane]:
        """Enqueue due workflows, delayed starts and waits that time out; return their lanes."""
        return rows.lanes(self._enqueue(session, "enqueue_due", {"limit": limit}))

    def expire_deadlines(self, session: Session, limit: int) -> tuple[list[str], list[Lane]]:
        """Cancel workflows that are past their deadlines.

        Returns their ids, and the lanes in which that frees places.
        """
        expired = session.run("expire_deadlines", {"limit": limit})
        return [row[0] for row in expired], rows.freed(expired)

    def advance(self, seconds: float) -> None:
        """Move due times and deadlines `seconds` nearer, and the starts of queues into the past."""
        session = self.session()
        with session.transaction():
            for name in ADVANCED:
                session.run(f"advance_{name}", {"seconds": seconds})
