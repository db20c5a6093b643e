from __future__ import annotations

from typing import Any

from benchmarks.workloads.workload import Values, rate, rate_from_first_to_last, workload


@workload(
    "steps in a row",
    units={"rate": "steps/s"},
    needs="start_steps recorded_steps",
    size=1_000,
    quick_size=100,
)
def steps_in_a_row(system: Any, steps: int) -> Values:
    """One workflow takes 1,000 steps; each begins when the previous one is durable."""
    with system.ready_worker() as worker:
        before = system.recorded_steps()
        system.start_steps(1, steps)
        return {
            "rate": rate_from_first_to_last(lambda: system.recorded_steps() - before, steps, worker)
        }


@steps_in_a_row.ceiling
def autocommit(bare: Any, steps: int) -> Values:
    """The same rows, one INSERT and one commit each."""
    return rate(steps, lambda: bare.insert_checkpoints(steps))
