"""Schedules: their rows, and the workflows that they start in the same transaction."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import datetime
from typing import Any, NamedTuple, cast

from django_dbos.core.batch.notifications import Notifications
from django_dbos.core.records import Lane, NewWorkflow
from django_dbos.core.schedules import StoredSchedule
from django_dbos.fields import instant_to_text, to_utc
from django_dbos.store import rows
from django_dbos.store.columns import Columns
from django_dbos.store.sessions import Params, Row, Session, Statement
from django_dbos.store.starting import Starting, lanes_of

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


class Schedules(Starting):
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

    def find_scheduled(
        self, session: Session, names: Sequence[str], limit: int
    ) -> dict[str, list[str]]:
        """Return active workflows of each schedule, `limit` of each at most."""
        params = [{"schedule_name": name, "limit": limit} for name in names]
        found = _run_each(session, "find_scheduled", params)
        return {name: [row[0] for row in rows] for name, rows in zip(names, found, strict=True)}

    def find_ends(
        self, session: Session, asked: Mapping[str, tuple[datetime | None, int]]
    ) -> dict[str, list[tuple[str, str]]]:
        """Return (id, status) of the last ended workflows of each schedule, the latest first.

        `asked` has, for each name, the time of the earliest start that counts, and the number of
        workflows at most. Cancelled workflows are neither successes nor failures, and left out.
        """
        params = [
            {"schedule_name": name, "after": _text(after), "limit": limit}
            for name, (after, limit) in asked.items()
        ]
        found = _run_each(session, "find_ends", params)
        return {
            name: [(row[0], row[1]) for row in rows]
            for name, rows in zip(asked, found, strict=True)
        }

    def insert_scheduled(self, session: Session, new: Sequence[NewWorkflow]) -> set[str]:
        """Insert the workflows whose ids are free; return those ids."""
        return self._insert_workflows(session, new, [None] * len(new)) if new else set()

    def start_scheduled(self, new: Sequence[NewWorkflow]) -> set[str]:
        """Start workflows in the caller's transaction; return the ids of those that are new."""
        inserted = self._insert_workflows(self.session(), new, [None] * len(new))
        self._announce_inserted(new, inserted)
        return inserted

    def announce_schedules(self) -> None:
        """Notify executors, after the caller's commit, that an instant may come soon."""
        self._announce_after_commit(Notifications(keys=[CHANGED]))

    def cancel_scheduled(
        self, session: Session, workflow_ids: Sequence[str]
    ) -> tuple[list[str], list[Lane]]:
        """Cancel workflows in the transaction that starts their successor.

        Returns their ids, and the lanes in which that frees places.
        """
        found = self._cancel(workflow_ids, session)
        return sorted(row[0] for row in found), rows.freed(found)

    def announce_scheduled(
        self,
        session: Session,
        new: Sequence[NewWorkflow],
        cancelled: Sequence[str],
        freed: Sequence[Lane],
    ) -> None:
        """Announce what a transaction has started, cancelled and freed, after its commit."""
        started = [workflow for workflow in new if workflow.after is None]
        waiting = [workflow.workflow_id for workflow in new if workflow.after is not None]
        notifications = Notifications.of_cancelled(cancelled, freed)
        notifications.lanes += lanes_of(started)
        notifications.due_at += self._due_soon(workflow.due_in for workflow in started)
        if waiting:
            # The workflow before it may have ended in the meantime (CORRECTNESS rule 68).
            notifications.lanes += self.wake_satisfied(session, waiting)
        self.announce(session, notifications)


def _run_each(session: Session, name: str, params: Sequence[Params]) -> list[list[Row]]:
    statements: list[Statement] = [(name, given) for given in params]
    return session.run_all(statements) if statements else []


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
