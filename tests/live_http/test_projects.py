"""The live views inside of projects: their middleware, their transactions, their databases."""

from __future__ import annotations

import json
import zlib
from typing import Any

import pytest
from django.db import connections
from django.test import AsyncClient

import django_dbos as dbos
from django_dbos.executor import Executor
from tests.live_http.client import address, root
from tests.live_http.workflows import echoes, sets


def use(settings: Any, *names: str) -> None:
    settings.MIDDLEWARE = [*settings.MIDDLEWARE, *names]


def new_unpacker() -> Any:
    return zlib.decompressobj(16 + zlib.MAX_WBITS)


async def follow(client: AsyncClient, workflow_id: str, **headers: str) -> Any:
    path = address("streams", workflow_id, key="s", offset="-1", live="sse")
    return await client.get(path, headers=headers)


async def test_a_compressed_response_is_sent_event_by_event(
    async_db: None, settings: Any, worker: Executor
) -> None:
    use(settings, "django.middleware.gzip.GZipMiddleware")
    client = await root()
    handle = await echoes.astart()
    response = await follow(client, handle.workflow_id, **{"Accept-Encoding": "gzip"})
    unpacker, text = new_unpacker(), ""
    parts = aiter(response.streaming_content)

    for number in range(3):
        await handle.asend(number)
        while f"data:[{number}]" not in text:
            text += unpacker.decompress(await anext(parts)).decode()
            # Before Django 6 each part is a gzip file of its own.
            unpacker = new_unpacker() if unpacker.eof else unpacker
    # To the end: Django's generator holds a file, which complains if it is collected while open.
    await handle.asend(None)
    async for _ in parts:
        pass

    assert response["Content-Encoding"] == "gzip"


async def test_a_compressed_page_is_known_by_its_weak_etag(async_db: None, settings: Any) -> None:
    use(settings, "django.middleware.gzip.GZipMiddleware")
    client = await root()
    path = address("streams", (await echoes.astart()).workflow_id, key="s")
    etag = (await client.get(path))["ETag"]

    response = await client.get(path, headers={"If-None-Match": f"W/{etag}"})

    assert response.status_code == 304


async def test_a_token_is_enough_where_pages_need_a_login(async_db: None, settings: Any) -> None:
    use(settings, "django.contrib.auth.middleware.LoginRequiredMiddleware")
    workflow_id = (await echoes.astart()).workflow_id
    token = await dbos.astream_token(workflow_id)
    path = address("streams", workflow_id, key="s")

    statuses = [
        (await AsyncClient().get(path, headers=headers)).status_code
        for headers in ({"Authorization": f"Bearer {token}"}, {})
    ]

    assert statuses == [200, 401]


async def test_a_project_without_sessions_reads_by_token(async_db: None, settings: Any) -> None:
    settings.MIDDLEWARE = []
    workflow_id = (await echoes.astart()).workflow_id
    token = await dbos.astream_token(workflow_id)
    path = address("streams", workflow_id, key="s")

    assert (await AsyncClient().get(path)).status_code == 401
    assert (await AsyncClient().get(f"{path}&token={token}")).status_code == 200


async def test_atomic_requests_leave_these_views_out(
    async_db: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = await root()
    for alias in connections.settings:
        monkeypatch.setitem(connections.settings[alias], "ATOMIC_REQUESTS", True)
    handle = await sets.astart({"a": 1})

    read = await client.get(address("events", handle.workflow_id))
    sent = await client.post(
        "/dbos/messages/",
        json.dumps({"workflow_id": handle.workflow_id, "message": None}),
        content_type="application/json",
    )

    assert (read.status_code, sent.status_code) == (200, 204)
