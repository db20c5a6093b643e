from __future__ import annotations

from typing import Any

from benchmarks.workloads.workload import Values, rate, workload


@workload(
    "start and wait for all results",
    units={"rate": "/s"},
    needs="start results",
    size=500,
    quick_size=50,
)
def start_and_wait(system: Any, count: int) -> Values:
    """500 no-ops are started one by one from outside, then all results are waited for."""
    with system.ready_worker():
        return rate(count, lambda: system.results([system.start() for _ in range(count)]))
