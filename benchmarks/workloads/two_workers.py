from __future__ import annotations

import contextlib
import time
from collections.abc import Callable
from typing import Any

import psutil

from benchmarks.workloads.workload import Values, rate_from_first_to_last, workload

SETTLE = 4.0
# What a request to a service nearby takes.
PAUSE = 0.02
UNITS = {
    "one": "steps/s",
    "two": "steps/s",
    "two / one": "x",
    "busy with one": "% of the machine",
    "busy with two": "% of the machine",
}


@workload(
    "two workers beside one",
    units=UNITS,
    needs="start_steps recorded_steps",
    size=10_000,
    quick_size=1_000,
    sizes={"dbos": 2_000, "absurd-sdk": 2_000},
)
def two_workers(system: Any, workflows: int) -> Values:
    """10,000 workflows of one no-op step, run by one worker process, then by two.

    Only the engine and the database are at work: a system that uses more than two thirds of the
    machine with one worker can't be 1.5 times as fast with two.
    """
    return one_and_two(system, workflows, lambda: system.start_steps(workflows, 1))


@two_workers.ceiling
def bare_workers(bare: Any, workflows: int) -> Values:
    """psycopg alone: claims of 100 rows, a group of 100 checkpoints, one UPDATE for their ends."""
    return one_and_two(bare, workflows, lambda: bare.start_steps(workflows, 1))


@workload(
    "two workers beside one, steps of 20 ms",
    units=UNITS,
    needs="start_pauses recorded_steps",
    size=10_000,
    quick_size=1_000,
)
def two_workers_that_wait(system: Any, workflows: int) -> Values:
    """The same with a step that waits for 20 ms, as for a service.

    100 run at once in each worker.
    """
    return one_and_two(system, workflows, lambda: system.start_pauses(workflows, PAUSE))


def one_and_two(system: Any, workflows: int, start: Callable[[], None]) -> Values:
    one, busy_with_one = rate_with(1, system, workflows, start)
    two, busy_with_two = rate_with(2, system, workflows, start)
    return {
        "one": one,
        "two": two,
        "two / one": two / one,
        "busy with one": busy_with_one,
        "busy with two": busy_with_two,
    }


def rate_with(
    workers: int, system: Any, workflows: int, start: Callable[[], None]
) -> tuple[float, float]:
    """And how much of the machine is in use meanwhile, the database's part included."""
    system.clean()
    with contextlib.ExitStack() as stack:
        running = [stack.enter_context(system.worker()) for _ in range(workers)]
        time.sleep(SETTLE)
        start()
        psutil.cpu_percent()
        rate = rate_from_first_to_last(system.recorded_steps, workflows, running[0])
        return rate, psutil.cpu_percent()
