from __future__ import annotations

import time
from typing import Any

from benchmarks.environment import HANG
from benchmarks.workloads.workload import Values, workload

PATIENCE = 180.0
SETTLE = 5.0


@workload(
    "kill -9 with 10,000 in flight",
    units={"first": "s", "all": "s"},
    needs="start_hanging running wide_worker",
    size=10_000,
    quick_size=500,
    limit=600,
    is_heavy=True,
)
def kill(system: Any, count: int) -> Values:
    """A worker with 10,000 running workflows is killed beside a live one.

    The time until the first and until all of them have ended.
    """
    with system.wide_worker(count, **{HANG: "1"}) as victim:
        system.start_hanging(count)
        system.wait_for(lambda: system.running() == count, victim, PATIENCE)
        with system.worker() as survivor:
            time.sleep(SETTLE)
            victim.kill()
            began = time.perf_counter()
            system.wait_for(lambda: system.finished() > 0, survivor, PATIENCE)
            first = time.perf_counter() - began
            system.wait_for(lambda: system.finished() == count, survivor, PATIENCE)
            return {"first": first, "all": time.perf_counter() - began}
