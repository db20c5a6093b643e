from __future__ import annotations

from typing import Any

from benchmarks.idling import COSTS, costs_of_idling, logged_statements
from benchmarks.systems.system import Worker
from benchmarks.timestamps import TimestampReceiver
from benchmarks.workloads.workload import Values, percentiles, rate_from_first_to_last, workload

PATIENCE = 600.0
# For how long the worker is watched, of a crowd that is worth it.
WATCHED, CROWD, BRIEFLY = 20, 10_000, 2
NAPS, NAP = 20, 1.0


@workload(
    "many wait in recv",
    units={**COSTS, "woken": "/s"},
    needs="start_waiting waiting wake",
    size=100_000,
    quick_size=1_000,
    sizes={"dbos": 2_000},
    limit=1_500,
    is_heavy=True,
)
def many_wait(system: Any, count: int) -> Values:
    """100,000 workflows wait for a message.

    The cost of their idle worker, then the rate at which messages wake them.
    """
    with logged_statements(system) as log, system.ready_worker() as worker:
        before, handles = system.finished(), system.start_waiting(count)
        wait_until_all_wait(system, count, worker)
        costs = costs_of_idling(system, worker.process.pid, log, watched(count))
        system.wake(handles)
        woken = rate_from_first_to_last(lambda: system.finished() - before, count, worker, PATIENCE)
    return {**costs, "woken": woken}


@workload(
    "many wait in sleep",
    units={**COSTS, "late, p50": "ms", "late, p99": "ms"},
    needs="start_sleeping waiting start_nap",
    size=100_000,
    quick_size=1_000,
    sizes={"dbos": 2_000},
    limit=1_500,
    is_heavy=True,
)
def many_sleep(system: Any, count: int) -> Values:
    """100,000 workflows sleep.

    The cost of their idle worker, and the delay of one that wakes after 1 s.
    """
    with (
        TimestampReceiver() as receiver,
        logged_statements(system) as log,
        system.ready_worker() as worker,
    ):
        system.start_sleeping(count)
        wait_until_all_wait(system, count, worker)
        costs = costs_of_idling(system, worker.process.pid, log, watched(count))
        late = [one_nap(system, receiver) for _ in range(NAPS)]
    return {**costs, **percentiles(late, "late, ")}


def wait_until_all_wait(system: Any, count: int, worker: Worker) -> None:
    system.wait_for(lambda: system.waiting() >= count, worker, PATIENCE)


def one_nap(system: Any, receiver: TimestampReceiver) -> float:
    """Measure the delay of a sleep beyond its time, from the line before it to the line after."""
    system.start_nap(NAP)
    began, woke = receiver.receive(), receiver.receive()
    return woke - began - NAP


def watched(count: int) -> int:
    return WATCHED if count >= CROWD else BRIEFLY
