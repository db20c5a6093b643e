"""Between records and the columns of statements: one home for both stores."""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Sequence
from typing import Any

from django_dbos.core.batch.fast_path import FastWrite, last_step
from django_dbos.core.batch.lookups import Facts, FoundCheckpoint, FoundWorkflow, Key, Place
from django_dbos.core.batch.plan import Entry, EventValue
from django_dbos.core.records import (
    Checkpoint,
    Claim,
    Finish,
    Lane,
    NewMessage,
    NewWorkflow,
    RecordEntry,
    RecordEvent,
    RecordStep,
    RecordWait,
    State,
    Suspend,
)
from django_dbos.core.status import Status
from django_dbos.store.arrays import array
from django_dbos.store.sessions import Params, Row

# The fast path's statements. Ends are last, since they depend on a run's last entry or event.
FAST_PATH = (
    "record_checkpoints",
    "append_entries",
    "record_events",
    "receive_messages",
    "end_workflows",
)


def checkpoint_params(checkpoint: Checkpoint, timeout: float | None = None) -> Params:
    return {
        "workflow_id": checkpoint.workflow_id,
        "step_number": checkpoint.step_number,
        "step_name": checkpoint.step_name,
        "state": int(checkpoint.state),
        "fingerprint": checkpoint.fingerprint,
        "output": checkpoint.output,
        "error": checkpoint.error,
        "related_workflow_id": checkpoint.related_workflow_id,
        "record_order": checkpoint.record_order,
        "claim_number": checkpoint.claim_number,
        "attempts": checkpoint.attempts,
        "attempt_errors": checkpoint.attempt_errors,
        "timeout": timeout,
        "duration": checkpoint.duration,
    }


def message_params(message: NewMessage) -> Params:
    return {
        "workflow_id": message.workflow_id,
        "topic": message.topic,
        "message": message.message,
        "idempotency_key": message.idempotency_key,
        "sender_id": message.sender_id,
    }


def workflow_params(new: NewWorkflow, executor_id: str | None = None) -> Params:
    return {
        "workflow_id": new.workflow_id,
        "token": new.token,
        "name": new.name,
        "queue_name": new.queue_name,
        "priority": new.priority,
        "deduplication_id": new.deduplication_id,
        "input": new.input,
        "user_id": new.user_id,
        "attributes": new.attributes,
        "executor_id": executor_id,
        "max_recovery_attempts": new.max_recovery_attempts,
        "parent_id": new.parent_id,
        "parent_step_number": new.parent_step_number,
        "delay": new.delay,
        "run_at": new.run_at,
        "timeout": new.timeout,
        "inherits_deadline": new.inherits_deadline,
    }


def event_params(event: EventValue) -> Params:
    return {
        "workflow_id": event.workflow_id,
        "key": event.key,
        "version": event.version,
        "value": event.value,
        "step_number": event.step_number,
        "write_id": event.write_id,
    }


def entry_params(entry: Entry) -> Params:
    return {
        "workflow_id": entry.workflow_id,
        "key": entry.key,
        "offset": entry.offset,
        "value": entry.value,
        "step_number": entry.step_number,
        "write_id": entry.write_id,
    }


def finish_params(finish: Finish) -> Params:
    return {
        "workflow_id": finish.workflow_id,
        "claim_number": finish.claim_number,
        "status": finish.status.value,
        "output": finish.output,
        "error": finish.error,
        "is_quarantined": finish.is_quarantined,
    }


def posted_params(write: RecordEntry | RecordEvent) -> Params:
    checkpoint = write.checkpoint
    return {
        "workflow_id": write.workflow_id,
        "claim_number": write.claim_number,
        "key": write.key,
        "value": write.value,
        "step_number": write.step_number,
        "write_id": write.write_id,
        "step_name": None if checkpoint is None else checkpoint.step_name,
        "fingerprint": None if checkpoint is None else checkpoint.fingerprint,
        "record_order": None if checkpoint is None else checkpoint.record_order,
    }


def receive_params(wait: RecordWait) -> Params:
    return checkpoint_params(wait.checkpoint) | {"topic": wait.wake.name}


def fast_path_params(writes: Sequence[FastWrite]) -> dict[str, list[Params]]:
    """Return the rows of each fast-path statement, in the order in which these must run."""
    found: dict[str, list[Params]] = {name: [] for name in FAST_PATH}
    last_steps: dict[str, int | None] = {}
    for write in writes:
        match write:
            case RecordStep():
                found["record_checkpoints"].append(checkpoint_params(write.checkpoint))
            case RecordEntry():
                found["append_entries"].append(posted_params(write))
            case RecordEvent():
                found["record_events"].append(posted_params(write))
            case RecordWait():
                found["receive_messages"].append(receive_params(write))
            case Finish():
                after = {"after_step": last_steps.get(write.workflow_id)}
                found["end_workflows"].append(finish_params(write) | after)
        last_steps[write.workflow_id] = last_step(write)
    return {name: params for name, params in found.items() if params}


