"""Batches on SQLite: one transaction also wakes the workflows that wait for the batch."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, cast

from django_dbos.core.batch.fast_path import may_take_fast_path, note_written
from django_dbos.core.batch.lookups import Questions
from django_dbos.core.batch.plan import Plan
from django_dbos.core.queues import Visit
from django_dbos.core.records import Finish, RecordStep, Write
from django_dbos.store import errors, rows
from django_dbos.store.batches import Batches, Lookup
from django_dbos.store.columns import CHECKPOINT, FINISH
from django_dbos.store.sessions import Session
from django_dbos.store.sqlite.managed_claims import SqliteManagedClaims
from django_dbos.store.sqlite.parameters import to_text
from django_dbos.store.sqlite.row_statements import row_names
from django_dbos.store.sqlite.sessions import SqliteSession
from django_dbos.store.sqlite.starting import SqliteStarting

# The writes that take the fast path here: nearly all writes of a busy worker.
StepOrEnd = RecordStep | Finish
STEP_OR_END = {RecordStep, Finish}
# As in the VALUES of their statements. The instant at which a step began comes last.
STEP_VALUES = CHECKPOINT.getter(row_names("record_checkpoints")[:-1])
END_VALUES = FINISH.getter(row_names("end_workflows"))


class _NotAllWritten(Exception):
    """Some write was refused by its statement; the slow path finds out which, and why."""


class SqliteBatches(SqliteStarting, SqliteManagedClaims, Batches):
    """Fenced writes under the database's one write lock."""

    def apply(
        self,
        session: Session,
        executor_id: str,
        writes: Sequence[Write],
        *,
        is_repeat: bool,
        visit: Visit | None = None,
    ) -> Plan:
        if (
            not is_repeat
            and may_take_fast_path(writes)
            and STEP_OR_END.issuperset(map(type, writes))
        ):
            fast = cast(Sequence[StepOrEnd], writes)
            try:
                return self._take_fast_path(session, executor_id, fast, visit)
            except errors.StoreError as error:
                # Of a claim, it is no fault of the writes.
                if visit is None or isinstance(error, errors.Unavailable):
                    raise
            except _NotAllWritten:
                pass
        return super().apply(session, executor_id, writes, is_repeat=is_repeat)

    def _take_fast_path(
        self,
        session: Session,
        executor_id: str,
        writes: Sequence[StepOrEnd],
        visit: Visit | None,
    ) -> Plan:
        """Write fenced steps and ends in one transaction: all of them, or none."""
        plan, own = Plan(), cast(SqliteSession, session)
        with session.transaction():
            for name, new in _fast_path_rows(writes).items():
                if own.run_rows(name, new, {"executor_id": executor_id}) < len(new):
                    raise _NotAllWritten
            plan.answers = [note_written(plan, write, ()) for write in writes]
            self._wake_for_plan(session, plan)
            if visit is not None:
                plan.successions.append(self.claim_in_turn(session, executor_id, visit))
        return plan

    def write_plan(self, session: Session, executor_id: str, plan: Plan) -> None:
        super().write_plan(session, executor_id, plan)
        self._wake_for_plan(session, plan)

    def _message_lookups(self, session: Session, asked: Questions) -> list[Lookup]:
        # A statement for each receiver: SQLite has no lateral joins, whose LIMITs could differ.
        return [
            (
                "find_messages",
                {"workflow_id": workflow_id, "topic": topic, "limit": count},
                rows.add_messages,
            )
            for (workflow_id, topic), count in asked.messages.items()
        ]


def _fast_path_rows(writes: Sequence[StepOrEnd]) -> dict[str, list[tuple[Any, ...]]]:
    """Return the rows of each fast-path statement."""
    found: dict[str, list[tuple[Any, ...]]] = {}
    now = datetime.now(UTC)
    for write in writes:
        match write:
            case RecordStep():
                step = write.checkpoint
                started_at = to_text(now - timedelta(seconds=step.duration))
                row = (*STEP_VALUES(step), started_at)
                found.setdefault("record_checkpoints", []).append(row)
            case Finish():
                found.setdefault("end_workflows", []).append(END_VALUES(write))
    return found
