"""Schedules: their definitions, and the rules by which they start workflows. All of it is pure.

An *instant* is a time, in UTC, at which a schedule starts a workflow. `settled_at` in its row is
the instant up to which everything is decided: each later instant starts once, each earlier one
never again, whatever the clocks do.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from datetime import UTC, datetime, timedelta, tzinfo
from enum import StrEnum
from functools import cached_property
from typing import Any, NamedTuple

from django_dbos.core import cron, zones
from django_dbos.core.status import Status
from django_dbos.core.texts import gettext_noop

# A name, "@" and an instant make a workflow's id.
MAX_NAME_LENGTH = 200
# The delay up to which an instant without catch-up starts: a worker that restarts isn't down.
GRACE = timedelta(seconds=60)
# Instants of one schedule that one transaction starts.
MAX_AT_ONCE = 100
MICROSECOND = timedelta(microseconds=1)


class CatchUp(StrEnum):
    """The instants that start after a stop: none, the latest missed one, or all of them."""

    NONE = "none"
    LATEST = "latest"
    ALL = "all"


class Overlap(StrEnum):
    """The effect of an instant while an earlier workflow of its schedule is active."""

    ALLOW = "allow"
    SKIP = "skip"
    QUEUE = "queue"
    CANCEL = "cancel"


@dataclass(frozen=True, kw_only=True)
class Definition:
    """The options of a schedule in force. Durations are in seconds, instants are aware."""

    workflow: str
    input: str
    """The arguments, serialized."""
    cron: str | None = None
    every: float | None = None
    timezone: str = "UTC"
    queue_name: str = "default"
    priority: int = 0
    partition_key: str | None = None
    start: datetime | None = None
    end: datetime | None = None
    jitter: float = 0.0
    catch_up: str = CatchUp.LATEST
    catch_up_window: float | None = None
    overlap: str = Overlap.ALLOW
    pause_after_failures: int | None = None

    @cached_property
    def zone(self) -> tzinfo:
        """The time zone; ValueError if this host doesn't know it."""
        return UTC if self.timezone in zones.FIXED else zones.find(self.timezone)

    @property
    def needs_zone_data(self) -> bool:
        """True if its instants depend on the version of the time-zone data."""
        return self.cron is not None and self.timezone not in zones.FIXED

    def next_after(self, after: datetime) -> datetime | None:
        """Return the first instant after `after`, within start and end; None if there is none."""
        if self.start is not None:
            after = max(after, self.start - MICROSECOND)
        found = self._next(after)
        is_over = found is not None and self.end is not None and found > self.end
        return None if is_over else found

    def _next(self, after: datetime) -> datetime | None:
        if self.cron is not None:
            return cron.next_after(self.cron, self.zone, after)
        assert self.every is not None
        # From the start on, or on a grid that is the same for all workers and for ever.
        anchor = self.start or datetime.fromtimestamp(0, UTC)
        period = timedelta(seconds=self.every)
        return anchor + ((after - anchor) // period + 1) * period


# Stored options: what was declared and what was edited, as JSON.

OPTIONS = tuple(field.name for field in fields(Definition))
INSTANTS = ("start", "end")


def to_stored(options: Mapping[str, Any]) -> dict[str, Any]:
    """Return checked options as JSON values."""
    return {
        name: value.astimezone(UTC).isoformat() if isinstance(value, datetime) else value
        for name, value in options.items()
    }


def of_stored(declared: Mapping[str, Any] | None, edited: Mapping[str, Any] | None) -> Definition:
    """Return the definition in force: what was edited wins over what was declared.

    Options of a later release are left alone.
    """
    options = {**(declared or {}), **(edited or {})}
    known = {name: value for name, value in options.items() if name in OPTIONS}
    for name in INSTANTS:
        if known.get(name) is not None:
            known[name] = datetime.fromisoformat(known[name])
    return Definition(**known)


def options_of(definition: Definition) -> dict[str, Any]:
    """Return all options of a definition, as JSON values."""
    return to_stored(asdict(definition))


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredSchedule:
    """The row of a schedule."""

    name: str
    workflow_name: str
    declared: str | None
    edited: str | None
    """Options as JSON: what the code or the settings declare, and what was edited, which wins."""
    settled_at: datetime
    next_at: datetime | None = None
    """The next instant; None while paused, and after the last one."""
    last_at: datetime | None = None
    last_workflow_id: str | None = None
    failures_after: datetime | None = None
    """Workflows that were started earlier don't count towards a pause."""
    paused_at: datetime | None = None
    paused_by: str | None = None
    paused_reason: str | None = None
    tzdata: str = ""
    """The version of the time-zone data by which `next_at` was computed; "" if it needs none."""

    @property
    def definition(self) -> Definition:
        """The options in force."""
        return of_stored(_loads(self.declared), _loads(self.edited))

    @property
    def declared_options(self) -> dict[str, Any] | None:
        """The options that were declared; None for a schedule that was made at run time."""
        return _loads(self.declared)

    @property
    def edited_options(self) -> dict[str, Any]:
        """The options that were edited."""
        return _loads(self.edited) or {}

    def planned(self) -> StoredSchedule:
        """Return the schedule with its next instant, by this host's time-zone data."""
        definition = self.definition
        return replace(
            self,
            workflow_name=definition.workflow,
            next_at=None if self.paused_at else definition.next_after(self.settled_at),
            tzdata=zones.data_version() if definition.needs_zone_data else "",
        )

    def redefined(self, now: datetime, **texts: Any) -> StoredSchedule:
        """Return the schedule with other `declared` or `edited` options.

        Other times count from now on: the past isn't caught up by them.
        """
        changed = replace(self, **texts)
        if times_of(changed.definition) != times_of(self.definition):
            changed = replace(changed, settled_at=max(self.settled_at, now))
        return changed.planned()

    def paused(self, now: datetime, by: str, reason: str) -> StoredSchedule:
        """Return the schedule paused."""
        return replace(self, next_at=None, paused_at=now, paused_by=by, paused_reason=reason)

    def resumed(self, now: datetime) -> StoredSchedule:
        """Return the schedule resumed from now on; failures are counted anew."""
        begin = max(self.settled_at, now)
        resumed = replace(
            self,
            settled_at=begin,
            failures_after=begin,
            paused_at=None,
            paused_by=None,
            paused_reason=None,
        )
        return resumed.planned()


def dumps(options: Mapping[str, Any] | None) -> str | None:
    """Return stored options as the text of their column."""
    return None if options is None else json.dumps(options, sort_keys=True)


def _loads(text: str | None) -> dict[str, Any] | None:
    return None if text is None else json.loads(text)


def times_of(definition: Definition) -> tuple[Any, ...]:
    """Return the options that the instants follow from."""
    return tuple(getattr(definition, name) for name in ("cron", "every", "timezone", *INSTANTS))


# Due instants


@dataclass(frozen=True, slots=True, kw_only=True)
class Settlement:
    """The decision about a schedule that is due."""

    instants: Sequence[datetime]
    """The instants to start, in order."""
    settled_at: datetime
    next_at: datetime | None
    first_missed: datetime | None = None
    """The first of the instants that aren't started, as catch-up has it."""


def settle(
    definition: Definition, settled_at: datetime, now: datetime, at_once: int = MAX_AT_ONCE
) -> Settlement:
    """Decide which instants after `settled_at` and up to `now` are started."""
    if definition.catch_up == CatchUp.ALL:
        return _settle_all(definition, settled_at, now, min(at_once, MAX_AT_ONCE))
    latest = latest_between(definition, settled_at, now)
    if latest is None:
        return Settlement(
            instants=(), settled_at=settled_at, next_at=definition.next_after(settled_at)
        )
    first = definition.next_after(settled_at)
    is_started = now - latest <= _allowed_delay(definition)
    return Settlement(
        instants=(latest,) if is_started else (),
        settled_at=latest,
        next_at=definition.next_after(latest),
        first_missed=first if first != latest or not is_started else None,
    )


def _settle_all(
    definition: Definition, settled_at: datetime, now: datetime, at_once: int
) -> Settlement:
    begin = settled_at
    if definition.catch_up_window is not None:
        begin = max(begin, now - max(timedelta(seconds=definition.catch_up_window), GRACE))
    first = definition.next_after(settled_at)
    started: list[datetime] = []
    following = definition.next_after(begin) if begin > settled_at else first
    is_missed = first != following and first is not None and first <= now
    while following is not None and following <= now and len(started) < at_once:
        started.append(following)
        following = definition.next_after(following)
    return Settlement(
        instants=started,
        settled_at=started[-1] if started else begin,
        next_at=following,
        first_missed=first if is_missed else None,
    )


def _allowed_delay(definition: Definition) -> timedelta:
    """Return how late the latest due instant may still start."""
    if definition.catch_up == CatchUp.NONE:
        return GRACE
    window = definition.catch_up_window
    return timedelta.max if window is None else max(timedelta(seconds=window), GRACE)


def latest_between(definition: Definition, after: datetime, until: datetime) -> datetime | None:
    """Return the latest instant after `after` and up to `until`.

    It is searched backwards, in spans that double: a year of minutes takes as long as an hour.
    """
    span = timedelta(minutes=1)
    while True:
        begin = max(after, until - span) if span < until - after else after
        found = definition.next_after(begin)
        if found is not None and found <= until:
            return _last_from(definition, found, until)
        if begin == after:
            return None
        span *= 4


def _last_from(definition: Definition, found: datetime, until: datetime) -> datetime:
    while (following := definition.next_after(found)) is not None and following <= until:
        found = following
    return found


def instants_between(
    definition: Definition, first: datetime, last: datetime, limit: int
) -> list[datetime]:
    """Return the instants from `first` to `last`, both included, and `limit` of them at most."""
    found: list[datetime] = []
    following = definition.next_after(first - MICROSECOND)
    while following is not None and following <= last and len(found) < limit:
        found.append(following)
        following = definition.next_after(following)
    return found


# Overlap


class Admission(StrEnum):
    """The decision on an instant by its schedule's overlap rule."""

    START = "start"
    SKIP = "skip"
    WAIT = "wait"
    """Start it when the active workflow has ended."""
    REPLACE = "replace"
    """Cancel the active workflows, and start it."""


def admit(overlap: str, active: int) -> Admission:
    """Return what becomes of an instant while `active` workflows of its schedule are active."""
    if not active or overlap == Overlap.ALLOW:
        return Admission.START
    if overlap == Overlap.CANCEL:
        return Admission.REPLACE
    if overlap == Overlap.QUEUE and active == 1:
        return Admission.WAIT
    return Admission.SKIP


# A pass over a schedule that is due


class Start(NamedTuple):
    """A workflow to start."""

    instant: datetime
    workflow_id: str
    behind: str | None = None
    """The workflow whose end it waits for."""
    run_at: datetime | None = None
    """The time until which jitter delays it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """The decisions on a schedule that is due, to be written in one transaction."""

    schedule: StoredSchedule
    """The row afterwards."""
    starts: Sequence[Start] = ()
    cancelled: Sequence[str] = ()
    """The active workflows that the first start replaces."""
    skipped: Sequence[datetime] = ()
    first_missed: datetime | None = None
    pause_reason: str | None = None


def plan(
    schedule: StoredSchedule,
    now: datetime,
    active: Sequence[str] = (),
    ends: Sequence[tuple[str, str]] = (),
    at_once: int = MAX_AT_ONCE,
) -> Plan:
    """Decide what becomes of a schedule that is due.

    Args:
        schedule: The row, as it was locked.
        now: The database's time.
        active: The active workflows of the schedule, if its overlap rule asks for them.
        ends: (id, status) of its last ended workflows, if failures pause it.
        at_once: The number of instants to start at most; the others come next.
    """
    definition = schedule.definition
    if reason := _failures(definition, ends):
        return Plan(schedule=schedule.paused(now, "", reason), pause_reason=reason)
    settlement = settle(definition, schedule.settled_at, now, at_once)
    starts: list[Start] = []
    skipped: list[datetime] = []
    cancelled: Sequence[str] = ()
    for instant in settlement.instants:
        running = [*active, *(earlier.workflow_id for earlier in starts)]
        new_id = workflow_id(schedule.name, instant)
        start = Start(instant, new_id, run_at=jittered(definition, schedule.name, instant))
        match admit(definition.overlap, len(running)):
            case Admission.START:
                starts.append(start)
            case Admission.WAIT:
                starts.append(Start(instant, new_id, running[0]))
            case Admission.SKIP:
                skipped.append(instant)
            case Admission.REPLACE:
                skipped += [earlier.instant for earlier in starts]
                starts, cancelled = [start], active
    return Plan(
        schedule=_settled(schedule, settlement, starts),
        starts=starts,
        cancelled=cancelled,
        skipped=skipped,
        first_missed=settlement.first_missed,
    )


def _settled(
    schedule: StoredSchedule, settlement: Settlement, starts: Sequence[Start]
) -> StoredSchedule:
    last = starts[-1] if starts else None
    return replace(
        schedule,
        settled_at=settlement.settled_at,
        next_at=settlement.next_at,
        last_at=last.instant if last else schedule.last_at,
        last_workflow_id=last.workflow_id if last else schedule.last_workflow_id,
        tzdata=zones.data_version() if schedule.definition.needs_zone_data else "",
    )


def _failures(definition: Definition, ends: Sequence[tuple[str, str]]) -> str:
    """Return why failures pause a schedule; "" if they don't."""
    limit = definition.pause_after_failures
    if limit is None or len(ends) < limit:
        return ""
    if any(status == Status.SUCCESS for _, status in ends[:limit]):
        return ""
    return f"{limit} failures in a row, the last of them {ends[0][0]}"


# Workflows of a schedule


def workflow_id(name: str, instant: datetime) -> str:
    """Return the id of the workflow that a schedule starts at an instant: there is only one."""
    return f"{name}@{instant.astimezone(UTC).isoformat().replace('+00:00', 'Z')}"


def jittered(definition: Definition, name: str, instant: datetime) -> datetime | None:
    """Return the time at which an instant's workflow may begin; None for at once.

    It is the same for every worker that computes it.
    """
    if not definition.jitter:
        return None
    digest = hashlib.blake2b(workflow_id(name, instant).encode(), digest_size=8).digest()
    share = int.from_bytes(digest) / 2**64
    return instant + timedelta(seconds=definition.jitter * share)


# Description

DAYS = (
    gettext_noop("Sunday"),
    gettext_noop("Monday"),
    gettext_noop("Tuesday"),
    gettext_noop("Wednesday"),
    gettext_noop("Thursday"),
    gettext_noop("Friday"),
    gettext_noop("Saturday"),
    gettext_noop("Sunday"),
)
# The seconds of a unit, and the texts for one of it and for several.
UNITS = (
    (86_400, gettext_noop("every day"), gettext_noop("every %d days")),
    (3_600, gettext_noop("every hour"), gettext_noop("every %d hours")),
    (60, gettext_noop("every minute"), gettext_noop("every %d minutes")),
    (1, gettext_noop("every second"), gettext_noop("every %d seconds")),
)


def describe(definition: Definition, translate: Callable[[str], str] = str) -> str:
    """Return a schedule in words; a cron expression that takes many words stays as it is.

    Args:
        definition: The options.
        translate: Returns a text in the language of the reader. The default keeps English.
    """
    if definition.every is not None:
        return _interval(definition.every, translate)
    text = str(definition.cron)
    return f"{_in_words(text, translate) or text} ({definition.timezone})"


def _interval(seconds: float, translate: Callable[[str], str]) -> str:
    for size, one, many in UNITS:
        count = seconds / size
        if count >= 1 and count == int(count):
            return translate(one) if count == 1 else translate(many) % count
    return translate(gettext_noop("every %s seconds")) % f"{seconds:g}"


def _in_words(text: str, translate: Callable[[str], str]) -> str | None:
    """Return the words for the common forms of a cron expression, None for others."""
    minute, hour, day, month, weekday = text.split()
    if (day, month) == ("*", "*") and weekday == "*" and hour == "*":
        return _within_hours(minute, translate)
    if not (minute.isdigit() and hour.isdigit() and month == "*"):
        return None
    time = f"{int(hour):02}:{int(minute):02}"
    if (day, weekday) == ("*", "*"):
        return translate(gettext_noop("every day at %s")) % time
    if day == "*" and weekday.isdigit():
        values = {"day": translate(DAYS[int(weekday)]), "time": time}
        return translate(gettext_noop("every %(day)s at %(time)s")) % values
    if weekday == "*" and day.isdigit():
        found = translate(gettext_noop("on day %(day)d of the month at %(time)s"))
        return found % {"day": int(day), "time": time}
    return None


def _within_hours(minute: str, translate: Callable[[str], str]) -> str | None:
    if minute == "*":
        return translate(gettext_noop("every minute"))
    if minute.isdigit():
        if int(minute) == 0:
            return translate(gettext_noop("every hour"))
        return translate(gettext_noop("every hour at minute %d")) % int(minute)
    step = minute.removeprefix("*/")
    if step.isdigit() and 60 % int(step) == 0:
        return _interval(int(step) * 60.0, translate)
    return None
