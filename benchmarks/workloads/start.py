from __future__ import annotations

from typing import Any

from benchmarks.workloads.workload import Values, rate, workload


@workload(
    "start, one by one",
    units={"rate": "/s"},
    needs="start",
    size=1_000,
    quick_size=100,
)
def start(system: Any, count: int) -> Values:
    """1,000 no-ops are started, one call after another; there is no worker."""
    system.start()
    return rate(count, lambda: [system.start() for _ in range(count)])


@start.ceiling
def autocommit(bare: Any, count: int) -> Values:
    """The same rows, one INSERT and one commit each."""
    bare.insert_workflow(0)
    return rate(count, lambda: [bare.insert_workflow(number) for number in range(1, count + 1)])
