from __future__ import annotations

from typing import Any

from benchmarks.workloads.workload import Values, rate, workload


@workload(
    "start in bulk",
    units={"rate": "/s"},
    needs="start_many",
    size=5_000,
    quick_size=500,
)
def start_in_bulk(system: Any, count: int) -> Values:
    """5,000 no-ops are started in one call; there is no worker."""
    system.start_many(2)
    return rate(count, lambda: system.start_many(count))


@start_in_bulk.ceiling
def one_insert(bare: Any, count: int) -> Values:
    """The same rows, made by one statement."""
    bare.insert_workflow(0)
    return rate(count, lambda: bare.insert_workflows(count))
