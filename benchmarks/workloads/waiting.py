from __future__ import annotations

import time
from typing import Any

from benchmarks.processes import Cost
from benchmarks.workloads.workload import Values, rate_from_first_to_last, workload

PATIENCE = 600.0
SETTLE = 3.0


@workload(
    "many wait in recv",
    units={"RSS": "MB", "threads": "threads", "woken": "/s"},
    needs="start_waiting waiting wake",
    size=100_000,
    quick_size=1_000,
    sizes={"dbos": 2_000},
    limit=1_500,
    is_heavy=True,
)
def many_wait(system: Any, count: int) -> Values:
    """100,000 workflows wait for a message: what their worker holds; then each gets one."""
    with system.ready_worker() as worker:
        before = system.finished()
        handles = system.start_waiting(count)
        system.wait_for(lambda: system.waiting() >= count, worker, PATIENCE)
        time.sleep(SETTLE)
        cost = Cost.of(worker.process.pid)
        system.wake(handles)
        woken = rate_from_first_to_last(lambda: system.finished() - before, count, worker, PATIENCE)
    return {"RSS": cost.rss, "threads": cost.threads, "woken": woken}
