from __future__ import annotations

from typing import Any

from benchmarks.environment import CONCURRENCY, ENCRYPT
from benchmarks.workloads.workload import Values, rate_from_first_to_last, workload

STEPS = 10
# Each of the two in both places, so that a machine that gets slower favours neither.
ORDER = ("plain", "encrypted", "encrypted", "plain")


@workload(
    "steps with encryption",
    units={"plain": "steps/s", "encrypted": "steps/s", "encrypted / plain": "x"},
    needs="start_steps recorded_steps wide_worker",
    size=300,
    quick_size=50,
)
def steps_with_encryption(system: Any, workflows: int) -> Values:
    """300 workflows at once take 10 steps each, with and without encryption of their values."""
    rates = {name: [] for name in ORDER}
    for name in ORDER:
        rates[name].append(rate_of(system, workflows, is_encrypted=name == "encrypted"))
    found = {name: sum(values) / len(values) for name, values in rates.items()}
    return {**found, "encrypted / plain": found["encrypted"] / found["plain"]}


def rate_of(system: Any, workflows: int, *, is_encrypted: bool) -> float:
    system.clean()
    environment = {ENCRYPT: "1"} if is_encrypted else {}
    with system.wide_worker(CONCURRENCY, **environment) as worker:
        system.fill(1)
        system.wait_for(lambda: system.finished() == 1, worker)
        system.start_steps(workflows, STEPS)
        return rate_from_first_to_last(system.recorded_steps, workflows * STEPS, worker)
