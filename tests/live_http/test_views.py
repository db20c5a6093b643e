"""Streams and events over HTTP, as an ASGI application serves them."""

from __future__ import annotations

import asyncio
import json
import time
import uuid
from typing import Any

import pytest
from asgiref.sync import sync_to_async
from django.contrib.auth.models import User
from django.db.models import QuerySet
from django.test import AsyncClient, override_settings
from django.utils import timezone

import django_dbos as dbos
from django_dbos.executor import Executor
from django_dbos.models import StreamEntry, Workflow
from django_dbos.store import get_store
from django_dbos.testing import arun_until_idle
from tests.live_http.client import Events, address, root
from tests.live_http.workflows import counts, echoes, sets
from tests.waiting import LIMIT, aeventually


async def finished(workflow: Any, *args: Any, **options: Any) -> str:
    handle = await workflow.using(**options).astart(*args)
    await arun_until_idle()
    return str(handle.workflow_id)


async def get(client: AsyncClient, kind: str, workflow_id: str, **query: Any) -> Any:
    headers = query.pop("headers", {})
    return await asyncio.wait_for(
        client.get(address(kind, workflow_id, **query), headers=headers), LIMIT
    )


async def replace_entries(workflow_id: str, count: int) -> None:
    """Give an ended workflow other entries, without the engine: that is fast."""
    rows = [
        StreamEntry(
            workflow_id=workflow_id,
            key="s",
            offset=offset,
            value_text=str(offset),
            step_number=offset,
            write_id=uuid.uuid4(),
            created_at=timezone.now(),
        )
        for offset in range(count)
    ]
    await sync_to_async(QuerySet(StreamEntry).filter(workflow_id=workflow_id).delete)()
    await sync_to_async(QuerySet(StreamEntry).bulk_create)(rows)


async def read_all(client: AsyncClient, kind: str, workflow_id: str, **query: Any) -> list[Any]:
    """Catch up page by page, as the protocol says, to the end of the stream."""
    found: list[Any] = []
    offset = "-1"
    while True:
        response = await get(client, kind, workflow_id, **query, offset=offset)
        assert response.status_code == 200, response.content
        found += json.loads(response.content)
        assert response["Stream-Next-Offset"] > offset or not json.loads(response.content)
        offset = response["Stream-Next-Offset"]
        if response.headers.get("Stream-Closed") == "true":
            return found


# --- Catching up ---------------------------------------------------------------------------


async def test_a_closed_stream_is_read_to_its_end(async_db: None) -> None:
    client = await root()
    workflow_id = await finished(counts, 5)

    response = await get(client, "streams", workflow_id, key="s")

    assert json.loads(response.content) == [0, 1, 2, 3, 4]
    assert response["Content-Type"] == "application/json"
    assert response["Stream-Closed"] == "true"
    assert {"Cookie", "Authorization"} <= set(response["Vary"].split(", "))


async def test_ten_thousand_values_come_in_pages(async_db: None) -> None:
    client = await root()
    workflow_id = await finished(counts, 0)
    await replace_entries(workflow_id, 10_000)

    assert await read_all(client, "streams", workflow_id, key="s") == list(range(10_000))


async def test_the_stream_of_an_active_workflow_is_open(async_db: None) -> None:
    client = await root()
    handle = await echoes.astart()
    await handle.asend("one")
    await arun_until_idle()

    response = await get(client, "streams", handle.workflow_id, key="s")

    assert json.loads(response.content) == ["one"]
    assert response["Stream-Up-To-Date"] == "true"
    assert "Stream-Closed" not in response
    again = await get(
        client, "streams", handle.workflow_id, key="s", offset=response["Stream-Next-Offset"]
    )
    assert json.loads(again.content) == []
    assert again["Stream-Next-Offset"] == response["Stream-Next-Offset"]
    assert again["Stream-Up-To-Date"] == "true"


