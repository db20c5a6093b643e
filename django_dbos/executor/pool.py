"""Pool: runs workflow functions, on threads if they are sync, on one event loop if async."""

from __future__ import annotations

import asyncio
import logging
import queue
import threading
import time
from collections.abc import Callable

from asgiref.sync import SyncToAsync, ThreadSensitiveContext, sync_to_async
from django.db import close_old_connections, connections, reset_queries

from django_dbos.operations import runner
from django_dbos.operations.run import Run
from django_dbos.telemetry import concealing

logger = logging.getLogger("django_dbos.executor")

# Seconds between two attempts to start a thread, while the system allows no more of them.
START_PAUSE = 0.1
# Seconds for which a thread without a run keeps Django's connections, if they are persistent.
IDLE_TIME = 1.0


# Tasks whose loop has ended. Python would close their coroutines on the thread that collects them,
# and asgiref would give that thread's context the variables of the run.
_abandoned: list[asyncio.Task[None]] = []


class Pool:
    """Threads and an event loop for runs, which all begin at once: slots limit their number."""

    def __init__(self, on_done: Callable[[Run], None]) -> None:
        self._on_done = on_done
        self._queue: queue.SimpleQueue[Run | None] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._idle = 0
        """Threads that wait for a run, or are about to, without one queued for them."""
        self._to_start = 0
        """Threads that are still to be started; each has a run queued for it."""
        self._is_starting = False
        self._is_stopping = False
        self._name_number = 0
        self._loop: asyncio.AbstractEventLoop | None = None
        self._loop_thread: threading.Thread | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    def submit(self, run: Run) -> None:
        """Run a workflow on a thread or on the loop; raise RuntimeError if no thread can start."""
        if run.definition.is_async:
            loop = self._running_loop()
            loop.call_soon_threadsafe(self._start_task, run)
            return
        with self._lock:
            is_one_idle = self._idle > 0
            if is_one_idle:
                self._idle -= 1
            else:
                self._to_start += 1
            needs_starter = not (is_one_idle or self._is_starting)
            self._is_starting = self._is_starting or needs_starter
        if needs_starter:
            self._begin_to_start()
        self._queue.put(run)

    def rename_connections(self) -> None:
        """Make each thread reconnect: Django's connections carry another name from now on."""
        self._name_number += 1

    def stop(self) -> None:
        """End the idle threads, and the loop; other threads end with their runs."""
        with self._lock:
            self._is_stopping = True
            idle, self._idle = self._idle, 0
        for _ in range(idle):
            self._queue.put(None)
        if self._loop is not None and self._loop_thread is not None:
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._loop_thread.join(5.0)

    # Threads

    def _begin_to_start(self) -> None:
        """Start threads on another thread.

        Starting a thread blocks until it runs, so a hundred of them would delay the dispatcher.
        """
        try:
            threading.Thread(target=self._start_threads, name="dbos-starter", daemon=True).start()
        except RuntimeError:
            with self._lock:
                self._to_start -= 1
                self._is_starting = False
            raise

    def _start_threads(self) -> None:
        while True:
            with self._lock:
                if not self._to_start:
                    self._is_starting = False
                    return
                self._to_start -= 1
            self._start_thread()

    def _start_thread(self) -> None:
        while True:
            try:
                threading.Thread(target=self._work, name="dbos-run", daemon=True).start()
            except RuntimeError as error:
                logger.warning("A run waits for a thread: %r", error)
                time.sleep(START_PAUSE)
            else:
                return

    def _work(self) -> None:
        run = self._queue.get()
        name_number = self._name_number
        try:
            while run is not None:
                if name_number != self._name_number:
                    name_number = self._name_number
                    connections.close_all()
                self._perform(run)
                run = self._next(run)
        finally:
            connections.close_all()

    def _perform(self, run: Run) -> None:
        close_old_connections()
        reset_queries()
        try:
            runner.execute(run)
        except BaseException as error:
            _log_interruption(run, error)
        finally:
            close_old_connections()

    def _next(self, done: Run) -> Run | None:
        """Give the slot back, and wait for another run; return None when there will be none."""
        with self._lock:
            is_stopping = self._is_stopping
            if not is_stopping:
                # Before the slot is free, so that the run that takes it finds this thread.
                self._idle += 1
        self._on_done(done)
        return None if is_stopping else self._await_run()

    def _await_run(self) -> Run | None:
        """Return the next run.

        Close the connections if it doesn't come soon: others need them more (CORRECTNESS rule 34).
        """
        try:
            return self._queue.get(timeout=IDLE_TIME)
        except queue.Empty:
            connections.close_all()
            return self._queue.get()

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
            _run_until_stopped(loop)
            # A copy: the callbacks of tasks that are done empty the set once the loop goes on.
            tasks = set(self._tasks)
            for task in tasks:
                task.cancel()
            if tasks:
                loop.run_until_complete(asyncio.wait(tasks, timeout=1.0))
            _abandoned.extend(task for task in tasks if not task.done())
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
        # Sync code of the run has a thread and a connection of its own, as that of a request has in
        # Django's ASGI handler (CORRECTNESS rule 39).
        try:
            async with ThreadSensitiveContext() as own:
                try:
                    await runner.aexecute(run)
                finally:
                    if own in SyncToAsync.context_to_thread_executor:
                        await sync_to_async(connections.close_all)()
        except asyncio.CancelledError:
            logger.warning("Workflow %r was interrupted", run.workflow_id)
        except BaseException as error:
            _log_interruption(run, error)
        finally:
            self._on_done(run)


def _log_interruption(run: Run, error: BaseException) -> None:
    logger.error(
        "Workflow %r was interrupted",
        run.workflow_id,
        exc_info=concealing.shown(run.definition.name, error),
    )


def _run_until_stopped(loop: asyncio.AbstractEventLoop) -> None:
    """Run the loop on, past exceptions that a task raises out of it as well as in itself."""
    while True:
        try:
            loop.run_forever()
        except (SystemExit, KeyboardInterrupt) as error:
            logger.error(
                "A task raised an exception that stops event loops; the others go on",
                exc_info=concealing.shown("", error),
            )
        else:
            return
