"""Declared schedules: what the code and the settings declare, written to the table of schedules.

It happens when a worker starts, and changes only what differs. Instants are planned again where
this host has newer time-zone data than the one that planned them.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from datetime import datetime
from functools import partial
from typing import Any

from django_dbos import serializers
from django_dbos.core import registry, schedules, zones
from django_dbos.core.schedules import StoredSchedule
from django_dbos.executor.scheduler import PATIENCE
from django_dbos.operations import schedule_options, scheduling
from django_dbos.store import errors
from django_dbos.store.base import Store
from django_dbos.store.sessions import Session

logger = logging.getLogger("django_dbos.executor")

# The reason of the pause of a schedule whose declaration has gone.
UNDECLARED = "no longer declared"


def sync(store: Store, session: Session) -> bool:
    """Write what this process declares to the rows, and plan by this host's time-zone data.

    Returns whether all rows could be written; a row that another transaction has locked can't.
    """
    declared, problems = schedule_options.declared()
    for name, error in problems.items():
        logger.error("Schedule %r is declared with a mistake, and left alone: %r", name, error)
    stored = {schedule.name: schedule for schedule in store.read_schedules(session)}
    now = store.read_clock(session)
    changes = {
        name: _insertion(
            store, session, scheduling.created(name, now, declared=schedules.dumps(options))
        )
        for name, options in sorted(declared.items())
        if name not in stored
    }
    for name, schedule in stored.items():
        change = _change_of(schedule, declared.get(name), is_known=name not in problems, now=now)
        if change is not None:
            changes[name] = partial(_update, store, session, name, change)
    written = [_try(name, write) for name, write in changes.items()]
    if declared or stored:
        _report_zone_data(len(declared | stored), [*stored.values()])
    return all(written)


def _insertion(store: Store, session: Session, new: StoredSchedule) -> Callable[[], object]:
    return lambda: store.insert_schedule(session, new)


Change = Callable[[StoredSchedule], StoredSchedule]


def _change_of(
    schedule: StoredSchedule, options: dict[str, Any] | None, *, is_known: bool, now: datetime
) -> Change | None:
    """Return the change of a row that the declarations here ask for; None if there is none."""
    if options is not None:
        declared = schedules.dumps(options)
        is_back = schedule.paused_reason == UNDECLARED
        if is_back or not _are_alike(schedule.declared_options, options):
            return lambda row: _redeclared(row, declared, now)
        return _replan if _is_stale(schedule) else None
    if schedule.declared is not None and is_known and _is_orphan(schedule):
        return lambda row: row.paused(now, "", UNDECLARED) if row.paused_at is None else row
    return _replan if _is_stale(schedule) else None


def _are_alike(stored: dict[str, Any] | None, options: dict[str, Any]) -> bool:
    """Return whether options are those of a row; each encryption of the arguments differs."""
    if stored is None or not serializers.are_alike(stored.get("input", ""), options["input"]):
        return False
    return {**stored, "input": options["input"]} == options


def _redeclared(row: StoredSchedule, declared: str | None, now: datetime) -> StoredSchedule:
    changed = row.redefined(now, declared=declared)
    return changed.resumed(now) if row.paused_reason == UNDECLARED else changed


def _replan(row: StoredSchedule) -> StoredSchedule:
    return row.planned() if _is_stale(row) else row


def _is_orphan(schedule: StoredSchedule) -> bool:
    """Return whether this code has the workflow, and no longer declares the schedule."""
    return schedule.workflow_name in registry.workflows and schedule.paused_at is None


def _is_stale(schedule: StoredSchedule) -> bool:
    """Return whether this host's time-zone data is newer than that of the row, and disagrees."""
    if schedule.paused_at is not None or schedule.tzdata >= zones.data_version():
        return False
    try:
        return schedule.definition.needs_zone_data and schedule.planned() != schedule
    except (ImportError, TypeError, ValueError):
        return False


def _update(store: Store, session: Session, name: str, change: Change) -> None:
    with session.transaction():
        row = store.lock_schedule(session, name)
        changed = None if row is None else change(row)
        if changed is not None and changed != row:
            store.update_schedules(session, [changed])


def _try(name: str, write: Callable[[], object]) -> bool:
    """Write a schedule; return False if it is locked. One bad row doesn't keep a worker down."""
    try:
        write()
    except errors.Unavailable:
        raise
    except errors.LockTimeout as error:
        logger.info("Schedule %r is locked; its declaration is written later: %r", name, error)
        return False
    except (errors.StoreError, ImportError, TypeError, ValueError) as error:
        logger.error("Schedule %r can't be written: %r", name, error)
    return True


def _report_zone_data(count: int, stored: Sequence[StoredSchedule]) -> None:
    """Log this host's version; warn if other executors have planned by newer data."""
    newest, own = max((schedule.tzdata for schedule in stored), default=""), zones.data_version()
    logger.info("Schedules: %d; time-zone data: %r", count, own)
    if newest > own:
        logger.warning(
            "The time-zone data of this host, %r, is older than that of other executors, %r: it "
            "starts schedules of theirs only when they are %g s late. Update the system's tzdata",
            own,
            newest,
            PATIENCE,
        )
