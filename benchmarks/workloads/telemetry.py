from __future__ import annotations

from typing import Any

from benchmarks.environment import CONCURRENCY, TRACE
from benchmarks.workloads.workload import Values, rate_from_first_to_last, workload

STEPS = 10
# Each of the two in both places, so that a machine that gets slower favours neither.
ORDER = ("off", "on", "on", "off")


@workload(
    "steps with OpenTelemetry",
    units={"off": "steps/s", "on": "steps/s", "on / off": "x"},
    needs="start_steps recorded_steps wide_worker",
    size=300,
    quick_size=50,
)
def steps_with_telemetry(system: Any, workflows: int) -> Values:
    """300 workflows at once take 10 steps each, without OpenTelemetry and with 1 % sampled."""
    rates: dict[str, list[float]] = {name: [] for name in ORDER}
    for name in ORDER:
        rates[name].append(rate_of(system, workflows, is_traced=name == "on"))
    found = {name: sum(values) / len(values) for name, values in rates.items()}
    return {**found, "on / off": found["on"] / found["off"]}


def rate_of(system: Any, workflows: int, *, is_traced: bool) -> float:
    system.clean()
    environment = {TRACE: "1"} if is_traced else {}
    with system.wide_worker(CONCURRENCY, **environment) as worker:
        system.fill(1)
        system.wait_for(lambda: system.finished() == 1, worker)
        system.start_steps(workflows, STEPS)
        return rate_from_first_to_last(system.recorded_steps, workflows * STEPS, worker)