def suspend_params(suspend: Suspend) -> Params:
    return {
        "workflow_id": suspend.workflow_id,
        "step_number": suspend.step_number,
        "kind": suspend.wake.kind.value,
        "target_id": suspend.wake.workflow_id,
        "name": suspend.wake.name,
    }


def transposed(rows: Sequence[Params]) -> Params:
    """One array a column, for `unnest`."""
    return {name: array([row[name] for row in rows]) for name in rows[0]}


def to_claim(row: Row) -> Claim:
    """A row of `claim_workflows` or `claim_suspect`."""
    return Claim(
        workflow_id=row[0],
        claim_number=row[1],
        name=row[2],
        input=row[3],
        token=row[4],
        user_id=row[5],
        recovery_attempts=row[6],
        remaining=row[7],
        has_history=bool(row[8]),
    )


def to_checkpoint(row: Row) -> FoundCheckpoint:
    """A row of `find_checkpoints` or `load_checkpoints`."""
    checkpoint = Checkpoint(
        workflow_id=row[0],
        step_number=row[1],
        step_name=row[2],
        state=State(row[3]),
        fingerprint=row[4],
        output=row[5],
        error=row[6],
        related_workflow_id=row[7],
        record_order=row[8],
        claim_number=row[9],
        attempts=row[11],
        attempt_errors=row[12],
    )
    return FoundCheckpoint(checkpoint=checkpoint, remaining=row[10])


def add_checkpoints(facts: Facts, rows: list[Row]) -> None:
    for row in rows:
        place: Place = (row[0], row[1])
        facts.checkpoints[place] = to_checkpoint(row)


def add_messages(facts: Facts, rows: list[Row]) -> None:
    messages: dict[Key, deque[tuple[int, str]]] = defaultdict(deque)
    for workflow_id, topic, message_id, text in rows:
        messages[workflow_id, topic].append((message_id, text))
    facts.messages.update(messages)


def add_events(facts: Facts, rows: list[Row]) -> None:
    facts.events = {(row[0], row[1]): (row[2], row[3]) for row in rows}


def add_workflows(facts: Facts, rows: list[Row]) -> None:
    for workflow_id, name, status, is_quarantined, *values in rows:
        output, error, parent_id, step_number, user_id = values
        facts.workflows[workflow_id] = FoundWorkflow(
            name=name,
            status=Status(status),
            is_quarantined=bool(is_quarantined),
            output=output,
            error=error,
            parent_id=parent_id,
            parent_step_number=step_number,
            user_id=user_id,
        )


def add_deduplications(facts: Facts, rows: list[Row]) -> None:
    facts.deduplications = {(row[0], row[1]): (row[2], row[3]) for row in rows}


def add_tails(facts: Facts, rows: list[Row]) -> None:
    facts.tails = {(row[0], row[1]): (row[2], bool(row[3])) for row in rows}


def add_written(facts: Facts, rows: list[Row]) -> None:
    facts.written = {row[0] for row in rows}


def add_lost(facts: Facts, rows: list[Row], claims: dict[str, int], executor_id: str) -> None:
    """Of the claims that the fence left out, those that are lost; the others are only locked."""
    seen: dict[str, Any] = {row[0]: row for row in rows}
    for workflow_id, claim_number in claims.items():
        if workflow_id in facts.held:
            continue
        row = seen.get(workflow_id)
        if row is None:
            facts.lost[workflow_id] = None
        elif (row[1], row[2], row[3]) != (claim_number, Status.PENDING, executor_id):
            facts.lost[workflow_id] = Status(row[2])


def by_workflow(found: list[Row]) -> dict[str, list[FoundCheckpoint]]:
    """Histories, from rows of `load_checkpoints`."""
    histories: dict[str, list[FoundCheckpoint]] = {}
    for row in found:
        histories.setdefault(row[0], []).append(to_checkpoint(row))
    return histories


def keys_by_workflow(found: list[Row]) -> dict[str, set[str]]:
    """Sets of keys, from rows of (workflow id, key)."""
    keys: dict[str, set[str]] = {}
    for workflow_id, key in found:
        keys.setdefault(workflow_id, set()).add(key)
    return keys


def lanes(found: Sequence[Row], first: int = 0) -> list[Lane]:
    """The distinct (queue, priority) in two neighbouring columns."""
    return sorted({(row[first], row[first + 1]) for row in found})
