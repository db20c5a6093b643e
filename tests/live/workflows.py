"""Workflows that tests of live data follow, and entries that no engine wrote."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator, Iterable
from typing import Any

from asgiref.sync import sync_to_async
from django.contrib.auth.models import User
from django.db.models import QuerySet
from django.utils import timezone

import django_dbos as dbos
from django_dbos.core.records import Wake
from django_dbos.live.readers import Reader
from django_dbos.models import StreamEntry
from django_dbos.store import get_store


@dbos.workflow
def waits() -> None:
    dbos.recv(timeout=None)


@dbos.workflow
def sets_events(values: dict[str, Any]) -> None:
    more: Any = values
    while more is not None:
        for key, value in more.items():
            dbos.set_event(key, value)
        more = dbos.recv(timeout=None)


def superuser() -> Reader:
    return Reader(User(is_superuser=True, is_active=True, pk=1))


async def started(**options: Any) -> str:
    """Start a workflow that nobody runs; return its id."""
    return (await waits.using(**options).astart()).workflow_id


def entries(workflow_id: str, texts: Iterable[str], first: int, key: str) -> list[StreamEntry]:
    return [
        StreamEntry(
            workflow_id=workflow_id,
            key=key,
            offset=offset,
            value_text=text,
            step_number=offset,
            write_id=uuid.uuid4(),
            created_at=timezone.now(),
        )
        for offset, text in enumerate(texts, first)
    ]


async def write(
    workflow_id: str,
    *texts: str,
    first: int = 0,
    key: str = "s",
    is_end: bool = False,
    notifies: bool = True,
) -> None:
    """Write entries, and notify this process's feeds as a commit does."""
    rows = entries(workflow_id, texts, first, key)
    if is_end:
        rows += entries(workflow_id, [""], first + len(rows), key)
        rows[-1].value_text, rows[-1].is_end = None, True
    await sync_to_async(QuerySet(StreamEntry).bulk_create)(rows)
    if notifies:
        get_store().wakeups.notify([Wake.of_stream(workflow_id, key).key])


async def collect(pages: AsyncIterator[Any], count: int) -> list[Any]:
    """Return the frames of pages until there are so many, or until the end."""
    found: list[Any] = []
    async for page in pages:
        found += page.frames
        if len(found) >= count or page.end:
            return found
    return found
