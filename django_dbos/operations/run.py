"""One attempt at one workflow: load its input, call its function, settle how it ended.

A run ends in one of these ways:

* the function returned or raised: the workflow is finished, in SUCCESS or ERROR;
* `Suspended`: it waits for something, and its row says what for;
* `HandedOver`, or an exception of the surrounding program: the claim goes back to the queue;
* `ClaimLost`, `RunCancelled`: the row is somebody else's by now, and nothing is written;
* `HistoryUnusable`: the row is set aside, to be resumed after a fix.

Which one is decided by the run's own flag, `interruption`, whatever user code made of the
exception.
"""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar

from asgiref.sync import sync_to_async
from django.apps import apps
from django.db import connections

from django_dbos import serializers, signals
from django_dbos.core import context
from django_dbos.core.facts import FoundCheckpoint
from django_dbos.core.history import History
from django_dbos.core.records import (
    Answer,
    Checkpoint,
    Claim,
    Finish,
    RecordStep,
    Refusal,
    Release,
    Suspend,
    Verdict,
    Wake,
    Write,
    run_key,
)
from django_dbos.core.registry import WorkflowDefinition
from django_dbos.core.status import Status
from django_dbos.exceptions import (
    ClaimLost,
    DbosError,
    HandedOver,
    HistoryUnusable,
    NondeterminismError,
    PayloadTooLarge,
    RunCancelled,
    RunInterrupted,
    SerializationError,
    Suspended,
)
from django_dbos.operations.branches import Branches
from django_dbos.operations.host import Host

if TYPE_CHECKING:
    from django_dbos.store.writer import Writer

logger = logging.getLogger("django_dbos.executor")

T = TypeVar("T")
W = TypeVar("W", bound=Write)

# A recorded model instance is read from its database, which needs a thread.
MODEL_TAG = '{"$model"'
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
        child_workflow_id: str | None = None,
        attempts: int = 1,
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
            child_workflow_id=child_workflow_id,
            attempts=attempts,
            duration=duration,
        )

    @property
    def has_waited(self) -> bool:
        """Whether an earlier run was suspended in this very wait."""
        return self.run.history.has_wait(self.step_number)

    @property
    def what(self) -> str:
        """This operation, for error messages."""
        return f"step {self.step_number} ({self.step_name}) of workflow {self.run.workflow_id!r}"


