"""Durations: what is accepted, and what the refusal says."""

from datetime import timedelta
from typing import Any

import pytest

from django_dbos.core import durations


@pytest.mark.parametrize(
    ("value", "seconds"),
    [(0, 0.0), (5, 5.0), (0.25, 0.25), (timedelta(minutes=2, milliseconds=500), 120.5)],
)
def test_seconds_and_timedeltas_become_float_seconds(value: Any, seconds: float) -> None:
    result = durations.to_seconds(value, what="timeout")

    assert result == seconds
    assert type(result) is float


def test_none_stays_none() -> None:
    assert durations.to_seconds(None, what="timeout") is None


@pytest.mark.parametrize("value", [-1, -0.001, timedelta(seconds=-1)])
def test_a_negative_duration_is_refused(value: Any) -> None:
    with pytest.raises(ValueError, match="timeout can't be negative, but is"):
        durations.to_seconds(value, what="timeout")


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf"), 10**400])
def test_an_endless_duration_is_refused(value: Any) -> None:
    with pytest.raises(ValueError, match="timeout must be a finite number of seconds"):
        durations.to_seconds(value, what="timeout")


@pytest.mark.parametrize("value", [True, False, "5", b"5", [5], object(), 5j])
def test_another_type_is_refused_by_name(value: Any) -> None:
    with pytest.raises(
        TypeError, match="timeout must be seconds or a timedelta, not " + type(value).__name__
    ):
        durations.to_seconds(value, what="timeout")
