"""Streams and events over websockets: live, in order, once, and only for permitted users."""

from __future__ import annotations

import asyncio
import json
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
from django.db import connection
from django.db.models import QuerySet
from django.test import Client as Browser
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

import django_dbos as dbos
from django_dbos.consumers import StreamConsumer
from django_dbos.executor import Executor
from django_dbos.live import access, following, rates
from django_dbos.live.offsets import tag_of
from django_dbos.models import StreamEntry, Workflow
from django_dbos.routing import websocket_urlpatterns
from django_dbos.store import get_store
from django_dbos.store.errors import Unavailable
from django_dbos.store.reader import Reader
from django_dbos.testing import arun_until_idle
from tests.consumers.client import Client
from tests.log_records import ours
from tests.waiting import LIMIT, aeventually


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


@dbos.workflow
def sets(values: dict[str, Any]) -> None:
    more: Any = values
    while more is not None:
        for key, value in more.items():
            dbos.set_event(key, value)
        more = dbos.recv(timeout=None)


async def test_the_consumers_serve_without_a_router(async_db: None) -> None:
    # Servers and test clients would call what they take for an application of ASGI 2 with a scope
    # alone.
    handle = await writes.astart(1)
    await arun_until_idle()
    user = User(is_superuser=True, is_active=True, pk=1)
    path = f"/?{urlencode({'workflow_id': handle.workflow_id, 'key': 's'})}"
    client = Client(StreamConsumer.as_asgi(), path, (), user)

    await client.connect()

    assert await client.frame() == {"offset": 0, "value": [0, 0]}
    await client.disconnect()


@asynccontextmanager
async def connected(
    kind: str, user: Any = None, headers: Any = (), scope: Any = None, **query: Any
) -> AsyncIterator[Client]:
    """Connect a client to the consumers, by default as a superuser."""
    path = f"/ws/dbos/{kind}/?{urlencode(query)}"
    user = user or User(is_superuser=True, is_active=True, pk=1)
    client = Client(URLRouter(websocket_urlpatterns), path, headers, user, **(scope or {}))
    await client.connect()
    try:
        yield client
    finally:
        if not client.future.done():
            await client.disconnect()


async def until_status(handle: Any, status: str) -> None:
    deadline = time.monotonic() + LIMIT
    while (await handle.aget_status()).value != status:
        assert time.monotonic() < deadline
        await asyncio.sleep(0.02)


async def finished(workflow: Any, *args: Any, **options: Any) -> str:
    handle = await workflow.using(**options).astart(*args)
    await arun_until_idle()
    return str(handle.workflow_id)


async def test_a_closed_stream_is_sent_in_order_and_ended(async_db: None) -> None:
    workflow_id = await finished(writes, 450)

    async with connected("streams", workflow_id=workflow_id, key="s") as client:
        frames, code = await client.frames()

    # Values are plain JSON: a tuple becomes a list, without the serializer's tag.
    assert frames[:-1] == [{"offset": n, "value": [n, n]} for n in range(450)]
    assert frames[-1] == {"closed": True}
    assert code == 1000


async def test_a_client_that_reconnects_misses_nothing(async_db: None) -> None:
    workflow_id = await finished(writes, 5)

    async with connected("streams", workflow_id=workflow_id, key="s", offset=3) as client:
        frames, _ = await client.frames()

    assert [frame.get("offset") for frame in frames] == [3, 4, None]


async def test_entries_arrive_as_they_are_written(async_db: None, worker: Executor) -> None:
    handle = await talks.astart()

    async with connected("streams", workflow_id=handle.workflow_id, key="s") as client:
        for number in range(5):
            await handle.asend(number)
            assert await client.frame() == {"offset": number, "value": number}
        await handle.asend(None)
        frames, code = await client.frames()

    assert (frames, code) == ([{"closed": True}], 1000)


async def add_entries(workflow_id: str, count: int, value: str) -> None:
    """Write entries without the engine: fast, and without notifications."""
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


