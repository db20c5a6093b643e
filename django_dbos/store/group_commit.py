"""Group commit: the writes of many runs go out in one transaction.

`BatchWriter` is one thread with one connection. It takes the writes that queued up while its last
commit was in flight, has the store write them, then answers every run. There is no timer and no
minimum batch, since runs wait for their checkpoints. A run that is alone takes the leader lock and
commits on its own thread: two thread switches cost as much as half a commit.
"""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from typing import TYPE_CHECKING

from django_dbos.core.backoff import Backoff
from django_dbos.core.batch.decide import is_giving_up
from django_dbos.core.batch.plan import Plan
from django_dbos.core.records import (
    Answer,
    RecordEntry,
    RecordStart,
    Refusal,
    Verdict,
    Write,
)
from django_dbos.store import errors
from django_dbos.store.submissions import DeferredWrites, Submission, deliver, wake
from django_dbos.store.writer import (
    MAX_BATCH_BYTES,
    MAX_BATCH_ROWS,
    WRITE_BACKOFF,
    Callback,
    WithEnds,
)
from django_dbos.telemetry import concealing

if TYPE_CHECKING:
    from django_dbos.store.base import Store

logger = logging.getLogger("django_dbos.store")

# Seconds for which a stopping writer waits for a database that doesn't answer.
LAST_PATIENCE = 10.0


