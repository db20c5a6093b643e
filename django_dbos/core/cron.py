"""Cron expressions: the instants that one names in a time zone, by the rule of Debian's cron.

cronsim finds the times on the wall clock; here they are mapped to instants:

* An expression names *times of the day* if neither its minute nor its hour begins with `*`. Each
  starts once: at the first instant after the leap if the clock leaps over it, the first time if the
  clock shows it twice.
* Others go *by the clock's face*: every instant at which the clock shows a match.

cronsim gets naive times only: its own handling of zones returns instants before the one asked for.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta, tzinfo
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from cronsim import CronSim

MACROS = {
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
    "@monthly": "0 0 1 * *",
    "@weekly": "0 0 * * 0",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@hourly": "0 * * * *",
}
MAX_LENGTH = 256
SECOND, DAY = timedelta(seconds=1), timedelta(days=1)


class Field(NamedTuple):
    """A field of an expression: its name, how many values it has, and which it takes."""

    name: str
    size: int
    takes: str


FIELDS = (
    Field("minute", 60, "0 to 59"),
    Field("hour", 24, "0 to 23"),
    Field("day of month", 31, "1 to 31, L or LW"),
    Field("month", 12, "1 to 12 or JAN to DEC"),
    Field("day of week", 7, "0 to 7 or SUN to SAT, MON#2 or 5L"),
)


class CronsimMissing(ImportError):
    """cronsim isn't installed. Raised by schedules with a cron expression."""

    def __init__(self) -> None:
        super().__init__(
            "A schedule with a cron expression needs cronsim: pip install "
            "'django-durable-workflows[schedules]'. A schedule with every=... doesn't."
        )


def parse(expression: object) -> str:
    """Return an expression as five fields with single blanks between them.

    Raises:
        TypeError: It isn't a str.
        ValueError: It isn't a cron expression of five fields, or names no instant at all.
        CronsimMissing: cronsim isn't installed; the fields were counted, and not checked.
    """
    if not isinstance(expression, str):
        raise TypeError(
            f"cron must be a str such as '0 3 * * *', not {type(expression).__name__} "
            f"{expression!r}."
        )
    parts = _split(expression)
    for field, part in zip(FIELDS, parts, strict=True):
        _check_steps(expression, field, part)
    for position, (field, part) in enumerate(zip(FIELDS, parts, strict=True)):
        _check_field(expression, position, field, part)
    text = " ".join(parts)
    if not _has_instants(text):
        raise ValueError(f"cron {expression!r} names no instant: no date has this day and month.")
    return text


def next_after(expression: str, zone: tzinfo, after: datetime) -> datetime | None:
    """Return the first instant strictly after `after`, in UTC; None if there is none.

    Args:
        expression: As `parse` returns it.
        zone: The zone whose clock the expression means.
        after: An aware instant.
    """
    is_fixed = names_times_of_the_day(expression)
    after = after.astimezone(UTC).replace(microsecond=0)
    found = _first(expression, zone, after, after, is_fixed=is_fixed)
    tomorrow = after + DAY
    if not is_fixed and tomorrow.astimezone(zone).utcoffset() < after.astimezone(zone).utcoffset():  # type: ignore[operator]
        # The clock goes back soon: what it then shows again comes before what it shows later.
        back = _change_between(after, tomorrow, zone)
        if found is None or back <= found:
            again = _first(expression, zone, back, back - SECOND, is_fixed=is_fixed)
            found = min(filter(None, (found, again)), default=None)
    return found


def names_times_of_the_day(expression: str) -> bool:
    """Return whether an expression names times of the day; otherwise it goes by the clock."""
    minute, hour = expression.split()[:2]
    return not (minute.startswith("*") or hour.startswith("*"))


# Checks


def _split(expression: str) -> list[str]:
    if len(expression) > MAX_LENGTH:
        raise ValueError(
            f"cron can't be longer than {MAX_LENGTH} characters, but has {len(expression)}."
        )
    if expression.strip().startswith("@"):
        return _macro(expression).split()
    parts = expression.split()
    if len(parts) == len(FIELDS):
        return parts
    fields = ", ".join(field.name for field in FIELDS)
    remedy = f"It has five fields: {fields}."
    if len(parts) > len(FIELDS):
        remedy += (
            " Seconds aren't taken, since libraries disagree on their place: use "
            "every=timedelta(seconds=...)."
        )
    raise ValueError(f"cron {expression!r} has {len(parts)} fields. {remedy}")


