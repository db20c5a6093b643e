"""The engine's own reads in a run, which wait for the database to return, as its writes do.

Such a read (a model instance among the arguments, another workflow's status, a page of a stream)
uses Django's connection of the thread, which may have been lost long ago. The workflow must not
fail because of that.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Generic, TypeVar

from asgiref.sync import sync_to_async
from django.db import connections

from django_dbos.core.backoff import Backoff
from django_dbos.core.records import run_key
from django_dbos.interruptions import RunInterrupted
from django_dbos.operations.polling import auntil
from django_dbos.operations.runtime import HostedRun
from django_dbos.store import errors
from django_dbos.store.sessions import translated_errors

logger = logging.getLogger("django_dbos.executor")

T = TypeVar("T")

# The first and the longest pause in seconds before the database is asked again.
BACKOFF = (0.05, 2.0)


async def apatiently(run: HostedRun, ask: Callable[[], T]) -> T:
    """Return the answer of `ask`, once the database answers; an interruption ends the wait.

    In an async run `ask` is called on the run's thread. Inside an open transaction it is called
    once, since a transaction that has failed can't continue.
    """
    return await auntil_answered(run, AsyncRead(run, ask))


async def auntil_answered(run: HostedRun, read: AsyncRead[T]) -> T:
    """Return the answer of a read, once there is one: see apatiently()."""
    found = await read.poll(False)
    if found is None:
        with run.host.store.wakeups.watch(run_key(run.workflow_id)) as watch:
            found = await auntil(watch, read, has_polled=True)
    assert found is not None
    return found[0]


class BaseRead(Generic[T]):
    """A read that is repeated until the database answers. Both colours share this.

    Args:
        run: The run, whose interruption ends the wait.
        ask: The read.
        known: An interruption of the run that was there before, and doesn't end the wait.
        is_apart: Asks on another thread than that of an async run, where code may wait for this.
    """

    def __init__(
        self,
        run: HostedRun,
        ask: Callable[[], T],
        *,
        known: RunInterrupted | None = None,
        is_apart: bool = False,
    ) -> None:
        self._run = run
        self._ask = ask
        self._known = known
        self._is_apart = is_apart
        self._backoff = Backoff(*BACKOFF)
        self._culprit = ""

    def blocking(self) -> AbstractContextManager[None]:
        """Return a context in which the caller blocks until the next poll."""
        return nullcontext()

    def _poll(self) -> tuple[T] | None:
        try:
            with translated_errors():
                answer = self._ask()
        except (errors.Unavailable, errors.LockTimeout) as error:
            if not _drop_failed_connections():
                raise
            self._note(error)
            return None
        if self._backoff.delay:
            logger.info("Workflow %r: %s is back", self._run.workflow_id, self._culprit)
        return (answer,)

    def _next_pause(self) -> float:
        self._check()
        return self._backoff.delay

    def _check(self) -> None:
        if self._known is None or self._run.interruption is not self._known:
            self._run.check()

    def _poll_apart(self) -> tuple[T] | None:
        try:
            return self._poll()
        finally:
            # Of a storage in a database, for example: the thread is one of asyncio's.
            connections.close_all()

    def _note(self, error: errors.StoreError) -> None:
        self._culprit = error.culprit
        if not self._backoff.delay:
            logger.warning(
                "Workflow %r waits for %s, which is unavailable: %r",
                self._run.workflow_id,
                error.culprit,
                error,
                extra=self._run.log_fields,
            )
        self._backoff.grow()


class AsyncRead(BaseRead[T]):
    """A read in an async run."""

    async def poll(self, is_expected: bool) -> tuple[T] | None:
        """Return the answer in a tuple; None if the database is unavailable."""
        ask = self._poll_apart if self._is_apart else self._poll
        return await sync_to_async(ask, thread_sensitive=not self._is_apart)()

    async def pause(self) -> float:
        """Return the seconds until the next attempt."""
        return self._next_pause()

    async def resume(self) -> None:
        """Raise the error that ends the wait, if there is one."""
        self._check()


def _drop_failed_connections() -> bool:
    """Have this thread reconnect; return False if that would lose an open transaction."""
    opened = connections.all(initialized_only=True)
    failed = [connection for connection in opened if connection.errors_occurred]
    if any(connection.in_atomic_block for connection in failed):
        return False
    for connection in failed:
        connection.close()
    return True
