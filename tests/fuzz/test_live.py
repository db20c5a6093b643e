"""Whatever is sent to the live views and the websockets, no error of ours answers."""

from __future__ import annotations

import asyncio
import json
import re
from typing import Any
from urllib.parse import urlencode

import pytest
from asgiref.sync import async_to_sync
from channels.layers import channel_layers
from channels.routing import URLRouter
from django.contrib.auth.models import User
from django.test import AsyncClient, Client
from hypothesis import given
from hypothesis import strategies as st

import django_dbos as dbos
from django_dbos.live import offsets, server_sent
from django_dbos.models import Workflow
from django_dbos.routing import websocket_urlpatterns
from django_dbos.testing import run_until_idle
from tests.consumers.client import Client as Socket
from tests.fuzz.parts import JSON, METHODS, TEXT, TEXTS, fields, fuzz, mostly, queries
from tests.live_http.workflows import sets
from tests.waiting import LIMIT

EXAMPLES = 100
HEADERS = ("If-None-Match", "Last-Event-ID", "Authorization", "Cookie", "Accept", "Idempotency-Key")
NAMES = ("workflow_id", "key", "offset", "live", "cursor", "token", "tag")
FIELDS = ("workflow_id", "message", "topic", "idempotency_key", "next", "csrfmiddlewaretoken")
# Headers are bytes of Latin-1, without line breaks: servers refuse others.
HEADER = TEXT.map(lambda text: re.sub("[^ -~]", "", text))


@pytest.fixture
def workflow_id(transactional_db: None, settings: Any, monkeypatch: pytest.MonkeyPatch) -> str:
    """Return a workflow with a stream and events; nothing waits for more than a moment."""
    settings.DBOS = {**settings.DBOS, "LONG_POLL": 0.01, "CAN_SEND": lambda *asked: True}
    monkeypatch.setattr(server_sent, "LIFETIME", 0.01)
    monkeypatch.setattr(server_sent, "KEEP_ALIVE_PAUSE", 0.01)
    handle = sets.using(workflow_id="w").start({"k": 1, "l": {"a": [None]}})
    run_until_idle()
    return handle.workflow_id


def requests(workflow_id: str) -> st.SearchStrategy[tuple[str, str]]:
    """Return the method and the path of requests: most of them name what is there."""
    tag = offsets.tag_of(Workflow.objects.get().token)
    known = {
        "workflow_id": [workflow_id],
        "key": ["k", "s"],
        "offset": ["-1", "now", "0", f"{tag}_0000000001", f"{tag}_9999999999_", f"{tag}_1_AAAA"],
        "live": ["long-poll", "sse"],
        "cursor": ["1", "9" * 15],
        "token": [dbos.stream_token(workflow_id), dbos.event_token(workflow_id)],
    }
    usual = st.fixed_dictionaries(
        {name: mostly(st.sampled_from(known.pop(name)), TEXT) for name in ("workflow_id", "key")},
        optional={name: mostly(st.sampled_from(found), TEXT) for name, found in known.items()},
    ).map(urlencode)
    kind = st.sampled_from(["streams", "events"])
    query = st.tuples(usual, mostly(st.just(""), queries(NAMES))).map("&".join)
    method = mostly(st.sampled_from(["GET", "GET", "HEAD"]), METHODS)
    return st.tuples(method, st.builds("/dbos/{}/?{}".format, kind, mostly(query, queries(NAMES))))


