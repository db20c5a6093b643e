"""The plan of a batch: the rows that the store writes, once they are decided."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import field, fields
from uuid import UUID

from django_dbos.core.frozen import dataclass
from django_dbos.core.queues import Part
from django_dbos.core.records import (
    Answer,
    Checkpoint,
    Claim,
    Continue,
    Finish,
    Lane,
    NewMessage,
    NewWorkflow,
    RecordEntry,
    RecordEvent,
    Suspend,
    Wake,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """A stream entry with its offset."""

    workflow_id: str
    key: str
    offset: int
    value: str | None
    step_number: int
    write_id: UUID

    @classmethod
    def from_write(cls, write: RecordEntry, offset: int) -> Entry:
        """Return the entry that a write appends at this offset."""
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
    """An event's value with its version."""

    workflow_id: str
    key: str
    version: int
    value: str
    step_number: int
    write_id: UUID

    @classmethod
    def from_write(cls, write: RecordEvent, version: int) -> EventValue:
        """Return the value that a write sets as this version."""
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


@dataclass(frozen=True, slots=True, kw_only=True)
class WaitPart:
    """One of the things that a suspended workflow waits for, of which any ends the wait."""

    workflow_id: str
    part: int
    claim_number: int
    """The claim number after the suspension, with which the row counts."""
    wake: Wake

    @classmethod
    def from_suspend(cls, suspend: Suspend) -> list[WaitPart]:
        """Return the things that a workflow waits for; none if it waits for a single one."""
        return [
            cls(
                workflow_id=suspend.workflow_id,
                part=number,
                claim_number=suspend.claim_number + 1,
                wake=wake,
            )
            for number, wake in enumerate(suspend.wake.options)
        ]


@dataclass(frozen=True, slots=True, kw_only=True)
class EndedWait:
    """A workflow whose wait for any of several things is over."""

    workflow_id: str


@dataclass(slots=True)
class Plan:
    """The rows that the store writes, and the answer to each write."""

    answers: list[Answer] = field(default_factory=list)
    checkpoints: list[tuple[Checkpoint, float | None]] = field(default_factory=list)
    """New checkpoints; that of a wait with its timeout in seconds."""
    postponed: list[tuple[Checkpoint, float | None]] = field(default_factory=list)
    """Checkpoints of steps that are tried again and of stream readers, with the seconds until they
    are due. A new one replaces the one before."""
    outcomes: list[Checkpoint] = field(default_factory=list)
    """Outcomes that replace the checkpoints of waits and of steps that are tried again."""
    consumed: list[Consumed] = field(default_factory=list)
    ended_waits: list[EndedWait] = field(default_factory=list)
    messages: list[NewMessage] = field(default_factory=list)
    workflows: list[tuple[NewWorkflow, bool]] = field(default_factory=list)
    """New workflows, and whether this executor claims them at once."""
    replaced: list[str] = field(default_factory=list)
    """Active workflows that are cancelled for new ones, or ended ones that keep an id of these."""
    debounced: list[tuple[NewWorkflow, str]] = field(default_factory=list)
    """Debounced starts, and the id of the workflow that each of them starts or changes."""
    unclaimed: list[str] = field(default_factory=list)
    """Children that were enqueued in spite of a reserved slot, since their queues have limits:
    filled in by the store."""
    entries: list[Entry] = field(default_factory=list)
    event_values: list[EventValue] = field(default_factory=list)
    finished: list[Finish] = field(default_factory=list)
    suspended: list[Suspend] = field(default_factory=list)
    continued: list[Continue] = field(default_factory=list)
    """Workflows whose next run begins; they are released, too."""
    released: list[str] = field(default_factory=list)
    lanes: list[Lane] = field(default_factory=list)
    """The lanes of released workflows: filled in by the store."""
    deferred: list[int] = field(default_factory=list)
    """Positions of writes to try again: another transaction has locked the workflow's row, or this
    batch must be committed first."""
    successions: list[tuple[list[Claim], Part]] = field(default_factory=list)
    """The workflows that were claimed in the same transaction, for places that the ends freed."""
    notified: list[str] = field(default_factory=list)
    """Keys of which the message that wrote the plan has notified other processes."""

    def absorb(self, positions: Sequence[int], other: Plan) -> None:
        """Add the plan of the writes at these positions."""
        for position, answer in zip(positions, other.answers, strict=True):
            self.answers[position] = answer
        self.deferred += [positions[position] for position in other.deferred]
        for listed in fields(self):
            if listed.name not in ("answers", "deferred"):
                getattr(self, listed.name).extend(getattr(other, listed.name))

    @property
    def freed_queues(self) -> list[str]:
        """The queues with places that the ends and waits have freed, and that nobody has taken."""
        ends: list[Finish | Suspend] = [*self.finished, *self.suspended]
        freed = Counter(end.queue_name for end in ends if end.queue_name is not None)
        # A place that is kept while waiting was not among the free ones.
        taken = [claim for claims, _ in self.successions for claim in claims if claim.place == 1]
        return list(freed - Counter(claim.queue_name for claim in taken))

    @property
    def started(self) -> list[NewWorkflow]:
        """The children of the plan."""
        return [new for new, _ in self.workflows] + [new for new, _ in self.debounced]

    @property
    def latest_events(self) -> list[EventValue]:
        """The last value of each key: one statement can't upsert a key twice."""
        return list({(event.workflow_id, event.key): event for event in self.event_values}.values())

    @property
    def waiting_ids(self) -> list[str]:
        """The workflows that wait from now on, and whose awaited thing may have come before."""
        new = {workflow.workflow_id for workflow, _ in self.workflows}
        held = [
            workflow.workflow_id
            for workflow, _ in self.workflows
            if workflow.after is not None and workflow.after not in new
        ]
        return [suspend.workflow_id for suspend in self.suspended] + held

    @property
    def has_news(self) -> bool:
        """True if others may wait for data of this plan."""
        return bool(
            self.messages
            or self.workflows
            or self.debounced
            or self.entries
            or self.event_values
            or self.finished
            or self.suspended
            or self.released
        )

    @property
    def is_empty(self) -> bool:
        """True if there is nothing to write."""
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
