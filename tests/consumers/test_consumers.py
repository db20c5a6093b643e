"""Streams and events over websockets: live, in order, once, and only for who may read them."""

from __future__ import annotations

import asyncio
import logging
import threading
import time
import uuid
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any
from urllib.parse import urlencode

import pytest
from asgiref.sync import sync_to_async
from channels.routing import URLRouter
from django.contrib.auth.models import AnonymousUser, Permission, User
from django.db.models import QuerySet
from django.utils import timezone

import django_dbos as dbos
from django_dbos.consumers.streams import page_size
from django_dbos.executor import Executor
from django_dbos.models import StreamEntry, Workflow
from django_dbos.routing import websocket_urlpatterns
from django_dbos.store import get_store
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
        if not client.future.done():
            await client.disconnect()


async def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < deadline
        await asyncio.sleep(0.01)


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


async def add_entries(workflow_id: str, count: int, value: str) -> None:
    """Write entries past the engine: fast, and nobody is told."""
    rows = [
        StreamEntry(
            workflow_id=workflow_id,
            key="s",
            offset=offset,
            value_text=value,
            step_number=offset,
            write_id=uuid.uuid4(),
            created_at=timezone.now(),
        )
        for offset in range(count)
    ]
    await sync_to_async(QuerySet(StreamEntry).bulk_create)(rows)


async def test_a_long_backlog_is_followed_by_what_is_written_meanwhile(
    async_db: None, worker: Executor
) -> None:
    handle = await talks.astart()
    await add_entries(handle.workflow_id, 5000, '"old"')

    async with connected("streams", workflow_id=handle.workflow_id, key="s") as client:
        for number in range(20):
            await handle.asend(number)
        await handle.asend(None)
        frames, _ = await client.frames()

    assert [frame.get("offset") for frame in frames] == [*range(5020), None]
    assert [frame.get("value") for frame in frames[5000:]] == [*range(20), None]


def test_megabytes_are_read_a_few_at_a_time() -> None:
    small, big, huge = "1", "x" * 400_000, "x" * 4_000_000

    assert page_size([small] * 50) == 500
    assert page_size([big] * 50) == 2
    assert page_size([small, huge]) == 1


async def test_big_entries_all_arrive(async_db: None) -> None:
    handle = await writes.astart(1)
    await add_entries(handle.workflow_id, 60, f'"{"x" * 100_000}"')

    async with connected("streams", workflow_id=handle.workflow_id, key="s") as client:
        frames = [await client.frame() for _ in range(60)]

    assert [(frame["offset"], len(frame["value"])) for frame in frames] == [
        (offset, 100_000) for offset in range(60)
    ]


async def test_a_client_that_is_cut_off_again_and_again_gets_everything_once(
    async_db: None, worker: Executor
) -> None:
    handle = await talks.astart()

    async def write() -> None:
        for number in range(40):
            await handle.asend(number)
        await handle.asend(None)

    writing = asyncio.create_task(write())
    found: list[Any] = []
    while not found or "closed" not in found[-1]:
        query = {"workflow_id": handle.workflow_id, "key": "s", "offset": len(found)}
        async with connected("streams", **query) as client:
            for _ in range(7):
                found.append(await client.frame())
                if "closed" in found[-1]:
                    break
    await writing

    assert found == [*({"offset": n, "value": n} for n in range(40)), {"closed": True}]


async def test_sockets_are_woken_and_needn_t_wait_for_their_timer(
    async_db: None, settings: Any, worker: Executor
) -> None:
    settings.DBOS = {**settings.DBOS, "POLL_INTERVAL": 60}
    handle = await talks.astart()
    query = {"workflow_id": handle.workflow_id}

    async with (
        connected("streams", key="s", **query) as stream,
        connected("events", **query) as one,
    ):
        await handle.asend("now")
        frames = [await stream.frame(), await one.frame()]
        await handle.asend(None)
        ends = [await stream.frames(), await one.frames()]

    assert [frame["value"] for frame in frames] == ["now", "now"]
    assert ends == [([{"closed": True}], 1000), ([], 1000)]


async def test_what_nobody_was_told_of_is_found_on_the_timer(async_db: None, settings: Any) -> None:
    settings.DBOS = {**settings.DBOS, "LISTEN": False, "POLL_INTERVAL": 0.05}
    handle = await writes.astart(1)

    async with connected("streams", workflow_id=handle.workflow_id, key="s") as client:
        await asyncio.sleep(0.1)
        await add_entries(handle.workflow_id, 1, '"silent"')

        assert await client.frame() == {"offset": 0, "value": "silent"}


async def test_an_idle_socket_costs_no_thread(async_db: None) -> None:
    handle = await writes.astart(1)
    query = {"workflow_id": handle.workflow_id, "key": "s"}

    async with connected("streams", **query), AsyncExitStack() as stack:
        await sync_to_async(get_store().reader.read_status)(handle.workflow_id)
        before = {thread.name for thread in threading.enumerate()}
        for _ in range(30):
            await stack.enter_async_context(connected("streams", **query))
        await sync_to_async(get_store().reader.read_status)(handle.workflow_id)
        after = {thread.name for thread in threading.enumerate()}

    assert after <= before | {"dbos-listener"}


