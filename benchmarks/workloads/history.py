from __future__ import annotations

from statistics import median
from typing import Any

from benchmarks.workloads.workload import Values, rate_from_first_to_last, workload

QUEUED, TIMES = 5_000, 3


@workload(
    "drain beside a long history",
    units={"empty": "/s", "full": "/s", "full / empty": "x"},
    needs="fill finished_lately insert_history",
    size=1_000_000,
    quick_size=10_000,
    limit=3_600,
    is_heavy=True,
)
def long_history(system: Any, count: int) -> Values:
    """5,000 no-ops in an empty database, then beside finished workflows of 3 steps each.

    The size is their number.
    """
    empty = median(drain(system) for _ in range(TIMES))
    system.clean()
    system.insert_history(count)
    full = median(drain(system) for _ in range(TIMES))
    return {"empty": empty, "full": full, "full / empty": full / empty}


def drain(system: Any) -> float:
    before = system.finished_lately()
    system.fill(QUEUED)
    with system.worker() as worker:
        return rate_from_first_to_last(lambda: system.finished_lately() - before, QUEUED, worker)
