"""Durations as users give them: seconds or a timedelta, turned into float seconds.

There is one limit for all of them, so that whatever is due later stays before the year 9999: later
instants have no place in Python's datetime, in SQLite's functions or in what psycopg can read.
"""

from __future__ import annotations

import math
from datetime import datetime, timedelta
from typing import overload

YEAR = 365.25 * 86_400
LONGEST = 1_000 * YEAR
"""Seconds that a duration may have: 1,000 years."""
LONGEST_WAIT = 100 * YEAR
"""Seconds that a thread waits at once: Python's locks allow 292 years."""
FIRST_YEAR, LAST_YEAR = 1, 9999
"""The years in which a time zone could take an instant out of Python's range."""


@overload
def to_seconds(value: float | timedelta, *, what: str) -> float: ...
@overload
def to_seconds(value: float | timedelta | None, *, what: str) -> float | None: ...


def to_seconds(value: float | timedelta | None, *, what: str) -> float | None:
    """Return ``value`` in seconds; None, "no limit", stays None.

    Raises TypeError or ValueError, naming ``what``, for whatever isn't a finite duration from 0 to
    1,000 years.
    """
    if value is None:
        return None
    if isinstance(value, timedelta):
        return _check_range(value.total_seconds(), value, what=what)

    # bool is an int, but timeout=True can only be a mistake.
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError(
            f"{what} must be seconds or a timedelta, not {type(value).__name__} {value!r}."
        )
    try:
        seconds = float(value)
    except OverflowError:
        seconds = math.inf
    return _check_range(seconds, value, what=what)


def _check_range(seconds: float, value: float | timedelta, *, what: str) -> float:
    if math.isnan(seconds) or math.isinf(seconds):
        raise ValueError(f"{what} must be a finite number of seconds, not {value!r}.")
    if seconds < 0:
        raise ValueError(f"{what} can't be negative, but is {value!r}.")
    if seconds > LONGEST:
        raise ValueError(
            f"{what} can't be more than 1,000 years, but is {value!r}. A number is one of seconds."
        )
    return seconds


def check_instant(value: datetime, *, what: str) -> datetime:
    """Return ``value``, of the year 9998 at the latest.

    `datetime.max` is how Python says "never", so an instant of the year 9999 is kept as the last
    one before it. Raises ValueError, naming ``what``, for one of the year 1.
    """
    if value.year == FIRST_YEAR:
        raise ValueError(f"{what} must be after the year 1, but is {value!r}.")
    if value.year == LAST_YEAR:
        return datetime.max.replace(year=LAST_YEAR - 1, tzinfo=value.tzinfo)
    return value
