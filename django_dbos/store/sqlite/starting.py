"""Starting on SQLite: a statement for each workflow, with its queue position and its instants."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta

from django_dbos.core.records import NewWorkflow
from django_dbos.fields import instant_to_text
from django_dbos.store.columns import NEW_WORKFLOW
from django_dbos.store.sessions import Params, Row, Session
from django_dbos.store.sqlite.control import SqliteControl
from django_dbos.store.sqlite.parameters import now_text
from django_dbos.store.starting import Starting


class SqliteStarting(SqliteControl, Starting):
    """New workflows under the database's one write lock."""

    def _insert_rows(
        self, session: Session, new: Sequence[NewWorkflow], holders: Sequence[str | None]
    ) -> list[Row]:
        first = self._deal_positions(session, len(new)) - len(new) + 1
        inserted: list[Row] = []
        for position, (workflow, holder) in enumerate(zip(new, holders, strict=True), first):
            if holder is not None and self._is_managed(session, workflow.queue_name):
                holder = None
            params = _params(workflow, holder) | {"queue_sequence": position}
            inserted += session.run("insert_workflows", params)
        return inserted

    def _is_managed(self, session: Session, queue_name: str) -> bool:
        return bool(session.run("find_managed", {"queue_name": queue_name}))

    def _debounce(self, session: Session, new: NewWorkflow) -> str | None:
        with session.transaction():
            position = self._deal_positions(session, 1)
            params = _params(new, None) | {"queue_sequence": position}
            return next((row[0] for row in session.run("debounce_workflow", params)), None)


def _params(new: NewWorkflow, executor_id: str | None) -> Params:
    due_at = _after(new.delay)
    if new.run_at is not None:
        due_at = instant_to_text(new.run_at)
    timeout = new.timeout
    is_running = executor_id is not None and timeout is not None
    return NEW_WORKFLOW.params(new) | {
        "executor_id": executor_id,
        "due_at": due_at,
        "timeout": None if timeout is None else timeout // timedelta(microseconds=1),
        "deadline_at": now_text(timeout.total_seconds()) if timeout and is_running else None,
        "unique_until": None if new.unique_for is None else _after(new.unique_for.total_seconds()),
        "debounce_until": _after(new.max_delay),
        "scheduled_at": None if new.scheduled_at is None else instant_to_text(new.scheduled_at),
        # Django's adapters know none of these on SQLite, and the statements need none.
        "run_at": None,
        "delay": None,
        "unique_for": None,
    }


def _after(seconds: float | None) -> str | None:
    """Return the instant after these seconds, as the tables hold it; None for None."""
    return None if seconds is None else now_text(seconds)
