from __future__ import annotations

import contextlib
import time
from collections import deque
from collections.abc import Iterator
from typing import Any

import psycopg

from benchmarks.environment import database_url
from benchmarks.systems.system import POLL_INTERVAL, BenchmarkError, Worker
from benchmarks.workloads.workload import Values, workload

# The last minute counts, or the second half of a shorter time.
COUNTED = 60.0
# When fewer than BATCH are left, BATCH are enqueued; one in MARKED is polled.
BATCH, MARKED = 5_000, 100


@workload(
    "drain beside an old snapshot",
    units={"without": "/s", "with": "/s", "with / without": "x"},
    needs="start_all is_finished",
    size=60,
    quick_size=4,
    limit=3_600,
    is_heavy=True,
)
def old_snapshot(system: Any, seconds: int) -> Values:
    """A queue is kept filled, without and with a transaction that holds an old snapshot.

    So no row is vacuumed. The rate is that of the last minute, or of the second half of a shorter
    time; the size is in seconds.
    """
    counted = min(COUNTED, seconds / 2)
    without = rate_at_the_end(system, 2 * counted, counted)
    with snapshot():
        beside = rate_at_the_end(system, seconds, counted)
    return {"without": without, "with": beside, "with / without": beside / without}


def rate_at_the_end(system: Any, seconds: float, counted: float) -> float:
    """Return the rate per second in the last `counted` of `seconds`."""
    system.clean()
    with system.worker() as worker:
        load = Load(system, worker)
        load.go_on(seconds - counted)
        return load.go_on(counted)


class Load:
    """Keeps a queue filled, and measures progress by polling single pieces of work.

    Counting all would take ever longer: the old snapshot keeps every version of their rows.
    """

    def __init__(self, system: Any, worker: Worker) -> None:
        self.system, self.worker = system, worker
        self.marks: deque[Any] = deque()

    def go_on(self, seconds: float) -> float:
        """Keep the queue filled for some seconds; return the rate per second."""
        done, began = 0, time.perf_counter()
        while (passed := time.perf_counter() - began) < seconds:
            self.worker.check()
            if len(self.marks) * MARKED < BATCH:
                self.marks.extend(self.system.start_all(BATCH)[MARKED - 1 :: MARKED])
            elif self.system.is_finished(self.marks[0]):
                self.marks.popleft()
                done += MARKED
            else:
                time.sleep(POLL_INTERVAL)
        if not done:
            raise BenchmarkError(f"Fewer than {MARKED} were done within {seconds:.0f} s.")
        return done / passed


@contextlib.contextmanager
def snapshot() -> Iterator[None]:
    """Hold a transaction with an old snapshot for the length of a block.

    It reads no table, since the tables are emptied meanwhile.
    """
    with psycopg.connect(database_url()) as connection:
        connection.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
        connection.execute("SELECT txid_current()")
        yield
        connection.rollback()
