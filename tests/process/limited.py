"""Workflows of limited queues that log when their steps begin and end, for all processes to see."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Collection, Iterable
from dataclasses import dataclass, replace
from pathlib import Path

import django_dbos as dbos
from tests.waiting import eventually


class Log:
    """A file to which processes append lines; its clock is the system's monotonic one.

    It has a gate, which is shut at first: steps stay in until it is open.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = str(path)
        # The test may read it before a process has written.
        Path(self.path).touch()
        self._gate = Path(f"{self.path}.open")
        self._gate_of_process = Path(f"{self.path}.open-{os.getpid()}")

    def write(self, event: str, name: str, attempt: str) -> None:
        line = f"{event} {name} {os.getpid()} {attempt} {time.monotonic_ns()}\n"
        # One write of a short line to a file that is open for appending isn't torn.
        with Path(self.path).open("a", buffering=1) as file:
            file.write(line)

    def open(self) -> None:
        """Let the steps out, until `shut()`."""
        self._gate.touch()

    def shut(self) -> None:
        """Keep the steps in."""
        self._gate.unlink()

    def open_for(self, pid: int) -> None:
        """Let the steps of one process out."""
        Path(f"{self.path}.open-{pid}").touch()

    def pass_gate(self) -> None:
        """Wait until the gate is open."""
        eventually(lambda: self._gate.exists() or self._gate_of_process.exists())

    def intervals(self, ended: dict[int, int]) -> list[Interval]:
        """Return the intervals of all steps; those that a process left end with the process.

        Args:
            ended: The times at which processes were killed, by process id. All others have ended
                their steps.
        """
        found, begun = self._read()
        return found + [
            Interval(one.name, one.pid, one.begin, max(one.begin, ended[one.pid])) for one in begun
        ]

    def inside(self, dead: Collection[int] = ()) -> list[Interval]:
        """Return the steps that are in, in processes that aren't dead; they end now."""
        return [one for one in self._read()[1] if one.pid not in dead]

    def _read(self) -> tuple[list[Interval], list[Interval]]:
        """Return the intervals that have ended, and those that have not."""
        begun: dict[str, Interval] = {}
        found = []
        for line in Path(self.path).read_text().splitlines():
            event, name, pid, attempt, instant = line.split()
            if event == "begin":
                begun[attempt] = Interval(name, int(pid), int(instant), time.monotonic_ns())
            else:
                found.append(replace(begun.pop(attempt), end=int(instant)))
        return found, list(begun.values())

    @property
    def count(self) -> int:
        """The number of steps that have begun."""
        return Path(self.path).read_text().count("begin ")


@dataclass(frozen=True)
class Interval:
    """The time that one attempt at a step took, in nanoseconds."""

    name: str
    pid: int
    begin: int
    end: int


def most_at_once(intervals: Iterable[Interval]) -> int:
    """Return the largest number of intervals that have an instant in common."""
    changes = [change for one in intervals for change in ((one.begin, 1), (one.end, -1))]
    most = now = 0
    # At one instant, ends come first.
    for _, change in sorted(changes):
        now += change
        most = max(most, now)
    return most


@dbos.step
def occupies(log: str, name: str, seconds: float) -> None:
    """Stay in until the gate is open, and for a time."""
    shared, attempt = Log(log), os.urandom(8).hex()
    shared.write("begin", name, attempt)
    shared.pass_gate()
    time.sleep(seconds)
    shared.write("end", name, attempt)


@dbos.workflow
def uses_place(log: str, name: str, seconds: float, rounds: int = 2) -> str:
    """Take steps under a limit; between two of them the workflow is suspended."""
    for number in range(rounds):
        if number:
            dbos.sleep(0.05)
        occupies(log, f"{name}.{number}", seconds)
    return name


@dbos.workflow
async def auses_place(log: str, name: str, seconds: float, rounds: int = 2) -> str:
    for number in range(rounds):
        if number:
            await dbos.asleep(0.05)
        await occupies.acall(log, f"{name}.{number}", seconds)
    return name


@dbos.workflow
async def agathers_in_place(log: str, name: str, seconds: float) -> str:
    """Wait on several branches, which keeps it from being suspended, for children under a limit."""
    await occupies.acall(log, f"{name}.begin", seconds)
    children = uses_place.using(queue_name="family")
    handles = [
        await children.astart(log, f"{name}.{number}", seconds, rounds=1) for number in range(3)
    ]
    await asyncio.gather(*(handle.aget_result() for handle in handles))
    await occupies.acall(log, f"{name}.end", seconds)
    return name


@dbos.workflow
def starts_only() -> None:
    """Start, and end at once."""
