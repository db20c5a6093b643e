"""Streams and events over websockets: live, in order, once, and only for who may read them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import urlencode

import pytest
from asgiref.sync import sync_to_async
from channels.routing import URLRouter
from django.contrib.auth.models import AnonymousUser, Permission, User

import django_dbos as dbos
from django_dbos.executor import Executor
from django_dbos.models import Workflow
from django_dbos.routing import websocket_urlpatterns
from django_dbos.testing import arun_until_idle
from tests.consumers.client import Client


@dbos.workflow
def writes(count: int, close: bool = True) -> None:
    for number in range(count):
        dbos.write_stream("s", (number, number))
    dbos.set_event("done", count)
    if close:
        dbos.close_stream("s")
    else:
        dbos.recv(timeout=None)


@dbos.workflow
def talks() -> None:
    while (value := dbos.recv(timeout=None)) is not None:
        dbos.write_stream("s", value)
        dbos.set_event("last", value)


@asynccontextmanager
async def connected(
    kind: str, user: Any = None, headers: Any = (), **query: Any
) -> AsyncIterator[Client]:
    """A client of the consumers, logged in as a superuser unless it is said otherwise."""
    path = f"/ws/dbos/{kind}/?{urlencode(query)}"
    user = user or User(is_superuser=True, is_active=True, pk=1)
    client = Client(URLRouter(websocket_urlpatterns), path, headers, user)
    await client.connect()
    try:
        yield client
    finally:
        await client.disconnect()


async def finished(workflow: Any, *args: Any, **options: Any) -> str:
    handle = await workflow.using(**options).astart(*args)
    await arun_until_idle()
    return str(handle.workflow_id)


async def test_a_closed_stream_is_sent_in_order_and_ended(async_db: None) -> None:
    workflow_id = await finished(writes, 450)

    async with connected("streams", workflow_id=workflow_id, key="s") as client:
        frames, code = await client.frames()

    # Values are plain JSON: a tuple is a list, without the serializer's tag.
    assert frames[:-1] == [{"offset": n, "value": [n, n]} for n in range(450)]
    assert frames[-1] == {"closed": True}
    assert code == 1000


async def test_a_client_that_comes_back_misses_nothing(async_db: None) -> None:
    workflow_id = await finished(writes, 5)

    async with connected("streams", workflow_id=workflow_id, key="s", offset=3) as client:
        frames, _ = await client.frames()

    assert [frame.get("offset") for frame in frames] == [3, 4, None]


async def test_entries_come_as_they_are_written(async_db: None, worker: Executor) -> None:
    handle = await talks.astart()

    async with connected("streams", workflow_id=handle.workflow_id, key="s") as client:
        for number in range(5):
            await handle.asend(number)
            assert await client.frame() == {"offset": number, "value": number}
        await handle.asend(None)
        frames, code = await client.frames()

    assert (frames, code) == ([{"closed": True}], 1000)


async def test_a_cancelled_workflow_ends_the_stream_unclosed(async_db: None) -> None:
    workflow_id = await finished(writes, 1, False)

    async with connected("streams", workflow_id=workflow_id, key="s") as client:
        await client.frame()
        await sync_to_async(Workflow.objects.filter(pk=workflow_id).cancel)()
        frames, code = await client.frames()

    assert (frames, code) == ([{"closed": False}], 1000)


async def test_events_are_sent_with_their_changes(async_db: None, worker: Executor) -> None:
    handle = await talks.astart()

    async with connected("events", workflow_id=handle.workflow_id) as client:
        for version, value in enumerate(("a", "b"), start=1):
            await handle.asend(value)
            frame = await client.frame()
            assert frame == {"key": "last", "value": value, "version": version}
        await handle.asend(None)
        frames, code = await client.frames()

    assert (frames, code) == ([], 1000)


async def test_one_event_can_be_followed_alone(async_db: None) -> None:
    workflow_id = await finished(writes, 2)

    async with connected("events", workflow_id=workflow_id, key="nothing") as client:
        assert await client.frames() == ([], 1000)
    async with connected("events", workflow_id=workflow_id, key="done") as client:
        frames, _ = await client.frames()

    assert frames == [{"key": "done", "value": 2, "version": 1}]


async def test_an_id_may_hold_any_character(async_db: None) -> None:
    workflow_id = await finished(writes, 1, workflow_id="a/b?c=d&e ü")

    async with connected("streams", workflow_id=workflow_id, key="s") as client:
        frames, _ = await client.frames()

    assert len(frames) == 2


@pytest.mark.parametrize("kind", ["streams", "events"])
@pytest.mark.parametrize(("user", "code"), [(AnonymousUser(), 4401), (User(pk=9), 4403)])
async def test_nobody_may_read_unless_a_rule_says_so(
    async_db: None, kind: str, user: Any, code: int
) -> None:
    workflow_id = await finished(writes, 1, user=7)

    answers = []
    for asked in (workflow_id, "unknown"):
        async with connected(kind, user, workflow_id=asked, key="s") as client:
            assert client.is_accepted
            answers.append(await client.frames())

    # Forbidden and unknown can't be told apart.
    assert answers == [([], code), ([], code)]


async def test_the_workflows_own_user_and_viewers_may_read(async_db: None) -> None:
    viewer = await sync_to_async(User.objects.create_user)("viewer")
    permission = await sync_to_async(Permission.objects.get)(codename="view_workflow")
    await sync_to_async(viewer.user_permissions.add)(permission)
    owner = await sync_to_async(User.objects.create_user)("owner")
    workflow_id = await finished(writes, 1, user=owner)

    for user in (viewer, owner):
        async with connected("streams", user, workflow_id=workflow_id, key="s") as client:
            frames, code = await client.frames()
        assert (len(frames), code) == (2, 1000)


def allows_s(user: Any, workflow: Workflow, kind: str, key: str | None) -> bool:
    return (kind, key) == ("stream", "s") and workflow.name == writes.name


async def allows_s_too(user: Any, workflow: Workflow, kind: str, key: str | None) -> bool:
    return allows_s(user, workflow, kind, key)


def breaks(user: Any, workflow: Workflow, kind: str, key: str | None) -> bool:
    raise ZeroDivisionError


@pytest.mark.parametrize(
    ("can_read", "key", "code"),
    [
        (allows_s, "s", 1000),
        (allows_s_too, "s", 1000),
        (allows_s, "t", 4401),
        (breaks, "s", 4401),
    ],
)
async def test_the_project_decides_for_others(
    async_db: None, settings: Any, can_read: Any, key: str, code: int
) -> None:
    settings.DBOS = {**settings.DBOS, "CAN_READ": can_read}
    workflow_id = await finished(writes, 1)

    async with connected("streams", AnonymousUser(), workflow_id=workflow_id, key=key) as client:
        _, found = await client.frames()

    assert found == code


@pytest.mark.parametrize(
    ("kind", "query", "message"),
    [
        ("streams", {"key": "s"}, "workflow_id"),
        ("streams", {"workflow_id": "x"}, "key"),
        ("streams", {"workflow_id": "", "key": "s"}, "empty"),
        ("streams", {"workflow_id": "x" * 256, "key": "s"}, "longer"),
        ("streams", {"workflow_id": "x", "key": "a\0"}, "NUL"),
        ("streams", {"workflow_id": "x", "key": "s", "offset": "-1"}, "offset"),
        ("streams", {"workflow_id": "x", "key": "s", "offset": "9" * 30}, "offset"),
        ("events", {"key": "s"}, "workflow_id"),
    ],
)
async def test_a_bad_request_is_told_what_is_wrong(
    async_db: None, kind: str, query: dict[str, str], message: str
) -> None:
    async with connected(kind, **query) as client:
        frames, code = await client.frames()

    assert message in frames[0]["error"]
    assert code == 4400


@pytest.mark.parametrize(
    ("origin", "is_accepted"),
    [(b"https://testserver", True), (b"https://evil.example", False), (None, True)],
)
async def test_pages_of_other_sites_are_refused(
    async_db: None, settings: Any, origin: bytes | None, is_accepted: bool
) -> None:
    settings.ALLOWED_HOSTS = ["testserver"]
    workflow_id = await finished(writes, 1)
    headers = [] if origin is None else [(b"origin", origin)]

    async with connected("streams", headers=headers, workflow_id=workflow_id, key="s") as client:
        assert client.is_accepted is is_accepted


async def test_what_a_client_says_is_ignored(async_db: None) -> None:
    workflow_id = await finished(writes, 1, False)

    async with connected("streams", workflow_id=workflow_id, key="s") as client:
        await client.frame()
        await client.say("not even JSON")
        await asyncio.sleep(0.05)
        await sync_to_async(Workflow.objects.filter(pk=workflow_id).cancel)()

        assert await client.frames() == ([{"closed": False}], 1000)


async def test_a_channel_layer_that_is_down_costs_nothing(
    async_db: None, settings: Any, worker: Executor
) -> None:
    settings.CHANNEL_LAYERS = {
        "default": {
            "BACKEND": "channels_redis.core.RedisChannelLayer",
            "CONFIG": {"hosts": ["redis://127.0.0.1:1"]},
        }
    }
    handle = await talks.astart()

    async with connected("streams", workflow_id=handle.workflow_id, key="s") as client:
        await handle.asend("still here")
        frame = await client.frame()

    assert frame == {"offset": 0, "value": "still here"}
