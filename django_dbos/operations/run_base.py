"""The state of a run and of its calls, and the interruptions. Nothing here waits or writes."""

from __future__ import annotations

import asyncio
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future
from contextlib import AbstractContextManager, nullcontext
from contextvars import Context
from dataclasses import replace
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar

from django_dbos.core.batch.lookups import FoundCheckpoint
from django_dbos.core.history import History
from django_dbos.core.records import (
    Answer,
    Checkpoint,
    Claim,
    Refusal,
    Verdict,
    Wake,
    Write,
    run_key,
)
from django_dbos.core.registry import WorkflowDefinition
from django_dbos.core.status import Status
from django_dbos.exceptions import DbosError, EncryptionKeyMissing, NondeterminismError
from django_dbos.interruptions import (
    ClaimLost,
    ContinuedAsNew,
    HandedOver,
    HistoryUnusable,
    RunCancelled,
    RunInterrupted,
    Suspended,
)
from django_dbos.operations import missing_keys
from django_dbos.operations.runtime import Host

if TYPE_CHECKING:
    from django_dbos.operations.ordering import Branches

T = TypeVar("T")
R = TypeVar("R")
W = TypeVar("W", bound=Write)

# The step of a wait that has no checkpoint.
NO_STEP = 0

# Seconds between two looks whether the steps of a run that is handed over have ended.
STEPS_PAUSE = 0.02


