"""The look-ups of a batch, under the fence and before its decision: questions and facts."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterable
from dataclasses import field
from uuid import UUID

from django_dbos.core.frozen import dataclass
from django_dbos.core.records import (
    Checkpoint,
    RecordEntry,
    RecordEvent,
    RecordSend,
    RecordStart,
    RecordWait,
    Wake,
    WakeKind,
    Write,
)
from django_dbos.core.status import Status

StepKey = tuple[str, int]
"""A workflow's id and a step number."""
Key = tuple[str, str]
"""A workflow's id and a topic or key, a queue and a deduplication id, or a function's name and a
debounce key."""

EntryKey = tuple[str, str, int]
"""A workflow's id, the key of a stream and an offset."""


@dataclass(slots=True)
class Questions:
    """The rows to look up, under the fence, before a batch can be decided."""

    claims: dict[str, int] = field(default_factory=dict)
    checkpoints: list[StepKey] = field(default_factory=list)
    messages: Counter[Key] = field(default_factory=Counter)
    events: set[Key] = field(default_factory=set)
    workflows: set[str] = field(default_factory=set)
    deduplications: set[Key] = field(default_factory=set)
    debounces: set[Key] = field(default_factory=set)
    tails: set[Key] = field(default_factory=set)
    entries: set[EntryKey] = field(default_factory=set)
    write_ids: set[UUID] = field(default_factory=set)


@dataclass(frozen=True, slots=True, kw_only=True)
class FoundWorkflow:
    """The columns of another workflow that a decision may depend on."""

    name: str
    status: Status
    is_quarantined: bool
    output: str | None
    error: str | None
    parent_id: str | None
    parent_step_number: int | None
    user_id: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class FoundCheckpoint:
    """A checkpoint in the table, and the seconds that are left of a wait."""

    checkpoint: Checkpoint
    remaining: float | None = None


@dataclass(slots=True, kw_only=True)
class Facts:
    """The rows that answer the questions of a batch."""

    held: dict[str, tuple[int, bool]] = field(default_factory=dict)
    """By workflow id: the claim number, and whether the deadline has passed."""
    lost: dict[str, Status | None] = field(default_factory=dict)
    """Claims that this executor no longer holds, with the workflow's status."""
    checkpoints: dict[StepKey, FoundCheckpoint] = field(default_factory=dict)
    messages: dict[Key, deque[tuple[int, str]]] = field(default_factory=dict)
    events: dict[Key, tuple[str, int]] = field(default_factory=dict)
    with_events: set[str] = field(default_factory=set)
    """Workflows whose events were looked up, and that exist."""
    workflows: dict[str, FoundWorkflow] = field(default_factory=dict)
    deduplications: dict[Key, tuple[str, str | None]] = field(default_factory=dict)
    """The holders of deduplication ids, and their users."""
    debounced: dict[Key, tuple[str, str | None]] = field(default_factory=dict)
    """The delayed workflows of debounce keys, and their users."""
    tails: dict[Key, tuple[int, bool]] = field(default_factory=dict)
    entries: dict[EntryKey, str | None] = field(default_factory=dict)
    """Looked up after everything else: all entries of a stream that the facts call ended."""
    written: set[UUID] = field(default_factory=set)


def questions(writes: Iterable[Write], *, is_repeat: bool) -> Questions:
    """Return the look-ups for these writes; a repeat also looks up which are in the tables."""
    asked = Questions()
    for write in writes:
        # Of two claims on a workflow, only the later one can be valid.
        known = asked.claims.get(write.workflow_id, write.claim_number)
        asked.claims[write.workflow_id] = max(known, write.claim_number)
        checkpoint: Checkpoint | None = getattr(write, "checkpoint", None)
        if checkpoint is not None:
            asked.checkpoints.append((write.workflow_id, checkpoint.step_number))
        match write:
            case RecordWait():
                for part in write.wake.parts:
                    _add_wait(asked, part)
                if write.wake.kind is WakeKind.ANY:
                    asked.entries.update(_entries_of(write.wake))
            case RecordSend():
                asked.workflows.update(message.workflow_id for message in write.messages)
            case RecordStart():
                for new in write.workflows:
                    asked.workflows.add(new.workflow_id)
                    if new.deduplication_id is not None:
                        asked.deduplications.add((new.queue_name, new.deduplication_id))
                    if new.debounce_key is not None:
                        asked.debounces.add((new.name, new.debounce_key))
            case RecordEvent():
                asked.events.add((write.workflow_id, write.key))
            case RecordEntry():
                asked.tails.add((write.workflow_id, write.key))
        if is_repeat and isinstance(write, RecordEvent | RecordEntry):
            asked.write_ids.add(write.write_id)
    return asked


def _entries_of(wake: Wake) -> list[EntryKey]:
    return [
        (part.workflow_id, part.name, part.offset or 0)
        for part in wake.parts
        if part.kind is WakeKind.STREAM
    ]


def _add_wait(asked: Questions, wake: Wake) -> None:
    match wake.kind:
        case WakeKind.MESSAGE:
            asked.messages[wake.workflow_id, wake.name] += 1
        case WakeKind.EVENT:
            asked.events.add((wake.workflow_id, wake.name))
        case WakeKind.RESULT:
            asked.workflows.add(wake.workflow_id)
        case WakeKind.STREAM:
            asked.tails.add((wake.workflow_id, wake.name))
            asked.workflows.add(wake.workflow_id)
