"""The records that cross layers: claims, writes of runs, and the answers to these."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from dataclasses import field, replace
from datetime import datetime, timedelta
from enum import IntEnum, StrEnum
from typing import Any, NamedTuple

from django_dbos.core.durations import seconds_to
from django_dbos.core.frozen import dataclass
from django_dbos.core.ids import new_uuid
from django_dbos.core.status import Status


class Lane(NamedTuple):
    """A queue and a priority in it, which executors claim in the order of its positions.

    Without a priority it is the whole queue: one whose workflows have partition keys, or that has
    limits.
    """

    queue_name: str
    priority: int | None


DUE_PREFIX = "due:"


class State(IntEnum):
    """The state of a checkpoint. Only WAITING may change."""

    RECORDED = 0
    WAITING = 1
    TIMED_OUT = 2
    AWAITED_CANCELLED = 3
    AWAITED_EXCEEDED = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """The right of an executor to run a workflow, with the data that the run begins with."""

    workflow_id: str
    claim_number: int
    name: str
    input: str
    token: uuid.UUID
    version: str | None = None
    """The version of the function; None if that has no versions."""
    queue_name: str = ""
    place: int = 0
    """The place in the queue's limits: 1 while the workflow runs, 2 until it ends, 0 for none.

    A run whose place is lent has it in its claim all the same."""
    user_id: str | None = None
    traceparent: str | None = None
    """The W3C trace context of who started the workflow."""
    recovery_attempts: int = 0
    steps_before: int = 0
    """The last step number of the workflow's past runs."""
    remaining: float | None = None
    """Seconds to the deadline, by the database's clock, when the claim was made."""
    has_history: bool = False
    """True if an earlier claim may have left checkpoints."""
    scheduled_at: datetime | None = None
    """The instant of the schedule that has started it."""

    @property
    def ending_frees(self) -> str | None:
        """The queue that has a free place once the workflow ends; None if it holds none."""
        return self.queue_name if self.place else None

    @property
    def waiting_frees(self) -> str | None:
        """The queue that has a free place while the workflow waits; None if that frees none."""
        return self.queue_name if self.place == 1 else None


@dataclass(frozen=True, slots=True, kw_only=True)
class ExecutorInfo:
    """The row by which an executor registers itself."""

    executor_id: str
    hostname: str
    pid: int
    is_inline: bool
    queue_names: str | None
    concurrency: int
    lock_key: int
    lease: float
    workflow_names: str | None = None
    """The names of the workflow functions that it knows, as JSON; None if they aren't recorded."""
    versions: str | None = None
    """The versions of what it runs, by name, as JSON."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Checkpoint:
    """The recorded outcome of a step: `output` or `error` as serialized text."""

    workflow_id: str
    step_number: int
    step_name: str
    record_order: int
    claim_number: int
    state: State = State.RECORDED
    fingerprint: str | None = None
    output: str | None = None
    error: str | None = None
    related_workflow_id: str | None = None
    attempts: int = 1
    attempt_errors: str | None = None
    """The errors of the failed attempts, as JSON, once there was more than one attempt."""
    duration: float = 0.0
    """Seconds that the step took; `started_at` is computed from them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NewWorkflow:
    """A workflow to be enqueued."""

    workflow_id: str
    name: str
    input: str
    queue_name: str
    version: str | None = None
    """The version of the function that is to run it: see `core.registry`."""
    priority: int = 0
    delay: float | None = None
    """Seconds from now; `run_at` is the absolute form. Without both the workflow is due at once."""
    run_at: datetime | None = None
    timeout: timedelta | None = None
    inherits_deadline: bool = True
    """True if a child without a timeout of its own has its parent's deadline."""
    partition_key: str = ""
    deduplication_id: str | None = None
    unique_for: timedelta | None = None
    """The time from now on in which its deduplication id stays taken, also after it has ended."""
    debounce_key: str | None = None
    """With it, a call while an earlier one is delayed changes that one: `delay` begins again."""
    max_delay: float | None = None
    """With a debounce key: the seconds after the first call within which the workflow is due."""
    user_id: str | None = None
    attributes: str | None = None
    traceparent: str | None = None
    """The W3C trace context of who starts it."""
    max_recovery_attempts: int | None = None
    parent_id: str | None = None
    parent_step_number: int | None = None
    schedule_name: str | None = None
    scheduled_at: datetime | None = None
    """The schedule that starts it, and the instant of the schedule."""
    token: uuid.UUID = field(default_factory=new_uuid)
    on_existing: str = "return"
    on_duplicate: str = "return"
    """The effect of a taken id or deduplication id: "return" the existing workflow, or "reject";
    of a deduplication id also "replace"."""
    after: str | None = None
    """A workflow that must have ended before: until then this one waits for its result."""

    def repeated(self, ids: Sequence[str], inputs: Sequence[str]) -> list[NewWorkflow]:
        """Return workflows like this one with these ids and inputs."""
        return [
            replace(self, workflow_id=workflow_id, input=text, token=new_uuid())
            for workflow_id, text in zip(ids, inputs, strict=True)
        ]

    def is_of_another_user(self, existing_user_id: str | None) -> bool:
        """Return whether this workflow's user and an existing one's are known, and differ."""
        known = self.user_id is not None and existing_user_id is not None
        return known and self.user_id != existing_user_id

    @property
    def is_due(self) -> bool:
        """True if the workflow may run at once."""
        return self.delay is None and self.run_at is None

    @property
    def due_in(self) -> float | None:
        """Seconds until the workflow may run, by this process's clock; None for at once."""
        due = self.delay if self.run_at is None else self.run_at
        return None if due is None else seconds_to(due)

    @property
    def lane(self) -> Lane:
        """The lane that the workflow is enqueued in."""
        return Lane(self.queue_name, None if self.partition_key else self.priority)


