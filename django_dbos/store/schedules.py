"""Schedules: their rows, and the locks under which their instants are decided."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from datetime import datetime
from typing import Any, NamedTuple, cast

from django_dbos.core.batch.notifications import Notifications
from django_dbos.core.schedules import StoredSchedule
from django_dbos.fields import instant_to_text, to_utc
from django_dbos.store.announcing import Announcing
from django_dbos.store.columns import Columns
from django_dbos.store.sessions import Params, Session

SCHEDULE = Columns(StoredSchedule)
# The key that notifies executors of a change that may be due before their next heartbeat.
CHANGED = "schedules::"


class DueSchedules(NamedTuple):
    """The result of a look for schedules that are due."""

    schedules: list[StoredSchedule]
    now: datetime
    """The time by which they are due."""
    since: datetime
    """The time before the look: what wasn't due then is to be looked at again."""


class Schedules(Announcing):
    """The rows of schedules. The holder of a row's lock decides its next instant."""

    def read_clock(self, session: Session) -> datetime:
        """Return the database's time."""
        return _instant(session.run("read_clock")[0][0])

    def read_schedules(self, session: Session) -> list[StoredSchedule]:
        """Return all schedules, by name."""
        return list(map(SCHEDULE.read, session.run("read_schedules")))

    def lock_schedule(self, session: Session, name: str) -> StoredSchedule | None:
        """Lock a schedule until the end of the transaction; None if there is none."""
        return next(map(SCHEDULE.read, session.run("lock_schedule", {"name": name})), None)

    def lock_due_schedules(
        self,
        session: Session,
        *,
        limit: int,
        tzdata: str,
        patience: float,
        without: Sequence[str] = (),
        only: str | None = None,
    ) -> DueSchedules:
        """Lock the schedules that are due.

        Those that another transaction has locked are left out. So are those of newer time-zone
        data than `tzdata`, until they are `patience` seconds late.
        """
        params = {
            "limit": limit,
            "tzdata": tzdata,
            "patience": patience,
            "without": session.pack(without),
            "only": only,
        }
        clock, found = session.run_all([("read_clock", {}), ("lock_due_schedules", params)])
        since = _instant(clock[0][0])
        now = _instant(found[0][-1]) if found else since
        return DueSchedules([SCHEDULE.read(row) for row in found], now, since)

    def next_schedule(self, session: Session, since: datetime) -> float | None:
        """Return the seconds until the first instant that wasn't due yet at the time of a look.

        It may have come in the meantime. None if there is none.
        """
        return cast("float | None", session.run("next_schedule", {"since": _text(since)})[0][0])

    def insert_schedule(self, session: Session, schedule: StoredSchedule) -> bool:
        """Insert a schedule; return False if there is one of its name."""
        return bool(session.run("insert_schedule", _params(schedule)))

    def update_schedules(self, session: Session, schedules: Sequence[StoredSchedule]) -> None:
        """Write schedules that this transaction has locked."""
        if schedules:
            session.send_rows({"update_schedules": _ScheduleRows(schedules)})

    def delete_schedule(self, session: Session, name: str) -> bool:
        """Delete a schedule; return False if there is none."""
        return bool(session.run("delete_schedule", {"name": name}))

    def announce_schedules(self) -> None:
        """Notify executors, after the caller's commit, that an instant may come soon."""
        self._announce_after_commit(Notifications(keys=[CHANGED]))


class _ScheduleRows:
    """Schedules as the rows of a statement."""

    def __init__(self, schedules: Sequence[StoredSchedule]) -> None:
        self._rows = list(map(_params, schedules))

    def lists(self) -> dict[str, Sequence[Any]]:
        """Return the values of each column."""
        return {name: [row[name] for row in self._rows] for name in self._rows[0]}

    def each(self) -> list[Params]:
        """Return the parameters of each row."""
        return self._rows


def _params(schedule: StoredSchedule) -> Params:
    return {
        name: _text(value) if isinstance(value, datetime) else value
        for name, value in asdict(schedule).items()
    }


def _text(instant: datetime | None) -> str | None:
    """Return an instant as the statements take it: in UTC, without saying so."""
    return None if instant is None else instant_to_text(instant)


def _instant(text: str) -> datetime:
    instant = to_utc(text)
    assert instant is not None
    return instant
