"""Attendance: the times when the database was reachable, by which silence is judged.

Silence means death only while the silent executor could have reached it. After an outage all have
been silent, and the first one back would take all the work of the others (CORRECTNESS rule 4).
This knowledge isn't lost with a connection, nor does it begin with this process: each heartbeat
in the table was an answer of the database.
"""

from __future__ import annotations

import math
from collections.abc import Iterable

from django_dbos.executor.clock import Clock

Span = tuple[float, float]

# Heartbeats further apart than this many intervals may have had an outage in between.
LATE = 2.0
# Seconds within which a living executor has come back after an outage.
RETURN = 3.0
# How many spans are kept: of a database that comes and goes, the latest.
MOST_SPANS = 100


class Attendance:
    """Spans of time, on the clock, in which heartbeats were on time."""

    def __init__(self, interval: float, clock: Clock) -> None:
        self._clock = clock
        self._late = interval * LATE
        self._return = min(RETURN, interval * LATE)
        self._on_time: list[Span] = []
        self._settled: list[Span] = []
        self._last_beat = -math.inf
        self._has_failed = False

    def begin(self, others: Iterable[float] = ()) -> None:
        """Begin now; `others` are the ages, in seconds, of heartbeats that the table holds."""
        now = self._clock()
        self._on_time, self._settled = [], []
        points = sorted({now - age for age in others if age >= 0.0})
        for start, end in _spans(points, self._late):
            self.add(start, end)
        self._has_failed = False
        # Long ago, whatever the clock began with: on Linux the machine's start.
        self._last_beat = points[-1] if points else -math.inf
        if now - self._last_beat > self._late:
            self._on_time.append((now, now))
            self._last_beat = now
        # Between the last heartbeat of another and the first one here, others may have lost the
        # database, and be on their way back.
        self._settled.append((now, now))
        self.note_beat()

    def add(self, start: float, end: float) -> None:
        """Record that, as far as is known, the database was reachable from `start` to `end`."""
        self._on_time.append((start, end))
        self._settled.append((min(start + self._return, end), end))

    def note_beat(self) -> None:
        """Record that a heartbeat of this executor has been answered."""
        now = self._clock()
        is_late = now - self._last_beat > self._late
        self._extend(self._on_time, now, now if is_late else None)
        self._extend(
            self._settled, now, now + self._return if is_late or self._has_failed else None
        )
        self._last_beat = now
        self._has_failed = False

    def note_failure(self) -> None:
        """Record that a heartbeat of this executor has failed: others may be reconnecting."""
        self._has_failed = True

    def on_time(self, age: float) -> float:
        """Return the number of the last `age` seconds that had timely heartbeats."""
        return _within(self._on_time, self._clock(), age)

    def settled(self, age: float) -> float:
        """Return the same, without the seconds in which others may have been reconnecting."""
        return _within(self._settled, self._clock(), age)

    def _extend(self, spans: list[Span], now: float, begin: float | None) -> None:
        """Extend the last span to now; `begin` starts another one."""
        if begin is not None:
            spans.append((begin, begin))
        start, end = spans[-1]
        spans[-1] = (start, max(end, now))
        del spans[:-MOST_SPANS]


def _spans(points: list[float], gap: float) -> list[Span]:
    """Return spans of points that are no further apart than `gap`."""
    spans: list[Span] = []
    for point in points:
        if spans and point - spans[-1][1] <= gap:
            spans[-1] = (spans[-1][0], point)
        else:
            spans.append((point, point))
    return spans


def _within(spans: list[Span], now: float, age: float) -> float:
    began = now - age
    return sum(max(min(end, now) - max(start, began), 0.0) for start, end in spans)
