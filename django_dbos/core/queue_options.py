"""The options of a queue: checked, in one plain form, and as the columns of its row.

The plain form is a dict for JSON: counts as ints, rates as texts such as "100/m". None removes a
limit, in an edit also one that is declared.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, TypedDict

from django_dbos.core import durations, names
from django_dbos.core.numbers import check_bool, check_count

PlainOptions = dict[str, Any]
"""Checked options in their plain form; those that aren't given are absent."""

UNITS = {"s": 1, "m": 60, "h": 3_600, "d": 86_400}
SHORTEST_PERIOD = 0.001
_RATE = re.compile(
    r"(?P<count>\d{1,10}) ?/ ?(?P<times>\d{1,11}(?:\.\d{1,6})?)? ?"
    r"(?P<unit>s(?:ec(?:onds?)?)?|m(?:in(?:utes?)?)?|h(?:ours?)?|d(?:ays?)?)",
    re.ASCII,
)
_FORMS = "like '100/m', '5/10s' or (100, timedelta(minutes=1)), in units of s, m, h or d"


class QueueOptions(TypedDict, total=False):
    """The options of a queue, in DBOS["QUEUES"] and in `queues.set()`. Each one is optional."""

    concurrency: int | None
    """The number of workflows that may run at once, across all workers. Default: no limit."""
    worker_concurrency: int | None
    """The number of workflows that each worker may run at once. Default: no limit but its slots."""
    rate_limit: str | tuple[int, float | timedelta] | None
    """The number of workflows that may start within any window of a period: "100/m", "5/10s" or
    (100, timedelta(minutes=1)). Default: no limit."""
    partition_concurrency: int | None
    """The number of workflows of one partition key that may run at once, across all workers."""
    partition_rate_limit: str | tuple[int, float | timedelta] | None
    """The number of workflows of one partition key that may start within a period."""
    hold_while_waiting: bool
    """True if a workflow counts from its start to its end, also while it waits. Default: False,
    it counts while it runs."""


@dataclass(frozen=True, slots=True)
class Rate:
    """At most `count` starts in any window of `period` seconds."""

    count: int
    period: float

    def __str__(self) -> str:
        unit, seconds = next(
            (unit, seconds)
            for unit, seconds in reversed(UNITS.items())
            if self.period % seconds == 0 or unit == "s"
        )
        times = self.period / seconds
        if times == 1:
            return f"{self.count}/{unit}"
        return f"{self.count}/{times:.0f}{unit}" if times % 1 == 0 else f"{self.count}/{times!r}s"


def to_rate(value: Any, label: str) -> Rate:
    """Return a rate that is given as a text or as a pair of count and period.

    Raises:
        TypeError: The value is neither. The message begins with ``label``.
        ValueError: The text is malformed, or the count or the period is out of range.
    """
    if isinstance(value, str):
        found = _RATE.fullmatch(value.strip())
        if found is None:
            raise ValueError(f"{label} must be {_FORMS}, but is {value!r}.")
        count, period = int(found["count"]), float(found["times"] or 1) * UNITS[found["unit"][0]]
    elif isinstance(value, list | tuple) and len(value) == 2 and value[1] is not None:
        count, period = value[0], durations.to_seconds(value[1], label=f"The period of {label}")
    else:
        raise TypeError(f"{label} must be {_FORMS}, not {type(value).__name__} {value!r}.")
    check_count(count, f"The count of {label}")
    if period < SHORTEST_PERIOD:
        raise ValueError(f"{label} must have a period of at least 1 ms, but is {value!r}.")
    durations.to_seconds(period, label=f"The period of {label}")
    # Microseconds are what databases keep.
    return Rate(count, round(period, 6))


def _optional_count(value: Any, label: str) -> int | None:
    return None if value is None else check_count(value, label)


def _optional_rate(value: Any, label: str) -> str | None:
    return None if value is None else str(to_rate(value, label))


CHECKS: dict[str, Callable[[Any, str], Any]] = {
    "concurrency": _optional_count,
    "worker_concurrency": _optional_count,
    "rate_limit": _optional_rate,
    "partition_concurrency": _optional_count,
    "partition_rate_limit": _optional_rate,
    "hold_while_waiting": check_bool,
}
"""The check of each option, which returns the plain form of its value."""