@dataclass(frozen=True, slots=True, kw_only=True)
class Fork:
    """A new workflow to be made with the history of another one before a step."""

    source_id: str
    from_step: int | None
    """The first step that runs again; None means the one that failed."""
    new: NewWorkflow
    given: frozenset[str] = frozenset()
    """The fields of `new` that count; most others are the original's."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NewMessage:
    """A message to be stored."""

    workflow_id: str
    topic: str
    message: str
    idempotency_key: str | None = None
    sender_id: str | None = None


FORM_TOPIC = "dbos.form:"
"""The beginning of the topics on which forms are answered; the form's name and a secret follow."""


def form_of_topic(topic: str) -> str:
    """Return the name of the form that is answered on a topic; "" for other topics."""
    return topic.split(":")[1] if topic.startswith(FORM_TOPIC) else ""


@dataclass(frozen=True, slots=True, kw_only=True)
class NewInquiry:
    """A form or a callback that a workflow asks for; without a topic it gets one of its own."""

    kind: str
    step_number: int
    position: int = 0
    """The position among several forms of one step."""
    topic: str = ""
    timeout: float | None = None
    """Seconds from now until it can't be answered any more."""
    form_name: str = ""
    title: str = ""
    description: str = ""
    initial: str | None = None
    """The serialized initial values of the form."""
    audience: dict[str, Any] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """The row of a form or a callback."""

    inquiry_id: int
    topic: str
    secret: uuid.UUID
    age: float
    """The seconds since it was asked for, by the database's clock."""


MAX_DESCRIPTION = 255
"""The characters of a description of a wait."""


KEYS = "dbos:keys"
"""The target, in the index of waits, of workflows whose values are encrypted with a missing key."""


class WakeKind(StrEnum):
    """The kinds of waits. All but the first three wait for something besides the time."""

    SLEEP = "sleep"
    RETRY = "retry"
    RETRY_AFTER = "retryafter"
    """A step was told to try again later; the wait's name is the number of seconds."""
    MESSAGE = "message"
    EVENT = "event"
    RESULT = "result"
    STREAM = "stream"
    KEY = "key"
    """A value is encrypted with a key that its last worker doesn't have; the name is the key's."""
    ANY = "any"
    FAILURES = "failures"


