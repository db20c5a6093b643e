"""The decision of a batch: which rows its writes make, the same for both databases.

A store takes the fence, answers the batch's `Questions` with `Facts`, lets `decide` turn them
into a `Plan`, and writes the plan, all in one transaction. Nothing here waits or does I/O.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterable, Sequence
from dataclasses import replace

from django_dbos.core import winners
from django_dbos.core.batch.lookups import Facts, FoundCheckpoint, FoundWorkflow, StepKey
from django_dbos.core.batch.plan import Consumed, EndedWait, Entry, EventValue, Plan
from django_dbos.core.records import (
    DONE,
    Answer,
    Checkpoint,
    Continue,
    Finish,
    NewWorkflow,
    RecordEntry,
    RecordEvent,
    RecordRetry,
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
from django_dbos.core.status import ACTIVE, FINISHED, Status

# Waits for another workflow, which must exist.
OF_OTHERS = (WakeKind.EVENT, WakeKind.RESULT, WakeKind.STREAM)


def decide(writes: Iterable[Write], facts: Facts) -> Plan:
    """Decide each write in turn. Once a write of a claim fails, later ones fail with it."""
    return _Decision(facts).decide(writes)


class _Decision:
    def __init__(self, facts: Facts) -> None:
        self.facts = facts
        self.plan = Plan()
        self.stopped: dict[StepKey, Answer] = {}
        self.postponed: set[StepKey] = set()
        """Claims of which a write is left to the next batch, and with it all later ones."""

    def decide(self, writes: Iterable[Write]) -> Plan:
        for position, write in enumerate(writes):
            answer = self._fence(write, position) or self._answer(write)
            self.plan.answers.append(answer)
        return self.plan

    def _fence(self, write: Write, position: int) -> Answer | None:
        """Return the answer that refuses a write and all later ones of its claim, or None."""
        workflow_id = write.workflow_id
        if (workflow_id, write.claim_number) in self.postponed:
            return self._postpone(write)
        stopped = self.stopped.get((workflow_id, write.claim_number))
        if stopped is not None and not (stopped.refusal and is_giving_up(write)):
            return stopped
        held = self.facts.held.get(workflow_id)
        if held is not None and held[0] == write.claim_number:
            # Past the deadline a run may only give its claim back.
            return self._expire(write) if held[1] and not isinstance(write, Release) else None
        if held is not None or workflow_id in self.facts.lost:
            status = self.facts.lost.get(workflow_id)
            return self._stop(write, Answer(verdict=Verdict.CLAIM_LOST, status=status))
        self.plan.deferred.append(position)
        return DONE

    def _postpone(self, write: Write) -> Answer:
        """Leave a write to the next batch; the answer isn't given."""
        self.postponed.add((write.workflow_id, write.claim_number))
        self.plan.deferred.append(len(self.plan.answers))
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
            case RecordStep() if found:
                self._replace(write, write.checkpoint, ends_wait=write.ends_wait)
            case RecordStep():
                return self._record(write.checkpoint)
            case RecordRetry():
                self.plan.postponed.append((write.checkpoint, write.delay))
                return Answer(verdict=Verdict.WAITING, remaining=write.delay)
            case RecordWait() if write.wake.kind is WakeKind.STREAM:
                return self._wait_for_entry(write, found or None)
            case RecordWait():
                return self._refuse_missing(write, found or None) or self._wait(
                    write, found or None
                )
            case RecordSend():
                return self._send(write)
            case RecordStart():
                return self._start(write)
            case RecordEvent():
                return self._set_event(write)
            case RecordEntry():
                return self._append(write)
            case Finish() | Suspend() | Continue() | Release():
                return self._end(write)
        return DONE

    def _record(self, checkpoint: Checkpoint | None) -> Answer:
        if checkpoint is not None:
            self.plan.checkpoints.append((checkpoint, None))
        return DONE

    def _refuse_missing(self, write: RecordWait, begun: FoundCheckpoint | None) -> Answer | None:
        """Refuse a wait for a workflow that doesn't exist: it might never end.

        Of several things the others are still awaited if one's workflow is deleted meanwhile.
        """
        if not write.takes_outcome or (begun and write.wake.kind is WakeKind.ANY):
            return None
        facts = self.facts
        existing = (facts.workflows, facts.with_events, facts.held)
        for part in write.wake.parts:
            if part.kind in OF_OTHERS and not any(part.workflow_id in ids for ids in existing):
                refusal, subject = Refusal.NO_WORKFLOW, part.workflow_id
                return Answer(verdict=Verdict.REFUSED, refusal=refusal, subject=subject)
        return None

    def _wait(self, write: RecordWait, begun: FoundCheckpoint | None) -> Answer:
        outcome = self._find_outcome(write)
        if outcome is not None and not write.takes_outcome:
            return DONE
        remaining = begun.remaining if begun else write.timeout
        if outcome is None and remaining is not None and remaining <= 0:
            first = begun.checkpoint if begun else write.checkpoint
            # Of a wait for any of several things it names the timer that is up.
            outcome = replace(write.checkpoint, state=State.TIMED_OUT, output=first.output)
        if outcome is None:
            if not begun:
                waiting = replace(write.checkpoint, state=State.WAITING)
                self.plan.checkpoints.append((waiting, write.timeout))
            return Answer(verdict=Verdict.WAITING, remaining=remaining)
        if begun:
            self._replace(write, outcome, ends_wait=write.wake.kind is WakeKind.ANY)
        else:
            self.plan.checkpoints.append((outcome, None))
        return Answer(verdict=Verdict.FOUND, checkpoint=outcome)

    def _replace(self, write: Write, outcome: Checkpoint, *, ends_wait: bool) -> None:
        """Replace the checkpoint of a wait, or of failed attempts, by the outcome."""
        self.plan.outcomes.append(outcome)
        if ends_wait:
            self.plan.ended_waits.append(EndedWait(workflow_id=write.workflow_id))

    def _wait_for_entry(self, write: RecordWait, begun: FoundCheckpoint | None) -> Answer:
        """Record the beginning of a reader's wait for an offset; the reader reads the entry itself.

        A reader has one checkpoint: the new wait replaces the one before.
        """
        if self._has_entry(write.wake):
            return DONE
        remaining = write.timeout
        if begun and begun.checkpoint.output == write.checkpoint.output:
            remaining = begun.remaining
        else:
            self.plan.postponed.append((write.checkpoint, write.timeout))
        return Answer(verdict=Verdict.WAITING, remaining=remaining)

    def _has_entry(self, wake: Wake) -> bool:
        """Return whether a reader need not wait: the entry is there, or no more will come."""
        target = self.facts.workflows.get(wake.workflow_id)
        if target is None or target.status not in ACTIVE:
            return True
        offset, is_end = self.facts.tails.get((wake.workflow_id, wake.name), (-1, False))
        return is_end or offset >= (wake.offset or 0)

    def _find_outcome(self, write: RecordWait) -> Checkpoint | None:
        """Return the outcome of a wait, if there is one before the deadline."""
        wake, checkpoint = write.wake, write.checkpoint
        match wake.kind:
            case WakeKind.ANY:
                return self._find_winner(write)
            case WakeKind.MESSAGE:
                received = self._receive([wake], checkpoint)
                return received and replace(checkpoint, output=received[1])
            case WakeKind.EVENT:
                event = self.facts.events.get((wake.workflow_id, wake.name))
                return event and replace(checkpoint, output=event[0])
            case WakeKind.RESULT:
                return result_checkpoint(checkpoint, self.facts.workflows.get(wake.workflow_id))
        return None

    def _receive(self, wakes: Sequence[Wake], checkpoint: Checkpoint) -> tuple[Wake, str] | None:
        """Consume the oldest message of these topics; return its wake and its text."""
        queues = [
            (self.facts.messages[wake.workflow_id, wake.name], wake)
            for wake in wakes
            if self.facts.messages.get((wake.workflow_id, wake.name))
        ]
        if not queues:
            return None
        messages, wake = min(queues, key=lambda queue: queue[0][0][0])
        message_id, text = messages.popleft()
        self.plan.consumed.append(
            Consumed(message_id=message_id, step_number=checkpoint.step_number)
        )
        return wake, text

    def _find_winner(self, write: RecordWait) -> Checkpoint | None:
        """Return the outcome of the first of the alternatives that has one."""
        parts = itertools.groupby(write.wake.options, key=lambda part: part.position)
        for position, wakes in parts:
            if outcome := self._outcome_of(position, list(wakes), write.checkpoint):
                return outcome
        return None

    def _outcome_of(
        self, position: int, wakes: Sequence[Wake], checkpoint: Checkpoint
    ) -> Checkpoint | None:
        """Return the outcome of one alternative, if there is one."""
        (wake, *_), text = wakes, None
        match wake.kind:
            case WakeKind.MESSAGE:
                received = self._receive(wakes, checkpoint)
                if received is None:
                    return None
                wake, text = received
                return replace(checkpoint, output=winners.dump(position, text, wake.name))
            case WakeKind.EVENT:
                event = self.facts.events.get((wake.workflow_id, wake.name))
                return event and replace(checkpoint, output=winners.dump(position, event[0]))
            case WakeKind.RESULT:
                target = self.facts.workflows.get(wake.workflow_id)
                ended = result_checkpoint(checkpoint, target)
                return ended and replace(ended, output=winners.dump(position, ended.output))
            case WakeKind.STREAM if self._has_entry(wake):
                text = self.facts.entries.get((wake.workflow_id, wake.name, wake.offset or 0))
                return replace(checkpoint, output=winners.dump(position, text))
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
        """Start all workflows, or none; later writes of the batch find them."""
        for position, new in enumerate(write.workflows):
            taken = self._taken(new)
            if taken is not None:
                self._unnote(write.workflows[:position])
                return taken
            if new.debounce_key is not None:
                return self._debounce(write, new)
            holder_id = self._holder(new)
            if holder_id is not None and not self._may_replace(holder_id):
                return self._postpone(write)
            self._note(new)
        self.plan.workflows.extend((new, write.is_reserved) for new in write.workflows)
        return self._record(write.checkpoint)

    def _holder(self, new: NewWorkflow) -> str | None:
        """Return the workflow that holds a new one's deduplication id; None without an id."""
        if new.deduplication_id is None:
            return None
        holder = self.facts.deduplications.get((new.queue_name, new.deduplication_id))
        return None if holder is None else holder[0]

    def _may_replace(self, holder_id: str) -> bool:
        """Have a holder cancelled, first of all; return False if this batch starts or ends it."""
        held = self.facts.held.get(holder_id)
        has_end = held is not None and (holder_id, held[0]) in self.stopped
        if has_end or any(new.workflow_id == holder_id for new, _ in self.plan.workflows):
            return False
        self.plan.replaced.append(holder_id)
        if held is not None:
            cancelled = Answer(verdict=Verdict.CLAIM_LOST, status=Status.CANCELLED)
            self.stopped[holder_id, held[0]] = cancelled
        return True

    def _debounce(self, write: RecordStart, new: NewWorkflow) -> Answer:
        """Start a debounced child, or change the workflow that is delayed; record which one."""
        key = (new.name, str(new.debounce_key))
        delayed_id, _ = self.facts.debounced.get(key, (new.workflow_id, None))
        self.facts.debounced[key] = (delayed_id, new.user_id)
        self.plan.debounced.append((new, delayed_id))
        outcome = replace(
            write.checkpoint, output=json.dumps([delayed_id]), related_workflow_id=delayed_id
        )
        self._record(outcome)
        return Answer(verdict=Verdict.FOUND, checkpoint=outcome)

    def _note(self, new: NewWorkflow) -> None:
        self.facts.workflows[new.workflow_id] = FoundWorkflow(
            name=new.name,
            status=Status.ENQUEUED,
            is_quarantined=False,
            output=None,
            error=None,
            parent_id=new.parent_id,
            parent_step_number=new.parent_step_number,
            user_id=new.user_id,
        )
        if new.deduplication_id is not None:
            self.facts.deduplications[new.queue_name, new.deduplication_id] = (
                new.workflow_id,
                new.user_id,
            )

    def _unnote(self, workflows: Iterable[NewWorkflow]) -> None:
        for new in workflows:
            del self.facts.workflows[new.workflow_id]
            if new.deduplication_id is not None:
                del self.facts.deduplications[new.queue_name, new.deduplication_id]

    def _taken(self, new: NewWorkflow) -> Answer | None:
        """Return the refusal if a workflow's id or deduplication id is taken; else None."""
        existing = self.facts.workflows.get(new.workflow_id)
        if existing is not None:
            return Answer(
                verdict=Verdict.REFUSED,
                refusal=Refusal.ID_TAKEN,
                subject=new.workflow_id,
                existing_name=existing.name,
                existing_user_id=existing.user_id,
                is_own=(existing.name, existing.parent_id, existing.parent_step_number)
                == (new.name, new.parent_id, new.parent_step_number),
            )
        if new.debounce_key is not None:
            delayed = self.facts.debounced.get((new.name, new.debounce_key))
            is_others = delayed is not None and new.is_of_another_user(delayed[1])
            return _refused(new, Refusal.OTHER_USER, delayed) if delayed and is_others else None
        if new.deduplication_id is None:
            return None
        holder = self.facts.deduplications.get((new.queue_name, new.deduplication_id))
        if holder is None:
            return None
        if new.on_duplicate == "replace" and not new.is_of_another_user(holder[1]):
            return None
        return _refused(new, Refusal.DUPLICATE, holder)

    def _set_event(self, write: RecordEvent) -> Answer:
        if write.write_id in self.facts.written:
            return DONE
        key = (write.workflow_id, write.key)
        version = self.facts.events.get(key, ("", 0))[1] + 1
        self.facts.events[key] = (write.value, version)
        self.plan.event_values.append(EventValue.from_write(write, version))
        return self._record(write.checkpoint)

    def _append(self, write: RecordEntry) -> Answer:
        if write.write_id in self.facts.written:
            return DONE
        key = (write.workflow_id, write.key)
        offset, is_ended = self.facts.tails.get(key, (-1, False))
        if is_ended and write.value is None:
            return self._record(write.checkpoint)
        if is_ended:
            # No one waits for this answer: later writes in the queue don't depend on it.
            refusal = Refusal.STREAM_CLOSED
            answer = Answer(verdict=Verdict.REFUSED, refusal=refusal, subject=write.key)
            return self._stop(write, answer)
        self.facts.tails[key] = (offset + 1, write.value is None)
        # A wait that comes after it in the batch takes its value.
        self.facts.entries[*key, offset + 1] = write.value
        self.plan.entries.append(Entry.from_write(write, offset + 1))
        return self._record(write.checkpoint)

    def _end(self, write: Finish | Suspend | Continue | Release) -> Answer:
        match write:
            case Finish():
                self.plan.finished.append(write)
            case Suspend():
                self.plan.suspended.append(write)
            case Continue():
                self.plan.continued.append(write)
                self.plan.released.append(write.workflow_id)
            case Release():
                self.plan.released.append(write.workflow_id)
        self._stop(write, Answer(verdict=Verdict.CLAIM_LOST))
        return DONE


def _refused(new: NewWorkflow, refusal: Refusal, holder: tuple[str, str | None]) -> Answer:
    return Answer(
        verdict=Verdict.REFUSED,
        refusal=refusal,
        subject=new.workflow_id,
        existing_id=holder[0],
        existing_user_id=holder[1],
    )


def is_giving_up(write: Write) -> bool:
    """Return whether a write ends a run after one of its writes was refused."""
    return isinstance(write, Release) or (isinstance(write, Finish) and write.is_quarantined)


def _cancellation(write: Write) -> Finish:
    return Finish(
        workflow_id=write.workflow_id, claim_number=write.claim_number, status=Status.CANCELLED
    )


def result_checkpoint(checkpoint: Checkpoint, target: FoundWorkflow | None) -> Checkpoint | None:
    """Return the outcome of a wait for another workflow's result; None while it has none."""
    if target is None or target.status not in FINISHED or target.is_quarantined:
        return None
    match target.status:
        case Status.CANCELLED:
            return replace(checkpoint, state=State.AWAITED_CANCELLED)
        case Status.MAX_RECOVERY_ATTEMPTS_EXCEEDED:
            return replace(checkpoint, state=State.AWAITED_EXCEEDED)
    return replace(checkpoint, output=target.output, error=target.error)
