"""Helpers for executors: clocks, and dead executors."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace

from django.db import connection

from django_dbos.core.ids import new_executor_id
from django_dbos.executor import Executor
from django_dbos.operations.registration import executor_info
from django_dbos.store import get_store

Start = Callable[..., Executor]


class Clock:
    """A monotonic clock that runs, and can be set forward."""

    def __init__(self) -> None:
        self._ahead = 0.0

    def __call__(self) -> float:
        return time.monotonic() + self._ahead

    def advance(self, seconds: float, executor: Executor) -> None:
        """Set the clock forward, and have the executor run the duties that are due."""
        self._ahead += seconds
        executor.housekeeping.loop.wake()


class StoppedClock:
    """A monotonic clock that only advances when it is set forward."""

    def __init__(self, now: float = 10_000.0) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds


def register_dead(*, has_lock: bool) -> str:
    """Write the row of an executor that sends no heartbeats; return its id."""
    store, executor_id = get_store(), new_executor_id()
    info = replace(executor_info(executor_id, is_inline=False, concurrency=1), lock_key=1)
    store.register_executor(store.session(), info, has_lock=has_lock)
    return executor_id


def claim_for(executor_id: str, workflow_id: str) -> None:
    """Claim a workflow for another executor."""
    store = get_store()
    assert store.claim_workflow(store.session(), executor_id, workflow_id)


def cancel_silently() -> None:
    """Cancel a running workflow without notifications; its run finds out at its next write."""
    with connection.cursor() as cursor:
        cursor.execute(
            "UPDATE dbos_workflow SET status = 'CANCELLED', executor_id = NULL, "
            "claim_number = claim_number + 1 WHERE status = 'PENDING'"
        )
