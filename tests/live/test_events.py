"""Events for many readers: the current values, then changes, by few looks."""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from typing import Any

import pytest
from asgiref.sync import sync_to_async
from django.db.models import QuerySet
from django.utils import timezone

from django_dbos.executor import Executor
from django_dbos.live.following import follow_events
from django_dbos.live.frames import End
from django_dbos.live.readers import Reader
from django_dbos.models import Event, Workflow
from django_dbos.store import get_store
from django_dbos.store.reader import Reader as StoreReader
from tests.live.workflows import collect, sets_events, started, superuser
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


@pytest.mark.rule(77)
async def test_a_change_while_a_rule_is_asked_is_looked_for(async_db: None, settings: Any) -> None:
    is_asked, may_answer = asyncio.Event(), asyncio.Event()

    async def rule(user: Any, workflow: Workflow, kind: str, key: str | None) -> bool:
        if key == "secret":
            is_asked.set()
            await may_answer.wait()
        return key != "secret"

    settings.DBOS = {**settings.DBOS, "CAN_READ": rule, "POLL_INTERVAL": 3_600}
    workflow_id = await started()

    async def set_event(key: str) -> None:
        event = Event(workflow_id=workflow_id, key=key, value_text="1", version=1)
        event.updated_at = timezone.now()
        await sync_to_async(QuerySet(Event).bulk_create)([event])
        get_store().wakeups.notify_everything()

    async with aclosing(follow_events(Reader(), workflow_id)) as pages:
        await anext(pages)
        reading = asyncio.create_task(collect(pages, 1))
        await set_event("secret")
        async with asyncio.timeout(LIMIT):
            await is_asked.wait()
        await set_event("open")
        await asyncio.sleep(0)
        may_answer.set()
        async with asyncio.timeout(LIMIT):
            assert [frame.key for frame in await reading] == ["open"]