def _macro(expression: str) -> str:
    text = MACROS.get(expression.strip().lower())
    if text is None:
        known = ", ".join(MACROS)
        raise ValueError(
            f"cron {expression!r} isn't one of {known}. For intervals use every=timedelta(...)."
        )
    return text


def _check_steps(expression: str, field: Field, part: str) -> None:
    """Refuse steps beyond the field: `*/90` would mean every hour, which nobody wants to say."""
    for item in part.split(","):
        _, slash, step = item.partition("/")
        if not slash:
            continue
        is_number = step.isascii() and step.isdigit() and len(step) < 3
        if not is_number or not 0 < int(step) <= field.size:
            raise ValueError(
                f"cron {expression!r}: the {field.name} field, {part!r}, has the step {step!r}; a "
                f"step is a number from 1 to {field.size}. For other intervals use "
                "every=timedelta(...)."
            )


def _check_field(expression: str, position: int, field: Field, part: str) -> None:
    """Refuse a field that cronsim doesn't take beside four that it does."""
    cronsim_error = _cronsim_error()
    alone = ["*"] * len(FIELDS)
    alone[position] = part
    try:
        _simulate(" ".join(alone), datetime(2000, 1, 1))  # noqa: DTZ001 - the wall clock
    except (cronsim_error, ValueError):
        raise ValueError(
            f"cron {expression!r}: the {field.name} field, {part!r}, isn't valid. It takes "
            f"{field.takes}, lists, ranges that don't wrap, and steps."
        ) from None


def _has_instants(text: str) -> bool:
    try:
        return next(_simulate(text, datetime(2000, 1, 1)), None) is not None  # noqa: DTZ001
    except _cronsim_error():
        return False


# Wall times, and instants


def _simulate(text: str, wall: datetime) -> CronSim:
    """Return the wall times after `wall` that an expression names."""
    try:
        from cronsim import CronSim
    except ImportError:
        raise CronsimMissing from None
    return CronSim(text, wall)


def _cronsim_error() -> type[Exception]:
    try:
        from cronsim import CronSimError
    except ImportError:
        raise CronsimMissing from None
    return CronSimError


def _first(
    expression: str, zone: tzinfo, clock: datetime, after: datetime, *, is_fixed: bool
) -> datetime | None:
    """Return the first instant after `after`, of wall times later than at `clock`."""
    start = clock.astimezone(zone).replace(tzinfo=None) - (clock - after)
    for wall in _simulate(expression, start):
        for instant in _instants(wall, zone, is_fixed=is_fixed):
            if instant > after:
                return instant
    return None


def _instants(wall: datetime, zone: tzinfo, *, is_fixed: bool) -> Iterator[datetime]:
    """Yield the instants at which a wall time starts something."""
    shown = _readings(wall, zone)
    if not is_fixed:
        yield from shown
    elif shown:
        yield shown[0]
    else:
        yield _change_between(*_both(wall, zone), zone)


def _both(wall: datetime, zone: tzinfo) -> tuple[datetime, datetime]:
    """Return the instants of a wall time by the offsets before and after a change, in order."""
    low, high = sorted(wall.replace(tzinfo=zone, fold=fold).astimezone(UTC) for fold in (0, 1))
    return low, high


def _readings(wall: datetime, zone: tzinfo) -> list[datetime]:
    """Return the instants at which the zone's clock shows `wall`: none, one or two, in order."""
    return [
        instant
        for instant in dict.fromkeys(_both(wall, zone))
        if instant.astimezone(zone).replace(tzinfo=None) == wall
    ]


def _change_between(low: datetime, high: datetime, zone: tzinfo) -> datetime:
    """Return the first instant of the new offset; the offsets at the two ends differ."""
    old = low.astimezone(zone).utcoffset()
    while high - low > SECOND:
        middle = (low + (high - low) / 2).replace(microsecond=0)
        if middle.astimezone(zone).utcoffset() == old:
            low = middle
        else:
            high = middle
    return high
