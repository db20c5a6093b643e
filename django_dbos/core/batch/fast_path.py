"""Fast path: writes that one statement can fence and insert, without look-ups and a decision.

They are steps, stream entries, events, ends and the receipt of messages: nearly all writes. A write
that its statement doesn't return takes the slow path, by a decision.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from django_dbos.core.batch.plan import Entry, EventValue, Plan
from django_dbos.core.records import (
    DONE,
    Answer,
    Finish,
    RecordEntry,
    RecordEvent,
    RecordStep,
    RecordWait,
    Verdict,
    WakeKind,
    Write,
)

FastWrite = RecordStep | RecordEntry | RecordEvent | RecordWait | Finish


def may_take_fast_path(writes: Sequence[Write]) -> bool:
    """Return whether statements can fence and insert all these writes without look-ups.

    Where the order of a workflow's writes matters, that of the statements must preserve it.
    """
    before: dict[str, Write] = {}
    for write in writes:
        if not _is_fast(write):
            return False
        if write.workflow_id in before and not _may_follow(write, before[write.workflow_id]):
            return False
        before[write.workflow_id] = write
    return True


def _is_fast(write: Write) -> bool:
    match write:
        case RecordStep():
            # A step that was tried again has a row already.
            return write.checkpoint.attempts == 1 and write.checkpoint.attempt_errors is None
        case RecordEvent():
            return True
        case RecordEntry():
            return write.value is not None
        case Finish():
            return not write.is_quarantined
        case RecordWait():
            return write.is_expected and write.wake.kind is WakeKind.MESSAGE
    return False


def _may_follow(write: Write, before: Write) -> bool:
    """Return whether two writes of a workflow may take the fast path in one batch.

    Two claims may not: a statement returns the step that it recorded, but not the claim. Nor may
    two receipts, which might both get the same message.
    """
    if write.claim_number != before.claim_number:
        return False
    match write:
        case Finish():
            return last_step(before) is not None
        case RecordWait():
            return False
    return type(write) is type(before)


def last_step(write: Write) -> int | None:
    """Return the step whose checkpoint proves that the writes without an answer were written."""
    if isinstance(write, RecordEntry | RecordEvent) and write.checkpoint is not None:
        return write.checkpoint.step_number
    return None


def note_written(plan: Plan, write: FastWrite, row: tuple[Any, ...]) -> Answer:
    """Add a written row to the plan, as its statement returned it; return the write's answer."""
    match write:
        case RecordWait():
            outcome = replace(write.checkpoint, output=row[2])
            return Answer(verdict=Verdict.FOUND, checkpoint=outcome)
        case RecordEntry():
            plan.entries.append(Entry.from_write(write, row[2]))
        case RecordEvent():
            plan.event_values.append(EventValue.from_write(write, row[2]))
        case Finish():
            plan.finished.append(write)
    return DONE
