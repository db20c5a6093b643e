"""Workflows that schedules start in tests, and helpers that move schedules in time.

To let a day pass, a schedule's row is moved a day into the past: to the rules this is the same.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

from django.db.models import QuerySet
from django.utils import timezone

import django_dbos as dbos
from django_dbos.core import registry
from django_dbos.executor.scheduler import Scheduler
from django_dbos.models import Schedule, Workflow
from django_dbos.store import get_store
from django_dbos.store.sessions import Session

HOUR = timedelta(hours=1)


@dbos.workflow
def report(number: int = 0, *, title: str = "") -> str | None:
    """Return the instant that it sees."""
    current = dbos.current_workflow()
    assert current is not None
    return current.scheduled_at.isoformat() if current.scheduled_at else None


@dbos.workflow
async def areport() -> str | None:
    current = dbos.current_workflow()
    assert current is not None
    return current.scheduled_at.isoformat() if current.scheduled_at else None


@dbos.workflow
def needy(number: int) -> int:
    return number


@dbos.workflow
def failing() -> None:
    raise LookupError("no report today")


@dbos.workflow
def held() -> str:
    """Wait for a message, as a long run does."""
    return str(dbos.recv("go", timeout=600))


def now() -> datetime:
    store = get_store()
    return store.read_clock(store.session())


def row(name: str) -> Any:
    return Schedule.objects.get(pk=name)


def utc(instant: datetime) -> datetime:
    """Return an instant as `Workflow` shows it, in UTC."""
    aware = instant if timezone.is_aware(instant) else timezone.make_aware(instant)
    return aware.astimezone(UTC)


def let_pass(name: str, time: timedelta) -> None:
    """Let time pass for a schedule: move its row into the past."""
    store = get_store()
    session = store.session()
    with session.transaction():
        stored = store.lock_schedule(session, name)
        assert stored is not None
        moved = replace(stored, settled_at=stored.settled_at - time)
        store.update_schedules(session, [moved.planned()])


def make_due(name: str, count: int = 1) -> None:
    """Make `count` instants of an hourly schedule due."""
    let_pass(name, HOUR * count)


def start_due(session: Session | None = None) -> bool:
    """Start what is due, as an executor does; return whether there may be more."""
    store = get_store()
    return Scheduler(store).run(session or store.session()) == 0.0


def started(name: str) -> list[Any]:
    """Return the workflows that a schedule has started, by instant."""
    return [*Workflow.objects.filter(schedule_name=name).order_by("scheduled_at")]


def set_row(name: str, **columns: Any) -> None:
    QuerySet(Schedule).filter(pk=name).update(**columns)


@contextmanager
def declared(name: str, workflow: Any, **options: Any) -> Iterator[None]:
    """Declare a schedule as the decorator does, for the length of a block."""
    cron = options.pop("cron", None)
    dbos.schedule(cron, name=name, **options)(workflow)
    try:
        yield
    finally:
        registry.schedules.pop(name, None)
