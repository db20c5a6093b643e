"""The inline writer: writes of workflows that run inline, on Django's connection.

They are written on the caller's thread. On a loop they are written in groups, as a worker's are:
one call of the thread takes all writes that the loop's runs have queued since its last call. Code
on that very thread that writes by way of the loop, a sync step for example, has its write done at
once: it holds the thread that the group would wait for.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from collections.abc import Callable, Sequence
from contextvars import Context, copy_context
from functools import partial
from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary

from asgiref.sync import AsyncToSync, sync_to_async

from django_dbos.core.backoff import Backoff
from django_dbos.core.batch.plan import Plan
from django_dbos.core.records import Answer, Refusal, Verdict, Write
from django_dbos.store import errors
from django_dbos.store.writer import MAX_BATCH_BYTES, MAX_BATCH_ROWS, WRITE_BACKOFF, Callback

if TYPE_CHECKING:
    from django_dbos.store.base import Store

logger = logging.getLogger("django_dbos.store")

Batch = list[tuple[Write, asyncio.Future[Answer]]]


class _Queue:
    """The queued writes of one loop's runs, with the futures of their answers."""

    def __init__(self) -> None:
        self.holder = _thread_holder()
        """The holder of the thread on which the loop's runs began."""
        self.waiting: deque[tuple[Write, asyncio.Future[Answer]]] = deque()
        self.writing: asyncio.Task[None] | None = None

    def take(self) -> Batch:
        """Take the next batch, up to the limits."""
        batch: Batch = []
        size = 0
        while self.waiting and len(batch) < MAX_BATCH_ROWS and size < MAX_BATCH_BYTES:
            batch.append(self.waiting.popleft())
            size += batch[-1][0].size
        return batch


class InlineWriter:
    """Writes on the calling thread, on Django's connection.

    Args:
        store: The store.
        executor_id: The executor that holds the claims of the inline runs.
        on_commit: Called with the plan of each batch that was written.
        new_context: Returns the context of a task that writes for all the runs of a loop.
    """

    def __init__(
        self,
        store: Store,
        executor_id: str,
        *,
        on_commit: Callable[[Plan], None],
        new_context: Callable[[], Context] = copy_context,
    ) -> None:
        self._store = store
        self._executor_id = executor_id
        self._on_commit = on_commit
        self._new_context = new_context
        self._queues: WeakKeyDictionary[asyncio.AbstractEventLoop, _Queue] = WeakKeyDictionary()
        self._failed: dict[tuple[str, int], BaseException] = {}
        """The errors of posted writes, by the claim; the next write of the claim raises them."""

    def write(self, write: Write) -> Answer:
        """See `Writer`."""
        return self._write(write)

    def _write(self, write: Write, *, is_repeat: bool = False) -> Answer:
        session, backoff = self._store.session(), Backoff(*WRITE_BACKOFF)
        while True:
            try:
                plan = self._store.apply(session, self._executor_id, [write], is_repeat=is_repeat)
            except errors.BadStatement as error:
                return Answer(verdict=Verdict.REFUSED, refusal=Refusal.DATABASE, subject=str(error))
            except errors.StoreError as error:
                if self._store.is_in_transaction():
                    raise
                # A warning once an outage, not at every attempt.
                level = logging.DEBUG if backoff.delay else logging.WARNING
                logger.log(level, "The database is unavailable, trying again: %r", error)
                session.close()
                is_repeat = True
            else:
                if not plan.deferred:
                    self._on_commit(plan)
                    return plan.answers[0]
            time.sleep(backoff.grow())

    def _write_all(self, writes: Sequence[Write]) -> list[Answer]:
        """Write a batch; one by one if a write fails it, and those that others have locked."""
        try:
            plan = self._store.apply(
                self._store.session(), self._executor_id, writes, is_repeat=False
            )
        except errors.StoreError:
            return [self._write(write, is_repeat=True) for write in writes]
        self._on_commit(plan)
        answers = list(plan.answers)
        for position in plan.deferred:
            answers[position] = self._write(writes[position])
        return answers

    def use_loop(self) -> None:
        """Note the holder of the thread; called on a loop, before a run begins."""
        self._queue_of(asyncio.get_running_loop())

    def _queue_of(self, loop: asyncio.AbstractEventLoop) -> _Queue:
        return self._queues.setdefault(loop, _Queue())

    async def awrite(self, write: Write) -> Answer:
        """See `Writer`."""
        if (answer := self._enqueue(write)) is None:
            return await sync_to_async(self._write, thread_sensitive=True)(write)
        return await answer

    def _enqueue(self, write: Write) -> asyncio.Future[Answer] | None:
        """Queue a write; return the future of its answer, or None if this thread must write."""
        if (error := self._failed.get((write.workflow_id, write.claim_number))) is not None:
            raise error
        loop = asyncio.get_running_loop()
        queue = self._queue_of(loop)
        if _thread_holder() is not queue.holder:
            return None
        answer: asyncio.Future[Answer] = loop.create_future()
        queue.waiting.append((write, answer))
        if queue.writing is None:
            # Not a task of the run that came first: that run may be cancelled.
            queue.writing = loop.create_task(self._write_queued(queue), context=self._new_context())
        return answer

    async def _write_queued(self, queue: _Queue) -> None:
        """Write everything that is queued, and the writes that are queued in the meantime."""
        try:
            while batch := queue.take():
                await self._write_batch(batch)
        except BaseException as error:
            # The writes that were queued in the meantime must not wait for ever.
            while batch := queue.take():
                _fail(batch, error)
            raise
        finally:
            queue.writing = None

    async def _write_batch(self, batch: Batch) -> None:
        writes = [write for write, _ in batch]
        try:
            answers = await sync_to_async(self._write_all, thread_sensitive=True)(writes)
        except BaseException as error:
            _fail(batch, error)
            if not isinstance(error, Exception):
                raise
            return
        for (_, waiting), answer in zip(batch, answers, strict=True):
            if not waiting.done():
                waiting.set_result(answer)

    def post(self, write: Write, callback: Callback | None = None) -> None:
        """See `Writer`."""
        answer = self.write(write)
        if callback is not None:
            callback(answer)

    async def apost(self, write: Write, callback: Callback | None = None) -> None:
        """See `Writer`. No other branch runs meanwhile: in a replay, none does."""
        answer = self._enqueue(write)
        if answer is not None:
            answer.add_done_callback(partial(self._settle, write, callback))
            return
        found = await sync_to_async(self._write, thread_sensitive=True)(write)
        if callback is not None:
            callback(found)

    def _settle(
        self, write: Write, callback: Callback | None, answer: asyncio.Future[Answer]
    ) -> None:
        """Pass on the answer to a posted write, or have the claim's next write raise its error."""
        if answer.cancelled():
            return
        if (error := answer.exception()) is not None:
            self._failed[write.workflow_id, write.claim_number] = error
        elif callback is not None:
            callback(answer.result())

    def leave(self, write: Write, callback: Callback) -> None:
        """See `Writer`."""
        self.post(write, callback)

    def forget(self, workflow_id: str, claim_number: int) -> None:
        """Forget the error of a posted write of a claim whose run has ended."""
        self._failed.pop((workflow_id, claim_number), None)


def _fail(batch: Batch, error: BaseException) -> None:
    """Raise the error where the batch's writes are awaited."""
    for _, waiting in batch:
        if not waiting.done():
            waiting.set_exception(error)


def _thread_holder() -> object:
    """Return asgiref's executor for this thread, which works while its code waits for the loop."""
    return getattr(AsyncToSync.executors, "current", None)
