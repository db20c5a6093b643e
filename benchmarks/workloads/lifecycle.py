from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from benchmarks.workloads.workload import Values, workload

PATIENCE = 600.0


@workload(
    "fork and rewind of a long history",
    units={"fork": "ms", "rewind": "ms"},
    needs="start_with_steps is_finished",
    size=10_000,
    quick_size=500,
    limit=900,
)
def long_histories(system: Any, steps: int) -> Values:
    """A workflow of 10,000 steps is forked behind its last step, then rewound to its first."""
    with system.ready_worker() as worker:
        handle = system.start_with_steps(steps)
        system.wait_for(lambda: system.is_finished(handle), worker, PATIENCE)
    return {
        "fork": milliseconds(lambda: handle.fork(from_step=steps + 1)),
        "rewind": milliseconds(lambda: handle.rewind(1)),
    }


def milliseconds(work: Callable[[], Any]) -> float:
    began = time.perf_counter()
    work()
    return (time.perf_counter() - began) * 1_000