async def test_the_end_now_is_told_without_data(async_db: None) -> None:
    client = await root()
    workflow_id = await finished(counts, 5)
    end = (await get(client, "streams", workflow_id, key="s"))["Stream-Next-Offset"]

    now = await get(client, "streams", workflow_id, key="s", offset="now")
    head = await client.head(address("streams", workflow_id, key="s"))

    for response in (now, head):
        assert response.status_code == 200
        assert response["Stream-Next-Offset"] == end
        assert response["Stream-Closed"] == "true"
        assert response["Cache-Control"] == "no-store"
    assert now.content == b"[]"
    assert head.content == b""


@pytest.mark.rule(80)
async def test_an_offset_beyond_the_end_leads_back_to_it(async_db: None) -> None:
    client = await root()
    handle = await echoes.astart()
    await arun_until_idle()

    response = await get(client, "streams", handle.workflow_id, key="s", offset="100")

    assert response["Stream-Next-Offset"].endswith("_0000000000")
    assert response.content == b"[]"


async def test_a_known_page_is_304(async_db: None) -> None:
    client = await root()
    handle = await echoes.astart()
    await handle.asend("one")
    await arun_until_idle()
    first = await get(client, "streams", handle.workflow_id, key="s")
    known = {"If-None-Match": first["ETag"]}

    again = await get(client, "streams", handle.workflow_id, key="s", headers=known)
    await handle.asend(None)
    await arun_until_idle()
    ended = await get(client, "streams", handle.workflow_id, key="s", headers=known)

    assert (again.status_code, again.content) == (304, b"")
    assert again["Stream-Next-Offset"] == first["Stream-Next-Offset"]
    # Nothing was added, but the reader learns that nothing will be.
    assert ended.status_code == 200
    assert ended["Stream-Closed"] == "true"


@pytest.mark.parametrize(
    ("query", "told"),
    [
        ({"key": "s", "offset": "0,1"}, "must be -1, now"),
        ({"key": "s", "offset": ""}, "is empty"),
        ({"key": "s", "live": "long-poll"}, "Begin with offset=-1"),
        ({"key": "s", "live": "x", "offset": "-1"}, "must be 'long-poll' or 'sse'"),
        ({}, "The parameter 'key' is missing"),
        ({"key": "x" * 300}, "can't be longer than 255 characters"),
    ],
)
async def test_a_bad_request_is_explained(async_db: None, query: dict[str, str], told: str) -> None:
    client = await root()

    response = await get(client, "streams", "id", **query)

    assert response.status_code == 400
    assert told in response.content.decode()
    assert response["Cache-Control"] == "no-store"


@pytest.mark.parametrize("method", ["post", "put", "patch", "delete", "options"])
async def test_what_is_not_offered_is_405(async_db: None, method: str) -> None:
    # Without a token against forgery, too.
    client = AsyncClient(enforce_csrf_checks=True)

    response = await getattr(client, method)(address("streams", "id", key="s"))

    assert response.status_code == 405
    assert response["Allow"] == "GET, HEAD"
    assert response["X-Content-Type-Options"] == "nosniff"


@pytest.mark.rule(80)
async def test_an_offset_of_an_earlier_workflow_is_gone(async_db: None) -> None:
    client = await root()
    await finished(counts, 3, workflow_id="mine")
    end = (await get(client, "streams", "mine", key="s"))["Stream-Next-Offset"]
    for model in (StreamEntry, Workflow):
        await sync_to_async(QuerySet(model).filter(workflow_id="mine").delete)()
    await finished(counts, 2, workflow_id="mine")

    response = await get(client, "streams", "mine", key="s", offset=end)

    assert response.status_code == 410


@pytest.mark.rule(93)
@pytest.mark.parametrize("live", ["long-poll", "sse"])
async def test_a_reader_is_told_of_a_rewind(async_db: None, live: str) -> None:
    client = await root()
    handle = await echoes.astart()
    await handle.asend("before")
    await arun_until_idle()
    first = await get(client, "streams", handle.workflow_id, key="s")
    asked = {"key": "s", "offset": first["Stream-Next-Offset"], "live": live}

    waiting = asyncio.create_task(get(client, "streams", handle.workflow_id, **asked))
    if live == "sse":
        # The response has begun. It ends, and its reader connects again.
        events = Events(await waiting)
        await handle.arewind(1)
        await events.all()
        answer = await get(client, "streams", handle.workflow_id, **asked)
    else:
        await aeventually(lambda: get_store().wakeups.is_used)
        await handle.arewind(1)
        answer = await waiting

    assert answer.status_code == 410


