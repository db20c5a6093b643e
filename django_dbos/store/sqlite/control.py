"""Control on SQLite: instants are computed here."""

from __future__ import annotations

from datetime import datetime

from django_dbos.fields import instant_to_text
from django_dbos.store.control import Control
from django_dbos.store.sessions import Session
from django_dbos.store.sqlite.announcing import SqliteAnnouncing
from django_dbos.store.sqlite.parameters import now_text


class SqliteControl(SqliteAnnouncing, Control):
    """Changes of status."""

    def _postpone(self, session: Session, workflow_id: str, run_after: datetime | float) -> bool:
        if isinstance(run_after, datetime):
            due_at = instant_to_text(run_after)
        else:
            due_at = now_text(run_after)
        params = {"workflow_id": workflow_id, "due_at": due_at}
        return bool(session.run("postpone_delayed", params))