@pytest.mark.parametrize("server", ["asgi", "wsgi"])
def test_no_request_fails(server: str, workflow_id: str, admin_user: Any) -> None:
    client: Any = AsyncClient() if server == "asgi" else Client()
    client.force_login(admin_user)
    headers = st.dictionaries(st.sampled_from(HEADERS), mostly(HEADER, st.just('"x"')), max_size=2)

    async def ask(method: str, path: str, headers: dict[str, str]) -> int:
        async with asyncio.timeout(LIMIT):
            response = await client.generic(method, path, headers=headers)
            if response.streaming:
                async for _ in response:
                    pass
        return response.status_code  # type: ignore[no-any-return]

    @fuzz(EXAMPLES)
    @given(requests(workflow_id), headers)
    def check(request: tuple[str, str], headers: dict[str, str]) -> None:
        if "Cookie" in headers:
            headers["Cookie"] += f"; sessionid={client.cookies['sessionid'].value}"
        if server == "asgi":
            status = async_to_sync(ask)(*request, headers)
        else:
            response = client.generic(*request, headers=headers)
            b"".join(response) if response.streaming else response.content
            status = response.status_code
        assert status < 500

    check()


def test_no_message_fails(workflow_id: str, admin_user: Any) -> None:
    client = Client()
    client.force_login(admin_user)
    body = st.dictionaries(mostly(st.sampled_from(FIELDS[:4]), TEXT), JSON, max_size=5)
    full = st.fixed_dictionaries(
        {"workflow_id": st.just(workflow_id), "message": JSON},
        optional={name: mostly(TEXT, JSON) for name in ("topic", "idempotency_key")},
    )
    texts = mostly(
        mostly(full, body).map(json.dumps), st.sampled_from(TEXTS) | JSON.map(json.dumps)
    )
    kinds, methods = mostly(st.just("application/json"), TEXT), mostly(st.just("POST"), METHODS)

    @fuzz(EXAMPLES)
    @given(methods, texts, kinds, mostly(st.none(), fields(FIELDS)), mostly(st.none(), HEADER))
    def check(method: str, text: str, kind: str, form: Any, key: str | None) -> None:
        headers = {} if key is None else {"Idempotency-Key": key}
        if form is not None:
            response = client.post("/dbos/messages/", form, headers=headers)
        else:
            data = text.encode("utf-8", "replace")
            response = client.generic(method, "/dbos/messages/", data, kind, headers=headers)
        assert response.status_code < 500

    check()


def test_no_socket_fails(workflow_id: str, caplog: pytest.LogCaptureFixture) -> None:
    user = User.objects.create_superuser("root")
    usual = st.fixed_dictionaries(
        {"workflow_id": st.just(workflow_id), "key": mostly(st.just("s"), TEXT)},
        optional={"offset": mostly(st.just("0"), TEXT), "tag": TEXT, "token": TEXT},
    ).map(urlencode)
    message = st.fixed_dictionaries(
        {"message": JSON, "idempotency_key": mostly(TEXT, JSON)},
        optional={"topic": JSON, "x": JSON},
    )
    frame = mostly(message.map(json.dumps), TEXT | JSON.map(json.dumps))
    received = frame.map(lambda text: {"text": text}) | st.binary().map(
        lambda data: {"bytes": data}
    )
    origins = st.none() | mostly(HEADER, st.just("http://testserver")).map(str.encode)

    async def serve(path: str, frames: list[Any], origin: bytes | None) -> None:
        caplog.clear()
        # Redis' keeps locks of the event loop, which each example has anew.
        channel_layers.backends.clear()
        headers = [(b"host", b"testserver")] + ([(b"origin", origin)] if origin else [])
        socket = Socket(URLRouter(websocket_urlpatterns), path, headers, user)
        async with asyncio.timeout(LIMIT):
            await socket.connect()
            for one in frames:
                await socket.send_input({"type": "websocket.receive", **one})
            await socket.disconnect()

    @fuzz(EXAMPLES)
    @given(
        st.sampled_from(["streams", "events"]),
        mostly(usual, queries(NAMES)),
        st.lists(received, max_size=4),
        origins,
    )
    def check(kind: str, query: str, frames: list[Any], origin: bytes | None) -> None:
        async_to_sync(serve)(f"/ws/dbos/{kind}/?{query}", frames, origin)
        assert not [
            record
            for record in caplog.records
            # A task of Redis' layer that the end of its loop has caught.
            if record.levelname == "ERROR" and "RedisChannelLayer" not in record.getMessage()
        ]

    check()
