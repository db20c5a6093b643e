"""Workflows of limited queues that log when their steps begin and end, for all processes to see."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import django_dbos as dbos


class Log:
    """A file to which processes append lines; its clock is the system's monotonic one."""

    def __init__(self, path: str | Path) -> None:
        self.path = str(path)
        # The test may read it before a process has written.
        Path(self.path).touch()

    def write(self, event: str, name: str) -> None:
        line = f"{event} {name} {os.getpid()} {time.monotonic_ns()}\n"
        # One write of a short line to a file that is open for appending isn't torn.
        with Path(self.path).open("a", buffering=1) as file:
            file.write(line)

    def intervals(self, ended: dict[int, int]) -> list[Interval]:
        """Return the intervals of all steps; those that a process left end with the process.

        Args:
            ended: The times at which killed processes were seen dead, by process id.
        """
        begun: dict[tuple[str, int], int] = {}
        found = []
        for line in Path(self.path).read_text().splitlines():
            event, name, pid_text, time_text = line.split()
            pid, instant = int(pid_text), int(time_text)
            if event == "begin":
                begun[name, pid] = instant
            else:
                found.append(Interval(name, pid, begun.pop((name, pid)), instant))
        return found + [
            Interval(name, pid, begin, ended[pid]) for (name, pid), begin in begun.items()
        ]

    @property
    def count(self) -> int:
        """The number of steps that have begun."""
        path = Path(self.path)
        return path.read_text().count("begin ") if path.exists() else 0


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
    """Log an interval."""
    Log(log).write("begin", name)
    time.sleep(seconds)
    Log(log).write("end", name)


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
def starts_only() -> None:
    """Start, and end at once."""
