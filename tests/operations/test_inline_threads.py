"""Called async workflows whose sync steps occupy the thread that writes."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from typing import Any

import pytest
from asgiref.sync import ThreadSensitiveContext, async_to_sync, sync_to_async
from django.db import connections

import django_dbos as dbos
from django_dbos.models import Event
from tests.waiting import LIMIT

pytestmark = pytest.mark.django_db(transaction=True)

has_ended = threading.Event()


@pytest.fixture(autouse=True)
def _forget() -> None:
    has_ended.clear()


def publish() -> None:
    """Return once the other branch's outcome is queued; it waits for this thread."""
    has_ended.wait(LIMIT)
    dbos.set_event("progress", 1)
    dbos.write_stream("lines", "one")


@dbos.step
def publishes() -> str:
    publish()
    return "published"


@dbos.step
def publishes_through_async() -> str:
    """Call an async function as libraries with sync and async callers do."""

    async def aset() -> None:
        await dbos.aset_event("progress", 1)

    has_ended.wait(LIMIT)
    async_to_sync(aset)()
    return "published"


@dbos.step
async def ends() -> str:
    has_ended.set()
    return "ended"


@dbos.workflow
async def both() -> list[str]:
    return list(await asyncio.gather(publishes.acall(), ends()))


@dbos.workflow
async def both_through_async() -> list[str]:
    return list(await asyncio.gather(publishes_through_async.acall(), ends()))


@dbos.workflow
def awaits(is_through_async: bool) -> list[str]:
    workflow = both_through_async if is_through_async else both
    return workflow.start().get_result()


def as_in_a_request(workflow: Any) -> Any:
    async def respond() -> Any:
        async with ThreadSensitiveContext():
            try:
                return await workflow.acall()
            finally:
                await sync_to_async(connections.close_all)()

    return asyncio.run(respond())


def as_in_a_sync_view(workflow: Any) -> Any:
    try:
        return async_to_sync(workflow.acall)()
    finally:
        connections.close_all()


def as_a_child(workflow: Any) -> Any:
    try:
        return awaits(workflow is both_through_async)
    finally:
        connections.close_all()


@pytest.mark.rule(40)
@pytest.mark.parametrize("workflow", [both, both_through_async])
@pytest.mark.parametrize("call", [as_in_a_request, as_in_a_sync_view, as_a_child])
def test_a_sync_step_writes_while_other_writes_wait_for_its_thread(
    call: Callable[[Any], Any], workflow: Any
) -> None:
    results: list[Any] = []
    caller = threading.Thread(target=lambda: results.append(call(workflow)), daemon=True)

    caller.start()
    caller.join(LIMIT)

    assert results == [["published", "ended"]]
    assert Event.objects.get().value == 1
