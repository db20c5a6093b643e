"""The data that crosses layers: what is claimed, what is to be written, what came of it."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from dataclasses import field, replace
from datetime import datetime, timedelta
from enum import IntEnum, StrEnum

from django_dbos.core.frozen import dataclass
from django_dbos.core.ids import new_uuid
from django_dbos.core.status import Status

Lane = tuple[str, int]
"""A queue and a priority: where an executor claims from, in order."""


class State(IntEnum):
    """What a checkpoint says of its step. WAITING is the only one that may change."""

    RECORDED = 0
    WAITING = 1
    TIMED_OUT = 2
    AWAITED_CANCELLED = 3
    AWAITED_EXCEEDED = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """The right of one executor to run one workflow, and what it needs to begin."""

    workflow_id: str
    claim_number: int
    name: str
    input: str
    token: uuid.UUID
    user_id: str | None = None
    recovery_attempts: int = 0
    remaining: float | None = None
    """Seconds to the deadline, by the database's clock, when the claim was made."""
    has_history: bool = False
    """Whether an earlier claim may have left checkpoints."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ExecutorInfo:
    """An executor as it registers itself."""

    executor_id: str
    hostname: str
    pid: int
    is_inline: bool
    queue_names: str | None
    concurrency: int
    lock_key: int
    lease: float
    workflow_names: str | None = None
    """The names of the workflow functions that it knows, as JSON; None where they aren't told."""


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
    """What the attempts failed with, as JSON, once there was more than one."""
    duration: float = 0.0
    """Seconds that the step took, from which `started_at` is computed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NewWorkflow:
    """A workflow to be enqueued."""

    workflow_id: str
    name: str
    input: str
    queue_name: str
    priority: int = 0
    delay: float | None = None
    """Seconds from now; `run_at` is the absolute form. Neither: at once."""
    run_at: datetime | None = None
    timeout: timedelta | None = None
    inherits_deadline: bool = True
    """Whether a child without a timeout of its own has its parent's deadline."""
    deduplication_id: str | None = None
    user_id: str | None = None
    attributes: str | None = None
    max_recovery_attempts: int | None = None
    parent_id: str | None = None
    parent_step_number: int | None = None
    token: uuid.UUID = field(default_factory=new_uuid)
    on_existing: str = "return"
    on_duplicate: str = "return"
    """What becomes of the start when the id, or the deduplication id, is taken: "return" or
    "reject"."""

    def repeated(self, ids: Sequence[str], inputs: Sequence[str]) -> list[NewWorkflow]:
        """Workflows like this one, but with these ids and inputs."""
        return [
            replace(self, workflow_id=workflow_id, input=text, token=new_uuid())
            for workflow_id, text in zip(ids, inputs, strict=True)
        ]

    def is_of_another_user(self, existing_user_id: str | None) -> bool:
        """Whether an existing workflow's user and this one's are known, and differ."""
        known = self.user_id is not None and existing_user_id is not None
        return known and self.user_id != existing_user_id

    @property
    def is_due(self) -> bool:
        """Whether it is to run at once."""
        return self.delay is None and self.run_at is None


@dataclass(frozen=True, slots=True, kw_only=True)
class NewMessage:
    """A message to be stored."""

    workflow_id: str
    topic: str
    message: str
    idempotency_key: str | None = None
    sender_id: str | None = None


class WakeKind(StrEnum):
    """What a waiting workflow waits for besides the time."""

    SLEEP = "sleep"
    RETRY = "retry"
    MESSAGE = "message"
    EVENT = "event"
    RESULT = "result"
    STREAM = "stream"


@dataclass(frozen=True, slots=True, kw_only=True)
class Wake:
    """What a wait looks for: a kind, the workflow that will have it, and a topic or key."""

    kind: WakeKind
    workflow_id: str = ""
    name: str = ""
    offset: int | None = None
    """The stream offset that a reader waits for."""

    @classmethod
    def of_message(cls, workflow_id: str, topic: str) -> Wake:
        """A message to a workflow, of a topic."""
        return cls(kind=WakeKind.MESSAGE, workflow_id=workflow_id, name=topic)

    @classmethod
    def of_event(cls, workflow_id: str, key: str) -> Wake:
        """An event of a workflow; with no key any of them, which only watchers ask for."""
        return cls(kind=WakeKind.EVENT, workflow_id=workflow_id, name=key)

    @classmethod
    def of_result(cls, workflow_id: str) -> Wake:
        """How a workflow ended, and with it all its streams."""
        return cls(kind=WakeKind.RESULT, workflow_id=workflow_id)

    @classmethod
    def of_stream(cls, workflow_id: str, key: str, offset: int | None = None) -> Wake:
        """An entry of a workflow's stream, at this offset or later."""
        return cls(kind=WakeKind.STREAM, workflow_id=workflow_id, name=key, offset=offset)

    @classmethod
    def of_streams(cls, workflow_id: str) -> Wake:
        """The end of all streams of a workflow that has no result yet: its quarantine."""
        return cls(kind=WakeKind.STREAM, workflow_id=workflow_id)

    @property
    def key(self) -> str:
        """The text under which waiters of this are notified."""
        return f"{self.kind}:{self.workflow_id}:{self.name}"

    @property
    def keys(self) -> tuple[str, ...]:
        """All that is notified of it: for an event also what waits for any of its workflow's.

        The end of all streams has none: in memory readers watch for the workflow's result.
        """
        if self.kind is WakeKind.EVENT and self.name:
            return (self.key, f"{self.kind}:{self.workflow_id}:")
        if self.kind is WakeKind.STREAM and not self.name:
            return ()
        return (self.key,)