async def test_entries_written_during_a_long_backlog_follow_it(
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


async def test_big_entries_all_arrive(async_db: None) -> None:
    handle = await writes.astart(1)
    await add_entries(handle.workflow_id, 60, f'"{"x" * 100_000}"')

    async with connected("streams", workflow_id=handle.workflow_id, key="s") as client:
        frames = [await client.frame() for _ in range(60)]

    assert [(frame["offset"], len(frame["value"])) for frame in frames] == [
        (offset, 100_000) for offset in range(60)
    ]


async def test_a_client_that_is_disconnected_repeatedly_gets_each_entry_once(
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


async def test_sockets_are_woken_before_their_timer(
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


async def test_a_change_without_a_notification_is_found_on_the_timer(
    async_db: None, settings: Any
) -> None:
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

    # One of each per process, regardless of the number of sockets.
    assert after <= before | {"dbos-listener", "dbos-watchdog"}


@pytest.mark.parametrize("kind", ["streams", "events"])
async def test_a_stopping_server_leaves_nothing_of_a_socket(async_db: None, kind: str) -> None:
    handle = await writes.astart(1)
    before = asyncio.all_tasks()

    async with connected(kind, workflow_id=handle.workflow_id, key="s") as client:
        await aeventually(lambda: get_store().wakeups.is_used)
        await client.drop()

    # The receiver of notifications still leaves its group.
    await aeventually(lambda: asyncio.all_tasks() == before)
    assert not get_store().wakeups.is_used


async def test_a_disconnect_during_a_send_is_no_error(
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
    await asyncio.wait_for(client_has_gone.wait(), LIMIT)
    await events.put({"type": "websocket.disconnect", "code": 1006})
    await asyncio.wait_for(serving, LIMIT)

    assert [record for record in ours(caplog) if record.levelno >= logging.WARNING] == []


@pytest.mark.parametrize("kind", ["streams", "events"])
async def test_a_deleted_workflow_is_unknown_to_its_sockets(
    async_db: None, settings: Any, kind: str
) -> None:
    settings.DBOS = {**settings.DBOS, "LISTEN": False, "POLL_INTERVAL": 0.05}
    handle = await writes.astart(1)
    user = await viewer()

    async with connected(kind, user, workflow_id=handle.workflow_id, key="s") as client:
        await aeventually(lambda: get_store().wakeups.is_used)
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


async def test_quick_changes_are_merged_into_the_latest(async_db: None, worker: Executor) -> None:
    handle = await talks.astart()

    async with connected("events", workflow_id=handle.workflow_id, key="last") as client:
        for number in range(30):
            await handle.asend(number)
        await handle.asend(None)
        frames, _ = await client.frames()

    versions = [frame["version"] for frame in frames]
    assert versions == sorted(set(versions))
    assert frames[-1] == {"key": "last", "value": 29, "version": 30}


async def test_a_client_that_reconnects_gets_the_current_events_first(async_db: None) -> None:
    workflow_id = await finished(writes, 3)

    answers = []
    for _ in range(2):
        async with connected("events", workflow_id=workflow_id) as client:
            answers.append(await client.frames())

    assert answers == [([{"key": "done", "value": 3, "version": 1}], 1000)] * 2


async def test_a_single_event_can_be_followed(async_db: None) -> None:
    workflow_id = await finished(writes, 2)

    async with connected("events", workflow_id=workflow_id, key="nothing") as client:
        assert await client.frames() == ([], 1000)
    async with connected("events", workflow_id=workflow_id, key="done") as client:
        frames, _ = await client.frames()

    assert frames == [{"key": "done", "value": 2, "version": 1}]


async def test_an_id_may_contain_any_character(async_db: None) -> None:
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
async def test_reading_is_refused_without_a_rule(
    async_db: None, kind: str, user: Any, code: int
) -> None:
    workflow_id = await finished(writes, 1, user=7)

    answers = []
    for asked in (workflow_id, "unknown"):
        async with connected(kind, user, workflow_id=asked, key="s") as client:
            assert client.is_accepted
            answers.append(await client.frames())

    # Forbidden and unknown are indistinguishable.
    assert answers == [([], code), ([], code)]


async def test_the_workflows_user_and_viewers_may_read(async_db: None) -> None:
    reader = await viewer()
    owner = await sync_to_async(User.objects.create_user)("owner")
    workflow_id = await finished(writes, 1, user=owner)

    for user in (reader, owner):
        async with connected("streams", user, workflow_id=workflow_id, key="s") as client:
            frames, code = await client.frames()
        assert (len(frames), code) == (2, 1000)


def allows_s(user: Any, workflow: Workflow, kind: str, key: str | None) -> bool:
    return (kind, key) == ("stream", "s") and workflow.name == writes.name


async def allows_s_too(user: Any, workflow: Workflow, kind: str, key: str | None) -> bool:
    return allows_s(user, workflow, kind, key)


def allows_all_but_notes(user: Any, workflow: Workflow, kind: str, key: str | None) -> bool:
    return key != "notes"


async def allows_done(user: Any, workflow: Workflow, kind: str, key: str | None) -> bool:
    return (kind, key) == ("event", "done")


class Rule:
    """An object with an async __call__, which asgiref doesn't recognize as a coroutine function."""

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
async def test_the_projects_rule_decides_for_other_users(
    async_db: None, settings: Any, can_read: Any, key: str, code: int
) -> None:
    settings.DBOS = {**settings.DBOS, "CAN_READ": can_read}
    workflow_id = await finished(writes, 1)

    async with connected("streams", AnonymousUser(), workflow_id=workflow_id, key=key) as client:
        _, found = await client.frames()

    assert found == code


async def test_only_the_events_that_the_rule_allows_are_sent(
    async_db: None, settings: Any, worker: Executor
) -> None:
    settings.DBOS = {**settings.DBOS, "CAN_READ": allows_all_but_notes}
    handle = await sets.astart({"status": 1, "notes": "private", "total": 2})

    async with connected("events", AnonymousUser(), workflow_id=handle.workflow_id) as client:
        first = [await client.frame(), await client.frame()]
        # Later events are checked too.
        await handle.asend({"notes": "private", "late": 3})
        await handle.asend(None)
        later, code = await client.frames()

    assert {frame["key"] for frame in first} == {"status", "total"}
    assert ([frame["key"] for frame in later], code) == (["late"], 1000)


async def test_the_rule_is_called_separately_for_all_events(async_db: None, settings: Any) -> None:
    settings.DBOS = {**settings.DBOS, "CAN_READ": allows_done}
    workflow_id = await finished(writes, 1)

    answers = []
    for asked in ({"key": "done"}, {}):
        async with connected("events", AnonymousUser(), workflow_id=workflow_id, **asked) as client:
            frames, code = await client.frames()
            answers.append((len(frames), code))

    assert answers == [(1, 1000), (0, 4401)]


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
async def test_a_bad_request_is_answered_with_its_mistake(
    async_db: None, kind: str, query: dict[str, str], message: str
) -> None:
    async with connected(kind, **query) as client:
        frames, code = await client.frames()

    assert message in frames[0]["error"]
    assert code == 4400


@pytest.mark.parametrize(
    ("origin", "is_accepted"),
    [
        (b"http://testserver:8000", True),
        (b"https://app.example", True),
        (b"https://eu.app.example", True),
        (None, True),
        # Django's CSRF protection accepts neither another port nor another scheme.
        (b"http://testserver", False),
        (b"http://testserver:9999", False),
        (b"https://testserver:8000", False),
        (b"http://app.example", False),
        (b"https://app.example:8443", False),
        (b"https://evilapp.example", False),
        (b"https://evil.example", False),
        (b"https://testserver.evil.example", False),
        (b"http://evil@testserver:8000", False),
        (b"null", False),
        (b"", False),
        (b"http://[", False),
        (b"\xff", False),
    ],
)
async def test_pages_of_other_sites_are_refused(
    async_db: None, settings: Any, origin: bytes | None, is_accepted: bool
) -> None:
    settings.ALLOWED_HOSTS = ["testserver"]
    settings.CSRF_TRUSTED_ORIGINS = ["https://app.example", "https://*.app.example"]
    workflow_id = await finished(writes, 1)
    headers = [(b"host", b"testserver:8000")]
    if origin is not None:
        headers.append((b"origin", origin))

    async with connected("streams", headers=headers, workflow_id=workflow_id, key="s") as client:
        assert client.is_accepted is is_accepted


@pytest.mark.parametrize("is_told", [True, False])
async def test_the_scheme_comes_from_the_header_of_a_tls_proxy(
    async_db: None, settings: Any, is_told: bool
) -> None:
    settings.ALLOWED_HOSTS = ["shop.example"]
    if is_told:
        settings.SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https")
    headers = [
        (b"host", b"shop.example"),
        (b"origin", b"https://shop.example"),
        (b"x-forwarded-proto", b"https"),
    ]

    async with connected("streams", headers=headers, workflow_id="x", key="s") as client:
        assert client.is_accepted is is_told


async def test_frames_of_a_client_are_ignored(async_db: None) -> None:
    workflow_id = await finished(writes, 1, False)

    async with connected("streams", workflow_id=workflow_id, key="s") as client:
        await client.frame()
        await client.say("not even JSON")
        await asyncio.sleep(0.05)
        await sync_to_async(Workflow.objects.filter(pk=workflow_id).cancel)()

        assert await client.frames() == ([{"closed": False}], 1000)


async def test_a_frame_that_is_too_big_closes_the_socket(async_db: None) -> None:
    handle = await writes.astart(1)

    async with connected("streams", workflow_id=handle.workflow_id, key="s") as client:
        await client.say("x" * 5000)

        assert await client.frames() == ([], 4413)


async def test_a_socket_waits_for_a_database_that_is_away(
    async_db: None, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    reader = type(get_store().reader)
    read_pages, failures = reader.read_pages, [Unavailable("cut"), Unavailable("cut")]

    def fails_at_first(self: Reader, wanted: Any) -> Any:
        if failures:
            raise failures.pop()
        return read_pages(self, wanted)

    monkeypatch.setattr(following, "OUTAGE_PAUSE", 0.01)
    monkeypatch.setattr(reader, "read_pages", fails_at_first)
    handle = await writes.astart(1)
    await arun_until_idle()

    async with connected("streams", workflow_id=handle.workflow_id, key="s") as client:
        frames = await client.frames()

    assert frames == ([{"offset": 0, "value": [0, 0]}, {"closed": True}], 1000)
    said = [(record.name, record.levelname) for record in ours(caplog)]
    assert said == [("django_dbos.live", "WARNING")]


async def test_an_error_closes_the_socket(async_db: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(StreamConsumer, "texts", lambda self, page: 1 / 0)
    handle = await writes.astart(1)

    async with connected("streams", workflow_id=handle.workflow_id, key="s") as client:
        assert await client.frames() == ([], 4500)


async def test_too_many_frames_of_a_client_close_the_socket(
    async_db: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rates, "MAX_RATE", 0)
    handle = await writes.astart(1)

    async with connected("streams", workflow_id=handle.workflow_id, key="s") as client:
        for _ in range(rates.MAX_BURST):
            await client.say("{}")
        await aeventually(lambda: client.input_queue.empty())
        assert not client.future.done()
        await client.say("{}")

        assert await client.frames() == ([], 4429)


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


@asynccontextmanager
async def captured() -> AsyncIterator[list[dict[str, str]]]:
    """Capture the queries on the thread of the ORM."""
    queries = CaptureQueriesContext(connection)
    await sync_to_async(queries.__enter__)()
    found: list[dict[str, str]] = []
    try:
        yield found
    finally:
        await sync_to_async(queries.__exit__)(None, None, None)
        found += await sync_to_async(lambda: queries.captured_queries)()


@pytest.mark.parametrize("codename", ["view_workflow", "view_payload"])
async def test_viewers_of_workflows_without_their_values_are_refused(
    async_db: None, codename: str
) -> None:
    user = await viewer(codename)
    workflow_id = await finished(writes, 1)

    async with connected("streams", user, workflow_id=workflow_id, key="s") as client:
        assert await client.frames() == ([], 4403)


async def viewer(*codenames: str) -> Any:
    """Return a user with permission to view workflows and their values."""
    user = await sync_to_async(User.objects.create_user)("viewer")
    found = Permission.objects.filter(codename__in=codenames or ("view_workflow", "view_payload"))
    await sync_to_async(lambda: user.user_permissions.set(found))()
    return await User.objects.aget(pk=user.pk)


async def deactivate(user: Any, session: Any) -> None:
    await User.objects.filter(pk=user.pk).aupdate(is_active=False)


async def take_permissions(user: Any, session: Any) -> None:
    await sync_to_async(user.user_permissions.clear)()


async def log_out(user: Any, session: Any) -> None:
    await sync_to_async(type(session)(session.session_key).flush)()


async def change_password(user: Any, session: Any) -> None:
    await User.objects.filter(pk=user.pk).aupdate(password="other")


@pytest.fixture
def often(settings: Any) -> None:
    """Make sockets check access at each poll."""
    settings.DBOS = {**settings.DBOS, "RECHECK": 0.05, "POLL_INTERVAL": 0.05}


async def session_of(user: Any) -> Any:
    browser = Browser()
    await sync_to_async(browser.force_login)(user)
    return browser.session


@pytest.mark.parametrize("kind", ["streams", "events"])
@pytest.mark.parametrize(
    ("take", "has_session", "code"),
    [
        (take_permissions, True, 4403),
        (take_permissions, False, 4403),
        (deactivate, True, 4401),
        (deactivate, False, 4401),
        (log_out, True, 4401),
        (change_password, True, 4401),
    ],
)
async def test_a_socket_is_closed_when_its_permission_is_revoked(
    async_db: None, often: None, kind: str, take: Any, has_session: bool, code: int
) -> None:
    handle = await writes.astart(1)
    user = await viewer()
    session = await session_of(user)
    scope = {"session": session} if has_session else {}
    query = {"workflow_id": handle.workflow_id, "key": "s"}

    async with connected(kind, user, scope=scope, **query) as client:
        await aeventually(lambda: get_store().wakeups.is_used)
        await take(user, session)
        assert await client.frames() == ([], code)


async def test_a_lasting_permission_is_not_lost(async_db: None, often: None, settings: Any) -> None:
    asked: list[str] = []

    def rule(user: Any, workflow: Workflow, kind: str, key: str | None) -> bool:
        asked.append(kind)
        return True

    settings.DBOS = {**settings.DBOS, "CAN_READ": rule}
    handle = await writes.astart(1)
    query = {"workflow_id": handle.workflow_id, "key": "s"}

    async with connected("streams", AnonymousUser(), **query) as client:
        await aeventually(lambda: len(asked) > 5)
        await arun_until_idle()
        assert (await client.frames())[1] == 1000


async def test_data_written_after_the_permission_was_revoked_is_not_sent(
    async_db: None, often: None, worker: Executor
) -> None:
    handle = await talks.astart()
    user = await viewer()

    async with connected("streams", user, workflow_id=handle.workflow_id, key="s") as client:
        await handle.asend("before")
        assert (await client.frame())["value"] == "before"
        await take_permissions(user, None)
        await asyncio.sleep(0.2)
        await handle.asend("after")
        assert await client.frames() == ([], 4403)


@pytest.mark.parametrize(("kind", "key"), [("streams", "s"), ("events", "last"), ("events", None)])
async def test_nothing_is_sent_long_after_the_last_check(
    async_db: None,
    settings: Any,
    worker: Executor,
    monkeypatch: pytest.MonkeyPatch,
    kind: str,
    key: str | None,
) -> None:
    settings.DBOS = {**settings.DBOS, "RECHECK": 3_600}
    handle = await talks.astart()
    user = await viewer()
    query = {"workflow_id": handle.workflow_id} | ({"key": key} if key else {})

    async with connected(kind, user, **query) as client:
        async with connected("streams", workflow_id=handle.workflow_id, key="s") as other:
            await handle.asend("before")
            await other.frame()
        await take_permissions(user, None)
        # As if a sixth of the hour had passed.
        monkeypatch.setattr(access, "SENDING", 0)
        await handle.asend("after")
        await handle.asend(None)
        frames, code = await client.frames()

    assert all(frame["value"] == "before" for frame in frames)
    assert code == 4403


@pytest.fixture
def slow_read(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[[], object]], None]:
    """Return a function that has something happen, and the check fall due, during a read."""
    read_some = Reader.read_some_events

    def set_up(happens: Callable[[], object]) -> None:
        def read(self: Reader, workflow_id: str, keys: Any) -> Any:
            happens()
            monkeypatch.setattr(access, "SENDING", 0)
            return read_some(self, workflow_id, keys)

        monkeypatch.setattr(Reader, "read_some_events", read)

    return set_up


@pytest.mark.parametrize("key", ["done", None])
async def test_a_value_whose_read_took_long_is_sent_after_a_check(
    async_db: None, slow_read: Any, key: str | None
) -> None:
    workflow_id = await finished(writes, 1)
    user = await viewer()
    slow_read(user.user_permissions.clear)

    query = {"workflow_id": workflow_id} | ({"key": key} if key else {})
    async with connected("events", user, **query) as client:
        assert await client.frames() == ([], 4403)


async def test_a_rule_is_asked_again_for_the_keys_whose_read_took_long(
    async_db: None, settings: Any, slow_read: Any, worker: Executor
) -> None:
    private: set[str | None] = set()
    settings.DBOS = {**settings.DBOS, "CAN_READ": lambda *asked: asked[3] not in private}
    handle = await sets.astart({"a": 1, "b": 2})
    await handle.asend(None)
    await handle.aget_result(timeout=LIMIT)
    slow_read(lambda: private.add("b"))

    async with connected("events", AnonymousUser(), workflow_id=handle.workflow_id) as client:
        frames, code = await client.frames()

    assert ([frame["key"] for frame in frames], code) == (["a"], 1000)


@pytest.mark.parametrize("kind", ["streams", "events"])
@pytest.mark.parametrize("recheck", [None, 0.01])
async def test_a_later_workflow_with_the_id_is_not_followed(
    async_db: None, settings: Any, kind: str, recheck: float | None
) -> None:
    given = {"LISTEN": False, "POLL_INTERVAL": 0.05, "RECHECK": recheck}
    settings.DBOS = {**settings.DBOS, **given}
    await writes.using(workflow_id="again").astart(1)
    user = await viewer()

    async with connected(kind, user, workflow_id="again", key="s") as client:
        await aeventually(lambda: get_store().wakeups.is_used)
        # As one statement, since the socket may poll at any moment.
        await QuerySet(Workflow).filter(pk="again").aupdate(token=uuid.uuid4())

        # It isn't secret that there is another one: they may read that, too.
        assert (await client.frames())[1] == 4410


@pytest.mark.rule(93)
@pytest.mark.parametrize("kind", ["streams", "events"])
async def test_a_socket_on_a_workflow_that_is_rewound_is_told_so(async_db: None, kind: str) -> None:
    handle = await writes.astart(2, close=False)
    await arun_until_idle()
    user = await viewer()
    query = {"workflow_id": handle.workflow_id, "key": "s" if kind == "streams" else "done"}
    tag = tag_of((await Workflow.objects.aget()).token)

    async with connected(kind, user, tag=tag, **query) as client:
        await client.frame()
        await handle.arewind(1)
        open_before = await client.frames()
    async with connected(kind, user, tag=tag, offset="2", **query) as client:
        opened_later = await client.frames()
    async with connected(kind, AnonymousUser(), tag=tag, **query) as client:
        stranger = await client.frames()

    assert open_before[1] == 4410
    assert opened_later == ([], 4410)
    assert stranger == ([], 4401)


@pytest.mark.rule(93)
@pytest.mark.parametrize("kind", ["streams", "events"])
async def test_the_first_frame_tells_of_a_rewind_during_the_break_after_it(
    async_db: None, kind: str
) -> None:
    handle = await writes.astart(2, close=False)
    await arun_until_idle()
    user = await viewer()
    query = {"workflow_id": handle.workflow_id, "key": "s" if kind == "streams" else "done"}

    async with connected(kind, user, **query) as client:
        await client.frame()
    # As many entries as before, so an offset alone says nothing.
    await handle.arewind(1)
    await arun_until_idle()
    async with connected(kind, user, tag=client.tag, offset="2", **query) as again:
        told = await again.frames()
    async with connected(kind, user, **query) as anew:
        await anew.frame()
    async with connected(kind, user, tag=anew.tag, **query) as later:
        await later.frame()

    assert told == ([], 4410)
    assert again.tag is None
    assert anew.tag not in (None, client.tag)
    assert later.tag == anew.tag


@pytest.mark.parametrize("kind", ["streams", "events"])
async def test_the_tag_comes_before_there_are_values_and_only_to_permitted_readers(
    async_db: None, kind: str
) -> None:
    handle = await talks.astart()
    query = {"workflow_id": handle.workflow_id, "key": "s"}

    async with connected(kind, **query) as client:
        first = json.loads((await client.receive_output(LIMIT))["text"])
    async with connected(kind, AnonymousUser(), **query) as stranger:
        refused = await stranger.receive_output(LIMIT)

    assert first == {"tag": tag_of((await Workflow.objects.aget()).token)}
    assert refused == {"type": "websocket.close", "code": 4401}


@pytest.mark.parametrize("kind", ["streams", "events"])
async def test_a_refused_client_has_no_values_read(
    async_db: None, settings: Any, kind: str
) -> None:
    """A stranger could have whole rows read, and infer from the time that an id exists."""
    settings.DBOS = {**settings.DBOS, "CAN_READ": lambda *asked: False}
    workflow_id = await finished(writes, 1)
    statements: list[list[str]] = []

    for asked in (workflow_id, "unknown"):
        stranger = connected(kind, AnonymousUser(), workflow_id=asked, key="s")
        async with captured() as found, stranger as client:
            assert await client.frames() == ([], 4401)
        statements.append([query["sql"].replace(asked, "…") for query in found])

    known, unknown = statements
    assert known == unknown
    assert len(known) == 1
    assert not any(f'"{column}"' in known[0] for column in ("input", "output", "error"))


async def test_an_anonymous_user_costs_no_statement_without_a_rule(async_db: None) -> None:
    workflow_id = await finished(writes, 1)

    stranger = connected("streams", AnonymousUser(), workflow_id=workflow_id, key="s")
    async with captured() as found, stranger as client:
        assert await client.frames() == ([], 4401)

    assert list(found) == []


async def test_the_sockets_of_a_user_are_limited(async_db: None, settings: Any) -> None:
    settings.DBOS = {**settings.DBOS, "SOCKETS_PER_USER": 2}
    handle = await writes.astart(1)
    query = {"workflow_id": handle.workflow_id, "key": "s"}
    other = User(is_superuser=True, is_active=True, pk=2)

    async with connected("streams", **query), connected("events", **query) as second:
        await aeventually(lambda: len(asyncio.all_tasks()) > 2)
        async with connected("streams", **query) as third:
            assert await third.frames() == ([], 4429)
        async with connected("streams", other, **query) as others:
            await sync_to_async(Workflow.objects.filter(pk=handle.workflow_id).cancel)()
            assert (await others.frames())[1] == 1000
        await second.frames()
    async with connected("streams", **query) as fourth:
        assert (await fourth.frames())[1] == 1000


async def test_large_entries_are_read_a_few_at_a_time(async_db: None) -> None:
    """The first page used to have 50 entries regardless of their size."""
    handle = await writes.astart(1)
    await add_entries(handle.workflow_id, 20, f'"{"x" * 400_000}"')
    reader = get_store().reader

    def read(offset: int) -> list[int]:
        page = reader.read_entries(handle.workflow_id, "s", offset, 500)
        assert page.is_last is (offset + len(page.entries) == 20)
        return [offset for offset, _ in page.entries]

    assert await sync_to_async(read)(0) == [0, 1, 2]
    assert await sync_to_async(read)(18) == [18, 19]
    async with connected("streams", workflow_id=handle.workflow_id, key="s") as client:
        assert [(await client.frame())["offset"] for _ in range(20)] == list(range(20))


async def test_at_least_one_entry_is_read(async_db: None) -> None:
    handle = await writes.astart(1)
    await add_entries(handle.workflow_id, 2, f'"{"x" * 3_000_000}"')

    async with connected("streams", workflow_id=handle.workflow_id, key="s") as client:
        assert [(await client.frame())["offset"] for _ in range(2)] == [0, 1]


async def test_all_of_many_events_are_sent_but_only_changed_values_are_read(
    async_db: None, worker: Executor, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each poll used to read all values of all events."""
    read: list[list[str]] = []
    read_some = Reader.read_some_events

    def counted(self: Reader, workflow_id: str, keys: Any) -> Any:
        found = read_some(self, workflow_id, keys)
        read.append([key for key, _, _ in found])
        return found

    monkeypatch.setattr(Reader, "read_some_events", counted)
    large = {f"large-{n}": "x" * 400_000 for n in range(5)}
    small = {f"small-{n:03}": n for n in range(150)}
    handle = await sets.astart({**large, **small})
    await until_status(handle, "WAITING")

    async with connected("events", workflow_id=handle.workflow_id) as client:
        keys = [(await client.frame())["key"] for _ in range(155)]
        assert keys == sorted({**large, **small})
        assert read[0] == ["large-0", "large-1", "large-2"]
        read.clear()
        await handle.asend({"small-007": 8})
        assert await client.frame() == {"key": "small-007", "value": 8, "version": 2}
        await handle.asend(None)
        await client.frames()

    assert read == [["small-007"]]
