"""What a batch of writes does to the tables: decided once, for both databases.

A store takes the fence, answers the batch's `Questions` with `Facts`, lets `decide` turn them
into a `Plan`, and writes the plan, all in one transaction. Nothing here waits or does I/O.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterable, Sequence
from dataclasses import field, fields, replace
from typing import Any
from uuid import UUID

from django_dbos.core.frozen import dataclass
from django_dbos.core.records import (
    DONE,
    Answer,
    Checkpoint,
    Expire,
    Finish,
    NewMessage,
    NewWorkflow,
    RecordEntry,
    RecordEvent,
    RecordSend,
    RecordStart,
    RecordStep,
    RecordWait,
    Refusal,
    Release,
    State,
    Suspend,
    Verdict,
    Wake,
    WakeKind,
    Write,
)
from django_dbos.core.status import FINISHED, Status

Place = tuple[str, int]
Key = tuple[str, str]

# What one statement can fence and write: see `are_direct`.
DirectWrite = RecordStep | RecordEntry | RecordEvent | RecordWait | Finish

# What may be written past the deadline: only how the run ends.
ENDINGS = (Expire, Release)


@dataclass(slots=True)
class Questions:
    """What must be looked up, under the fence, before a batch can be decided."""

    claims: dict[str, int] = field(default_factory=dict)
    checkpoints: list[Place] = field(default_factory=list)
    messages: Counter[Key] = field(default_factory=Counter)
    events: set[Key] = field(default_factory=set)
    workflows: set[str] = field(default_factory=set)
    deduplications: set[Key] = field(default_factory=set)
    tails: set[Key] = field(default_factory=set)
    write_ids: set[UUID] = field(default_factory=set)


@dataclass(frozen=True, slots=True, kw_only=True)
class FoundWorkflow:
    """What a batch may want to know of another workflow."""

    name: str
    status: Status
    is_set_aside: bool
    output: str | None
    error: str | None
    parent_id: str | None
    parent_step_number: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class FoundCheckpoint:
    """A checkpoint in the table; a wait's with the seconds that are left of it."""

    checkpoint: Checkpoint
    remaining: float | None = None


@dataclass(slots=True, kw_only=True)
class Facts:
    """The answers."""

    held: dict[str, tuple[int, bool]] = field(default_factory=dict)
    """By workflow id: the claim number, and whether the deadline has passed."""
    lost: dict[str, Status | None] = field(default_factory=dict)
    """Claims that are somebody else's by now, with the workflow's status."""
    checkpoints: dict[Place, FoundCheckpoint] = field(default_factory=dict)
    messages: dict[Key, deque[tuple[int, str]]] = field(default_factory=dict)
    events: dict[Key, tuple[str, int]] = field(default_factory=dict)
    workflows: dict[str, FoundWorkflow] = field(default_factory=dict)
    deduplications: dict[Key, str] = field(default_factory=dict)
    tails: dict[Key, tuple[int, bool]] = field(default_factory=dict)
    written: set[UUID] = field(default_factory=set)


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """A stream entry with the offset that it was dealt."""

    workflow_id: str
    key: str
    offset: int
    value: str | None
    step_number: int
    write_id: UUID


@dataclass(frozen=True, slots=True, kw_only=True)
class EventValue:
    """An event's value with the version that it was dealt."""

    workflow_id: str
    key: str
    version: int
    value: str
    step_number: int
    write_id: UUID


@dataclass(slots=True)
class Plan:
    """What the store writes, and what it answers to each write."""

    answers: list[Answer] = field(default_factory=list)
    checkpoints: list[tuple[Checkpoint, float | None]] = field(default_factory=list)
    """New ones; a wait's with its timeout in seconds."""
    outcomes: list[Checkpoint] = field(default_factory=list)
    """They replace the checkpoints of waits."""
    consumed: list[tuple[int, int]] = field(default_factory=list)
    messages: list[NewMessage] = field(default_factory=list)
    workflows: list[tuple[NewWorkflow, bool]] = field(default_factory=list)
    """New ones, and whether this executor claims them at once."""
    entries: list[Entry] = field(default_factory=list)
    event_values: list[EventValue] = field(default_factory=list)
    finished: list[Finish] = field(default_factory=list)
    suspended: list[Suspend] = field(default_factory=list)
    released: list[str] = field(default_factory=list)
    lanes: list[tuple[str, int]] = field(default_factory=list)
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
    def wakes(self) -> list[Wake]:
        """What waiting workflows may be waiting for, and has come with this batch."""
        return [
            *{
                Wake(kind=WakeKind.MESSAGE, workflow_id=m.workflow_id, name=m.topic)
                for m in self.messages
            },
            *{
                Wake(kind=WakeKind.EVENT, workflow_id=e.workflow_id, name=e.key)
                for e in self.event_values
            },
            *(
                Wake(kind=WakeKind.RESULT, workflow_id=f.workflow_id)
                for f in self.finished
                if not f.is_set_aside
            ),
        ]

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
            or self.outcomes
            or self.entries
            or self.event_values
            or self.finished
            or self.suspended
            or self.released
            or self.consumed
        )


