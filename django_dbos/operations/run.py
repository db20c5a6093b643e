"""A run, which is one attempt at one workflow: its state, and what operations are made of.

An operation takes a position (`begin`) and writes what it came to (`submit`, `post`), or returns
what an earlier run recorded there. `running` calls the workflow function; `ending` has it written
how that ended.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar

from asgiref.sync import SyncToAsync, async_to_sync

from django_dbos import serializers
from django_dbos.core.batch.lookups import FoundCheckpoint
from django_dbos.core.history import History
from django_dbos.core.records import (
    Answer,
    Checkpoint,
    Claim,
    RecordStep,
    Refusal,
    Verdict,
    Wake,
    Write,
    run_key,
)
from django_dbos.core.registry import WorkflowDefinition
from django_dbos.core.status import Status
from django_dbos.exceptions import DbosError, NondeterminismError, SerializationError
from django_dbos.interruptions import (
    ClaimLost,
    HandedOver,
    HistoryUnusable,
    RunCancelled,
    RunInterrupted,
    Suspended,
)
from django_dbos.operations import limits, reads
from django_dbos.operations.runtime import Host

if TYPE_CHECKING:
    from django_dbos.operations.ordering import Branches
    from django_dbos.store.group_commit import Writer

T = TypeVar("T")
W = TypeVar("W", bound=Write)

MAX_NAME_LENGTH = 255


class Call:
    """One operation of a run: its position, and what was recorded there."""

    __slots__ = ("fingerprint", "found", "run", "step_name", "step_number")

    def __init__(
        self,
        run: Run,
        step_number: int,
        step_name: str,
        found: Checkpoint | None,
        fingerprint: str | None = None,
    ) -> None:
        self.run = run
        self.step_number = step_number
        self.step_name = step_name
        self.found = found
        self.fingerprint = fingerprint

    def checkpoint(
        self,
        *,
        output: str | None = None,
        error: str | None = None,
        related_workflow_id: str | None = None,
        attempts: int = 1,
        attempt_errors: str | None = None,
        duration: float = 0.0,
    ) -> Checkpoint:
        """An outcome for this position, the next in the order of outcomes."""
        return Checkpoint(
            workflow_id=self.run.workflow_id,
            step_number=self.step_number,
            step_name=self.step_name,
            record_order=self.run.history.next_record_order(),
            claim_number=self.run.claim.claim_number,
            fingerprint=self.fingerprint,
            output=output,
            error=error,
            related_workflow_id=related_workflow_id,
            attempts=attempts,
            attempt_errors=attempt_errors,
            duration=duration,
        )

    @property
    def has_waited(self) -> bool:
        """Whether an earlier run was suspended in this very wait."""
        return self.wait is not None

    @property
    def wait(self) -> Checkpoint | None:
        """What says until when an earlier run has waited here."""
        return self.run.history.wait_at(self.step_number)

    @property
    def remaining(self) -> float:
        """How many seconds of that are left."""
        return self.run.waits_until.get(self.step_number, 0.0) - time.monotonic()

    def refuse_other(self, recorded: str, called: str) -> NoReturn:
        """End the run: an earlier one did something else here."""
        error = NondeterminismError(self.run.workflow_id, self.step_number, recorded, called)
        self.run.stop(HistoryUnusable(error))

    @property
    def what(self) -> str:
        """This operation, for error messages."""
        return f"step {self.step_number} ({self.step_name!r}) of workflow {self.run.workflow_id!r}"


class Run:
    """One attempt at one workflow, made under a claim."""

    def __init__(
        self,
        claim: Claim,
        definition: WorkflowDefinition,
        host: Host[Run],
        *,
        checkpoints: Sequence[FoundCheckpoint] = (),
        ended_streams: set[str] | frozenset[str] = frozenset(),
    ) -> None:
        self.claim = claim
        self.workflow_id = claim.workflow_id
        self.definition = definition
        self.host = host
        self.history = History(claim.workflow_id, (found.checkpoint for found in checkpoints))
        now = time.monotonic()
        self.waits_until = {
            found.checkpoint.step_number: now + found.remaining
            for found in checkpoints
            if found.remaining is not None
        }
        """The ends of waits that earlier runs began, on the monotonic clock."""
        self.ended_streams = set(ended_streams)
        self.is_under_way = True
        """False once the function has ended, and only the end is to be written."""
        self.began = 0.0
        """When, by the clock of `time.perf_counter()`."""

        self.loop: asyncio.AbstractEventLoop | None = None
        self.branches: Branches | None = None
        self.task: asyncio.Task[Any] | None = None
        self.waiting_branches = 0
        """How many wait without being suspended: meanwhile the run's slot is lent."""
        self.sync_steps = 0
        """How many steps are on an async run's thread for what is sync, or wait for it."""
        self.thread_id = 0
        """Where its function runs: the thread, and of an async one the loop and the task."""

        self.interruption: RunInterrupted | None = None
        """What ends the run, unless its function comes to its end first."""
        self.is_unwinding = False
        """Whether that was raised in the function."""
        self.suspension: dict[str, Any] = {}
        """What a run that is suspended waits for."""

        self.value: Any = None
        self.error: BaseException | None = None
        """What the function returned or raised, for who called it inline."""
        self.ended_as = ""
        """The status that the run left the workflow in; "" while it runs or when it lost it."""
        self.is_past_deadline = False
        """Whether one of its writes found that the workflow's deadline had passed."""
        self.is_quarantined = False
        """Whether the engine ended it, to be resumed after a fix."""
        self.ends_later = False
        """Whether its end was left to the writer: the run is over before that is written."""

        self.last_doubt: object = None
        """Changes whenever somebody says that the claim may be gone."""
        self._settled_doubt: object = None
        self.messages_sent = self.events_set = 0
        """What it has counted; those that it finds in its history too."""
        self._failed_post: Answer | None = None
        self._has_posted = False
        self._left: deque[tuple[Call, str]] = deque()

    @property
    def log_fields(self) -> dict[str, object]:
        """What every log record about the run carries."""
        return {"workflow_id": self.workflow_id, "workflow_name": self.definition.name}

    # What ends it

    def interrupt(self, reason: RunInterrupted) -> None:
        """Have the run end: from any thread, at its next durable operation, or in its wait.

        `ClaimLost` and `RunCancelled` cancel async code at once; `HandedOver` lets the step in
        progress finish and be recorded, then gives the claim back, uncounted.
        """
        if self.interruption is None or isinstance(self.interruption, HandedOver):
            self.interruption = reason
        self.host.store.wakeups.notify([run_key(self.workflow_id)])
        if self.loop is not None and not isinstance(reason, HandedOver):
            self.loop.call_soon_threadsafe(self._cancel_task)

    def doubt(self) -> None:
        """The claim may be gone: no step begins before the database was asked. From any thread."""
        self.last_doubt = object()

    def settle(self, doubt: object) -> None:
        """The claim was held when the database was asked after this doubt."""
        self._settled_doubt = doubt

    def ensure_claim(self, *, always: bool = False) -> None:
        """Before a step begins: raise what ends the run; ask the database if the claim is in doubt.

        `always` asks in any case. The row says whether the claim is held and the deadline ahead.
        """
        self.check()
        doubt = self.last_doubt
        if always or doubt is not self._settled_doubt:
            self.submit(Write, None)
            self.settle(doubt)

    async def aensure_claim(self, *, always: bool = False) -> None:
        """See ensure_claim()."""
        self.check()
        doubt = self.last_doubt
        if always or doubt is not self._settled_doubt:
            await self.asubmit(Write, None)
            self.settle(doubt)

    def _cancel_task(self) -> None:
        if self.task is not None:
            self.task.cancel()

    def check(self) -> None:
        """Raise what ends the run, if something does."""
        if self.interruption is not None:
            self.is_unwinding = True
            raise self.interruption
        if self._failed_post is not None:
            self._settled(self._failed_post, None)

    def check_in_step(self) -> None:
        """Raise what ends the run, unless it lets the step in progress finish."""
        if not isinstance(self.interruption, HandedOver):
            self.check()

    def suspend(self, wake: Wake, step_number: int, remaining: float | None) -> NoReturn:
        """End the run until what it waits for is there, or so many seconds have passed."""
        self.suspension = {"wake": wake, "step_number": step_number, "remaining": remaining}
        self.stop(Suspended())

    def stop(self, reason: RunInterrupted) -> NoReturn:
        """End the run, from within."""
        if self.interruption is None:
            self.interruption = reason
        self.is_unwinding = True
        raise self.interruption

    # What operations are made of

    def begin(self, operation: str, step_name: str, fingerprint: str | None = None) -> Call:
        """Take the next position for an operation; refuse it where it can't be recorded."""
        self.check()
        self._check_place(operation)
        step_number = self.history.next_step_number()
        try:
            found = self.history.find(step_number, step_name, fingerprint)
        except NondeterminismError as error:
            self.stop(HistoryUnusable(error))
        if found is None:
            limits.check_steps(self, step_number)
        return Call(self, step_number, step_name, found, fingerprint)

    def _check_place(self, operation: str) -> None:
        if self.loop is None:
            self.host.store.refuse_in_atomic(operation)
        if threading.get_ident() != self.thread_id:
            raise RuntimeError(
                f"{operation}() was called on another thread than workflow {self.workflow_id!r} "
                "runs on. Call it from the workflow itself: threads have no order to replay."
            )

    def fenced(self, kind: type[W], **values: Any) -> W:
        """A write under the run's claim."""
        return kind(workflow_id=self.workflow_id, claim_number=self.claim.claim_number, **values)

    def submit(self, kind: type[Write], call: Call | None, **values: Any) -> Answer:
        """Write, wait until it is durable, and raise what ends the run."""
        self.record_left()
        answer = self.host.writer.write(self.fenced(kind, **values))
        return self._settled(answer, call)

    async def asubmit(self, kind: type[Write], call: Call | None, **values: Any) -> Answer:
        """See submit(). Outcomes are delivered to concurrent branches in their recorded order."""
        await self.arecord_left()
        write = self.fenced(kind, **values)
        answer = self._settled(await self.host.writer.awrite(write), call)
        if answer.verdict is not Verdict.WAITING:
            checkpoint = answer.checkpoint or getattr(write, "checkpoint", None)
            if checkpoint is not None:
                await self.turn(checkpoint)
        return answer

    async def turn(self, checkpoint: Checkpoint) -> None:
        """Wait until this outcome's turn to be delivered has come."""
        assert self.branches is not None
        await self.branches.turn(checkpoint.record_order)
        self.check()

    def fail(self, call: Call, error: Exception) -> NoReturn:
        """Record that an operation of the engine's own failed, and raise that."""
        checkpoint = call.checkpoint(error=serializers.dump_error(error))
        answer = self.submit(RecordStep, call, checkpoint=checkpoint)
        self.outcome(answer.checkpoint or checkpoint)
        raise error

    async def afail(self, call: Call, error: Exception) -> NoReturn:
        """See fail()."""
        checkpoint = call.checkpoint(error=serializers.dump_error(error))
        answer = await self.asubmit(RecordStep, call, checkpoint=checkpoint)
        self.outcome(answer.checkpoint or checkpoint)
        raise error

    def post(self, kind: type[Write], **values: Any) -> None:
        """Write without waiting; whatever waits next, waits for this as well."""
        self._has_posted = True
        self.host.writer.post(self.fenced(kind, **values), self._note_post)

    async def apost(self, kind: type[Write], **values: Any) -> None:
        """See post()."""
        self._has_posted = True
        await self.host.writer.apost(self.fenced(kind, **values), self._note_post)

    def note_left(self, call: Call, output: str) -> None:
        """A stream's iteration was left: recorded with the next write, since a finalizer calls."""
        if self.is_under_way and self.interruption is None:
            self._left.append((call, output))

    def record_left(self) -> None:
        """Record the iterations that were left since the last write."""
        while self._left:
            call, output = self._left.popleft()
            self.post(RecordStep, checkpoint=call.checkpoint(output=output))

    async def arecord_left(self) -> None:
        """See record_left()."""
        while self._left:
            call, output = self._left.popleft()
            await self.apost(RecordStep, checkpoint=call.checkpoint(output=output))

    def write_with(self, writer: Writer, kind: type[Write], **values: Any) -> None:
        """Write through another writer than the host's, and wait."""
        self._settled(writer.write(self.fenced(kind, **values)), None)

    def flush(self) -> None:
        """Wait until all that was posted is durable."""
        if self._has_posted:
            self._has_posted = False
            self.submit(Write, None)

    def _note_post(self, answer: Answer) -> None:
        if answer.verdict not in (Verdict.DONE, Verdict.FOUND) and self._failed_post is None:
            self._failed_post = answer

    def _settled(self, answer: Answer, call: Call | None) -> Answer:
        match answer.verdict:
            case Verdict.CLAIM_LOST:
                cancelled = answer.status is Status.CANCELLED
                self.stop(RunCancelled() if cancelled else ClaimLost())
            case Verdict.PAST_DEADLINE:
                self.is_past_deadline = True
                self.stop(RunCancelled())
            case Verdict.REFUSED if answer.refusal is Refusal.DATABASE or call is None:
                self.stop(HistoryUnusable(self.refusal(answer)))
            case Verdict.FOUND if call is not None and answer.checkpoint is not None:
                try:
                    self.history.check(answer.checkpoint, call.step_name, call.fingerprint)
                except NondeterminismError as error:
                    self.stop(HistoryUnusable(error))
        return answer

    def refusal(self, answer: Answer) -> DbosError:
        """What to say of a write that the database refused."""
        return DbosError(
            f"The database refused a write of workflow {self.workflow_id!r}: {answer.subject}. "
            "Find out why, then resume() it."
        )

    # Recorded values

    def outcome(self, checkpoint: Checkpoint) -> Any:
        """Return the recorded value, or raise the recorded error."""
        if checkpoint.error is not None:
            raise self.load_error(checkpoint.error)
        return None if checkpoint.output is None else self.load(checkpoint.output)

    async def aoutcome(self, checkpoint: Checkpoint) -> Any:
        """See outcome()."""
        if checkpoint.error is not None:
            raise self.load_error(checkpoint.error)
        return None if checkpoint.output is None else await self.aload(checkpoint.output)

    def load(self, text: str) -> Any:
        """Return a recorded value; one that can't be read sets the workflow aside."""
        try:
            if serializers.needs_thread(text):
                return reads.patiently(self, lambda: serializers.loads(text))
            return serializers.loads(text)
        except SerializationError as error:
            self.stop(HistoryUnusable(error))

    async def aload(self, text: str) -> Any:
        """See load()."""
        if not serializers.needs_thread(text):
            return self.load(text)
        try:
            return await reads.apatiently(self, lambda: serializers.loads(text))
        except SerializationError as error:
            self.stop(HistoryUnusable(error))

    def load_error(self, text: str) -> BaseException:
        """Return a recorded error; one that can't be read sets the workflow aside."""
        try:
            if serializers.needs_thread(text):
                return reads.patiently(self, lambda: serializers.load_error(text))
            return serializers.load_error(text)
        except SerializationError as error:
            self.stop(HistoryUnusable(error))

    # Threads of async runs

    @property
    def is_on_loop(self) -> bool:
        """Whether this thread is the one that the run's loop runs on."""
        return self.loop is not None and threading.get_ident() == self.thread_id

    def on_loop(self, operation: Callable[[], Awaitable[T]]) -> T:
        """Do an async operation for code that an async run has sent to a thread."""
        assert self.loop is not None

        async def perform() -> T:
            return await operation()

        if getattr(SyncToAsync.threadlocal, "main_event_loop", None) is self.loop:
            # By sync_to_async(): what the operation calls in turn may run on this very thread.
            return async_to_sync(perform)()
        return asyncio.run_coroutine_threadsafe(perform(), self.loop).result()


def operation_name(operation: str, argument: str | None = None) -> str:
    """The step name of an operation of the engine's own."""
    name = f"dbos.{operation}" if argument is None else f"dbos.{operation}({argument})"
    return name[:MAX_NAME_LENGTH]