def run_key(workflow_id: str) -> str:
    """The text under which the executor that runs a workflow hears of its cancellation."""
    return f"run:{workflow_id}"


# What a run asks of the writer. Every write carries its claim, and has an answer.


@dataclass(frozen=True, slots=True, kw_only=True)
class Write:
    """One fenced write of a run: nothing but a look at the claim, in this plainest form."""

    workflow_id: str
    claim_number: int
    size: int = 0
    """Roughly how many bytes it carries, since batches are limited in bytes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordStep(Write):
    """Record what a step returned or raised."""

    checkpoint: Checkpoint

    @property
    def place(self) -> tuple[str, int]:
        """What the statement that records it returns."""
        return (self.workflow_id, self.checkpoint.step_number)


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordRetry(Write):
    """Record that attempts at a step failed, and in how many seconds the next may begin."""

    checkpoint: Checkpoint
    delay: float


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordSend(Write):
    """Store messages; with the sending step's checkpoint."""

    checkpoint: Checkpoint
    messages: tuple[NewMessage, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordStart(Write):
    """Enqueue children; with the starting step's checkpoint."""

    checkpoint: Checkpoint
    workflows: tuple[NewWorkflow, ...]
    is_reserved: bool = False
    """Whether this executor has a free slot for the child, which is then claimed at once."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordEvent(Write):
    """Set an event; the checkpoint is None inside a step."""

    checkpoint: Checkpoint | None
    key: str
    value: str
    step_number: int
    write_id: uuid.UUID = field(default_factory=new_uuid)

    @property
    def place(self) -> tuple[str, uuid.UUID]:
        """What the statement that sets it returns first."""
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
    def place(self) -> tuple[str, uuid.UUID]:
        """What the statement that writes it returns first."""
        return (self.workflow_id, self.write_id)


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordWait(Write):
    """Look for what is awaited: record it when it's there or too late, else the deadline."""

    checkpoint: Checkpoint
    wake: Wake
    timeout: float | None
    is_expected: bool = False
    """Whether it is likely to be there: somebody said so, or this run was woken for it."""

    @property
    def place(self) -> tuple[str, int]:
        """What the statement that records it returns first."""
        return (self.workflow_id, self.checkpoint.step_number)


@dataclass(frozen=True, slots=True, kw_only=True)
class Finish(Write):
    """End the workflow with its result, or set it aside by the engine."""

    status: Status
    output: str | None = None
    error: str | None = None
    is_quarantined: bool = False

    @property
    def place(self) -> tuple[str, int]:
        """What the statement that ends it returns."""
        return (self.workflow_id, self.claim_number)


@dataclass(frozen=True, slots=True, kw_only=True)
class Suspend(Write):
    """Give the claim up until what is awaited is there, or the wait's deadline comes."""

    wake: Wake
    step_number: int
    remaining: float | None = None
    """Seconds until the wait's deadline, when the run last looked."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Release(Write):
    """Give the claim back to the queue, uncounted."""


class Verdict(StrEnum):
    """What came of a write."""

    DONE = "done"
    FOUND = "found"
    """There was a checkpoint at this position already: `Answer.checkpoint`."""
    WAITING = "waiting"
    """What is awaited isn't there: `Answer.remaining` seconds are left (None: for ever)."""
    CLAIM_LOST = "claim lost"
    PAST_DEADLINE = "past deadline"
    REFUSED = "refused"
    """The write itself was at fault: `Answer.refusal`."""


class Refusal(StrEnum):
    """Why a write was refused, by its own fault; nothing of it was written."""

    NO_RECEIVER = "no receiver"
    ID_TAKEN = "id taken"
    DUPLICATE = "duplicate"
    STREAM_CLOSED = "stream closed"
    DATABASE = "database"


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What came of a write, for the run that asked."""

    verdict: Verdict
    checkpoint: Checkpoint | None = None
    remaining: float | None = None
    refusal: Refusal | None = None
    subject: str = ""
    """What the refusal is about: an id, a key, or the database's message."""
    existing_id: str = ""
    """With DUPLICATE: the workflow that holds the deduplication id."""
    existing_name: str = ""
    existing_user_id: str | None = None
    is_own: bool = False
    """With ID_TAKEN: whether the row is the very child that was to be started."""
    status: Status | None = None
    """With CLAIM_LOST: the workflow's status now; None when it is gone."""


DONE = Answer(verdict=Verdict.DONE)
