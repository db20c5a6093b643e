from __future__ import annotations

import contextlib
import time
from typing import Any

from benchmarks.workloads.workload import Values, rate_from_first_to_last, workload

SETTLE = 4.0


@workload(
    "two workers beside one",
    units={"one": "steps/s", "two": "steps/s"},
    needs="start_steps recorded_steps",
    size=2_000,
    quick_size=100,
)
def two_workers(system: Any, workflows: int) -> Values:
    """2,000 workflows of one step that does nothing, run by one worker process, then by two."""
    return {name: rate_with(system, count, workflows) for name, count in (("one", 1), ("two", 2))}


def rate_with(system: Any, workers: int, workflows: int) -> float:
    system.clean()
    with contextlib.ExitStack() as stack:
        running = [stack.enter_context(system.worker()) for _ in range(workers)]
        time.sleep(SETTLE)
        system.start_steps(workflows, 1)
        return rate_from_first_to_last(system.recorded_steps, workflows, running[0])
