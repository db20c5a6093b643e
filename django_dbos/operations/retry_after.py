"""RetryAfter, by which a step says when it wants to be tried again."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from operator import attrgetter
from typing import Any, Self

from django.conf import settings
from django.utils import timezone
from django.utils.http import parse_http_date

from django_dbos.core import durations


class RetryAfter(Exception):
    """Raised by a step: try again after this time, without counting the attempt.

    It is for services that answer "too many requests". The step is tried again whatever its
    `max_attempts` and `retry_on` are, and as often as it raises this error; the workflow's deadline
    ends that. A worker keeps no thread for a long delay, and a crash doesn't shorten it. Outside of
    steps it is an error like any other. An exception group of several, and of no other errors,
    counts as the one with the longest delay.

    Args:
        delay: Seconds, a timedelta or an instant. An instant in the past means at once.

    Attributes:
        seconds: The delay in seconds, from the moment at which the error was made.

    Raises:
        TypeError: `delay` is of another type.
        ValueError: It is negative, NaN, infinite, longer than 1,000 years, or a naive instant where
            USE_TZ is on.

    Example:
        @dbos.step
        def mail(address: str) -> None:
            response = requests.post(URL, json={"to": address})
            if response.status_code == 429:
                raise dbos.RetryAfter.from_header(response.headers.get("Retry-After"), default=60)
            response.raise_for_status()
    """

    def __init__(self, delay: float | timedelta | datetime) -> None:
        self.seconds = _to_seconds(delay)
        super().__init__(self.seconds)

    def __str__(self) -> str:
        return f"told to try again in {self.seconds:g} s"

    @classmethod
    def from_header(cls, value: str | None, *, default: float | timedelta | None = None) -> Self:
        """Return the error for the value of a Retry-After header, seconds or an HTTP date.

        Args:
            value: The value, or None if the response has no such header.
            default: The delay if there is no value, or it can't be read.

        Raises:
            ValueError: There is no such value, and no default.
        """
        seconds = None if value is None else _read(value)
        if seconds is not None:
            return cls(seconds)
        if default is None:
            raise ValueError(
                f"Retry-After must be a number of seconds or an HTTP date, but is {value!r}. "
                "Give a default for such responses."
            )
        return cls(default)


def found_in(error: BaseException) -> RetryAfter | None:
    """Return the error itself, or the longest delay of a group that has no other errors."""
    if isinstance(error, RetryAfter):
        return error
    if not isinstance(error, ExceptionGroup) or error.split(RetryAfter)[1] is not None:
        return None
    longest: RetryAfter = max(_leaves(error), key=attrgetter("seconds"))
    return longest


def _leaves(error: Exception) -> list[Any]:
    if not isinstance(error, ExceptionGroup):
        return [error]
    return [leaf for part in error.exceptions for leaf in _leaves(part)]


def _to_seconds(delay: float | timedelta | datetime) -> float:
    if delay is None:
        raise TypeError("RetryAfter needs seconds, a timedelta or an instant, not None.")
    if not isinstance(delay, datetime):
        return durations.to_seconds(delay, label="RetryAfter", wanted=durations.DUE)
    if timezone.is_naive(delay):
        if settings.USE_TZ:
            raise ValueError(
                f"RetryAfter needs an instant that is aware of its time zone, not {delay!r}. "
                "Give seconds, or use django.utils.timezone.make_aware()."
            )
        delay = timezone.make_aware(delay)
    seconds = durations.seconds_to(durations.check_instant(delay, label="RetryAfter"))
    return durations.to_seconds(max(seconds, 0.0), label="RetryAfter")


def _read(value: str) -> float | None:
    """Return the seconds of a header's value; None if it can't be read."""
    try:
        return durations.to_seconds(float(value), label="Retry-After")
    except ValueError:
        pass
    try:
        return _to_seconds(datetime.fromtimestamp(parse_http_date(value), UTC))
    except (ValueError, OverflowError, OSError):
        return None
