"""Figures about many workflows: percentiles, and what raised their failures."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

_FRAME = re.compile(
    r'^  File "(?P<file>.*)", line (?P<line>\d+), in (?P<function>.*)$', re.MULTILINE
)


@dataclass(frozen=True, slots=True)
class Count:
    """A number of workflows; there are more of them if it is cut."""

    number: int
    is_cut: bool

    def __str__(self) -> str:
        return f"{self.number:,}{'+' if self.is_cut else ''}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Bucket:
    """The workflows that were created in a span of time."""

    start: datetime
    count: int
    """Their number, which stops at a limit."""
    failed: int
    """The number of them that failed, up to a limit, too."""
    durations: Sequence[float]
    """The seconds from the first run to the end of the newest of them that have ended."""
    waits: Sequence[float]
    """The seconds from the creation to the first run of the newest of them that have begun."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """A failed workflow, with what raised the error."""

    workflow_id: str
    name: str
    at: datetime
    """When the workflow was created."""
    error: str
    """The class of the error, without its module."""
    place: str
    """Where it was raised, as "function, file:line", or ""."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FailureGroup:
    """The failures of one function with one kind of error, raised in one place."""

    count: int
    newest: Failure


def percentile(values: Iterable[float], share: float) -> float | None:
    """Return the value that this share of the values doesn't exceed; None without values."""
    ordered = sorted(values)
    if not ordered:
        return None
    return ordered[max(math.ceil(share * len(ordered)) - 1, 0)]


def starts_of(since: datetime, width: timedelta, number: int) -> list[datetime]:
    """Return the starts of spans of time that follow one another, and the end of the last one."""
    return [since + index * width for index in range(number + 1)]


def place_of(traceback: str) -> str:
    """Return the last frame of a traceback, as "function, file:line"; "" if it has none."""
    frames = list(_FRAME.finditer(traceback))
    if not frames:
        return ""
    last = frames[-1]
    parts = re.split(r"[/\\]", last["file"])
    return f"{last['function']}, {'/'.join(parts[-2:])}:{last['line']}"


def grouped(failures: Iterable[Failure]) -> list[FailureGroup]:
    """Return failures by function, error and place, the most frequent first."""
    groups: dict[tuple[str, str, str], list[Failure]] = {}
    for failure in failures:
        groups.setdefault((failure.name, failure.error, failure.place), []).append(failure)
    found = [
        FailureGroup(count=len(group), newest=max(group, key=lambda failure: failure.at))
        for group in groups.values()
    ]
    return sorted(found, key=lambda group: (-group.count, -group.newest.at.timestamp()))
