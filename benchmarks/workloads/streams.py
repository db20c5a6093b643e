from __future__ import annotations

import time
from typing import Any

from benchmarks.workloads.workload import (
    Values,
    percentiles,
    rate_from_first_to_last,
    workload,
)


@workload(
    "write to read of a stream",
    units={"p50": "ms", "p99": "ms"},
    needs="start_stream read_stream",
    size=200,
    quick_size=10,
)
def write_to_read(system: Any, count: int) -> Values:
    """A workflow writes the time to a stream every 20 ms; another process reads it."""
    with system.ready_worker():
        handle = system.start_stream(count, 0.02)
        return percentiles([time.time() - written for written in system.read_stream(handle)])


@workload(
    "stream values of one workflow",
    units={"rate": "values/s"},
    needs="start_stream streamed",
    size=5_000,
    quick_size=5_000,
    sizes={"dbos": 1_000},
)
def stream_values(system: Any, count: int) -> Values:
    """One workflow writes values to a stream as fast as they become durable."""
    with system.ready_worker() as worker:
        system.start_stream(count, 0)
        return {"rate": rate_from_first_to_last(system.streamed, count, worker)}
