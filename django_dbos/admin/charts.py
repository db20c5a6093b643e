"""Small charts: the shapes that a template draws as SVG, and the same figures as a table.

The shapes fill a box of `WIDTH` by `HEIGHT` units, which the page stretches. Words stay outside of
it, so that they keep their size. Nothing needs a script or a style attribute.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from django_dbos.admin.section import Label

WIDTH, HEIGHT = 240.0, 100.0
# The space above the highest shape, so that its outline isn't cut.
MARGIN = 4.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Bar:
    """A bar of a column, or the part of it that is another figure."""

    x: str
    y: str
    width: str
    height: str
    colour: str
    tip: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """A line of steps; `path` is empty if there is no value."""

    path: str
    colour: str
    label: Label


@dataclass(frozen=True, slots=True, kw_only=True)
class Chart:
    """A chart, ready for the template.

    Attributes:
        name: Its id in the page.
        title: Its heading.
        summary: What it shows in a sentence: the text for those who don't see it.
        top: The value of the upper edge, in words.
        first: The beginning of the time in words.
        last: Its end.
        bars: The bars of a chart of counts.
        lines: The lines of a chart of durations.
        columns: The headings of the table with the same figures.
        rows: The rows of that table.
    """

    name: str
    title: Label
    summary: str
    top: str
    first: str
    last: str
    columns: tuple[Label, ...]
    rows: list[tuple[str, ...]]
    bars: Sequence[Bar] = ()
    lines: Sequence[Line] = ()

    @property
    def is_empty(self) -> bool:
        """True if there is nothing to draw."""
        return not self.bars and not any(line.path for line in self.lines)


def bars(counts: Sequence[int], top: float, colour: str, tips: Sequence[str]) -> list[Bar]:
    """Return a bar for each count that isn't 0; the highest possible one has the value `top`."""
    step = WIDTH / max(len(counts), 1)
    return [
        Bar(
            x=_unit(index * step + step * 0.1),
            y=_unit(HEIGHT - _height(count, top)),
            width=_unit(step * 0.8),
            height=_unit(_height(count, top)),
            colour=colour,
            tip=tips[index],
        )
        for index, count in enumerate(counts)
        if count
    ]


def steps(values: Sequence[float | None], top: float) -> str:
    """Return the path of a line that keeps each value for its column, with gaps where it is None.

    A single value between two gaps is visible, too.
    """
    step, parts, is_drawing = WIDTH / max(len(values), 1), [], False
    for index, value in enumerate(values):
        if value is None:
            is_drawing = False
            continue
        y = _unit(HEIGHT - _height(value, top))
        parts.append(f"V{y}" if is_drawing else f"M{_unit(index * step)} {y}")
        parts.append(f"H{_unit((index + 1) * step)}")
        is_drawing = True
    return "".join(parts)


def ceiling(value: float) -> int:
    """Return the next round number: 1, 2 or 5, with zeros."""
    size = 1
    while True:
        for factor in (1, 2, 5):
            if value <= factor * size:
                return factor * size
        size *= 10


def highest(values: Sequence[Sequence[float | None]], default: float = 1.0) -> float:
    """Return the largest of all values, or the default if there is none above 0."""
    return max((value for line in values for value in line if value), default=default)


def table(
    labels: Sequence[str], *columns: Sequence[float | None], write: Callable[[float], str]
) -> list[tuple[str, ...]]:
    """Return the rows of the table, each with its label; None is an empty cell."""
    return [
        (label, *("" if value is None else write(value) for value in values))
        for label, *values in zip(labels, *columns, strict=True)
    ]


def _height(value: float, top: float) -> float:
    return min(value / top, 1.0) * (HEIGHT - MARGIN)


def _unit(value: float) -> str:
    return f"{value:.2f}".rstrip("0").rstrip(".")
