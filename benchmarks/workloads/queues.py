from __future__ import annotations

import time
from typing import Any

from benchmarks.timestamps import TimestampReceiver
from benchmarks.workloads.workload import Values, percentiles, rate_from_first_to_last, workload

PAUSE = 0.02
# How many times as many workflows the full partition holds as are started beside it.
CROWD = 1_000
LIMITED = {"limited": "concurrency=50", "rated": "rate limit", "partitioned": "partitions of one"}


@workload(
    "drain through limits",
    units={
        "no limit": "/s",
        **dict.fromkeys(LIMITED.values(), "/s"),
        **{f"{label} / no limit": "x" for label in LIMITED.values()},
    },
    needs="fill_queue finished",
    size=10_000,
    quick_size=1_000,
)
def drain_through_limits(system: Any, count: int) -> Values:
    """A queue with a limit is filled with no-ops and drained, beside one without.

    Fifty run at once; or a limit of starts never bites; or each no-op has a partition of its own,
    of which one runs at once.
    """
    unlimited = drain_of(system, "default", count)
    values = {"no limit": unlimited}
    for queue, label in LIMITED.items():
        values[label] = drain_of(system, queue, count)
        values[f"{label} / no limit"] = values[label] / unlimited
    return values


def drain_of(system: Any, queue: str, count: int) -> float:
    system.clean()
    system.fill_queue(queue, count)
    with system.worker() as worker:
        return rate_from_first_to_last(system.finished, count, worker)


@workload(
    "drain with a global limit",
    units={"rate": "/s"},
    needs="fill_limited finished",
    size=10_000,
    quick_size=1_000,
    sizes={"dbos": 1_000},
)
def drain_with_global_limit(system: Any, count: int) -> Values:
    """A queue is filled with no-ops, of which 50 may run at once over all workers, and drained."""
    system.fill_limited(count)
    with system.worker() as worker:
        return {"rate": rate_from_first_to_last(system.finished, count, worker)}


@workload(
    "start beside a full partition",
    units={"p50": "ms", "p99": "ms"},
    needs="fill_partition start_in_partition",
    size=100,
    quick_size=10,
)
def start_beside_full_partition(system: Any, count: int) -> Values:
    """The time from a start to its first line, beside a partition with a thousand times as many.

    Both partitions are of one queue.
    """
    system.fill_partition("full", count * CROWD)
    with TimestampReceiver() as receiver, system.worker():
        system.start_in_partition("warm")
        receiver.receive()
        return percentiles([one_beside(system, receiver, number) for number in range(count)])


def one_beside(system: Any, receiver: TimestampReceiver, number: int) -> float:
    time.sleep(PAUSE)
    began = time.time()
    system.start_in_partition(f"other-{number}")
    return receiver.receive() - began


@workload(
    "a place becomes free in another process",
    units={"p50": "ms", "p99": "ms"},
    needs="hold_place",
    size=100,
    quick_size=10,
)
def place_in_another_process(system: Any, count: int) -> Values:
    """The time from the last line of a workflow here to the first line of the next one in a worker.

    One of the queue may run at once.
    """
    with TimestampReceiver() as receiver, system.ready_worker():
        return percentiles([one_handover(system, receiver) for _ in range(count)])


def one_handover(system: Any, receiver: TimestampReceiver) -> float:
    freed_at: float = system.hold_place()
    return receiver.receive() - freed_at