# --- Long polls ----------------------------------------------------------------------------


async def test_a_long_poll_waits_for_the_next_value(async_db: None, worker: Executor) -> None:
    client = await root()
    handle = await echoes.astart()
    offset = (await get(client, "streams", handle.workflow_id, key="s"))["Stream-Next-Offset"]

    for number in range(3):
        polling = asyncio.create_task(
            get(client, "streams", handle.workflow_id, key="s", offset=offset, live="long-poll")
        )
        await asyncio.sleep(0)
        await handle.asend(number)
        response = await polling
        assert json.loads(response.content) == [number]
        assert response["Stream-Cursor"].isdigit()
        offset = response["Stream-Next-Offset"]
    polling = asyncio.create_task(
        get(client, "streams", handle.workflow_id, key="s", offset=offset, live="long-poll")
    )
    await handle.asend(None)
    response = await polling

    assert response.status_code == 204
    assert response["Stream-Closed"] == "true"
    assert response["Stream-Next-Offset"] == offset


async def test_a_long_poll_without_news_ends(async_db: None, settings: Any) -> None:
    settings.DBOS = {**settings.DBOS, "LONG_POLL": 0.1}
    client = await root()
    handle = await echoes.astart()
    await arun_until_idle()

    response = await get(
        client, "streams", handle.workflow_id, key="s", offset="now", live="long-poll"
    )

    assert (response.status_code, response.content) == (204, b"")
    assert response["Stream-Up-To-Date"] == "true"
    assert response["Stream-Cursor"].isdigit()
    assert "Stream-Closed" not in response


async def test_a_long_poll_of_now_gets_only_what_comes(async_db: None, worker: Executor) -> None:
    client = await root()
    handle = await echoes.astart()
    await handle.asend("before")
    query = {"key": "s", "offset": "-1", "live": "long-poll"}
    assert json.loads((await get(client, "streams", handle.workflow_id, **query)).content)

    polling = asyncio.create_task(
        get(client, "streams", handle.workflow_id, **{**query, "offset": "now"})
    )
    sending = asyncio.create_task(keep_sending(handle))
    response = await polling
    sending.cancel()

    assert set(json.loads(response.content)) == {"after"}


async def keep_sending(handle: Any) -> None:
    """Send again and again: which message comes after the reader's `now` isn't known."""
    while True:
        await handle.asend("after")
        await asyncio.sleep(0.05)


async def test_a_long_poll_at_the_end_of_a_closed_stream_returns_at_once(async_db: None) -> None:
    client = await root()
    workflow_id = await finished(counts, 3)
    end = (await get(client, "streams", workflow_id, key="s"))["Stream-Next-Offset"]

    for offset in (end, "now"):
        response = await get(
            client, "streams", workflow_id, key="s", offset=offset, live="long-poll"
        )
        assert response.status_code == 204
        assert response["Stream-Closed"] == "true"
        assert "Stream-Cursor" not in response


