from __future__ import annotations

from typing import Any

from benchmarks.idling import COSTS, costs_of_idling, logged_statements
from benchmarks.workloads.workload import Values, workload


@workload(
    "idle worker",
    units=COSTS,
    needs="package",
    size=20,
    quick_size=5,
)
def idle_worker(system: Any, seconds: int) -> Values:
    """A worker without work, for 20 seconds: its statements, and its cost."""
    with logged_statements(system) as log, system.ready_worker() as worker:
        return costs_of_idling(system, worker.process.pid, log, seconds)
