"""Durations as users give them, seconds or a timedelta, converted to float seconds.

One limit holds for all of them, so that every due time stays before the year 9999: later instants
are out of range for Python's datetime, for SQLite's date functions and for psycopg.
"""

from __future__ import annotations

import math
from datetime import UTC, datetime, timedelta
from typing import overload

Duration = float | timedelta | None
"""Seconds or a timedelta; None means "no limit"."""
YEAR = 365.25 * 86_400
LONGEST = 1_000 * YEAR
"""The maximum duration, in seconds: 1,000 years."""
LONGEST_WAIT = 100 * YEAR
"""The longest single wait of a thread, in seconds; Python's locks allow 292 years."""
SECONDS = "seconds or a timedelta"
DUE = "an instant, seconds or a timedelta"
"""The kinds of values for a duration, and for a time, as messages name them."""
FIRST_YEAR, LAST_YEAR = 1, 9999
"""The years in which a time zone can move an instant out of Python's range."""


@overload
def to_seconds(value: float | timedelta, *, label: str, wanted: str = ...) -> float: ...
@overload
def to_seconds(
    value: float | timedelta | None, *, label: str, wanted: str = ...
) -> float | None: ...


def to_seconds(
    value: float | timedelta | None, *, label: str, wanted: str = SECONDS
) -> float | None:
    """Return ``value`` in seconds; None, which means "no limit", stays None.

    Raises:
        TypeError: The value is neither a number nor a timedelta. The message begins with ``label``.
        ValueError: The value isn't finite, or not between 0 and 1,000 years.
    """
    if value is None:
        return None
    if isinstance(value, timedelta):
        return _check_range(value.total_seconds(), value, label=label)

    # bool is an int, but timeout=True can only be a mistake.
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError(f"{label} must be {wanted}, not {type(value).__name__} {value!r}.")
    try:
        seconds = float(value)
    except OverflowError:
        seconds = math.inf
    return _check_range(seconds, value, label=label)


UNITS = {"s": 1.0, "m": 60.0, "h": 3_600.0, "d": 86_400.0, "w": 604_800.0}


def from_text(text: str, *, label: str) -> float:
    """Return the seconds of a text such as "90s", "15m", "12h" or "30d".

    A number alone is refused: who writes 30 may mean days.

    Raises:
        ValueError: The text is no such duration. The message begins with ``label``.
    """
    number, unit = text[:-1], text[-1:]
    try:
        value, seconds = float(number), UNITS[unit]
    except (KeyError, ValueError):
        raise ValueError(
            f"{label} must be a number with a unit ({', '.join(UNITS)}), such as 30d, not {text!r}."
        ) from None
    return _check_range(value * seconds, value, label=label)


def _check_range(seconds: float, value: float | timedelta, *, label: str) -> float:
    if math.isnan(seconds) or math.isinf(seconds):
        raise ValueError(f"{label} must be a finite number of seconds, not {value!r}.")
    if seconds < 0:
        raise ValueError(f"{label} can't be negative, but is {value!r}.")
    if seconds > LONGEST:
        raise ValueError(
            f"{label} can't be more than 1,000 years, but is {value!r}. Numbers are in seconds."
        )
    return seconds


def seconds_to(due: datetime | float) -> float:
    """Return the seconds to an aware instant, by this process's clock; seconds as they are."""
    return (due - datetime.now(UTC)).total_seconds() if isinstance(due, datetime) else due


def check_instant(value: datetime, *, label: str) -> datetime:
    """Return ``value``, moved to the end of the year 9998 if it is in the year 9999.

    `datetime.max` is Python's usual "never", so such an instant is kept as the last one before it.

    Raises:
        ValueError: The instant is in the year 1. The message begins with ``label``.
    """
    if value.year == FIRST_YEAR:
        raise ValueError(f"{label} must be after the year 1, but is {value!r}.")
    if value.year == LAST_YEAR:
        return datetime.max.replace(year=LAST_YEAR - 1, tzinfo=value.tzinfo)
    return value
