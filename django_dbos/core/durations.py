"""Durations as users give them: seconds or a timedelta, turned into float seconds."""

from __future__ import annotations

import math
from datetime import timedelta
from typing import overload


@overload
def to_seconds(value: float | timedelta, *, what: str) -> float: ...
@overload
def to_seconds(value: float | timedelta | None, *, what: str) -> float | None: ...


def to_seconds(value: float | timedelta | None, *, what: str) -> float | None:
    """Return ``value`` in seconds; None, "no limit", stays None.

    Raises TypeError or ValueError, naming ``what``, for whatever isn't a finite duration of at
    least 0.
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
    return seconds
