from __future__ import annotations

from typing import Any

from benchmarks.workloads.workload import Values, rate, rate_from_first_to_last, workload

STEPS = 10


@workload(
    "steps of 100 workflows",
    units={"rate": "steps/s"},
    needs="start_steps recorded_steps",
    size=100,
    quick_size=100,
)
def steps_of_many(system: Any, workflows: int) -> Values:
    """100 workflows at once take 10 steps each, one after another; each step is a checkpoint."""
    with system.ready_worker() as worker:
        before = system.recorded_steps()
        system.start_steps(workflows, STEPS)
        return {
            "rate": rate_from_first_to_last(
                lambda: system.recorded_steps() - before, workflows * STEPS, worker
            )
        }


@steps_of_many.sqlite_ceiling
@steps_of_many.ceiling
def groups(bare: Any, workflows: int) -> Values:
    """Transactions of 100 pipelined checkpoints each."""
    count = 50 * workflows
    return rate(count, lambda: bare.insert_checkpoints_in_groups(count, workflows))
