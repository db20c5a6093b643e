"""The engine's own reads in a run: they wait out a database that is away, as its writes do.

Whatever workflow code asks for by the engine's name (a model instance among its arguments, another
workflow's status, a page of a stream) is read on Django's connection of that thread, which may have
been lost long ago. The workflow isn't to blame, and must not end because of it.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Generic, TypeVar

from asgiref.sync import sync_to_async
from django.db import connections

from django_dbos.core.records import run_key
from django_dbos.operations.runtime import HostedRun
from django_dbos.store import errors
from django_dbos.store.sessions import translated_errors

logger = logging.getLogger("django_dbos.executor")

T = TypeVar("T")

FIRST_BACKOFF, LAST_BACKOFF = 0.05, 2.0


def patiently(run: HostedRun, ask: Callable[[], T]) -> T:
    """Return what `ask` returns, once the database answers; raise what ends the run meanwhile.

    Inside an open transaction it asks once: a transaction that has failed can't go on.
    """
    question = _Question(run, ask)
    while (found := question.ask()) is None:
        with run.host.store.wakeups.watch(run_key(run.workflow_id)) as watch:
            run.check()
            watch.wait(question.pause)
        run.check()
    return found[0]


async def apatiently(run: HostedRun, ask: Callable[[], T]) -> T:
    """See patiently(). It asks on a thread of the run's own."""
    question = _Question(run, ask)
    while (found := await sync_to_async(question.ask)()) is None:
        with run.host.store.wakeups.watch(run_key(run.workflow_id)) as watch:
            run.check()
            await watch.await_(question.pause)
        run.check()
    return found[0]


class _Question(Generic[T]):
    """Something that is asked until the database answers."""

    def __init__(self, run: HostedRun, ask: Callable[[], T]) -> None:
        self._run = run
        self._ask = ask
        self.pause = 0.0
        """Seconds before it is asked again."""

    def ask(self) -> tuple[T] | None:
        """The answer; None while there is none."""
        try:
            with translated_errors():
                answer = self._ask()
        except (errors.Unavailable, errors.LockTimeout) as error:
            if not _drop_failed_connections():
                raise
            self._note(error)
            return None
        if self.pause:
            logger.info("Workflow %r: the database is back", self._run.workflow_id)
        return (answer,)

    def _note(self, error: errors.StoreError) -> None:
        if not self.pause:
            logger.warning(
                "Workflow %r waits for the database, which is unavailable: %r",
                self._run.workflow_id,
                error,
                extra=self._run.log_fields,
            )
        self.pause = min(max(self.pause * 2, FIRST_BACKOFF), LAST_BACKOFF)


def _drop_failed_connections() -> bool:
    """Have this thread connect anew; False if that would lose an open transaction."""
    failed = [one for one in connections.all(initialized_only=True) if one.errors_occurred]
    if any(one.in_atomic_block for one in failed):
        return False
    for connection in failed:
        connection.close()
    return True
