from __future__ import annotations

import contextlib
import time
from typing import Any

import psutil

from benchmarks.workloads.workload import Values, rate_from_first_to_last, workload

SETTLE = 4.0


@workload(
    "two workers beside one",
    units={
        "one": "steps/s",
        "two": "steps/s",
        "two / one": "x",
        "busy with one": "% of the machine",
        "busy with two": "% of the machine",
    },
    needs="start_steps recorded_steps",
    size=10_000,
    quick_size=1_000,
    sizes={"dbos": 2_000, "absurd-sdk": 2_000},
)
def two_workers(system: Any, workflows: int) -> Values:
    """10,000 workflows of one step that does nothing, run by one worker process, then by two."""
    one, busy_with_one = rate_with(system, 1, workflows)
    two, busy_with_two = rate_with(system, 2, workflows)
    return {
        "one": one,
        "two": two,
        "two / one": two / one,
        "busy with one": busy_with_one,
        "busy with two": busy_with_two,
    }


# Its workers do the same with psycopg alone: claims of 100, a group of 100 checkpoints, 100 ends.
two_workers.ceiling(two_workers.function)


def rate_with(system: Any, workers: int, workflows: int) -> tuple[float, float]:
    """And how much of the machine was in use meanwhile, the database's part included."""
    system.clean()
    with contextlib.ExitStack() as stack:
        running = [stack.enter_context(system.worker()) for _ in range(workers)]
        time.sleep(SETTLE)
        system.start_steps(workflows, 1)
        psutil.cpu_percent()
        rate = rate_from_first_to_last(system.recorded_steps, workflows, running[0])
        return rate, psutil.cpu_percent()
