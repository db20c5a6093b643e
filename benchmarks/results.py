"""The measurements, as they are kept in JSON, and the arithmetic of the tables."""

from __future__ import annotations

import json
import statistics
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.systems import CEILING, OURS, product

# All other units are costs: time, memory, work of the database.
MORE_IS_BETTER = {"/s", "steps/s", "values/s"}
# Units of figures that describe a system by itself.
NOT_COMPARED = {"x", "% of the machine"}


@dataclass(frozen=True)
class Measurement:
    """One workload on one system in one round: its values by metric, or an error."""

    workload: str
    system: str
    round: int
    size: int
    load: float
    seconds: float
    values: dict[str, float] = field(default_factory=dict)
    error: str | None = None


@dataclass(frozen=True)
class Results:
    """A whole run: the machine, the systems' settings, and all raw values."""

    machine: dict[str, Any]
    settings: dict[str, str]
    workloads: dict[str, dict[str, Any]]
    measurements: list[Measurement]

    def save(self, path: Path) -> None:
        path.write_text(json.dumps(asdict(self), indent=1) + "\n")

    @classmethod
    def load(cls, path: Path) -> Results:
        kept = json.loads(path.read_text())
        kept["measurements"] = [Measurement(**measurement) for measurement in kept["measurements"]]
        return cls(**kept)

    @classmethod
    def joined(cls, paths: Iterable[Path]) -> Results:
        """Join runs on one machine; a workload's figures are those of its last run."""
        first, *others = map(cls.load, paths)
        for results in others:
            first.settings.update(results.settings)
            first.workloads.update(results.workloads)
            older = [kept for kept in first.measurements if kept.workload not in results.workloads]
            first.measurements[:] = older + results.measurements
        return first


@dataclass(frozen=True)
class Summary:
    """All rounds of one metric on one system."""

    median: float
    least: float
    most: float
    rounds: int

    @classmethod
    def of(cls, values: Iterable[float]) -> Summary:
        known = list(values)
        return cls(statistics.median(known), min(known), max(known), len(known))

    def __str__(self) -> str:
        if self.rounds == 1:
            return number(self.median)
        return f"{number(self.median)} ({number(self.least)} to {number(self.most)})"


@dataclass(frozen=True)
class Row:
    """One system in a workload's table: a cell and a ratio by metric, or an error."""

    system: str
    cells: dict[str, Summary]
    ratios: dict[str, float]
    error: str | None


def rows(results: Results, workload: str) -> list[Row]:
    """Return the table of one workload, in the order of measuring."""
    mine = [measured for measured in results.measurements if measured.workload == workload]
    units = results.workloads[workload]["units"]
    cells = {
        system: summaries(measured for measured in mine if measured.system == system)
        for system in dict.fromkeys(measured.system for measured in mine)
    }
    errors = {measured.system: measured.error for measured in mine if measured.error}
    return [
        Row(system, own, ratios(cells, system, units), errors.get(system))
        for system, own in cells.items()
    ]


def summaries(measurements: Iterable[Measurement]) -> dict[str, Summary]:
    """Return the summary of each metric; a failed round has no values."""
    values: dict[str, list[float]] = {}
    for measurement in measurements:
        for metric, value in measurement.values.items():
            values.setdefault(metric, []).append(value)
    return {metric: Summary.of(all_) for metric, all_ in values.items()}


def ratios(
    cells: dict[str, dict[str, Summary]], system: str, units: dict[str, str]
) -> dict[str, float]:
    """Return how many times as good django_dbos is as this system: above 1, it is better."""
    ours = ours_beside(cells, system)
    if ours is None or system == ours:
        return {}
    return {
        metric: times_as_good(cells[ours][metric].median, theirs.median, units[metric])
        for metric, theirs in cells[system].items()
        if units[metric] not in NOT_COMPARED
        and metric in cells[ours]
        and theirs.median
        and cells[ours][metric].median
    }


def ours_beside(cells: dict[str, dict[str, Summary]], system: str) -> str | None:
    """Return the flavour of django_dbos to compare a system with: async with async."""
    own = [name for name in cells if product(name) == OURS]
    same_flavour = system.replace(product(system), OURS, 1)
    if product(system) == OURS or not own:
        return None
    return same_flavour if same_flavour in own else own[0]


def times_as_good(ours: float, theirs: float, unit: str) -> float:
    """Return a ratio above 1 for a higher rate, or for less time, memory or load."""
    better, worse = (ours, theirs) if unit in MORE_IS_BETTER else (theirs, ours)
    return better / worse


def number(value: float) -> str:
    """Format a number with its significant digits."""
    if value >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}" if value >= 10 else f"{value:.2f}"


def is_ceiling(system: str) -> bool:
    return product(system) == CEILING
