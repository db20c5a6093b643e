"""`@workload`: a function that measures one system, with a name, units, sizes and needed verbs."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from benchmarks.systems.system import PATIENCE, POLL_INTERVAL, BenchmarkError, Worker

# The pause before the next poll, as a share of the time that has passed.
POLL_SHARE = 0.02

Values = dict[str, float]
Measure = Callable[[Any, int], Values]

WORKLOADS: dict[str, Workload] = {}


@dataclass
class Workload:
    """A measurement, the systems that it suits, and its sizes.

    `units` maps metrics to units. `needs` are the verbs that the function calls: systems without
    one of them aren't measured. `limit` is the most seconds that one measurement may take.
    """

    name: str
    function: Measure
    units: dict[str, str]
    needs: tuple[str, ...]
    size: int
    quick_size: int
    limit: float
    is_heavy: bool
    sizes: dict[str, int]
    ceilings: dict[str, Measure]

    @property
    def sentence(self) -> str:
        return " ".join((self.function.__doc__ or "").split())

    def suits(self, system_name: str, system: type[Any]) -> bool:
        if system_name.startswith("bare"):
            return system_name in self.ceilings
        if system_name.endswith("SQLite") and "bare SQLite" not in self.ceilings:
            return False
        if system.workloads and self.name not in system.workloads:
            return False
        return all(hasattr(system, verb) for verb in self.needs)

    def size_for(self, system_name: str, *, is_quick: bool) -> int:
        """Return the size for a system: some are too slow for the others' size."""
        size = self.sizes.get(system_name.split()[0], self.size)
        return min(size, self.quick_size) if is_quick else size

    def measure(self, system_name: str, system: Any, size: int) -> Values:
        return self.ceilings.get(system_name, self.function)(system, size)

    def ceiling(self, function: Measure) -> Measure:
        """Decorate the function that measures the bare database."""
        self.ceilings["bare"] = function
        return function

    def sqlite_ceiling(self, function: Measure) -> Measure:
        """Decorate the function that measures bare SQLite."""
        self.ceilings["bare SQLite"] = function
        return function


def workload(
    name: str,
    *,
    units: dict[str, str],
    needs: str,
    size: int,
    quick_size: int,
    limit: float = 120,
    is_heavy: bool = False,
    sizes: dict[str, int] | None = None,
) -> Callable[[Measure], Workload]:
    """Register the decorated function, which measures one system at a given size."""

    def register(function: Measure) -> Workload:
        WORKLOADS[name] = Workload(
            name=name,
            function=function,
            units=units,
            needs=tuple(needs.split()),
            size=size,
            quick_size=quick_size,
            limit=limit,
            is_heavy=is_heavy,
            sizes=sizes or {},
            ceilings={},
        )
        return WORKLOADS[name]

    return register


def rate_from_first_to_last(
    count: Callable[[], int], total: int, worker: Worker, patience: float = PATIENCE
) -> float:
    """Return the rate per second from the first one seen to the last.

    So no rate includes the start of a worker or the wait for a poll. Work that was finished before
    the first poll doesn't count.
    """
    first = _wait_beyond(count, 0, worker, patience)
    began = time.perf_counter()
    if first >= total:
        raise BenchmarkError(f"All {total} were done before the first poll; measure more.")
    _wait_beyond(count, total - 1, worker, patience)
    return (total - first) / (time.perf_counter() - began)


def _wait_beyond(count: Callable[[], int], least: int, worker: Worker, patience: float) -> int:
    """Return `count()` once it is more than `least`.

    Polls become ever rarer, so that they take little of the machine and add little to the time.
    """
    began = time.monotonic()
    while (seen := count()) <= least:
        worker.check()
        passed = time.monotonic() - began
        if passed > patience:
            raise BenchmarkError(f"Only {seen} were done within {patience:.0f} s.")
        time.sleep(max(POLL_INTERVAL, passed * POLL_SHARE))
    return seen


def rate(total: int, work: Callable[[], Any]) -> Values:
    """Return the rate per second over the whole of the work."""
    began = time.perf_counter()
    work()
    return {"rate": total / (time.perf_counter() - began)}


def percentiles(
    seconds: list[float], prefix: str = "", *, ranks: tuple[int, ...] = (50, 99)
) -> Values:
    """Return the milliseconds at these percentiles, by the nearest rank."""
    ordered = sorted(seconds)
    return {
        f"{prefix}p{rank}": ordered[min(len(ordered) - 1, len(ordered) * rank // 100)] * 1_000
        for rank in ranks
    }
