from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import psycopg

from benchmarks.environment import database_url
from benchmarks.workloads.workload import Values, rate_from_first_to_last, workload

PATIENCE = 120.0


@workload(
    "drain beside an old snapshot",
    units={"without": "/s", "with": "/s"},
    needs="finished_query",
    size=20_000,
    quick_size=500,
    sizes={"dbos": 10_000, "absurd-sdk": 5_000, "procrastinate": 5_000, "django-tasks-db": 2_000},
    limit=300,
    is_heavy=True,
)
def old_snapshot(system: Any, count: int) -> Values:
    """A drain without, then with a transaction that holds an old snapshot: no row is vacuumed."""
    without = drain(system, count)
    with snapshot():
        return {"without": without, "with": drain(system, count)}


def drain(system: Any, count: int) -> float:
    system.clean()
    system.fill(count)
    with system.worker() as worker:
        return rate_from_first_to_last(system.finished, count, worker, PATIENCE)


@contextlib.contextmanager
def snapshot() -> Iterator[None]:
    """A transaction that sees the past for the length of a block.

    The tables are emptied under it, so it reads none of them.
    """
    with psycopg.connect(database_url()) as connection:
        connection.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
        connection.execute("SELECT txid_current()")
        yield
        connection.rollback()
