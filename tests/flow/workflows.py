"""Workflows that the tests of starts run."""

from __future__ import annotations

from typing import Any

from django.utils import timezone

import django_dbos as dbos
from django_dbos.store import get_store

ran: list[Any] = []


def due_in(handle: Any) -> float:
    """Return the seconds until a delayed workflow is due, by the clock that decides it."""
    due_at = handle.describe().due_at
    assert due_at is not None
    aware = due_at if timezone.is_aware(due_at) else timezone.make_aware(due_at)
    store = get_store()
    return float((aware - store.read_clock(store.session())).total_seconds())


@dbos.workflow
def notes(value: Any = None) -> Any:
    """Note and return the value."""
    ran.append(value)
    return value


@dbos.workflow
async def anotes(value: Any = None) -> Any:
    ran.append(value)
    return value


@dbos.workflow
def fails() -> None:
    raise ValueError("no")


@dbos.workflow
def waits() -> Any:
    return dbos.recv(timeout=None)


@dbos.workflow
def starts(options: dbos.StartOptions, value: Any) -> str:
    """Start a child with options, and return its id."""
    return notes.using(**options).start(value).workflow_id


@dbos.workflow
async def astarts(options: dbos.StartOptions, value: Any) -> str:
    return (await notes.using(**options).astart(value)).workflow_id


@dbos.step
def start_in_step(options: dbos.StartOptions, value: Any) -> str:
    return notes.using(**options).start(value).workflow_id


@dbos.workflow
def starts_in_step(options: dbos.StartOptions, value: Any) -> str:
    return start_in_step(options, value)


@dbos.workflow
def starts_many(options: dbos.StartOptions, value: Any) -> str:
    return notes.using(**options).start_many([(value,)])[0].workflow_id
