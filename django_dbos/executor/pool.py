"""Where workflow functions run: threads for sync ones, one event loop for async ones."""

from __future__ import annotations

import asyncio
import logging
import queue
import threading
from collections.abc import Callable

from asgiref.sync import SyncToAsync, ThreadSensitiveContext, sync_to_async
from django.db import close_old_connections, connections

from django_dbos.operations.run import Run

logger = logging.getLogger("django_dbos.executor")


class Pool:
    """Runs what it is given at once: the executor's slots limit how much that is."""

    def __init__(self, size: int, on_done: Callable[[Run], None]) -> None:
        self._size = size
        self._on_done = on_done
        self._queue: queue.SimpleQueue[Run | None] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._idle = 0
        self._threads = 0
        self._loop: asyncio.AbstractEventLoop | None = None
        self._loop_thread: threading.Thread | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    def submit(self, run: Run) -> None:
        """Run it, on a thread or on the loop."""
        if run.definition.is_async:
            loop = self._running_loop()
            loop.call_soon_threadsafe(self._start_task, run)
            return
        with self._lock:
            # One thread for each run that is queued or under way.
            needs_thread = self._idle <= self._queue.qsize()
            if needs_thread:
                self._threads += 1
        self._queue.put(run)
        if needs_thread:
            threading.Thread(target=self._work, name="dbos-run", daemon=True).start()

    def stop(self) -> None:
        """End the threads that are idle, and the loop. Runs under way go on until they end."""
        for _ in range(self._threads):
            self._queue.put(None)
        if self._loop is not None and self._loop_thread is not None:
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._loop_thread.join(5.0)

    # Threads

    def _work(self) -> None:
        try:
            while (run := self._next()) is not None:
                close_old_connections()
                try:
                    run.execute()
                except BaseException:
                    logger.exception("Workflow %r was interrupted", run.workflow_id)
                finally:
                    close_old_connections()
                    self._on_done(run)
        finally:
            connections.close_all()
            with self._lock:
                self._threads -= 1

    def _next(self) -> Run | None:
        """The next run; None if there is none, and this thread is one too many."""
        with self._lock:
            self._idle += 1
        try:
            return self._queue.get()
        finally:
            with self._lock:
                self._idle -= 1

    # The loop

    def _running_loop(self) -> asyncio.AbstractEventLoop:
        with self._lock:
            if self._loop is None:
                self._loop = asyncio.new_event_loop()
                self._loop_thread = threading.Thread(
                    target=self._run_loop, args=(self._loop,), name="dbos-loop", daemon=True
                )
                self._loop_thread.start()
            return self._loop

    def _run_loop(self, loop: asyncio.AbstractEventLoop) -> None:
        asyncio.set_event_loop(loop)
        try:
            loop.run_forever()
            for task in self._tasks:
                task.cancel()
            if self._tasks:
                loop.run_until_complete(asyncio.wait(self._tasks, timeout=1.0))
            loop.run_until_complete(loop.shutdown_asyncgens())
            loop.run_until_complete(loop.shutdown_default_executor())
        finally:
            loop.close()
            connections.close_all()

    def _start_task(self, run: Run) -> None:
        assert self._loop is not None
        task = self._loop.create_task(self._arun(run))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _arun(self, run: Run) -> None:
        # Its own thread and connection for what is sync, as Django's ASGI handler gives a request
        # (CORRECTNESS rule 39).
        try:
            async with ThreadSensitiveContext() as own:
                try:
                    await run.aexecute()
                finally:
                    if own in SyncToAsync.context_to_thread_executor:
                        await sync_to_async(connections.close_all)()
        except asyncio.CancelledError:
            logger.warning("Workflow %r was interrupted", run.workflow_id)
        except BaseException:
            logger.exception("Workflow %r was interrupted", run.workflow_id)
        finally:
            self._on_done(run)
