"""Group commit: what many runs want written goes out in one transaction.

`BatchWriter` is one thread with one connection. It takes whatever queued up while its last
commit was in flight, has the store write it, then tells everyone. No timer, no minimum batch: a
run waits for its checkpoint. `InlineWriter` writes at once on the calling thread, for workflows
that run inline. Both have `write` (waits), `awrite` and `post` (does not wait).
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Protocol

from asgiref.sync import sync_to_async

from django_dbos.core.batch import Plan
from django_dbos.core.records import (
    Answer,
    Finish,
    RecordStep,
    Refusal,
    Release,
    Verdict,
    Write,
)
from django_dbos.store import errors

if TYPE_CHECKING:
    from django_dbos.store.base import Store
    from django_dbos.store.sessions import Session

logger = logging.getLogger("django_dbos.store")

MAX_BATCH_ROWS = 500
MAX_BATCH_BYTES = 8 * 1024 * 1024
# Seconds before a write whose row somebody else has locked is tried again.
DEFERRAL = 0.01
FIRST_BACKOFF, LAST_BACKOFF = 0.05, 2.0

Callback = Callable[[Answer], None]


class Writer(Protocol):
    """Where a run's writes go."""

    def write(self, write: Write) -> Answer:
        """Write, and wait until it is durable."""

    async def awrite(self, write: Write) -> Answer:
        """See write()."""

    def post(self, write: Write, callback: Callback | None = None) -> None:
        """Write without waiting; later writes of the workflow commit after it."""

    async def apost(self, write: Write, callback: Callback | None = None) -> None:
        """See post()."""


class Submission:
    """A write on its way, and whoever waits for its answer."""

    __slots__ = ("answer", "callback", "event", "future", "loop", "write")

    def __init__(self, write: Write, callback: Callback | None = None) -> None:
        self.write = write
        self.callback = callback
        self.event: threading.Event | None = None
        self.loop: asyncio.AbstractEventLoop | None = None
        self.future: asyncio.Future[Answer] | None = None
        self.answer: Answer | None = None


