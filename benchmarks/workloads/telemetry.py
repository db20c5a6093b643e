from __future__ import annotations

from typing import Any

from benchmarks.environment import CONCURRENCY, TRACE
from benchmarks.workloads.workload import Values, rate_from_first_to_last, workload

STEPS = 10
# Each of them in two places, so that a machine that gets slower favours none.
ORDER = ("off", "on", "durations", "durations", "on", "off")
TRACES = {"off": {}, "on": {TRACE: "1"}, "durations": {TRACE: "full"}}


@workload(
    "steps with OpenTelemetry",
    units={
        "off": "steps/s",
        "on": "steps/s",
        "durations": "steps/s",
        "on / off": "x",
        "durations / off": "x",
    },
    needs="start_steps recorded_steps wide_worker",
    size=300,
    quick_size=50,
)
def steps_with_telemetry(system: Any, workflows: int) -> Values:
    """300 workflows at once take 10 steps each, without OpenTelemetry and with 1 % sampled.

    `durations` also has the histogram of the durations of steps, which is the default.
    """
    rates: dict[str, list[float]] = {name: [] for name in ORDER}
    for name in ORDER:
        rates[name].append(rate_of(system, workflows, TRACES[name]))
    found = {name: sum(values) / len(values) for name, values in rates.items()}
    ratios = {f"{name} / off": found[name] / found["off"] for name in ("on", "durations")}
    return {**found, **ratios}


def rate_of(system: Any, workflows: int, environment: dict[str, str]) -> float:
    system.clean()
    with system.wide_worker(CONCURRENCY, **environment) as worker:
        system.fill(1)
        system.wait_for(lambda: system.finished() == 1, worker)
        system.start_steps(workflows, STEPS)
        return rate_from_first_to_last(system.recorded_steps, workflows * STEPS, worker)
