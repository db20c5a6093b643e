from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from benchmarks.idling import COSTS, costs_of_idling, logged_statements
from benchmarks.workloads.workload import Values, workload

# Until the instant, by when all schedules are created and the worker has heard of it.
LEAD = timedelta(seconds=20)


@workload(
    "schedules due at one instant",
    units={"first start": "ms", "last start": "ms", "last run begins": "ms"},
    needs="create_schedules scheduled scheduled_delays",
    size=1_000,
    quick_size=50,
)
def schedules_due_at_once(system: Any, count: int) -> Values:
    """1,000 schedules have the same instant; the time from it until the workflows are there."""
    with system.ready_worker() as worker:
        instant = (datetime.now(UTC) + LEAD).replace(microsecond=0)
        system.create_schedules(count, instant)
        system.wait_for(lambda: system.scheduled() == count, worker)
        first, last, begun = system.scheduled_delays(instant)
    return {"first start": first, "last start": last, "last run begins": begun}


@workload(
    "idle worker with schedules",
    units=COSTS,
    needs="create_schedules package",
    size=20,
    quick_size=5,
)
def idle_with_schedules(system: Any, seconds: int) -> Values:
    """A worker with 1,000 schedules, none of which is due, for 20 seconds."""
    system.create_schedules(1_000, datetime.now(UTC) + timedelta(days=1))
    with logged_statements(system) as log, system.ready_worker() as worker:
        return costs_of_idling(system, worker.process.pid, log, seconds)
