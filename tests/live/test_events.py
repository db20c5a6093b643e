"""Events for many readers: the current values, then changes, by few looks."""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from typing import Any

import pytest

from django_dbos.executor import Executor
from django_dbos.live.following import follow_events
from django_dbos.live.frames import End
from django_dbos.store import get_store
from django_dbos.store.reader import Reader as StoreReader
from tests.live.workflows import sets_events, started, superuser
from tests.waiting import LIMIT, aeventually


@pytest.fixture(autouse=True)
def _no_rechecks(settings: Any) -> None:
    """Keep the reader's user, who isn't in the database."""
    settings.DBOS = {**settings.DBOS, "RECHECK": None}


def follow(workflow_id: str, **options: Any) -> Any:
    return aclosing(follow_events(superuser(), workflow_id, **options))


async def test_many_readers_share_the_reads_of_values(
    async_db: None, worker: Executor, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[list[str]] = []
    kept = type(get_store().reader)
    read_some = kept.read_some_events

    def counted(self: StoreReader, workflow_id: str, keys: Any) -> Any:
        read.append(list(keys))
        return read_some(self, workflow_id, keys)

    monkeypatch.setattr(kept, "read_some_events", counted)
    handle = await sets_events.astart({"status": "first"})
    readers, ready = 40, [0]

    async def values() -> list[str]:
        found: list[str] = []
        async with follow(handle.workflow_id) as pages:
            async for page in pages:
                if page.frames and not found:
                    ready[0] += 1
                found += [frame.json_text for frame in page.frames]
        return found

    reading = [asyncio.create_task(values()) for _ in range(readers)]
    await aeventually(lambda: ready[0] == readers)
    read.clear()
    await handle.asend({"status": "second"})
    await handle.asend(None)
    async with asyncio.timeout(LIMIT):
        found = await asyncio.gather(*reading)

    assert found == [['"first"', '"second"']] * readers
    assert len(read) < 10


async def test_a_reader_that_has_versions_gets_what_is_newer(
    async_db: None, worker: Executor
) -> None:
    handle = await sets_events.astart({"a": 1, "b": 2})
    await handle.asend({"b": 3})
    await handle.asend(None)
    assert await handle.aget_result(timeout=LIMIT) is None

    async with follow(handle.workflow_id, versions={"a": 1, "b": 1}) as pages:
        found = [page async for page in pages]

    frames = [(frame.key, frame.version) for page in found for frame in page.frames]
    assert (frames, found[-1].end) == ([("b", 2)], End.CLOSED)


async def test_no_events_are_told_of(async_db: None) -> None:
    workflow_id = await started()

    async with follow(workflow_id, key="none") as pages, asyncio.timeout(LIMIT):
        page = await anext(pages)

    assert (list(page.frames), page.is_up_to_date, page.end) == ([], True, None)