PARTITION_LIMITS = ("partition_concurrency", "partition_rate_limit")
NARROWER = ("worker_concurrency", "partition_concurrency")
"""Limits of a part of the queue, which can't be above that of the whole."""


def find_errors(given: Mapping[str, Any], where: str = "") -> tuple[PlainOptions, list[Exception]]:
    """Return the options that are right in their plain form, and the errors of the others.

    Args:
        given: The options as a user gives them.
        where: The place of the options, for messages: "DBOS['QUEUES']['mail']". By default a
            message names the option alone.
    """
    plain: PlainOptions = {}
    errors: list[Exception] = []
    for name, value in given.items():
        try:
            if name not in CHECKS:
                raise TypeError(_unknown(name, where))
            plain[name] = CHECKS[name](value, f"{where}[{name!r}]" if where else name)
        except (TypeError, ValueError) as error:
            errors.append(error)
    return plain, errors + contradictions(plain, where)


def check_options(given: Mapping[str, Any]) -> PlainOptions:
    """Return options in their plain form.

    Raises:
        TypeError: There is no such option, or its value has another type.
        ValueError: A value is out of range, or two of them contradict each other.
    """
    plain, errors = find_errors(given)
    if errors:
        raise errors[0]
    return plain


def contradictions(plain: Mapping[str, Any], where: str = "") -> list[Exception]:
    """Return an error for each limit of a part that is above the limit of the whole."""
    whole = plain.get("concurrency")
    narrow = [(name, plain[name]) for name in NARROWER if plain.get(name) is not None]
    of = f" of {where}" if where else ""
    found: list[Exception] = [
        ValueError(
            f"{name}{of} is {value}, above concurrency, which is {whole}: it could never be "
            "reached. Lower it, or raise concurrency."
        )
        for name, value in narrow
        if whole is not None and value > whole
    ]
    rate, part = (to_rates(plain).get(name) for name in ("rate_limit", "partition_rate_limit"))
    if rate and part and part.period <= rate.period and part.count > rate.count:
        found.append(
            ValueError(
                f"partition_rate_limit{of} is {part}, above rate_limit, which is {rate}: it could "
                "never be reached. Lower it, or raise rate_limit."
            )
        )
    return found


def to_rates(plain: Mapping[str, Any]) -> dict[str, Rate]:
    """Return the rates among plain options, by the names of the options."""
    named = ((name, plain.get(name)) for name in ("rate_limit", "partition_rate_limit"))
    return {name: to_rate(text, name) for name, text in named if text is not None}


def merged(declared: Mapping[str, Any] | None, edited: Mapping[str, Any] | None) -> PlainOptions:
    """Return the options in force, in their usual order: what was edited wins."""
    both = {**(declared or {}), **(edited or {})}
    return {name: both[name] for name in CHECKS if name in both}


def to_columns(plain: Mapping[str, Any]) -> dict[str, Any]:
    """Return the columns of the queue's row that these options in force determine."""
    rates = to_rates(plain)
    rate, part = rates.get("rate_limit"), rates.get("partition_rate_limit")
    return {
        "concurrency": plain.get("concurrency"),
        "worker_concurrency": plain.get("worker_concurrency"),
        "rate_count": rate and rate.count,
        "rate_period": rate and rate.period,
        "partition_concurrency": plain.get("partition_concurrency"),
        "partition_rate_count": part and part.count,
        "partition_rate_period": part and part.period,
        "hold_while_waiting": plain.get("hold_while_waiting", False),
    }


def has_limit(plain: Mapping[str, Any]) -> bool:
    """Return whether any of the options limits the queue."""
    return any(plain.get(name) is not None for name in CHECKS if name != "hold_while_waiting")


def _unknown(name: object, where: str) -> str:
    subject = f"{where}[{name!r}]" if where else repr(name)
    hint = names.suggest(str(name), CHECKS) or f" The options are {', '.join(CHECKS)}."
    return f"{subject} isn't an option of a queue.{hint}"