class BatchWriter:
    """One thread that writes for many runs."""

    def __init__(
        self,
        store: Store,
        executor_id: str,
        *,
        on_commit: Callable[[Plan], None],
    ) -> None:
        self._store = store
        self._executor_id = executor_id
        self._on_commit = on_commit
        self._queue: deque[Submission] = deque()
        self._deferred: deque[tuple[float, Submission]] = deque()
        self._refused: dict[tuple[str, int], Answer] = {}
        self._wake = threading.Event()
        self._is_stopping = False
        self._is_abandoned = False
        self._has_ended = False
        self._thread = threading.Thread(target=self._run, name="dbos-writer", daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def stop(self) -> None:
        """Write what is queued, then end the thread."""
        self._is_stopping = True
        self._wake.set()
        self._thread.join()

    def stop_abandoned(self) -> None:
        """Answer everything with a lost claim, and have the thread end without waiting for it."""
        self.abandon()
        self._is_stopping = True
        self._wake.set()

    def abandon(self) -> None:
        """Answer everything, now and later, with a lost claim: the executor is declared dead."""
        self._is_abandoned = True
        self._wake.set()

    def write(self, write: Write) -> Answer:
        submission = Submission(write)
        submission.event = threading.Event()
        self._submit(submission)
        submission.event.wait()
        assert submission.answer is not None
        return submission.answer

    async def awrite(self, write: Write) -> Answer:
        submission = Submission(write)
        submission.loop = asyncio.get_running_loop()
        submission.future = submission.loop.create_future()
        self._submit(submission)
        return await submission.future

    def post(self, write: Write, callback: Callback | None = None) -> None:
        self._submit(Submission(write, callback))

    async def apost(self, write: Write, callback: Callback | None = None) -> None:
        self.post(write, callback)

    def forget(self, workflow_id: str, claim_number: int) -> None:
        """The run of this claim has ended: nothing more comes from it."""
        self._refused.pop((workflow_id, claim_number), None)

    def _submit(self, submission: Submission) -> None:
        self._queue.append(submission)
        if not self._wake.is_set():
            self._wake.set()
        if self._has_ended:
            self._refuse_queued()

    def _run(self) -> None:
        session = self._store.connect(self._executor_id, "writer")
        try:
            while not (self._is_stopping and not self._queue and not self._deferred):
                batch = self._take()
                if batch:
                    self._write(session, batch)
                else:
                    self._wait()
        finally:
            session.close()
            self._has_ended = True
            self._refuse_queued()

    def _refuse_queued(self) -> None:
        """Nothing is written any more: whoever still asks has lost the claim."""
        while self._queue:
            self._tell([self._queue.popleft()], [_lost()])

    def _wait(self) -> None:
        timeout = DEFERRAL if self._deferred else None
        self._wake.wait(timeout)
        self._wake.clear()

    def _take(self) -> list[Submission]:
        """What is queued, up to the limits; first what was put off, once its time has come."""
        batch: list[Submission] = []
        now = time.monotonic()
        while self._deferred and (self._deferred[0][0] <= now or self._is_abandoned):
            batch.append(self._deferred.popleft()[1])
        blocked = {submission.write.workflow_id for _, submission in self._deferred}
        size = sum(submission.write.size for submission in batch)
        while self._queue and len(batch) < MAX_BATCH_ROWS and size < MAX_BATCH_BYTES:
            submission = self._queue.popleft()
            if submission.write.workflow_id in blocked:
                # Its workflow has an earlier write waiting: they commit in order.
                self._deferred.append((now + DEFERRAL, submission))
                continue
            batch.append(submission)
            size += submission.write.size
        return batch

    def _write(self, session: Session, batch: list[Submission]) -> None:
        batch = self._without_refused(batch)
        is_repeat, backoff = False, FIRST_BACKOFF
        while batch:
            try:
                plan = self._apply(session, batch, is_repeat=is_repeat)
            except errors.Unavailable as error:
                logger.warning("The database is unavailable, trying again: %s", error)
                session.close()
                is_repeat = True
                if self._is_abandoned:
                    self._tell(batch, [_lost()] * len(batch))
                    return
                time.sleep(backoff)
                backoff = min(backoff * 2, LAST_BACKOFF)
            except errors.StoreError as error:
                self._write_singly(session, batch, error, is_repeat=is_repeat)
                return
            except Exception:
                logger.exception("A batch of writes failed; writing one by one")
                self._write_singly(session, batch, errors.BadStatement(), is_repeat=is_repeat)
                return
            else:
                self._settle(batch, plan)
                return

    def _write_singly(
        self, session: Session, batch: list[Submission], error: Exception, *, is_repeat: bool
    ) -> None:
        """Find the write that fails its batch: it alone is refused, or put off for its lock."""
        if len(batch) > 1:
            for submission in batch:
                self._write_one(session, submission, is_repeat=is_repeat)
        else:
            self._blame(batch[0], error)

    def _write_one(self, session: Session, submission: Submission, *, is_repeat: bool) -> None:
        if any(s.write.workflow_id == submission.write.workflow_id for _, s in self._deferred):
            self._defer(submission)
        elif self._without_refused([submission]):
            if is_repeat:
                # _write asks by itself only after a failure of its own.
                try:
                    self._settle([submission], self._apply(session, [submission], is_repeat=True))
                except errors.StoreError as error:
                    self._blame(submission, error)
            else:
                self._write(session, [submission])

    def _apply(self, session: Session, batch: list[Submission], *, is_repeat: bool) -> Plan:
        if self._is_abandoned:
            return Plan(answers=[_lost()] * len(batch))
        writes = [submission.write for submission in batch]
        return self._store.apply(session, self._executor_id, writes, is_repeat=is_repeat)

    def _blame(self, submission: Submission, error: Exception) -> None:
        if isinstance(error, errors.LockTimeout | errors.Unavailable):
            self._defer(submission)
            return
        logger.error(
            "A write of workflow %r was refused by the database: %s",
            submission.write.workflow_id, error,
        )  # fmt: skip
        answer = Answer(verdict=Verdict.REFUSED, refusal=Refusal.DATABASE, subject=str(error))
        self._refused[submission.write.workflow_id, submission.write.claim_number] = answer
        self._tell([submission], [answer])

    def _defer(self, submission: Submission) -> None:
        self._deferred.append((time.monotonic() + DEFERRAL, submission))

    def _without_refused(self, batch: list[Submission]) -> list[Submission]:
        """Once a write of a claim is refused, only the end of its run is written."""
        if not self._refused:
            return batch
        kept = []
        for submission in batch:
            write = submission.write
            refusal = self._refused.get((write.workflow_id, write.claim_number))
            if refusal is None or _is_giving_up(write):
                kept.append(submission)
            else:
                self._tell([submission], [refusal])
        return kept

    def _settle(self, batch: list[Submission], plan: Plan) -> None:
        deferred = set(plan.deferred)
        told = [(s, a) for i, (s, a) in enumerate(zip(batch, plan.answers, strict=True))
                if i not in deferred]  # fmt: skip
        for position in plan.deferred:
            self._defer(batch[position])
        self._tell([s for s, _ in told], [a for _, a in told])
        self._on_commit(plan)

    def _tell(self, batch: Sequence[Submission], answers: Sequence[Answer]) -> None:
        """Wake everyone: each event loop once, however many of its runs wait."""
        by_loop: dict[asyncio.AbstractEventLoop, list[Submission]] = {}
        for submission, answer in zip(batch, answers, strict=True):
            submission.answer = answer
            if submission.callback is not None:
                submission.callback(answer)
            if submission.loop is not None:
                by_loop.setdefault(submission.loop, []).append(submission)
            elif submission.event is not None:
                submission.event.set()
        for loop, submissions in by_loop.items():
            with contextlib.suppress(RuntimeError):
                loop.call_soon_threadsafe(_resolve, submissions)


def _resolve(submissions: list[Submission]) -> None:
    for submission in submissions:
        if submission.future is not None and not submission.future.done():
            assert submission.answer is not None
            submission.future.set_result(submission.answer)


def _is_giving_up(write: Write) -> bool:
    return isinstance(write, Release) or (isinstance(write, Finish) and write.is_set_aside)


def _lost() -> Answer:
    return Answer(verdict=Verdict.CLAIM_LOST)


class InlineWriter:
    """Writes on the calling thread, on Django's connection."""

    def __init__(
        self, store: Store, executor_id: str, *, on_commit: Callable[[Plan], None]
    ) -> None:
        self._store = store
        self._executor_id = executor_id
        self._on_commit = on_commit

    def write(self, write: Write) -> Answer:
        session = self._store.session()
        is_repeat, backoff = False, FIRST_BACKOFF
        while True:
            try:
                plan = self._store.apply(session, self._executor_id, [write], is_repeat=is_repeat)
            except errors.BadStatement as error:
                return Answer(verdict=Verdict.REFUSED, refusal=Refusal.DATABASE, subject=str(error))
            except errors.StoreError as error:
                if self._store.is_in_transaction():
                    raise
                logger.warning("The database is unavailable, trying again: %s", error)
                session.close()
                is_repeat = True
            else:
                if not plan.deferred:
                    self._on_commit(plan)
                    return plan.answers[0]
            time.sleep(backoff)
            backoff = min(backoff * 2, LAST_BACKOFF)

    async def awrite(self, write: Write) -> Answer:
        return await sync_to_async(self.write, thread_sensitive=True)(write)

    def post(self, write: Write, callback: Callback | None = None) -> None:
        answer = self.write(write)
        if callback is not None:
            callback(answer)

    async def apost(self, write: Write, callback: Callback | None = None) -> None:
        await sync_to_async(self.post, thread_sensitive=True)(write, callback)

    def forget(self, workflow_id: str, claim_number: int) -> None:
        """Nothing is kept of a claim."""


__all__ = ["BatchWriter", "InlineWriter", "RecordStep", "Writer"]