def are_direct(writes: Sequence[Write]) -> bool:
    """Whether these writes need no look before, since statements can fence and write them.

    They are steps, stream entries, events, ends and the receipt of messages. Where the order of a
    workflow's writes counts, its statements must keep it.
    """
    before: dict[str, Write] = {}
    for write in writes:
        if not _is_direct(write):
            return False
        if write.workflow_id in before and not _may_follow(write, before[write.workflow_id]):
            return False
        before[write.workflow_id] = write
    return True


def _is_direct(write: Write) -> bool:
    match write:
        case RecordStep() | RecordEvent():
            return True
        case RecordEntry():
            return write.value is not None
        case Finish():
            return not write.is_set_aside
        case RecordWait():
            return write.is_expected and write.wake.kind is WakeKind.MESSAGE
    return False


def _may_follow(write: Write, before: Write) -> bool:
    """Whether a workflow's two writes may be direct in one batch.

    Not with two claims, since a statement returns which step it recorded, but not for which of
    them; nor with two receipts, for which one message might do.
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
    """The step by whose checkpoint it is known that all was written that nobody waited for."""
    if isinstance(write, RecordEntry | RecordEvent) and write.checkpoint is not None:
        return write.checkpoint.step_number
    return None


def news(write: Write) -> Wake | None:
    """What a direct write is to those who wait for it; None: nobody can."""
    match write:
        case RecordEntry():
            kind, name = WakeKind.STREAM, write.key
        case RecordEvent():
            kind, name = WakeKind.EVENT, write.key
        case Finish():
            kind, name = WakeKind.RESULT, ""
        case _:
            return None
    return Wake(kind=kind, workflow_id=write.workflow_id, name=name)


def note_written(plan: Plan, write: DirectWrite, row: tuple[Any, ...]) -> Answer:
    """Add to a plan what a statement has written, by the row that it returned; answer the write."""
    match write:
        case RecordWait():
            outcome = replace(write.checkpoint, output=row[2])
            return Answer(verdict=Verdict.FOUND, checkpoint=outcome)
        case RecordEntry():
            plan.entries.append(_entry(write, row[2]))
        case RecordEvent():
            plan.event_values.append(_event_value(write, row[2]))
        case Finish():
            plan.finished.append(write)
    return DONE


def questions(writes: Iterable[Write], *, is_repeat: bool) -> Questions:
    """What to look up for these writes; a repeat asks as well which are in the tables."""
    asked = Questions()
    for write in writes:
        # Of a zombie's claim and the one after it, the later is the one that may hold.
        known = asked.claims.get(write.workflow_id, write.claim_number)
        asked.claims[write.workflow_id] = max(known, write.claim_number)
        checkpoint: Checkpoint | None = getattr(write, "checkpoint", None)
        if checkpoint is not None:
            asked.checkpoints.append((write.workflow_id, checkpoint.step_number))
        match write:
            case RecordWait():
                _ask_of_wait(asked, write.wake)
            case RecordSend():
                asked.workflows.update(message.workflow_id for message in write.messages)
            case RecordStart():
                for new in write.workflows:
                    asked.workflows.add(new.workflow_id)
                    if new.deduplication_id is not None:
                        asked.deduplications.add((new.queue_name, new.deduplication_id))
            case RecordEvent():
                asked.events.add((write.workflow_id, write.key))
            case RecordEntry():
                asked.tails.add((write.workflow_id, write.key))
        if is_repeat and isinstance(write, RecordEvent | RecordEntry):
            asked.write_ids.add(write.write_id)
    return asked


def _ask_of_wait(asked: Questions, wake: Wake) -> None:
    match wake.kind:
        case WakeKind.MESSAGE:
            asked.messages[wake.workflow_id, wake.name] += 1
        case WakeKind.EVENT:
            asked.events.add((wake.workflow_id, wake.name))
        case WakeKind.RESULT:
            asked.workflows.add(wake.workflow_id)


def decide(writes: Iterable[Write], facts: Facts) -> Plan:
    """Decide each write in turn. Once one of a claim fails, its later ones fail with it."""
    return _Decision(facts).of(writes)


class _Decision:
    def __init__(self, facts: Facts) -> None:
        self.facts = facts
        self.plan = Plan()
        self.stopped: dict[Place, Answer] = {}

    def of(self, writes: Iterable[Write]) -> Plan:
        for position, write in enumerate(writes):
            answer = self._fence(write, position) or self._answer(write)
            self.plan.answers.append(answer)
        return self.plan

    def _fence(self, write: Write, position: int) -> Answer | None:
        """What stands against a write, and then against all later ones of its claim."""
        workflow_id = write.workflow_id
        stopped = self.stopped.get((workflow_id, write.claim_number))
        if stopped is not None and not (stopped.refusal and is_giving_up(write)):
            return stopped
        held = self.facts.held.get(workflow_id)
        if held is not None and held[0] == write.claim_number:
            return self._expire(write) if held[1] and not isinstance(write, ENDINGS) else None
        if held is not None or workflow_id in self.facts.lost:
            status = self.facts.lost.get(workflow_id)
            return self._stop(write, Answer(verdict=Verdict.CLAIM_LOST, status=status))
        self.plan.deferred.append(position)
        return DONE

    def _stop(self, write: Write, answer: Answer) -> Answer:
        self.stopped[write.workflow_id, write.claim_number] = answer
        return answer

    def _expire(self, write: Write) -> Answer:
        self.plan.finished.append(_cancellation(write))
        return self._stop(write, Answer(verdict=Verdict.PAST_DEADLINE))

    def _answer(self, write: Write) -> Answer:
        checkpoint: Checkpoint | None = getattr(write, "checkpoint", None)
        found = checkpoint and self.facts.checkpoints.get(
            (write.workflow_id, checkpoint.step_number)
        )
        if found and found.checkpoint.state is not State.WAITING:
            return Answer(verdict=Verdict.FOUND, checkpoint=found.checkpoint)
        match write:
            case RecordStep():
                return self._record(write.checkpoint)
            case RecordWait():
                return self._wait(write, found or None)
            case RecordSend():
                return self._send(write)
            case RecordStart():
                return self._start(write)
            case RecordEvent():
                return self._set_event(write)
            case RecordEntry():
                return self._append(write)
            case Finish() | Suspend() | Release() | Expire():
                return self._end(write)
        return DONE

    def _record(self, checkpoint: Checkpoint | None) -> Answer:
        if checkpoint is not None:
            self.plan.checkpoints.append((checkpoint, None))
        return DONE

    def _wait(self, write: RecordWait, begun: FoundCheckpoint | None) -> Answer:
        outcome = self._look(write)
        remaining = begun.remaining if begun else write.timeout
        if outcome is None and remaining is not None and remaining <= 0:
            outcome = replace(write.checkpoint, state=State.TIMED_OUT)
        if outcome is None:
            if not begun:
                waiting = replace(write.checkpoint, state=State.WAITING)
                self.plan.checkpoints.append((waiting, write.timeout))
            return Answer(verdict=Verdict.WAITING, remaining=remaining)
        if begun:
            self.plan.outcomes.append(outcome)
        else:
            self.plan.checkpoints.append((outcome, None))
        return Answer(verdict=Verdict.FOUND, checkpoint=outcome)

    def _look(self, write: RecordWait) -> Checkpoint | None:
        """The outcome of a wait whose time hasn't come, if what it waits for has."""
        wake, checkpoint = write.wake, write.checkpoint
        match wake.kind:
            case WakeKind.MESSAGE:
                messages = self.facts.messages.get((wake.workflow_id, wake.name))
                if not messages:
                    return None
                message_id, text = messages.popleft()
                self.plan.consumed.append((message_id, checkpoint.step_number))
                return replace(checkpoint, output=text)
            case WakeKind.EVENT:
                event = self.facts.events.get((wake.workflow_id, wake.name))
                return event and replace(checkpoint, output=event[0])
            case WakeKind.RESULT:
                return result_checkpoint(checkpoint, self.facts.workflows.get(wake.workflow_id))
        return None

    def _send(self, write: RecordSend) -> Answer:
        for message in write.messages:
            if message.workflow_id not in self.facts.workflows:
                return Answer(
                    verdict=Verdict.REFUSED,
                    refusal=Refusal.NO_RECEIVER,
                    subject=message.workflow_id,
                )
        self.plan.messages.extend(write.messages)
        return self._record(write.checkpoint)

    def _start(self, write: RecordStart) -> Answer:
        """All of them, or none; later writes of the batch find what this one has started."""
        for position, new in enumerate(write.workflows):
            taken = self._taken(new)
            if taken is not None:
                self._unnote(write.workflows[:position])
                return taken
            self._note(new)
        self.plan.workflows.extend((new, write.is_reserved) for new in write.workflows)
        return self._record(write.checkpoint)

    def _note(self, new: NewWorkflow) -> None:
        self.facts.workflows[new.workflow_id] = FoundWorkflow(
            name=new.name,
            status=Status.ENQUEUED,
            is_set_aside=False,
            output=None,
            error=None,
            parent_id=new.parent_id,
            parent_step_number=new.parent_step_number,
        )
        if new.deduplication_id is not None:
            self.facts.deduplications[new.queue_name, new.deduplication_id] = new.workflow_id

    def _unnote(self, workflows: Iterable[NewWorkflow]) -> None:
        for new in workflows:
            del self.facts.workflows[new.workflow_id]
            if new.deduplication_id is not None:
                del self.facts.deduplications[new.queue_name, new.deduplication_id]

    def _taken(self, new: NewWorkflow) -> Answer | None:
        """Who has the id, or the deduplication id, of a workflow that is to be started."""
        existing = self.facts.workflows.get(new.workflow_id)
        if existing is not None:
            return Answer(
                verdict=Verdict.REFUSED,
                refusal=Refusal.ID_TAKEN,
                subject=new.workflow_id,
                existing_name=existing.name,
                is_own=(existing.name, existing.parent_id, existing.parent_step_number)
                == (new.name, new.parent_id, new.parent_step_number),
            )
        if new.deduplication_id is None:
            return None
        holder = self.facts.deduplications.get((new.queue_name, new.deduplication_id))
        if holder is None:
            return None
        return Answer(
            verdict=Verdict.REFUSED,
            refusal=Refusal.DUPLICATE,
            subject=new.workflow_id,
            existing_id=holder,
        )

    def _set_event(self, write: RecordEvent) -> Answer:
        if write.write_id in self.facts.written:
            return DONE
        key = (write.workflow_id, write.key)
        version = self.facts.events.get(key, ("", 0))[1] + 1
        self.facts.events[key] = (write.value, version)
        self.plan.event_values.append(_event_value(write, version))
        return self._record(write.checkpoint)

    def _append(self, write: RecordEntry) -> Answer:
        if write.write_id in self.facts.written:
            return DONE
        key = (write.workflow_id, write.key)
        offset, is_ended = self.facts.tails.get(key, (-1, False))
        if is_ended and write.value is None:
            return self._record(write.checkpoint)
        if is_ended:
            # Nobody waits for this answer: what follows in the queue doesn't know of it.
            refusal = Refusal.STREAM_CLOSED
            answer = Answer(verdict=Verdict.REFUSED, refusal=refusal, subject=write.key)
            return self._stop(write, answer)
        self.facts.tails[key] = (offset + 1, write.value is None)
        self.plan.entries.append(_entry(write, offset + 1))
        return self._record(write.checkpoint)

    def _end(self, write: Finish | Suspend | Release | Expire) -> Answer:
        match write:
            case Finish():
                self.plan.finished.append(write)
            case Suspend():
                self.plan.suspended.append(write)
            case Release():
                self.plan.released.append(write.workflow_id)
            case Expire():
                self.plan.finished.append(_cancellation(write))
        self._stop(write, Answer(verdict=Verdict.CLAIM_LOST))
        return DONE