@pytest.mark.parametrize("kind", ["streams", "events"])
async def test_a_server_that_stops_leaves_nothing_of_a_socket(async_db: None, kind: str) -> None:
    handle = await writes.astart(1)
    before = asyncio.all_tasks()

    async with connected(kind, workflow_id=handle.workflow_id, key="s") as client:
        await until(lambda: get_store().wakeups.is_used)
        await client.drop()

    # The receiver of hints still leaves its group.
    await until(lambda: asyncio.all_tasks() == before)
    assert not get_store().wakeups.is_used


async def test_a_client_that_went_away_while_it_was_sent_something_is_no_error(
    async_db: None, caplog: pytest.LogCaptureFixture
) -> None:
    workflow_id = await finished(writes, 3)
    client_has_gone = asyncio.Event()
    events: asyncio.Queue[Any] = asyncio.Queue()

    async def send(message: Any) -> None:
        if message["type"] == "websocket.send":
            client_has_gone.set()
            raise RuntimeError("closed")

    scope = {
        "type": "websocket",
        "path": "/ws/dbos/streams/",
        "query_string": f"workflow_id={workflow_id}&key=s".encode(),
        "user": User(is_superuser=True, is_active=True, pk=1),
    }
    serving = asyncio.create_task(URLRouter(websocket_urlpatterns)(scope, events.get, send))
    await events.put({"type": "websocket.connect"})
    await asyncio.wait_for(client_has_gone.wait(), 10)
    await events.put({"type": "websocket.disconnect", "code": 1006})
    await asyncio.wait_for(serving, 10)

    assert [one for one in caplog.records if one.levelno >= logging.WARNING] == []


@pytest.mark.parametrize("kind", ["streams", "events"])
async def test_a_workflow_that_is_deleted_is_unknown_from_then_on(
    async_db: None, settings: Any, kind: str
) -> None:
    settings.DBOS = {**settings.DBOS, "LISTEN": False, "POLL_INTERVAL": 0.05}
    handle = await writes.astart(1)

    async with connected(kind, workflow_id=handle.workflow_id, key="s") as client:
        await until(lambda: get_store().wakeups.is_used)
        await QuerySet(Workflow).filter(pk=handle.workflow_id).adelete()

        assert await client.frames() == ([], 4403)


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


async def test_of_quick_changes_the_latest_is_sent(async_db: None, worker: Executor) -> None:
    handle = await talks.astart()

    async with connected("events", workflow_id=handle.workflow_id, key="last") as client:
        for number in range(30):
            await handle.asend(number)
        await handle.asend(None)
        frames, _ = await client.frames()

    versions = [frame["version"] for frame in frames]
    assert versions == sorted(set(versions))
    assert frames[-1] == {"key": "last", "value": 29, "version": 30}


async def test_who_comes_back_gets_the_current_events_first(async_db: None) -> None:
    workflow_id = await finished(writes, 3)

    answers = []
    for _ in range(2):
        async with connected("events", workflow_id=workflow_id) as client:
            answers.append(await client.frames())

    assert answers == [([{"key": "done", "value": 3, "version": 1}], 1000)] * 2


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
@pytest.mark.parametrize(
    ("user", "code"),
    [
        (AnonymousUser(), 4401),
        (User(pk=9), 4403),
        (User(pk=9, is_superuser=True, is_active=False), 4403),
    ],
)
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


async def allows_all_events(user: Any, workflow: Workflow, kind: str, key: str | None) -> bool:
    return (kind, key) == ("event", None)


class Rule:
    """An object whose call is a coroutine; asgiref doesn't take it for one."""

    async def __call__(self, user: Any, workflow: Workflow, kind: str, key: str | None) -> bool:
        return True


def breaks(user: Any, workflow: Workflow, kind: str, key: str | None) -> bool:
    raise ZeroDivisionError


@pytest.mark.parametrize(
    ("can_read", "key", "code"),
    [
        (allows_s, "s", 1000),
        (allows_s_too, "s", 1000),
        (allows_s, "t", 4401),
        (breaks, "s", 4401),
        (Rule(), "s", 4401),
        ("nowhere.rule", "s", 4401),
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


async def test_all_events_are_a_question_of_their_own(async_db: None, settings: Any) -> None:
    settings.DBOS = {**settings.DBOS, "CAN_READ": allows_all_events}
    workflow_id = await finished(writes, 1)

    codes = []
    for query in ({}, {"key": "done"}):
        async with connected("events", AnonymousUser(), workflow_id=workflow_id, **query) as client:
            codes.append((await client.frames())[1])

    assert codes == [1000, 4401]


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
    [
        (b"https://testserver", True),
        (b"https://evil.example", False),
        (b"https://testserver.evil.example", False),
        (b"null", False),
        (b"", False),
        (b"http://[", False),
        (b"\xff", False),
        (None, True),
    ],
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


async def test_too_much_talk_ends_the_socket(async_db: None) -> None:
    handle = await writes.astart(1)

    async with connected("streams", workflow_id=handle.workflow_id, key="s") as client:
        await client.say("x" * 5000)

        assert await client.frames() == ([], 1009)


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
