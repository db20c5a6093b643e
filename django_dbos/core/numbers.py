"""Checks of the plain values that settings and options have."""

from __future__ import annotations

from typing import Any

LARGEST_INT = 2**31 - 1
"""The largest value of an integer column."""


def check_count(value: Any, label: str, *, minimum: int = 1) -> int:
    """Return ``value`` if it is an int from the minimum to LARGEST_INT.

    Raises:
        TypeError: The value isn't an int. The message begins with ``label``.
        ValueError: The value is out of range.
    """
    if type(value) is not int:
        raise TypeError(f"{label} must be an int, not {type(value).__name__} {value!r}.")
    if value < minimum:
        raise ValueError(f"{label} must be at least {minimum}, but is {value!r}.")
    if value > LARGEST_INT:
        raise ValueError(f"{label} must be at most {LARGEST_INT:,}, but is {value!r}.")
    return value


def check_bool(value: Any, label: str) -> bool:
    """Return ``value`` if it is True or False; raise TypeError for anything else."""
    if type(value) is not bool:
        raise TypeError(f"{label} must be True or False, not {type(value).__name__} {value!r}.")
    return value