async def test_a_cancelled_workflow_is_followed_on_after_it_was_resumed(
    async_db: None, settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("django_dbos.live.waiting.INACTIVE_PAUSE", 0.1)
    settings.DBOS = {**settings.DBOS, "LONG_POLL": LIMIT}
    client = await root()
    handle = await echoes.astart()
    await handle.asend("one")
    await arun_until_idle()
    await handle.acancel()

    query = {"key": "s", "offset": "1", "live": "long-poll"}
    polling = asyncio.create_task(get(client, "streams", handle.workflow_id, **query))
    await handle.asend("two")
    await handle.aresume()
    await arun_until_idle()

    assert json.loads((await polling).content) == ["two"]


# --- Server-sent events --------------------------------------------------------------------


async def test_events_follow_a_stream_to_its_end(async_db: None, worker: Executor) -> None:
    client = await root()
    handle = await echoes.astart()
    response = await get(client, "streams", handle.workflow_id, key="s", offset="-1", live="sse")
    events = Events(response)

    assert response["Content-Type"] == "text/event-stream"
    assert "no-cache" in response["Cache-Control"]
    name, control = await events.next() or ("", {})
    assert (name, control["upToDate"]) == ("control", True)
    for number in range(3):
        await handle.asend(number)
        assert await events.values(1) == [number]
    await handle.asend(None)
    *_, last = await events.all()

    assert last[0] == "control"
    assert last[1]["streamClosed"] is True
    assert "streamCursor" not in last[1]


async def test_a_backlog_comes_in_order_and_once(async_db: None) -> None:
    client = await root()
    workflow_id = await finished(counts, 0)
    await replace_entries(workflow_id, 1200)

    events = Events(await get(client, "streams", workflow_id, key="s", offset="-1", live="sse"))
    found = await events.all()

    assert [value for name, data in found if name == "data" for value in data] == [*range(1200)]
    offsets = [data["streamNextOffset"] for name, data in found if name == "control"]
    assert offsets == sorted(offsets)
    # After each part of the data comes where it ends; that of the stream may be found a look later.
    names = [name for name, _ in found]
    assert names[:-1] == (["data", "control"] * names.count("data"))[: len(names) - 1]
    assert len(names) - 2 * names.count("data") in (0, 1)
    assert found[-1][0] == "control"
    assert found[-1][1]["streamClosed"] is True


async def test_a_browser_goes_on_after_its_last_event(async_db: None) -> None:
    client = await root()
    workflow_id = await finished(counts, 5)

    response = await get(
        client,
        "streams",
        workflow_id,
        key="s",
        offset="-1",
        live="sse",
        headers={"Last-Event-ID": "3"},
    )

    assert await Events(response).values(2) == [3, 4]


async def test_a_response_ends_after_its_lifetime(
    async_db: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("django_dbos.live.server_sent.LIFETIME", 0.1)
    client = await root()
    handle = await echoes.astart()
    await arun_until_idle()

    found: list[Any] = []
    while not found:
        # On a machine that is busy the time may be over before a page is known to be the last.
        response = await get(
            client, "streams", handle.workflow_id, key="s", offset="-1", live="sse"
        )
        found = await Events(response).all()

    (event,) = found
    assert event[1]["upToDate"] is True


async def test_a_silent_response_is_kept_alive(
    async_db: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("django_dbos.live.server_sent.KEEP_ALIVE_PAUSE", 0.05)
    client = await root()
    handle = await echoes.astart()
    await arun_until_idle()
    response = await get(client, "streams", handle.workflow_id, key="s", offset="-1", live="sse")
    text = b""

    async with asyncio.timeout(LIMIT):
        async for part in response.streaming_content:
            text += part
            # The first page may take longer than a pause, and be followed by a second one.
            if b"event: control" in text and text.count(b": still here\n\n") >= 2:
                break

    (event,) = filter(None, text.replace(b": still here\n\n", b"").split(b"\n\n"))
    assert event.startswith(b"event: control")
    response.close()


# --- Events of workflows -------------------------------------------------------------------


async def test_all_events_come_with_their_keys_and_versions(async_db: None) -> None:
    client = await root()
    workflow_id = await finished(sets, {"a": 1, "b": {"x": "<b>"}})

    response = await get(client, "events", workflow_id)

    assert json.loads(response.content) == [
        {"key": "a", "value": 1, "version": 1},
        {"key": "b", "value": {"x": "<b>"}, "version": 1},
    ]


async def test_only_changed_events_come_again(async_db: None) -> None:
    client = await root()
    handle = await sets.astart({"a": 1, "b": 2})
    await arun_until_idle()
    first = await get(client, "events", handle.workflow_id)
    await handle.asend({"b": 3, "c": 4})
    await arun_until_idle()

    response = await get(client, "events", handle.workflow_id, offset=first["Stream-Next-Offset"])

    assert json.loads(response.content) == [
        {"key": "b", "value": 3, "version": 2},
        {"key": "c", "value": 4, "version": 1},
    ]
    assert response["Stream-Next-Offset"] > first["Stream-Next-Offset"]


async def test_an_event_is_followed_to_the_end_of_its_workflow(
    async_db: None, worker: Executor
) -> None:
    client = await root()
    handle = await sets.astart({"a": 0, "b": 1})
    response = await get(client, "events", handle.workflow_id, key="a", offset="-1", live="sse")
    events = Events(response)

    assert await events.values(1) == [{"key": "a", "value": 0, "version": 1}]
    await handle.asend({"a": 1})
    assert await events.values(1) == [{"key": "a", "value": 1, "version": 2}]
    await handle.asend(None)
    *_, last = await events.all()

    assert last[1]["streamClosed"] is True


@pytest.mark.rule(80)
async def test_the_version_of_an_event_that_is_not_there_yet_hides_none(async_db: None) -> None:
    client = await root()
    handle = await sets.astart({"a": 1})
    await arun_until_idle()
    end = await get(client, "events", handle.workflow_id, key="a", offset="7")
    await handle.asend({"a": 2})
    await arun_until_idle()

    response = await get(
        client, "events", handle.workflow_id, key="a", offset=end["Stream-Next-Offset"]
    )

    assert json.loads(response.content) == [{"key": "a", "value": 2, "version": 2}]


async def test_more_events_than_an_offset_holds_must_be_named(async_db: None) -> None:
    client = await root()
    workflow_id = await finished(sets, {f"event-{number}": number for number in range(600)})

    response = await get(client, "events", workflow_id, offset="now")
    one = await get(client, "events", workflow_id, key="event-7")

    assert response.status_code == 400
    assert "Name one event" in response.content.decode()
    assert json.loads(one.content) == [{"key": "event-7", "value": 7, "version": 1}]


# --- Access --------------------------------------------------------------------------------


@pytest.mark.parametrize("live", ["", "long-poll", "sse"])
async def test_a_stranger_learns_nothing(async_db: None, live: str) -> None:
    owner, stranger = [await User.objects.acreate_user(name) for name in ("owner", "stranger")]
    workflow_id = await finished(counts, 1, user=owner)
    query = {"key": "s", "offset": "-1"} | ({"live": live} if live else {})
    answers = {}
    for name, user in (("stranger", stranger), ("nobody", None)):
        client = AsyncClient()
        if user is not None:
            await client.aforce_login(user)
        for asked in (workflow_id, "unknown"):
            response = await get(client, "streams", asked, **query)
            answers[name, asked == "unknown"] = (
                response.status_code,
                response.content,
                dict(response.headers),
            )

    assert answers["stranger", True] == answers["stranger", False]
    assert answers["nobody", True] == answers["nobody", False]
    assert answers["stranger", True][0] == 404
    assert answers["nobody", True][0] == 401
    assert answers["nobody", True][2]["WWW-Authenticate"].startswith("Bearer")


async def test_the_workflows_own_user_reads(async_db: None) -> None:
    owner = await User.objects.acreate_user("owner")
    workflow_id = await finished(counts, 1, user=owner)
    client = AsyncClient()
    await client.aforce_login(owner)

    assert (await get(client, "streams", workflow_id, key="s")).status_code == 200


async def test_a_log_out_ends_the_events(async_db: None, settings: Any, worker: Executor) -> None:
    settings.DBOS = {**settings.DBOS, "RECHECK": 0.2}
    client = await root()
    handle = await echoes.astart()
    response = await get(client, "streams", handle.workflow_id, key="s", offset="-1", live="sse")
    events = Events(response)
    assert await events.next() is not None

    await client.alogout()

    assert not any("streamClosed" in str(event) for event in await events.all())
    again = await get(client, "streams", handle.workflow_id, key="s")
    assert again.status_code == 401


@pytest.mark.parametrize("way", ["header", "query"])
async def test_a_token_opens_its_stream_alone(async_db: None, way: str) -> None:
    workflow_id = await finished(counts, 2)
    token = await dbos.astream_token(workflow_id, keys=["s"])
    other = await finished(counts, 2)

    async def status(kind: str, asked: str, token: str, **query: Any) -> int:
        if way == "header":
            query["headers"] = {"Authorization": f"Bearer {token}"}
        else:
            query["token"] = token
        return int((await get(AsyncClient(), kind, asked, **query)).status_code)

    assert await status("streams", workflow_id, token, key="s") == 200
    assert await status("streams", workflow_id, token, key="t") == 404
    assert await status("streams", other, token, key="s") == 404
    assert await status("events", workflow_id, token) == 404
    assert await status("streams", workflow_id, token[:-1], key="s") == 401
    assert await status("streams", workflow_id, "forged", key="s") == 401


@pytest.mark.parametrize("live", ["", "long-poll", "sse"])
async def test_a_forged_token_opens_nothing_and_tells_nothing(async_db: None, live: str) -> None:
    """Also with the session of somebody who may read: a token decides alone."""
    client = await root()
    workflow_id = await finished(counts, 2)
    token = await dbos.astream_token(workflow_id)
    body, _, signature = token.rpartition(":")
    with override_settings(SECRET_KEY="of another site"):
        foreign = await dbos.astream_token(workflow_id)
    forged = {
        "no signature": body,
        "another signature": f"{body}:{signature[::-1]}",
        "another body": f"x{token}",
        "of events": await dbos.aevent_token(workflow_id),
        "of another workflow": await dbos.astream_token(await finished(counts, 1)),
        "of another key": await dbos.astream_token(workflow_id, keys=["other"]),
        "signed with another key": foreign,
    }
    query = {"key": "s", "offset": "-1"} | ({"live": live} if live else {})

    for name, text in forged.items():
        found = []
        for asked in (workflow_id, "unknown"):
            response = await get(client, "streams", asked, **query, token=text)
            found.append((response.status_code, response.content, dict(response.headers)))
        assert found[0] == found[1], name
        assert found[0][0] == (404 if name.startswith("of ") else 401), name
    assert (await get(AsyncClient(), "streams", workflow_id, key="s", token=token)).content


@pytest.mark.parametrize("kind", ["streams", "events"])
async def test_a_token_that_expires_ends_the_response(
    async_db: None, kind: str, settings: Any, worker: Executor, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings.DBOS = {**settings.DBOS, "RECHECK": 0.2}
    handle = await echoes.astart()
    make = dbos.astream_token if kind == "streams" else dbos.aevent_token
    token = await make(handle.workflow_id, max_age=60)
    query = {"key": "s", "offset": "-1", "live": "sse", "token": token}
    events = Events(await get(AsyncClient(), kind, handle.workflow_id, **query))
    assert await events.next() is not None

    now = time.time
    monkeypatch.setattr("django_dbos.live.tokens.time.time", lambda: now() + 3_600)

    assert not any("streamClosed" in str(event) for event in await events.all())
    again = await get(AsyncClient(), kind, handle.workflow_id, **query)
    assert again.status_code == 401
    assert "expired" in again.content.decode()


async def test_an_expired_token_is_told_so(async_db: None, monkeypatch: pytest.MonkeyPatch) -> None:
    workflow_id = await finished(counts, 2)
    token = await dbos.astream_token(workflow_id, max_age=1)
    monkeypatch.setattr("django_dbos.live.tokens.time.time", lambda: 10**10)

    response = await get(AsyncClient(), "streams", workflow_id, key="s", token=token)

    assert response.status_code == 401
    assert "expired" in response.content.decode()
    assert 'error="invalid_token"' in response["WWW-Authenticate"]


async def test_a_user_follows_only_so_much_at_once(async_db: None, settings: Any) -> None:
    settings.DBOS = {**settings.DBOS, "SOCKETS_PER_USER": 2}
    client = await root()
    handle = await echoes.astart()
    await arun_until_idle()
    query = {"key": "s", "offset": "-1", "live": "sse"}
    bodies = [Events(await get(client, "streams", handle.workflow_id, **query)) for _ in range(2)]
    # The second was never read.
    await bodies[0].next()

    refused = await get(client, "streams", handle.workflow_id, **query)
    assert refused.status_code == 429
    assert refused["Retry-After"]
    for body in bodies:
        await sync_to_async(body.close_response)()
    await asyncio.sleep(0)

    again = await get(client, "streams", handle.workflow_id, **query)
    assert again.status_code == 200
    again.close()
