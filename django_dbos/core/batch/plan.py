"""What a batch of writes does to the tables, once it is decided: the store writes the plan."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import field, fields
from uuid import UUID

from django_dbos.core.frozen import dataclass
from django_dbos.core.records import (
    Answer,
    Checkpoint,
    Finish,
    Lane,
    NewMessage,
    NewWorkflow,
    RecordEntry,
    RecordEvent,
    Suspend,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """A stream entry with the offset that it was dealt."""

    workflow_id: str
    key: str
    offset: int
    value: str | None
    step_number: int
    write_id: UUID

    @classmethod
    def of(cls, write: RecordEntry, offset: int) -> Entry:
        """What a write appends at this offset."""
        return cls(
            workflow_id=write.workflow_id,
            key=write.key,
            offset=offset,
            value=write.value,
            step_number=write.step_number,
            write_id=write.write_id,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class EventValue:
    """An event's value with the version that it was dealt."""

    workflow_id: str
    key: str
    version: int
    value: str
    step_number: int
    write_id: UUID

    @classmethod
    def of(cls, write: RecordEvent, version: int) -> EventValue:
        """What a write sets, as this version."""
        return cls(
            workflow_id=write.workflow_id,
            key=write.key,
            version=version,
            value=write.value,
            step_number=write.step_number,
            write_id=write.write_id,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Consumed:
    """A message, and the step of its receiver that consumes it."""

    message_id: int
    step_number: int


@dataclass(slots=True)
class Plan:
    """What the store writes, and what it answers to each write."""

    answers: list[Answer] = field(default_factory=list)
    checkpoints: list[tuple[Checkpoint, float | None]] = field(default_factory=list)
    """New ones; a wait's with its timeout in seconds."""
    postponed: list[tuple[Checkpoint, float | None]] = field(default_factory=list)
    """Waits that may come again at their step, each with its seconds: of steps that are tried
    again, and of stream readers. A new one takes the place of the last one."""
    outcomes: list[Checkpoint] = field(default_factory=list)
    """They replace the checkpoints of waits, and of steps that are tried again."""
    consumed: list[Consumed] = field(default_factory=list)
    messages: list[NewMessage] = field(default_factory=list)
    workflows: list[tuple[NewWorkflow, bool]] = field(default_factory=list)
    """New ones, and whether this executor claims them at once."""
    entries: list[Entry] = field(default_factory=list)
    event_values: list[EventValue] = field(default_factory=list)
    finished: list[Finish] = field(default_factory=list)
    suspended: list[Suspend] = field(default_factory=list)
    released: list[str] = field(default_factory=list)
    lanes: list[Lane] = field(default_factory=list)
    """Where released workflows were enqueued: filled in by the store."""
    deferred: list[int] = field(default_factory=list)
    """Positions of writes whose workflow's row somebody else has locked: asked again later."""
    notified: list[str] = field(default_factory=list)
    """Keys that other processes were notified of by the very message that wrote this."""

    def absorb(self, positions: Sequence[int], other: Plan) -> None:
        """Add what was decided of the writes at these positions."""
        for position, answer in zip(positions, other.answers, strict=True):
            self.answers[position] = answer
        self.deferred += [positions[position] for position in other.deferred]
        for one in fields(self):
            if one.name not in ("answers", "deferred"):
                getattr(self, one.name).extend(getattr(other, one.name))

    @property
    def latest_events(self) -> list[EventValue]:
        """The last value a key: two of one key can't be upserted in one statement."""
        return list({(event.workflow_id, event.key): event for event in self.event_values}.values())

    @property
    def has_news(self) -> bool:
        """Whether somebody may wait for what is in it."""
        return bool(
            self.messages
            or self.workflows
            or self.entries
            or self.event_values
            or self.finished
            or self.suspended
            or self.released
        )

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing to write."""
        return not (
            self.checkpoints
            or self.postponed
            or self.outcomes
            or self.entries
            or self.event_values
            or self.finished
            or self.suspended
            or self.released
            or self.consumed
        )
