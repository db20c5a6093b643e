from __future__ import annotations

import time
from typing import Any

from benchmarks.environment import RETAIN
from benchmarks.workloads.workload import Values, rate_from_first_to_last, workload

QUEUED = 10_000
NAMES = {"drain": "/s", "beside": "/s", "beside / drain": "x", "deleted": "/s", "heartbeat": "s"}


@workload(
    "retention beside a drain",
    units=NAMES,
    needs="fill finished_lately insert_history executor_age",
    size=30_000,
    quick_size=3_000,
)
def retention_beside_drain(system: Any, old: int) -> Values:
    """10,000 no-ops alone, then while retention deletes 30,000 workflows of 3 steps each.

    `heartbeat` is the greatest age of the worker's last one.
    """
    alone = drain(system, {})[0]
    system.clean()
    system.insert_history(old)
    beside, deleted, oldest = drain(system, {RETAIN: "1"}, old)
    return {
        "drain": alone,
        "beside": beside,
        "beside / drain": beside / alone,
        "deleted": deleted,
        "heartbeat": oldest,
    }


def drain(system: Any, environment: dict[str, str], old: int = 0) -> tuple[float, float, float]:
    """Return the rates of the drain and of the deletion, and the greatest age of a heartbeat."""
    before = system.finished_lately()
    system.fill(QUEUED)
    ages = [0.0]

    def finished() -> int:
        ages.append(system.executor_age())
        return int(system.finished_lately() - before)

    def gone() -> int:
        ages.append(system.executor_age())
        return int(old - system.old_workflows())

    with system.worker(**environment) as worker:
        began = time.perf_counter()
        rate = rate_from_first_to_last(finished, QUEUED, worker)
        if not old:
            return rate, 0.0, max(ages)
        system.wait_for(lambda: gone() >= old, worker)
        return rate, old / (time.perf_counter() - began), max(ages)
