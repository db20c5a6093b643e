"""A session that the runs of an executor share, and the one thread that uses it.

Most runs never need it, and those that do need it for a few milliseconds: a thread and a connection
for each, as Django's are, would be too many.
"""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor, wait
from typing import TypeVar

from django_dbos.core.backoff import Backoff
from django_dbos.executor.connection import Connection
from django_dbos.executor.identity import Identity
from django_dbos.operations.run import Run
from django_dbos.store import errors
from django_dbos.store.sessions import Session

logger = logging.getLogger("django_dbos.executor")

T = TypeVar("T")

# The first and the longest pause in seconds before a database that is away is asked again.
BACKOFF = (0.05, 2.0)
# Seconds for which the end of an executor waits for the session's.
LAST_PATIENCE = 5.0


class SharedSession:
    """The thread and its session; both are opened when they are first needed."""

    def __init__(self, identity: Identity, purpose: str) -> None:
        self._connection = Connection(identity, purpose)
        self._purpose = purpose
        self._lock = threading.Lock()
        self._thread: ThreadPoolExecutor | None = None

    async def aask(self, run: Run, ask: Callable[[Session], T]) -> T:
        """Return the answer of `ask`, once the database answers; an interruption ends the wait."""
        backoff = Backoff(*BACKOFF)
        while True:
            try:
                return await asyncio.wrap_future(self._submit(ask))
            except (errors.Unavailable, errors.LockTimeout) as error:
                run.check()
                logger.warning(
                    "Workflow %r waits for the database, which is unavailable: %r",
                    run.workflow_id,
                    error,
                    extra=run.log_fields,
                )
            await asyncio.sleep(backoff.grow())
            run.check()

    def _submit(self, ask: Callable[[Session], T]) -> Future[T]:
        with self._lock:
            if self._thread is None:
                self._thread = ThreadPoolExecutor(1, thread_name_prefix=f"dbos-{self._purpose}")
            return self._thread.submit(self._perform, ask)

    def _perform(self, ask: Callable[[Session], T]) -> T:
        try:
            return ask(self._connection.get())
        except errors.StoreError:
            self._connection.close()
            raise

    def stop(self) -> None:
        """Close the session, and let the thread end; the next question opens both again."""
        with self._lock:
            if self._thread is not None:
                closed = self._thread.submit(self._connection.close)
                self._thread.shutdown(wait=False)
                # A statement that is never answered is abandoned.
                wait([closed], LAST_PATIENCE)
                self._thread = None
