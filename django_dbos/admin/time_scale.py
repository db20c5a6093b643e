"""The scale of a timeline: instants as positions, with long idle times shortened.

A workflow may work for milliseconds and wait for weeks. On a plain scale nothing but the wait would
be seen, so idle times share a part of the width once they are longer than the work.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta

WIDTH = 100.0
# Idle times are shortened when they are together this many times as long as the work.
MAX_IDLE = 2.0
# The part of the width that shortened idle times share.
IDLE_PART = 0.4
TICKS = 4

Span = tuple[float, float]


@dataclass(frozen=True, slots=True)
class Piece:
    """A part of the time, in seconds, and its part of the width."""

    start: float
    end: float
    left: float
    right: float
    is_idle: bool


class Scale:
    """Positions in percent of the width of instants from `start` to `end`."""

    def __init__(self, start: datetime, end: datetime, work: Iterable[tuple[datetime, datetime]]):
        self.start = start
        self._length = max((end - start).total_seconds(), 0.001)
        busy = _merged([(self._seconds(first), self._seconds(last)) for first, last in work])
        self.is_shortened, self._pieces = _pieces(self._length, busy)

    def position(self, instant: datetime) -> float:
        """Return the position of an instant; those outside are at the edges."""
        seconds = self._seconds(instant)
        for piece in self._pieces:
            if seconds <= piece.end:
                part = (seconds - piece.start) / (piece.end - piece.start)
                return round(piece.left + part * (piece.right - piece.left), 3)
        return WIDTH

    def gaps(self) -> list[tuple[float, float]]:
        """Return the positions and widths of the shortened idle times."""
        if not self.is_shortened:
            return []
        return [
            (round(piece.left, 3), round(piece.right - piece.left, 3))
            for piece in self._pieces
            if piece.is_idle
        ]

    def ticks(self) -> list[tuple[float, timedelta]]:
        """Return the marks of the axis, evenly spaced, with the times that they stand for."""
        places = [WIDTH * number / TICKS for number in range(TICKS + 1)]
        return [(place, timedelta(seconds=self._at(place))) for place in places]

    def _at(self, place: float) -> float:
        for piece in self._pieces:
            if place <= piece.right and piece.right > piece.left:
                part = (place - piece.left) / (piece.right - piece.left)
                return piece.start + part * (piece.end - piece.start)
        return self._length

    def _seconds(self, instant: datetime) -> float:
        return min(max((instant - self.start).total_seconds(), 0.0), self._length)


def _merged(spans: list[Span]) -> list[Span]:
    """Return the union of spans as spans that don't touch, in order."""
    found: list[Span] = []
    for start, end in sorted(spans):
        if found and start <= found[-1][1]:
            found[-1] = (found[-1][0], max(end, found[-1][1]))
        elif end > start:
            found.append((start, end))
    return found


def _pieces(length: float, busy: list[Span]) -> tuple[bool, list[Piece]]:
    """Return whether idle times are shortened, and the pieces of the scale in order."""
    edges = [0.0, *itertools.chain.from_iterable(busy), length]
    spans = [
        (start, end, number % 2 == 0)
        for number, (start, end) in enumerate(itertools.pairwise(edges))
        if end > start
    ]
    work = sum(end - start for start, end in busy)
    idle = length - work
    is_shortened = 0 < MAX_IDLE * work < idle
    # The square root lets a wait of a day look longer than one of an hour, but not 24 times.
    roots = sum((end - start) ** 0.5 for start, end, is_idle in spans if is_idle)
    pieces, left = [], 0.0
    for start, end, is_idle in spans:
        if not is_shortened:
            share = (end - start) / length
        elif is_idle:
            share = IDLE_PART * (end - start) ** 0.5 / roots
        else:
            share = (1 - IDLE_PART) * (end - start) / work
        pieces.append(Piece(start, end, left, left + WIDTH * share, is_idle))
        left += WIDTH * share
    return is_shortened, pieces