@dataclass(frozen=True, slots=True, kw_only=True)
class Wake:
    """The object of a wait: a kind, the workflow that will have it, and a topic or key."""

    kind: WakeKind
    workflow_id: str = ""
    name: str = ""
    offset: int | None = None
    """The stream offset that a reader waits for; of FAILURES, how many are tolerated."""
    options: tuple[Wake, ...] = ()
    """The things any one of which ends a wait for ANY."""
    position: int = 0
    """The position of such a thing among the alternatives of the wait. Messages on several topics
    may be one alternative."""

    @classmethod
    def of_any(cls, workflow_id: str, options: Sequence[Wake], description: str) -> Wake:
        """Return the wait of a workflow for any of these things, with a text for people."""
        name = description[:MAX_DESCRIPTION]
        return cls(kind=WakeKind.ANY, workflow_id=workflow_id, name=name, options=tuple(options))

    @classmethod
    def of_message(cls, workflow_id: str, topic: str) -> Wake:
        """Return the wait for a message to a workflow."""
        return cls(kind=WakeKind.MESSAGE, workflow_id=workflow_id, name=topic)

    @classmethod
    def of_key(cls, key_id: str) -> Wake:
        """Return the wait for a worker that has a key of DBOS["ENCRYPTION"]."""
        return cls(kind=WakeKind.KEY, workflow_id=KEYS, name=key_id)

    @classmethod
    def of_failures(cls, parent_id: str, step_number: int, tolerated: int) -> Wake:
        """Return the wait until more children of a step have failed than are tolerated."""
        return cls(
            kind=WakeKind.FAILURES, workflow_id=parent_id, name=str(step_number), offset=tolerated
        )

    @classmethod
    def of_failure(cls, workflow_id: str) -> Wake:
        """Return the news that a workflow has failed, for waits for failures of its parent."""
        return cls(kind=WakeKind.FAILURES, workflow_id=workflow_id)

    @classmethod
    def of_event(cls, workflow_id: str, key: str) -> Wake:
        """Return the wait for an event of a workflow. Only watchers give no key, for any event."""
        return cls(kind=WakeKind.EVENT, workflow_id=workflow_id, name=key)

    @classmethod
    def of_result(cls, workflow_id: str) -> Wake:
        """Return the wait for the end of a workflow, and with it of all its streams."""
        return cls(kind=WakeKind.RESULT, workflow_id=workflow_id)

    @classmethod
    def of_stream(cls, workflow_id: str, key: str, offset: int | None = None) -> Wake:
        """Return the wait for an entry of a workflow's stream, at this offset or later."""
        return cls(kind=WakeKind.STREAM, workflow_id=workflow_id, name=key, offset=offset)

    @classmethod
    def of_streams(cls, workflow_id: str) -> Wake:
        """Return the wait for the end of all streams by the workflow's quarantine."""
        return cls(kind=WakeKind.STREAM, workflow_id=workflow_id)

    @property
    def parts(self) -> tuple[Wake, ...]:
        """The single things that are awaited."""
        return self.options if self.kind is WakeKind.ANY else (self,)

    @property
    def key(self) -> str:
        """The text by which waiters are notified."""
        return f"{self.kind}:{self.workflow_id}:{self.name}"

    @property
    def keys(self) -> tuple[str, ...]:
        """The keys that notify waiters: an event also notifies the waiters for any event.

        The end of all streams has none: in memory, readers watch for the workflow's result. Nor
        has a failure: who waits in memory polls.
        """
        if self.kind is WakeKind.EVENT and self.name:
            return (self.key, f"{self.kind}:{self.workflow_id}:")
        if self.kind in (WakeKind.FAILURES, WakeKind.KEY) or self._ends_streams:
            return ()
        return (self.key,)

    @property
    def is_end(self) -> bool:
        """True if it is the end of a workflow, or of all its streams."""
        return self.kind is WakeKind.RESULT or self._ends_streams

    @property
    def _ends_streams(self) -> bool:
        return self.kind is WakeKind.STREAM and not self.name


def run_key(workflow_id: str) -> str:
    """Return the text by which the executor of a workflow is notified of its cancellation."""
    return f"run:{workflow_id}"


def cancelled_key(workflow_id: str) -> str:
    """Return the text by which executors learn of a cancellation in a transaction of a client.

    They wake the workflows that wait for its end: nobody else comes after that commit.
    """
    return f"cancelled:{workflow_id}"


def due_key(seconds: float) -> str:
    """Return the text by which executors learn that a workflow is due in this many seconds."""
    return f"{DUE_PREFIX}{max(seconds, 0.0):.6f}"


def executor_key(executor_id: str) -> str:
    """Return the text by which an executor is notified of a request to drain."""
    return f"executor:{executor_id}"


def place_key(queue_name: str) -> str:
    """Return the text by which runs of this process that want places back follow one another."""
    return f"place:{queue_name}"


def queue_key(queue_name: str) -> str:
    """Return the text by which callers in this process wait for a place in a queue's limits.

    By the same text executors learn that the queue has other limits.
    """
    return f"queue:{queue_name}"


# The writes that runs submit to the group commit. Each carries its claim and gets an answer.