class BatchWriter:
    """Writes for many runs on one thread."""

    def __init__(
        self,
        store: Store,
        executor_id: str,
        *,
        on_commit: Callable[[Plan], None],
        on_unused: Callable[[], None] = lambda: None,
        with_ends: WithEnds = lambda writes: nullcontext(),
    ) -> None:
        self._store = store
        self._executor_id = executor_id
        self._on_commit = on_commit
        self._on_unused = on_unused
        self._with_ends = with_ends
        """Called when a child was not started although a slot had been reserved for it."""
        self._queue: deque[Submission] = deque()
        self._deferred: dict[str, DeferredWrites] = {}
        self._refused: dict[tuple[str, int], Answer] = {}
        self._wake = threading.Event()
        self._session = store.connect(executor_id, "writer")
        self._leader_lock = threading.Lock()
        """The holder leads the group commit: it alone writes, and touches `_deferred`."""
        self._backoff = Backoff(*WRITE_BACKOFF)
        self._was_alone = True
        """True if the last batch was of one workflow; the next one is then likely to be."""
        self._is_stopping = False
        self._abandoned = threading.Event()
        self._has_ended = False
        self._thread = threading.Thread(target=self._run, name="dbos-writer", daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def stop(self) -> None:
        """Write the queue, then end the thread; abandon writes that the database doesn't accept."""
        self._is_stopping = True
        self._wake.set()
        self._thread.join(LAST_PATIENCE)
        if self._thread.is_alive():
            self.abandon()
            self._thread.join(LAST_PATIENCE)

    def stop_abandoned(self) -> None:
        """Answer everything with a lost claim, and have the thread end without waiting for it."""
        self.abandon()
        self._is_stopping = True
        self._wake.set()

    def abandon(self) -> None:
        """Answer everything, now and later, with a lost claim: the executor is declared dead."""
        self._abandoned.set()
        self._wake.set()

    def write(self, write: Write) -> Answer:
        """See `Writer`."""
        submission = Submission(write)
        submission.gate = threading.Lock()
        submission.gate.acquire()
        self._submit(submission, may_write_here=True)
        submission.gate.acquire()
        wake(submission.next)
        assert submission.answer is not None
        return submission.answer

    async def awrite(self, write: Write) -> Answer:
        """See `Writer`."""
        submission = Submission(write)
        submission.loop = asyncio.get_running_loop()
        submission.future = submission.loop.create_future()
        self._submit(submission)
        return await submission.future

    def post(self, write: Write, callback: Callback | None = None) -> None:
        """See `Writer`."""
        self._submit(Submission(write, callback))

    def leave(self, write: Write, callback: Callback) -> None:
        """See `Writer`."""
        self._submit(Submission(write, callback), may_write_here=True)

    async def apost(self, write: Write, callback: Callback | None = None) -> None:
        """See `Writer`."""
        self.post(write, callback)

    def forget(self, workflow_id: str, claim_number: int) -> None:
        """Forget the refusals of a claim whose run has ended."""
        self._refused.pop((workflow_id, claim_number), None)

    def _submit(self, submission: Submission, *, may_write_here: bool = False) -> None:
        if may_write_here and self._is_calm() and self._leader_lock.acquire(blocking=False):
            try:
                self._queue.append(submission)
                if not self._has_ended:
                    self._write_queued()
            finally:
                self._leader_lock.release()
            if self._queue or self._deferred:
                self._wake.set()
        else:
            self._queue.append(submission)
            if not self._wake.is_set():
                self._wake.set()
        if self._has_ended:
            self._refuse_queued()

    def _is_calm(self) -> bool:
        """Return whether to write on this thread; under load, queueing makes larger batches."""
        is_free = self._was_alone and not self._has_ended
        return is_free and not self._deferred and len(self._queue) <= 1

    def _write_queued(self) -> list[Submission]:
        """Write the next batch; the caller holds the leader lock."""
        batch = self._take()
        self._write(batch)
        return batch

    def _run(self) -> None:
        try:
            while not self._has_ended:
                with self._leader_lock:
                    batch = self._write_queued()
                    # Under the lock: a run that led may have deferred its write.
                    self._has_ended = self._is_stopping and not (self._queue or self._deferred)
                if not batch and not self._has_ended:
                    self._wait()
        finally:
            with self._leader_lock:
                self._has_ended = True
                self._session.close()
            self._refuse_queued()

    def _refuse_queued(self) -> None:
        """Answer queued writes with a lost claim: nothing more is written."""
        while self._queue:
            self._answer([self._queue.popleft()], [_lost()])

    def _wait(self) -> None:
        timeout = None
        if self._deferred:
            due = min(deferred.due for deferred in self._deferred.values())
            timeout = max(due - time.monotonic(), 0.0)
        self._wake.wait(timeout)
        self._wake.clear()

    def _take(self) -> list[Submission]:
        """Take the next batch, up to the limits: deferred writes that are due, then the queue."""
        batch: list[Submission] = []
        for workflow_id in self._due():
            if not self._deferred[workflow_id].is_alone:
                batch += self._deferred.pop(workflow_id).submissions
            elif not batch:
                return self._deferred.pop(workflow_id).submissions
        size = sum(submission.write.size for submission in batch)
        while self._queue and len(batch) < MAX_BATCH_ROWS and size < MAX_BATCH_BYTES:
            submission = self._queue.popleft()
            if submission.write.workflow_id in self._deferred:
                # Its workflow has an earlier write waiting: they commit in order.
                self._deferred[submission.write.workflow_id].submissions.append(submission)
                continue
            batch.append(submission)
            size += submission.write.size
        return batch

    def _due(self) -> list[str]:
        """Return the workflows whose deferred writes are due."""
        now, is_abandoned = time.monotonic(), self._abandoned.is_set()
        return [
            workflow_id
            for workflow_id, deferred in self._deferred.items()
            if deferred.due <= now or is_abandoned
        ]

    def _write(self, batch: list[Submission]) -> None:
        batch = self._without_refused(batch)
        while batch:
            try:
                plan = self._apply(batch)
            except errors.Unavailable as error:
                # A warning once an outage, not at every attempt.
                level = logging.DEBUG if self._backoff.delay else logging.WARNING
                logger.log(level, "The database is unavailable, trying again: %r", error)
                self._session.close()
                for submission in batch:
                    submission.is_repeat = True
                self._abandoned.wait(self._backoff.grow())
            except errors.LockTimeout:
                self._write_apart(batch)
                return
            except errors.StoreError as error:
                self._write_singly(batch, error)
                return
            except Exception as error:
                shown = concealing.shown("", error)
                logger.error("A batch of writes failed; writing one by one", exc_info=shown)
                self._write_singly(batch, error)
                return
            else:
                self._backoff.reset()
                self._settle(batch, plan)
                return

    def _write_apart(self, batch: list[Submission]) -> None:
        """Find the workflow that waits for another session's lock; the others go ahead."""
        by_workflow: dict[str, list[Submission]] = {}
        for submission in batch:
            by_workflow.setdefault(submission.write.workflow_id, []).append(submission)
        for submissions in by_workflow.values():
            if len(by_workflow) > 1:
                self._write(submissions)
            else:
                self._defer(submissions, is_alone=True)

    def _write_singly(self, batch: list[Submission], error: Exception) -> None:
        """Find the write that fails its batch; it alone is refused."""
        if len(batch) == 1:
            self._blame(batch[0], error)
            return
        for submission in batch:
            if submission.write.workflow_id in self._deferred:
                self._defer([submission], is_alone=False)
            else:
                self._write([submission])

    def _apply(self, batch: list[Submission]) -> Plan:
        self._was_alone = len({submission.write.workflow_id for submission in batch}) == 1
        if self._abandoned.is_set():
            return Plan(answers=[_lost()] * len(batch))
        writes = [submission.write for submission in batch]
        is_repeat = any(submission.is_repeat for submission in batch)
        with nullcontext() if is_repeat else self._with_ends(writes) as succession:
            visit = None if succession is None else succession.visit
            plan = self._store.apply(
                self._session, self._executor_id, writes, is_repeat=is_repeat, visit=visit
            )
            if succession is not None:
                succession.note(plan)
        return plan

    def _blame(self, submission: Submission, error: Exception) -> None:
        logger.error(
            "A write of workflow %r was refused by the database: %r",
            submission.write.workflow_id, concealing.shown("", error),
        )  # fmt: skip
        answer = Answer(verdict=Verdict.REFUSED, refusal=Refusal.DATABASE, subject=str(error))
        self._note_refusal(submission.write, answer)
        self._answer([submission], [answer])

    def _note_refusal(self, write: Write, answer: Answer) -> None:
        self._refused[write.workflow_id, write.claim_number] = answer

    def _defer(self, submissions: Sequence[Submission], *, is_alone: bool) -> None:
        for submission in submissions:
            deferred = self._deferred.setdefault(submission.write.workflow_id, DeferredWrites())
            deferred.add(submission, is_alone=is_alone)

    def _without_refused(self, batch: list[Submission]) -> list[Submission]:
        """Refuse the writes of claims that had one refused, except the ends of their runs."""
        if not self._refused:
            return batch
        kept = []
        for submission in batch:
            write = submission.write
            refusal = self._refused.get((write.workflow_id, write.claim_number))
            if refusal is None or is_giving_up(write):
                kept.append(submission)
            else:
                self._answer([submission], [refusal])
        return kept

    def _settle(self, batch: list[Submission], plan: Plan) -> None:
        deferred = set(plan.deferred)
        answered = [
            (submission, answer)
            for position, (submission, answer) in enumerate(zip(batch, plan.answers, strict=True))
            if position not in deferred
        ]
        for submission, answer in answered:
            # No run waits for an entry: its next writes may be queued already.
            if answer.refusal is not None and isinstance(submission.write, RecordEntry):
                self._note_refusal(submission.write, answer)
        self._defer([batch[position] for position in plan.deferred], is_alone=False)
        try:
            # First: the notifications are queued before the run's end can be seen.
            self._on_commit(plan)
        except Exception as error:
            # The batch is committed all the same, and the next one must not wait for ever.
            shown = concealing.shown("", error)
            logger.error("The work after the commit of a batch failed", exc_info=shown)
        self._answer([submission for submission, _ in answered], [answer for _, answer in answered])

    def _answer(self, batch: Sequence[Submission], answers: Sequence[Answer]) -> None:
        for submission, answer in zip(batch, answers, strict=True):
            submission.answer = answer
            # Here, since the run may get an exception instead of the answer, or nothing at all.
            if answer.verdict is not Verdict.DONE and _has_slot(submission.write):
                self._on_unused()
        deliver(batch)


def _has_slot(write: Write) -> bool:
    return isinstance(write, RecordStart) and write.is_reserved


def _lost() -> Answer:
    return Answer(verdict=Verdict.CLAIM_LOST)