def _entry(write: RecordEntry, offset: int) -> Entry:
    return Entry(
        workflow_id=write.workflow_id,
        key=write.key,
        offset=offset,
        value=write.value,
        step_number=write.step_number,
        write_id=write.write_id,
    )


def _event_value(write: RecordEvent, version: int) -> EventValue:
    return EventValue(
        workflow_id=write.workflow_id,
        key=write.key,
        version=version,
        value=write.value,
        step_number=write.step_number,
        write_id=write.write_id,
    )


def is_giving_up(write: Write) -> bool:
    """Whether a write ends a run of which an earlier write was refused."""
    return isinstance(write, Release) or (isinstance(write, Finish) and write.is_set_aside)


def _cancellation(write: Write) -> Finish:
    return Finish(
        workflow_id=write.workflow_id, claim_number=write.claim_number, status=Status.CANCELLED
    )


def result_checkpoint(checkpoint: Checkpoint, target: FoundWorkflow | None) -> Checkpoint | None:
    """What waiting for another workflow's result gives, once that has one."""
    if target is None or target.status not in FINISHED or target.is_set_aside:
        return None
    match target.status:
        case Status.CANCELLED:
            return replace(checkpoint, state=State.AWAITED_CANCELLED)
        case Status.MAX_RECOVERY_ATTEMPTS_EXCEEDED:
            return replace(checkpoint, state=State.AWAITED_EXCEEDED)
    return replace(checkpoint, output=target.output, error=target.error)