@dataclass(frozen=True, slots=True, kw_only=True)
class Write:
    """A fenced write of a run. This base class writes nothing and only checks the claim."""

    workflow_id: str
    claim_number: int
    size: int = 0
    """The approximate size in bytes, since batches are limited in bytes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordStep(Write):
    """Record the outcome of a step."""

    checkpoint: Checkpoint
    ends_wait: bool = False
    """True if the outcome ends a wait for any of several things."""

    @property
    def returning_key(self) -> tuple[str, int]:
        """The columns by which the fast path's statement returns this write."""
        return (self.workflow_id, self.checkpoint.step_number)


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordRetry(Write):
    """Record that attempts at a step failed, and the seconds until the next one may begin."""

    checkpoint: Checkpoint
    delay: float


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordSend(Write):
    """Store messages, and the checkpoint of the sending step."""

    checkpoint: Checkpoint
    messages: tuple[NewMessage, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordStart(Write):
    """Enqueue children, and record the checkpoint of the starting step."""

    checkpoint: Checkpoint
    workflows: tuple[NewWorkflow, ...]
    is_reserved: bool = False
    """True if this executor has reserved a slot for the child, which it then claims at once."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordEvent(Write):
    """Set an event; the checkpoint is None inside a step."""

    checkpoint: Checkpoint | None
    key: str
    value: str
    step_number: int
    write_id: uuid.UUID = field(default_factory=new_uuid)

    @property
    def returning_key(self) -> tuple[str, uuid.UUID]:
        """The columns by which the fast path's statement returns this write."""
        return (self.workflow_id, self.write_id)


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordEntry(Write):
    """Append to a stream, or end it (`value` None); the checkpoint is None inside a step."""

    checkpoint: Checkpoint | None
    key: str
    value: str | None
    step_number: int
    write_id: uuid.UUID = field(default_factory=new_uuid)

    @property
    def returning_key(self) -> tuple[str, uuid.UUID]:
        """The columns by which the fast path's statement returns this write."""
        return (self.workflow_id, self.write_id)


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordWait(Write):
    """Record the outcome of a finished wait, or the deadline of an unfinished one."""

    checkpoint: Checkpoint
    wake: Wake
    timeout: float | None
    is_expected: bool = False
    """True if the outcome is likely to be there: it was notified, or the run was woken by it."""
    takes_outcome: bool = True
    """True if the awaited thing is the outcome. Otherwise the run reads on once it is there, and
    only the deadline, or the timeout, is recorded."""

    @property
    def returning_key(self) -> tuple[str, int]:
        """The columns by which the fast path's statement returns this write."""
        return (self.workflow_id, self.checkpoint.step_number)


@dataclass(frozen=True, slots=True, kw_only=True)
class Finish(Write):
    """End the workflow with its outcome, or quarantine it."""

    status: Status
    output: str | None = None
    error: str | None = None
    is_quarantined: bool = False
    queue_name: str | None = None
    """The queue in which this frees a place; None if the claim holds none."""

    @property
    def returning_key(self) -> tuple[str, int]:
        """The columns by which the fast path's statement returns this write."""
        return (self.workflow_id, self.claim_number)


@dataclass(frozen=True, slots=True, kw_only=True)
class Suspend(Write):
    """Give up the claim until the wait has an outcome or its deadline passes."""

    wake: Wake
    step_number: int
    """The step whose checkpoint has the deadline; none, for a wait for a key."""
    remaining: float | None = None
    """Seconds until the wait's deadline, when the run last polled."""
    queue_name: str | None = None
    """The queue in which this frees a place; None if the claim holds none, or keeps it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Release(Write):
    """Give the claim back to the queue, uncounted."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Continue(Write):
    """End this run of the workflow, delete its history, and enqueue the next run."""

    input: str
    """The arguments of the next run."""
    version: str | None
    """The version of the function that the next run has: the current one."""
    steps_before: int
    """The last step number of this run: those of the next run follow it."""


class Verdict(StrEnum):
    """The result of a write."""

    DONE = "done"
    FOUND = "found"
    """This position had a checkpoint already: `Answer.checkpoint`."""
    WAITING = "waiting"
    """The wait has no outcome yet; `Answer.remaining` seconds are left (None: no limit)."""
    CLAIM_LOST = "claim lost"
    PAST_DEADLINE = "past deadline"
    REFUSED = "refused"
    """The write itself is at fault, for the reason in `Answer.refusal`."""


class Refusal(StrEnum):
    """The fault of a refused write, of which nothing was written."""

    NO_RECEIVER = "no receiver"
    NO_WORKFLOW = "no workflow"
    """The awaited thing is a part of a workflow that doesn't exist."""
    ID_TAKEN = "id taken"
    DUPLICATE = "duplicate"
    OTHER_USER = "other user"
    STREAM_CLOSED = "stream closed"
    DATABASE = "database"


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """The answer to a write, for the run that submitted it."""

    verdict: Verdict
    checkpoint: Checkpoint | None = None
    remaining: float | None = None
    refusal: Refusal | None = None
    subject: str = ""
    """The subject of the refusal: an id, a key, or the database's message."""
    existing_id: str = ""
    """With DUPLICATE: the workflow that holds the deduplication id; with OTHER_USER: that of the
    debounce key."""
    existing_name: str = ""
    existing_user_id: str | None = None
    is_own: bool = False
    """With ID_TAKEN: whether the row is the child that was to be started."""
    status: Status | None = None
    """With CLAIM_LOST: the workflow's current status; None when the row is gone."""


DONE = Answer(verdict=Verdict.DONE)
