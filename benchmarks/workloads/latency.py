from __future__ import annotations

import random
import time
from typing import Any

from benchmarks.timestamps import TimestampReceiver
from benchmarks.workloads.workload import Values, percentiles, workload

PAUSE = 0.02


@workload(
    "start to first line",
    units={"p50": "ms", "p99": "ms"},
    needs="start_sending_timestamp",
    size=100,
    quick_size=10,
    sizes={"dbos": 20, "django-tasks-db": 20, "absurd-sdk": 50},
)
def start_to_first_line(system: Any, count: int) -> Values:
    """A piece of work is started on an idle worker; the time until its first line runs there."""
    with TimestampReceiver() as receiver, system.ready_worker():
        return percentiles([one_first_line(system, receiver) for _ in range(count)])


def one_first_line(system: Any, receiver: TimestampReceiver) -> float:
    rest(system)
    began = time.time()
    system.start_sending_timestamp()
    return receiver.receive() - began


@workload(
    "start to result",
    units={"p50": "ms", "p99": "ms"},
    needs="start results",
    size=100,
    quick_size=10,
    sizes={"dbos": 20, "django-tasks-db": 20, "absurd-sdk": 50},
)
def start_to_result(system: Any, count: int) -> Values:
    """A no-op is started on an idle worker; the time until the caller has its result."""
    with system.ready_worker():
        return percentiles([one_result(system) for _ in range(count)])


def one_result(system: Any) -> float:
    rest(system)
    began = time.perf_counter()
    system.results([system.start()])
    return time.perf_counter() - began


def rest(system: Any) -> None:
    """Begin at any moment between two polls, not always just after one."""
    time.sleep(PAUSE + random.random() * system.poll_interval)
