"""Batches on PostgreSQL: a fast path of one round trip, whose failures take the slow path."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

from django_dbos.conf import get_settings
from django_dbos.core.batch.fast_path import FastWrite, may_take_fast_path, note_written
from django_dbos.core.batch.lookups import Questions
from django_dbos.core.batch.notifications import keys_of
from django_dbos.core.batch.plan import Plan
from django_dbos.core.queues import Visit
from django_dbos.core.records import DONE, Write
from django_dbos.store import errors, rows
from django_dbos.store.batches import Batches, Lookup
from django_dbos.store.listener import pack_keys
from django_dbos.store.postgresql.arrays import arrays
from django_dbos.store.postgresql.listener import CHANGED_CHANNEL
from django_dbos.store.postgresql.managed_claims import PostgresManagedClaims
from django_dbos.store.postgresql.starting import PostgresStarting
from django_dbos.store.postgresql.worker_session import WorkerSession
from django_dbos.store.sessions import Params, Session, Statement

# The statements for a single row of what others write any number of.
SINGLE_ROW = {
    "record_checkpoints": "record_checkpoint",
    "append_entries": "append_entry",
    "record_events": "record_event",
    "receive_messages": "receive_message",
    "end_workflows": "end_workflow",
}
# Batches up to this size carry their own NOTIFY; larger ones leave it to the notifier, which has a
# connection of its own.
MAX_NOTIFYING_BATCH = 2


class PostgresBatches(PostgresStarting, PostgresManagedClaims, Batches):
    """Fenced writes, whose statements skip the rows that others have locked."""

    def apply(
        self,
        session: Session,
        executor_id: str,
        writes: Sequence[Write],
        *,
        is_repeat: bool,
        visit: Visit | None = None,
    ) -> Plan:
        if is_repeat or not may_take_fast_path(writes):
            return super().apply(session, executor_id, writes, is_repeat=is_repeat)
        fast = cast(Sequence[FastWrite], writes)
        keys = _keys_to_notify(session, fast)
        if not _has_statements_by_name(session):
            visit = None
        try:
            plan, left = self._take_fast_path(session, executor_id, fast, keys, visit)
        except errors.Unavailable:
            raise
        except errors.StoreError:
            if not keys and visit is None:
                raise
            # Perhaps only the notification failed, or the claim.
            return super().apply(session, executor_id, writes, is_repeat=True)
        if left:
            # The notification came before the rows that are still missing: notify again.
            plan.notified = []
            # The few that failed take the slow path, which finds out why.
            rest = [writes[position] for position in left]
            try:
                decided = super().apply(session, executor_id, rest, is_repeat=False)
            except (errors.Unavailable, errors.LockTimeout):
                if len(left) == len(writes):
                    raise
                # The others are committed, and their waiters must be notified.
                plan.deferred += left
            else:
                plan.absorb(left, decided)
        return plan

    def _take_fast_path(
        self,
        session: Session,
        executor_id: str,
        writes: Sequence[FastWrite],
        keys: list[str],
        visit: Visit | None,
    ) -> tuple[Plan, list[int]]:
        """Write in one round trip, commit included; return the plan and the positions left."""
        plan, left = Plan(notified=keys), []
        work = _fast_path_work(executor_id, writes)
        claim = [] if visit is None else self._locked_claim(session, executor_id, visit)
        if keys or claim:
            own = cast(WorkerSession, session)
            found = own.run_and_notify([*work, *claim], CHANGED_CHANNEL, pack_keys(keys))
        else:
            found = session.run_all(work)
        if claim:
            *found, _, claimed = found
            plan.successions.append(self._claimed(claimed))
        written = {row[:2]: row for rows_found in found for row in rows_found}
        for position, write in enumerate(writes):
            row = written.get(write.returning_key)
            if row is None:
                left.append(position)
            plan.answers.append(DONE if row is None else note_written(plan, write, row))
        return plan, left

    def _message_lookups(self, session: Session, asked: Questions) -> list[Lookup]:
        if not asked.messages:
            return []
        wanted = [(*receiver, count) for receiver, count in asked.messages.items()]
        params = session.pack_rows(wanted, "workflow_ids", "topics", "counts")
        return [("find_messages", params, rows.add_messages)]


def _fast_path_work(executor_id: str, writes: Sequence[FastWrite]) -> list[Statement]:
    """Return the statements. A single row has its own: without arrays it takes a third less."""
    held: Params = {"executor_id": executor_id}
    return [
        (name, arrays(batch.lists()) | held)
        if len(batch) > 1
        else (SINGLE_ROW[name], batch.first() | held)
        for name, batch in rows.fast_path_rows(writes).items()
    ]


def _keys_to_notify(session: Session, writes: Sequence[FastWrite]) -> list[str]:
    """Return the keys of a few writes whose notification can go in the same message.

    Only a session of the executor's own can send it.
    """
    can_notify = _has_statements_by_name(session) and get_settings().listen
    return keys_of(writes) if can_notify and len(writes) <= MAX_NOTIFYING_BATCH else []


def _has_statements_by_name(session: Session) -> bool:
    """Return whether several statements can go in one message: see run_and_notify()."""
    return isinstance(session, WorkerSession) and not session.is_pooled
