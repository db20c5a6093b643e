"""Helpers for users' tests: run the workflows that were started, and move their due times.

They work on the calling thread and on Django's connection: inside `TestCase`, on SQLite in memory
and, through the async twins, in async tests. Outside a test's transaction a worker may run beside
them.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

from asgiref.sync import sync_to_async

from django_dbos.core import durations, registry
from django_dbos.core.ids import new_executor_id
from django_dbos.core.queues import Turn, Visit
from django_dbos.core.records import Claim, Lane
from django_dbos.exceptions import DbosError
from django_dbos.executor.watermark import BOTTOM
from django_dbos.operations.inline import InlineHost
from django_dbos.operations.registration import executor_info
from django_dbos.operations.run import Run
from django_dbos.store import get_store
from django_dbos.store.base import Store

__all__ = ["aadvance", "advance", "arun_until_idle", "run_until_idle"]

# How many rows one statement changes.
LIMIT = 1_000


def run_until_idle(queues: Iterable[str] | None = None, max_runs: int = 1000) -> int:
    """Run every workflow that can run, and return the number of runs.

    A workflow that waits is suspended, and run again once its wait is over.

    Args:
        queues: The names of the queues to run; None (the default) for all.
        max_runs: The number of runs after which to give up, since workflows may start one another
            for ever.

    Raises:
        DbosError: After `max_runs` runs there is still one to do.
    """
    only = None if queues is None else set(queues)
    with _test_host(get_store()) as host:
        count = 0
        while (run := host.next_run(only)) is not None:
            count += 1
            if count > max_runs:
                host.give_back(run)
                raise DbosError(
                    f"run_until_idle() has run {max_runs} times, and workflow "
                    f"{run.workflow_id!r} ({run.definition.name}) would be next. Do workflows "
                    "start one another for ever? Else raise max_runs."
                )
            host.perform(run)
        return count


async def arun_until_idle(queues: Iterable[str] | None = None, max_runs: int = 1000) -> int:
    """See run_until_idle()."""
    return await sync_to_async(run_until_idle)(queues, max_runs)


def advance(duration: float | timedelta) -> None:
    """Move all due times nearer: of sleeps, timeouts of waits, delayed starts and deadlines.

    Args:
        duration: Seconds, or a timedelta.
    """
    seconds = durations.to_seconds(duration, label="duration")
    get_store().advance(seconds)


async def aadvance(duration: float | timedelta) -> None:
    """See advance()."""
    await sync_to_async(advance)(duration)


class _TestHost(InlineHost):
    """A host that suspends waits as a worker does, on Django's connection as an inline caller."""

    is_inline = False

    def __init__(self, store: Store, executor_id: str) -> None:
        super().__init__(store, executor_id)
        self._turns: dict[str, Turn] = {}

    def next_run(self, only: set[str] | None) -> Run | None:
        """Claim the next workflow, after enqueueing workflows that are due or can continue."""
        session = self.store.session()
        self.store.expire_deadlines(session, LIMIT)
        self.store.enqueue_due(session, LIMIT)
        self.store.wake_satisfied(session)
        claim = self._claim_next(session, only)
        return None if claim is None else self.make_run(claim)

    def _claim_next(self, session: Any, only: set[str] | None) -> Claim | None:
        lanes = self.store.list_lanes(session)
        for lane in sorted(lanes, key=lambda lane: -(lane.priority or 0)):
            if only is not None and lane.queue_name not in only:
                continue
            claims = self._claim_from(session, lane)
            if claims:
                return claims[0]
        return None

    def _claim_from(self, session: Any, lane: Lane) -> list[Claim]:
        names = registry.claimable()
        if lane.priority is None:
            return self._claim_in_turn(session, lane.queue_name, names)
        claims, _ = self.store.claim_workflows(
            session, self.executor_id, lane, names=names, above=BOTTOM, limit=1
        )
        return claims

    def _claim_in_turn(self, session: Any, queue_name: str, names: list[str]) -> list[Claim]:
        turn = self._turns.setdefault(queue_name, Turn())
        turn.begin()
        while True:
            visit = Visit(queue_name=queue_name, names=names, after=turn.after, limit=1)
            claims, part = self.store.claim_in_turn(session, self.executor_id, visit)
            if not turn.note(part) or claims:
                return claims


@contextmanager
def _test_host(store: Store) -> Iterator[_TestHost]:
    """Yield a host with an executor's row, which claims need."""
    host = _TestHost(store, new_executor_id())
    info = executor_info(host.executor_id, is_inline=True, concurrency=1)
    store.register_executor(store.session(), info, has_lock=False)
    try:
        yield host
    finally:
        store.deregister_executor(store.session(), host.executor_id)