class BaseCall:
    """One operation of a run: its position, and the checkpoint that was found there."""

    __slots__ = ("fingerprint", "found", "run", "step_name", "step_number")

    def __init__(
        self,
        run: BaseRun,
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
        """Return an outcome for this position, the next in the order of outcomes."""
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
        """True if an earlier run was suspended in this very wait."""
        return self.wait is not None

    @property
    def wait(self) -> Checkpoint | None:
        """The checkpoint of an earlier run's unfinished wait at this position."""
        return self.run.history.wait_at(self.step_number)

    @property
    def remaining(self) -> float:
        """Seconds until that wait is over; negative once it is."""
        return self.run.waits_until.get(self.step_number, 0.0) - time.monotonic()

    def refuse_other(self, recorded: str, called: str) -> NoReturn:
        """End the run, since an earlier one recorded something else at this position."""
        error = NondeterminismError(self.run.workflow_id, self.step_number, recorded, called)
        self.run.stop(HistoryUnusable(error))

    @property
    def label(self) -> str:
        """The operation, for error messages."""
        return f"step {self.step_number} ({self.step_name!r}) of workflow {self.run.workflow_id!r}"


class BaseRun:
    """The state of a run."""

    is_under_way = True
    """False once the function has ended, and only the end is to be written."""
    began = 0.0
    """The start, by the clock of `time.perf_counter()`."""

    # Where it runs

    loop: asyncio.AbstractEventLoop | None = None
    branches: Branches | None = None
    task: asyncio.Task[Any] | None = None
    outside: Context
    """The context of tasks that are none of an async run's branches."""
    is_place_lent = False
    """True while the run has lent its place in its queue's limits: no branch goes on."""
    is_loan_unsure = False
    """True while the database may say otherwise, so that lending it again does no harm."""
    place_lock: Any = nullcontext()
    """Held while the place is lent or taken again; in an async run it is a lock of asyncio."""
    returning = 0
    """The number of branches that have something to go on with, and wait for the place."""
    lending: asyncio.Task[bool] | asyncio.TimerHandle | None = None
    """The next look whether all branches wait again, or the loan that it has led to."""
    attempts = 0
    """The number of steps that an async run is in."""
    waiting_branches = 0
    """The number of branches that wait without being suspended; the slot is lent meanwhile."""
    calls_on_threads: set[Future[None]]
    """The calls of sync functions that an async run has on threads; counted if it holds a place."""
    sync_steps = 0
    """The number of sync steps that use an async run's thread, or wait for it."""
    thread_id = 0
    """The thread that the function runs on; for an async one, its loop's thread."""

    # How it ends

    interruption: RunInterrupted | None = None
    """The reason to end the run, unless its function comes to its end first."""
    is_unwinding = False
    """True once the interruption was raised in the function."""
    value: Any = None
    error: BaseException | None = None
    """The function's value or error, for an inline caller."""
    ended_as: str = ""
    """The status that the run left the workflow in; "" while it runs or when it lost it."""
    is_past_deadline = False
    """True once a write found that the workflow's deadline had passed."""
    is_quarantined = False
    """True if the engine ended the workflow, to be resumed after a fix."""
    ends_later = False
    """True if the end was left to the writer: the run is over before that is written."""

    # Its claim, and its counts

    last_doubt: object = None
    """A new object for each hint that the claim may be gone."""
    settled_doubt: object = None
    """The latest doubt after which the database has confirmed the claim."""
    messages_sent = 0
    events_set = 0
    """Counts for the limits; operations found in the history are included."""
    takes_new_paths = True
    """False in a check of a workflow that has ended: it records no patch any more."""
    has_posted = False
    """True after a write that nothing has waited for."""
    _failed_post: Answer | None = None
    saving: Future[None] | None = None
    """Done once the writer has all posted writes; None if no large value of one is being saved."""
    has_lost_post = False
    """True if a posted write will never be made, since the run was interrupted before."""

    def __init__(
        self,
        claim: Claim,
        definition: WorkflowDefinition,
        host: Host[Any],
        *,
        checkpoints: Sequence[FoundCheckpoint] = (),
        ended_streams: set[str] | frozenset[str] = frozenset(),
    ) -> None:
        self.claim = claim
        self.workflow_id = claim.workflow_id
        self.definition = definition
        self.host = host
        self.history = History(
            claim.workflow_id,
            (found.checkpoint for found in checkpoints),
            steps_before=claim.steps_before,
        )
        now = time.monotonic()
        self.waits_until = {
            found.checkpoint.step_number: now + found.remaining
            for found in checkpoints
            if found.remaining is not None
        }
        """The ends of waits that earlier runs began, on the monotonic clock."""
        self.calls_on_threads = set()
        self.ended_streams = set(ended_streams)
        self.patches: set[str] = set()
        """The markers of the patches that this run has passed on the new path."""
        self.suspension: dict[str, Any] = {}
        """The wake-up that a suspended run waits for."""
        self.children_of_own_queue: set[str] = set()
        """The children that this run has started in the queue in which it holds a place."""
        self.left: deque[tuple[BaseCall, str]] = deque()
        """Iterations over streams that were left early and are not recorded yet."""

    @property
    def waits_in_place(self) -> bool:
        """True if the run keeps its place in its queue's limits while it waits."""
        return self.claim.place > 0 and self.claim.waiting_frees is None

    @property
    def may_lend(self) -> bool:
        """True if the run has a place in its queue's limits that it needs only to go on."""
        has_place = not self.is_place_lent or self.is_loan_unsure
        return has_place and self.claim.waiting_frees is not None

    @property
    def is_at_rest(self) -> bool:
        """True if nothing of the run goes on but the branch that asks, which is about to wait."""
        if self.attempts or self.returning or self.sync_steps or self.calls_on_threads:
            return False
        return self.branches is None or self.branches.is_at_rest

    def attempting(self) -> AbstractContextManager[None]:
        """Count a step that an async run is in, for the length of a block."""
        return _Attempting(self)

    def note_children(self, workflow_ids: Iterable[str], queue_name: str) -> None:
        """Note children that can't run if this run has the last place of their queue."""
        if self.waits_in_place and queue_name == self.claim.queue_name:
            self.children_of_own_queue.update(workflow_ids)

    @property
    def may_linger(self) -> bool:
        """True if the claim was taken while the function ran, so that its place is taken still."""
        return self.claim.place > 0 and self.ended_as in ("", Status.CANCELLED)

    def note_place(self, queue_name: str, place: int) -> None:
        """Note the place in a queue's limits that the claim was given after it was made."""
        if self.claim.place != place:
            self.claim = replace(self.claim, queue_name=queue_name, place=place)

    def after_calls(self, act: Callable[[], None]) -> None:
        """Call a function once no call on a thread is left; at once if there is none."""
        pending = next(iter(self.calls_on_threads), None)
        if pending is None:
            act()
        else:
            pending.add_done_callback(lambda _: self.after_calls(act))

    @property
    def log_fields(self) -> dict[str, object]:
        """The fields that every log record about the run carries."""
        return {"workflow_id": self.workflow_id, "workflow_name": self.definition.name}

    @property
    def has_continued(self) -> bool:
        """True if the workflow's next run was enqueued."""
        return isinstance(self.interruption, ContinuedAsNew) and self.ended_as == Status.ENQUEUED

    @property
    def is_on_loop(self) -> bool:
        """True on the thread that the run's loop runs on."""
        return self.loop is not None and threading.get_ident() == self.thread_id

    @property
    def is_concurrent(self) -> bool:
        """True if more than one branch of the run is alive."""
        return self.branches is not None and self.branches.is_concurrent

    def holding_turns(self) -> AbstractContextManager[None]:
        """Return a context in which no branch gets its next outcome; there are only quick reads."""
        return nullcontext() if self.branches is None else self.branches.holding()

    # Interruptions

    def interrupt(self, reason: RunInterrupted) -> None:
        """End the run: from any thread, at its next durable operation, or in its wait.

        `ClaimLost` and `RunCancelled` cancel async code at once; `HandedOver` lets the step in
        progress finish and be recorded, then releases the claim, uncounted.
        """
        if self.interruption is None or isinstance(self.interruption, HandedOver):
            self.interruption = reason
        self.host.store.wakeups.notify([run_key(self.workflow_id)])
        if self.loop is not None and not isinstance(reason, HandedOver):
            self.loop.call_soon_threadsafe(self._cancel_task)

    def _cancel_task(self) -> None:
        if self.task is not None:
            self.task.cancel()

    def doubt(self) -> None:
        """Require the database to confirm the claim before the next step; from any thread."""
        self.last_doubt = object()

    def settle(self, doubt: object) -> None:
        """Note that the database confirmed the claim after this doubt."""
        self.settled_doubt = doubt

    def check(self) -> None:
        """Raise the error that ends the run, if there is one."""
        if self.interruption is not None:
            self.is_unwinding = True
            raise self.interruption
        if self._failed_post is not None:
            self.check_answer(self._failed_post, None)

    def check_in_step(self) -> None:
        """Raise the error that ends the run, unless it lets the step in progress finish."""
        if not isinstance(self.interruption, HandedOver):
            self.check()

    def check_in_wait(self) -> None:
        """Raise the error that ends the run, unless it lets a step beside this wait finish."""
        if not self.lets_steps_end:
            self.check()

    @property
    def lets_steps_end(self) -> bool:
        """True if the run is handed over once the steps that it is in have ended."""
        return self.attempts > 0 and isinstance(self.interruption, HandedOver)

    def suspend(self, wake: Wake, step_number: int, remaining: float | None) -> NoReturn:
        """End the run until the wake-up comes, or `remaining` seconds have passed."""
        self.suspension = {"wake": wake, "step_number": step_number, "remaining": remaining}
        self.stop(Suspended())

    def await_key(self, error: EncryptionKeyMissing) -> NoReturn:
        """End the run until a worker with the key of its values takes it up."""
        self.note_missing_key(error)
        self.check()
        raise error

    def note_missing_key(self, error: EncryptionKeyMissing) -> None:
        """Have the run end as await_key() does, unless it ends anyway (CORRECTNESS rule 95)."""
        if self.interruption is None:
            missing_keys.log(self.workflow_id, error.key_id)
            self.suspension = {"wake": Wake.of_key(error.key_id), "step_number": NO_STEP}
            self.interruption = Suspended()

    def read_here(self, read: Callable[[T], R], text: T) -> R:
        """Return what `read` makes of a stored text, unless the run awaits its key."""
        try:
            return read(text)
        except EncryptionKeyMissing as error:
            self.await_key(error)

    def check_finished(self, ending: str) -> None:
        """End the run if its history has operations that it doesn't reach before this ending."""
        try:
            self.history.check_finished(ending)
        except NondeterminismError as error:
            self.stop(HistoryUnusable(error))

    def stop(self, reason: RunInterrupted) -> NoReturn:
        """End the run, from within."""
        if self.interruption is None:
            self.interruption = reason
        self.is_unwinding = True
        raise self.interruption

    # Writes and their answers

    def fenced(self, kind: type[W], **values: Any) -> W:
        """Return a write under the run's claim."""
        return kind(workflow_id=self.workflow_id, claim_number=self.claim.claim_number, **values)

    def check_answer(self, answer: Answer, call: BaseCall | None) -> None:
        """Raise the error that ends the run, if this answer to a write ends it."""
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

    def refusal(self, answer: Answer) -> DbosError:
        """Return the error for a write that the database refused."""
        return DbosError(
            f"The database refused a write of workflow {self.workflow_id!r}: {answer.subject}. "
            "Find out why, then resume() it."
        )

    def _move_to_end(self, values: dict[str, Any]) -> None:
        """Give the checkpoint of a write the next number in the order of outcomes."""
        checkpoint = values.get("checkpoint")
        if checkpoint is not None:
            order = self.history.next_record_order()
            values["checkpoint"] = replace(checkpoint, record_order=order)

    def _moved_to_end(self, write: W) -> W:
        """Return a write as _move_to_end() does; one of a thread has announced its number."""
        checkpoint = getattr(write, "checkpoint", None)
        if checkpoint is None or not self.is_on_loop:
            return write
        order = self.history.next_record_order()
        return replace(write, checkpoint=replace(checkpoint, record_order=order))  # type: ignore[call-arg]

    def note_post(self, answer: Answer) -> None:
        """Keep the first failure of the writes that nothing waits for."""
        if answer.verdict not in (Verdict.DONE, Verdict.FOUND) and self._failed_post is None:
            self._failed_post = answer

    def note_left(self, call: BaseCall, output: str) -> None:
        """Make the next write record that an iteration over a stream was left.

        A finalizer calls this, and must not wait.
        """
        if self.is_under_way and self.interruption is None:
            self.left.append((call, output))

    async def turn(self, checkpoint: Checkpoint) -> None:
        """Wait for this outcome's turn: branches get outcomes in their recorded order."""
        assert self.branches is not None
        await self.branches.turn(checkpoint.record_order)
        await self.until_steps_end()
        self.check()

    async def until_steps_end(self) -> None:
        """Wait for the steps that a run which is handed over is in.

        The outcome of one is on its way to the writer when it is no longer counted.
        """
        while self.lets_steps_end:  # noqa: ASYNC110
            await asyncio.sleep(STEPS_PAUSE)


class _Attempting(AbstractContextManager[None]):
    """The part of an async run that is in a step."""

    __slots__ = ("_run",)

    def __init__(self, run: BaseRun) -> None:
        self._run = run

    def __enter__(self) -> None:
        self._run.attempts += 1

    def __exit__(self, *error: object) -> None:
        run = self._run
        run.attempts -= 1
        if run.interruption is not None:
            # A wait beside it may end now.
            run.host.store.wakeups.notify([run_key(run.workflow_id)])
