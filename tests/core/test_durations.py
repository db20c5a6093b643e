"""Durations: accepted values and error messages."""

import sys
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from django_dbos.core import durations


@pytest.mark.parametrize(
    ("value", "seconds"),
    [(0, 0.0), (5, 5.0), (0.25, 0.25), (timedelta(minutes=2, milliseconds=500), 120.5)],
)
def test_seconds_and_timedeltas_become_float_seconds(value: Any, seconds: float) -> None:
    result = durations.to_seconds(value, label="timeout")

    assert result == seconds
    assert type(result) is float


def test_none_stays_none() -> None:
    assert durations.to_seconds(None, label="timeout") is None


@pytest.mark.parametrize("value", [-1, -0.001, timedelta(seconds=-1)])
def test_a_negative_duration_is_refused(value: Any) -> None:
    with pytest.raises(ValueError, match="timeout can't be negative, but is"):
        durations.to_seconds(value, label="timeout")


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf"), 10**400])
def test_an_infinite_duration_is_refused(value: Any) -> None:
    with pytest.raises(ValueError, match="timeout must be a finite number of seconds"):
        durations.to_seconds(value, label="timeout")


@pytest.mark.parametrize(
    "value",
    [1e12, 31_557_600_001, sys.maxsize, 10**300, timedelta.max, timedelta(days=365_251)],
)
def test_more_than_a_thousand_years_is_refused(value: Any) -> None:
    with pytest.raises(
        ValueError, match=r"timeout can't be more than 1,000 years, but is "
    ) as told:
        durations.to_seconds(value, label="timeout")

    assert repr(value) in str(told.value)


def test_a_thousand_years_are_allowed() -> None:
    assert durations.to_seconds(timedelta(days=365_250), label="timeout") == durations.LONGEST


def test_an_instant_in_the_year_1_is_refused() -> None:
    with pytest.raises(ValueError, match=r"run_after must be after the year 1, but is "):
        durations.check_instant(datetime.min, label="run_after")


@pytest.mark.parametrize(
    "value", [datetime.max, datetime.max.replace(tzinfo=UTC), datetime(9999, 1, 1, tzinfo=UTC)]
)
def test_an_instant_in_the_year_9999_is_moved_to_the_year_before(value: datetime) -> None:
    kept = durations.check_instant(value, label="run_after")

    assert kept == datetime(9998, 12, 31, 23, 59, 59, 999_999, tzinfo=value.tzinfo)


@pytest.mark.parametrize("value", [True, False, "5", b"5", [5], object(), 5j])
def test_another_type_is_refused_with_its_name(value: Any) -> None:
    with pytest.raises(
        TypeError, match="timeout must be seconds or a timedelta, not " + type(value).__name__
    ):
        durations.to_seconds(value, label="timeout")
