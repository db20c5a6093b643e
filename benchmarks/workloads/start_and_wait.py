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
    """500 no-ops are started one by one from outside, then their results are awaited."""
    with system.ready_worker():
        return rate(count, lambda: system.results([system.start() for _ in range(count)]))


@workload(
    "start in one call and wait for all results",
    units={"rate": "/s"},
    needs="start_all results",
    size=1_000,
    quick_size=50,
)
def start_all_and_wait(system: Any, count: int) -> Values:
    """1,000 no-ops are started by the product's call for many, then their results are awaited."""
    with system.ready_worker():
        return rate(count, lambda: system.results(system.start_all(count)))