class Run:
    """One attempt at one workflow. Made under a claim; ends it, or gives it up, in `execute`."""

    def __init__(
        self,
        claim: Claim,
        definition: WorkflowDefinition,
        host: Host,
        *,
        checkpoints: Sequence[FoundCheckpoint] = (),
        ended_streams: set[str] | frozenset[str] = frozenset(),
    ) -> None:
        self.claim = claim
        self.workflow_id = claim.workflow_id
        self.definition = definition
        self.host = host
        self.history = History(claim.workflow_id, (found.checkpoint for found in checkpoints))
        self.ended_streams = set(ended_streams)
        self.interruption: RunInterrupted | None = None
        self._is_unwinding = False
        self.is_under_way = True
        """False once the function has ended, and only the end is to be written."""
        self.ends_later = False
        """Whether its end was left to the writer: the run is over before that is written."""
        self.ended_as = ""
        """The status that the run left the workflow in; "" while it runs or when it lost it."""
        self.value: Any = None
        self.error: BaseException | None = None
        """What the function returned or raised, for who called it inline."""
        self.loop: asyncio.AbstractEventLoop | None = None
        self.branches: Branches | None = None
        self._task: asyncio.Task[Any] | None = None
        self._thread_id = 0
        self._suspension: dict[str, Any] = {}
        self._failed_post: Answer | None = None
        self._has_posted = False
        self._began = 0.0

    # Running

    def execute(self) -> None:
        """Run a sync workflow function on this thread, to its end.

        Raises nothing but what came from outside the workflow, a KeyboardInterrupt for example.
        """
        self._thread_id = threading.get_ident()
        with self._observed(), self._working():
            outcome = self._call()
            if self.host.owns_connections:
                self._drop_open_transactions()
            write = self._ending(outcome)
            if not self._leave_end(write):
                self._end(write)
                self._raise_foreign(outcome)

    async def aexecute(self) -> None:
        """Run an async workflow function on this loop, to its end. Raises as `execute` does."""
        self.loop = asyncio.get_running_loop()
        self._thread_id = threading.get_ident()
        self.branches = Branches(self.loop, self)
        with self._observed(), self._working(), self.branches.tracked():
            outcome = await self._acall()
            write = self._ending(outcome)
            if not self._leave_end(write):
                await self._aend(write)
                self._raise_foreign(outcome)

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

    def _cancel_task(self) -> None:
        if self._task is not None:
            self._task.cancel()

    def _call(self) -> BaseException | None:
        """Call the function; its value goes to `value`, what it raised is returned."""
        try:
            with context.entered(self):
                arguments = self.load(self.claim.input)
                self.value = self.definition.function(*arguments["args"], **arguments["kwargs"])
                self._check_finished()
        except BaseException as error:
            return error
        return None

    def _drop_open_transactions(self) -> None:
        """An open one would swallow what the next workflow on this thread writes.

        And on SQLite it would keep the end of this one from being written.
        """
        for connection in connections.all(initialized_only=True):
            if connection.in_atomic_block:
                logger.error(
                    "Workflow %r left a transaction open on database %r. It was rolled back. Use "
                    "`with transaction.atomic():`.",
                    self.workflow_id,
                    connection.alias,
                )
                connection.close()
                # Django refuses to use it again: inside its block it can't connect anew.
                del connections[connection.alias]

    async def _acall(self) -> BaseException | None:
        try:
            arguments = await self.aload(self.claim.input)
        except RunInterrupted as error:
            return error
        with context.entered(self):
            function = self.definition.function
            self._task = asyncio.ensure_future(function(*arguments["args"], **arguments["kwargs"]))
        try:
            await _done(self._task)
        except asyncio.CancelledError as error:
            # Whoever awaits the run was cancelled: nobody waits for the workflow any more.
            await self._stop_tasks()
            return error
        await self._stop_tasks()
        if self._task.cancelled():
            # Without an interruption it is the workflow's own doing: once more would be the same.
            return self.interruption or RuntimeError(
                f"Workflow {self.workflow_id!r} awaited something that was cancelled."
            )
        if (error_raised := self._task.exception()) is not None:
            return error_raised
        self.value = self._task.result()
        try:
            self._check_finished()
        except RunInterrupted as error:
            return error
        return None

    async def _stop_tasks(self) -> None:
        assert self.branches is not None
        left = self.branches.live_tasks()
        if left and self.interruption is None and self._task not in left:
            logger.warning(
                "Workflow %r ended while %d of its tasks were running; they are cancelled. "
                "Await them before it returns.",
                self.workflow_id,
                len(left),
            )
        self.branches.stop()
        for task in left:
            task.cancel()
        if left:
            await asyncio.wait(left)

    @contextmanager
    def _working(self) -> Iterator[None]:
        """While a worker's runs are under way, a step on a thread of no run is a mistake."""
        if not self.host.owns_connections:
            yield
            return
        _working_runs.add(id(self))
        try:
            yield
        finally:
            _working_runs.discard(id(self))

    @contextmanager
    def _observed(self) -> Iterator[None]:
        """Say when the run starts and how it ends, in the log and to the signals."""
        logger.info("Workflow %s (%s) runs", self.workflow_id, self.definition.name)
        self._send(signals.workflow_started)
        self._began = time.perf_counter()
        try:
            yield
        finally:
            if not self.ends_later:
                self.announce_end()

    def announce_end(self) -> None:
        """Say how the run has ended."""
        seconds = time.perf_counter() - self._began
        how = self.ended_as or "no longer ours"
        name = self.definition.name
        logger.info("Workflow %s (%s): %s after %.3f s", self.workflow_id, name, how, seconds)
        if self.ended_as in FINAL:
            self._send(signals.workflow_finished, status=self.ended_as)

    def _send(self, signal: Any, **extra: Any) -> None:
        sender = apps.get_model("django_dbos", "Workflow")
        if not signal.has_listeners(sender):
            return
        values = {"workflow_id": self.workflow_id, "name": self.definition.name, **extra}
        if self.loop is not None and self.is_on_loop:
            self.loop.create_task(signal.asend_robust(sender, **values))
        else:
            # An end that was left to the writer is announced on another thread.
            signal.send_robust(sender, **values)

    # How it ended

    def _leave_end(self, write: Write | None) -> bool:
        """Leave the end of a run that went well to the writer, if the host lets it.

        The thread, or the loop, goes on with other runs; the host is told when it is written.
        """
        is_plain = isinstance(write, Finish) and not write.is_set_aside
        self.ends_later = is_plain and self.host.may_end_later()
        if self.ends_later and write is not None:
            # Not from the loop, which has others to serve, nor where others wait for the slot.
            may_write = self.loop is None and self.host.may_hold()
            leave = self.host.writer.leave if may_write else self.host.writer.post
            leave(write, partial(self._settle, write))
        return self.ends_later

    def _settle(self, write: Write, answer: Answer) -> None:
        """Called by the writer."""
        following = self._after(write, answer)
        if following is None:
            self.host.settled(self)
        else:
            self.host.writer.post(following, partial(self._settle, following))

    def _end(self, write: Write | None) -> None:
        while write is not None:
            write = self._after(write, self.host.writer.write(write))

    async def _aend(self, write: Write | None) -> None:
        while write is not None:
            write = self._after(write, await asyncio.shield(self.host.writer.awrite(write)))

    def _ending(self, raised: BaseException | None) -> Write | None:
        """What is to be written of how the function ended."""
        self.is_under_way = False
        if isinstance(raised, RunInterrupted) and self.interruption is None:
            self.interruption = raised
        if isinstance(self.interruption, HandedOver) and not self._is_unwinding:
            # It was asked to stop and came to its end by itself.
            self.interruption = None
        if self.interruption is not None:
            self._warn_of_swallowed(raised)
            return self._giving_up(self.interruption)
        if raised is None:
            return self._success()
        if self._is_foreign(raised):
            return self._write(Release)
        return self._failure(raised)

    def _success(self) -> Finish:
        what = f"The result of workflow {self.workflow_id!r} ({self.definition.name})"
        try:
            output = serializers.dumps(self.value, what=what)
        except (SerializationError, PayloadTooLarge) as error:
            return self._failure(error)
        return self._write(Finish, status=Status.SUCCESS, output=output, size=len(output))

    def _failure(self, raised: BaseException, *, is_set_aside: bool = False) -> Finish:
        text = serializers.dump_error(raised)
        self.error = serializers.round_trip_error(raised, text)
        if is_set_aside:
            logger.error("Workflow %r is set aside: %s", self.workflow_id, raised)
        return self._write(
            Finish, status=Status.ERROR, error=text, is_set_aside=is_set_aside, size=len(text)
        )

    def _giving_up(self, reason: RunInterrupted) -> Write | None:
        match reason:
            case Suspended():
                return self._write(Suspend, **self._suspension)
            case HandedOver():
                return self._write(Release)
            case HistoryUnusable():
                return self._failure(reason.error, is_set_aside=True)
            case RunCancelled():
                self.ended_as = Status.CANCELLED
        return None

    def _after(self, write: Write, answer: Answer) -> Write | None:
        """Note what became of the last write; return another one if it was refused."""
        match answer.verdict:
            case Verdict.DONE:
                self.ended_as = _status_after(write)
            case Verdict.PAST_DEADLINE:
                self.ended_as = Status.CANCELLED
            case Verdict.CLAIM_LOST:
                cancelled = answer.status is Status.CANCELLED
                self.ended_as = Status.CANCELLED if cancelled else ""
                self.interruption = RunCancelled() if cancelled else ClaimLost()
            case Verdict.REFUSED:
                if isinstance(write, Finish) and not write.is_set_aside:
                    self.error = _refusal(self.workflow_id, answer)
                    return self._failure(self.error, is_set_aside=True)
        return None

    def _warn_of_swallowed(self, raised: BaseException | None) -> None:
        seen_through = RunInterrupted | asyncio.CancelledError | BaseExceptionGroup
        if self._is_unwinding and not isinstance(raised, seen_through):
            logger.warning(
                "Workflow %r (%s) caught %s, by which the engine stops it, and went on. Use "
                "`except Exception`, which lets it pass.",
                self.workflow_id,
                self.definition.name,
                type(self.interruption).__name__,
            )

    def _is_foreign(self, raised: BaseException) -> bool:
        """Whether it came from outside the workflow, and so is no outcome of it."""
        return not isinstance(raised, Exception | SystemExit | BaseExceptionGroup)

    def _raise_foreign(self, raised: BaseException | None) -> None:
        if raised is None or isinstance(raised, RunInterrupted) or not self._is_foreign(raised):
            return
        if self.interruption is None:
            raise raised

    def _check_finished(self) -> None:
        try:
            self.history.check_finished()
        except NondeterminismError as error:
            self.stop(HistoryUnusable(error))

    def _write(self, kind: type[W], **values: Any) -> W:
        return kind(workflow_id=self.workflow_id, claim_number=self.claim.claim_number, **values)

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
        return Call(self, step_number, step_name, found, fingerprint)

    def check(self) -> None:
        """Raise what ends the run, if something does."""
        if self.interruption is not None:
            self._is_unwinding = True
            raise self.interruption
        if self._failed_post is not None:
            self._settled(self._failed_post, None)

    def check_in_step(self) -> None:
        """Raise what ends the run, unless it lets the step in progress finish."""
        if not isinstance(self.interruption, HandedOver):
            self.check()

    def _check_place(self, operation: str) -> None:
        if self.loop is None:
            self.host.store.refuse_in_atomic(operation)
        if threading.get_ident() != self._thread_id:
            raise RuntimeError(
                f"{operation}() was called on another thread than workflow {self.workflow_id!r} "
                "runs on. Call it from the workflow itself: threads have no order to replay."
            )

    def suspend(self, wake: Wake, step_number: int, remaining: float | None) -> NoReturn:
        """End the run until what it waits for is there, or so many seconds have passed."""
        self._suspension = {"wake": wake, "step_number": step_number, "remaining": remaining}
        self.stop(Suspended())

    def stop(self, reason: RunInterrupted) -> NoReturn:
        """End the run, from within."""
        if self.interruption is None:
            self.interruption = reason
        self._is_unwinding = True
        raise self.interruption

    def submit(self, kind: type[Write], call: Call | None, **values: Any) -> Answer:
        """Write, wait until it is durable, and raise what ends the run."""
        answer = self.host.writer.write(self._write(kind, **values))
        return self._settled(answer, call)

    async def asubmit(self, kind: type[Write], call: Call | None, **values: Any) -> Answer:
        """See submit(). Outcomes are delivered to concurrent branches in their recorded order."""
        write = self._write(kind, **values)
        answer = self._settled(await self.host.writer.awrite(write), call)
        if answer.verdict is not Verdict.WAITING:
            checkpoint = answer.checkpoint or getattr(write, "checkpoint", None)
            if checkpoint is not None:
                await self.turn(checkpoint)
        return answer

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

    def record(self, operation: str, step_name: str, read: Callable[[], T]) -> T:
        """Do once what reads or changes other workflows, and record its answer."""
        call = self.begin(operation, step_name)
        if call.found is not None:
            return self.outcome(call.found)  # type: ignore[no-any-return]
        try:
            value = read()
        except DbosError as error:
            self.fail(call, error)
        output = serializers.dumps(value, what=f"What {call.what} read")
        answer = self.submit(RecordStep, call, checkpoint=call.checkpoint(output=output))
        return value if answer.checkpoint is None else self.outcome(answer.checkpoint)

    async def arecord(self, operation: str, step_name: str, read: Callable[[], T]) -> T:
        """See record()."""
        call = self.begin(operation, step_name)
        if call.found is not None:
            await self.turn(call.found)
            return await self.aoutcome(call.found)  # type: ignore[no-any-return]
        try:
            value = await sync_to_async(read)()
        except DbosError as error:
            await self.afail(call, error)
        output = serializers.dumps(value, what=f"What {call.what} read")
        answer = await self.asubmit(RecordStep, call, checkpoint=call.checkpoint(output=output))
        return value if answer.checkpoint is None else await self.aoutcome(answer.checkpoint)

    def post(self, kind: type[Write], **values: Any) -> None:
        """Write without waiting; whatever waits next, waits for this as well."""
        self._has_posted = True
        self.host.writer.post(self._write(kind, **values), self._note_post)

    async def apost(self, kind: type[Write], **values: Any) -> None:
        """See post()."""
        self._has_posted = True
        await self.host.writer.apost(self._write(kind, **values), self._note_post)

    def write_with(self, writer: Writer, kind: type[Write], **values: Any) -> None:
        """Write through another writer than the host's, and wait."""
        self._settled(writer.write(self._write(kind, **values)), None)

    def flush(self) -> None:
        """Wait until all that was posted is durable."""
        if self._has_posted:
            self._has_posted = False
            self.submit(Write, None)

    async def turn(self, checkpoint: Checkpoint) -> None:
        """Wait until this outcome's turn to be delivered has come."""
        assert self.branches is not None
        await self.branches.turn(checkpoint.record_order)
        self.check()

    def _note_post(self, answer: Answer) -> None:
        if answer.verdict not in (Verdict.DONE, Verdict.FOUND) and self._failed_post is None:
            self._failed_post = answer

    def _settled(self, answer: Answer, call: Call | None) -> Answer:
        match answer.verdict:
            case Verdict.CLAIM_LOST:
                cancelled = answer.status is Status.CANCELLED
                self.stop(RunCancelled() if cancelled else ClaimLost())
            case Verdict.PAST_DEADLINE:
                self.stop(RunCancelled())
            case Verdict.REFUSED if answer.refusal is Refusal.DATABASE or call is None:
                self.stop(HistoryUnusable(_refusal(self.workflow_id, answer)))
            case Verdict.FOUND if call is not None and answer.checkpoint is not None:
                try:
                    self.history.check(answer.checkpoint, call.step_name, call.fingerprint)
                except NondeterminismError as error:
                    self.stop(HistoryUnusable(error))
        return answer

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
            return serializers.loads(text)
        except SerializationError as error:
            self.stop(HistoryUnusable(error))

    async def aload(self, text: str) -> Any:
        """See load()."""
        if MODEL_TAG in text or text.startswith("!"):
            return await sync_to_async(self.load)(text)
        return self.load(text)

    def load_error(self, text: str) -> BaseException:
        """Return a recorded error; one that can't be read sets the workflow aside."""
        try:
            return serializers.load_error(text)
        except SerializationError as error:
            self.stop(HistoryUnusable(error))

    # Threads of async runs

    @property
    def is_on_loop(self) -> bool:
        """Whether this thread is the one that the run's loop runs on."""
        return self.loop is not None and threading.get_ident() == self._thread_id

    def on_loop(self, operation: Callable[[], Awaitable[T]]) -> T:
        """Do an async operation for code that an async run has sent to a thread."""
        assert self.loop is not None

        async def perform() -> T:
            return await operation()

        return asyncio.run_coroutine_threadsafe(perform(), self.loop).result()


async def _done(task: asyncio.Task[Any]) -> None:
    """Wait until a task has ended, whatever came of it; asyncio.wait() takes longer."""
    waiter = asyncio.get_running_loop().create_future()

    def wake(_: object) -> None:
        if not waiter.done():
            waiter.set_result(None)

    task.add_done_callback(wake)
    await waiter


FINAL = frozenset({Status.SUCCESS, Status.ERROR, Status.CANCELLED})


_working_runs: set[int] = set()


def is_working() -> bool:
    """Whether a worker in this process is running workflows."""
    return bool(_working_runs)


def _status_after(write: Write) -> Status:
    match write:
        case Finish():
            return write.status
        case Suspend():
            return Status.WAITING
    return Status.ENQUEUED


def _refusal(workflow_id: str, answer: Answer) -> DbosError:
    return DbosError(
        f"The database refused a write of workflow {workflow_id!r}: {answer.subject}. "
        "Find out why, then resume() it."
    )


def operation_name(operation: str, argument: str | None = None) -> str:
    """The step name of an operation of the engine's own."""
    name = f"dbos.{operation}" if argument is None else f"dbos.{operation}({argument})"
    return name[:MAX_NAME_LENGTH]
