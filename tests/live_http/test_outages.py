"""Outages of the database while pages read and send over HTTP: at any statement of a request."""

from __future__ import annotations

import asyncio
import json
import sqlite3
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from asgiref.sync import sync_to_async
from channels.routing import URLRouter
from django.contrib.auth.models import User
from django.db import OperationalError, connection
from django.test import AsyncClient, Client

from django_dbos.live import http, server_sent, waiting
from django_dbos.routing import websocket_urlpatterns
from django_dbos.store.errors import is_passing
from django_dbos.testing import arun_until_idle
from tests.consumers.client import Client as Socket
from tests.live_http.client import Events, address, root
from tests.live_http.test_messages import PATH, received
from tests.live_http.workflows import counts, echoes
from tests.waiting import LIMIT, aeventually

# More statements than any request has.
MANY = 1_000


def outage() -> OperationalError:
    """Return the error of a database that is away, as Django raises it from the driver's."""
    if connection.vendor == "sqlite":
        driver: Exception = sqlite3.OperationalError("unable to open database file")
        driver.sqlite_errorname = "SQLITE_CANTOPEN"  # type: ignore[attr-defined]
    else:
        import psycopg

        driver = psycopg.OperationalError("the connection is lost")
    error = OperationalError(str(driver))
    error.__cause__ = driver
    return error


class Database:
    """The connection of the requests, which fails from some statement on."""

    def __init__(self) -> None:
        self.left = MANY

    def __call__(self, execute: Any, *arguments: Any) -> Any:
        self.left -= 1
        if self.left < 0:
            raise outage()
        return execute(*arguments)


@asynccontextmanager
async def failing() -> AsyncIterator[Database]:
    """Watch the connection of the thread on which the ORM is used."""
    database = Database()
    await sync_to_async(lambda: connection.execute_wrappers.append(database))()
    try:
        yield database
    finally:
        await sync_to_async(lambda: connection.execute_wrappers.remove(database))()


def test_the_error_is_that_of_an_outage() -> None:
    assert is_passing(outage())
    assert not is_passing(OperationalError("another"))


@pytest.mark.parametrize("live", ["", "long-poll", "sse"])
@pytest.mark.parametrize("kind", ["streams", "events"])
@pytest.mark.parametrize("method", ["get", "head"])
async def test_a_first_look_is_503_at_whatever_statement_the_database_goes_away(
    async_db: None,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    method: str,
    kind: str,
    live: str,
) -> None:
    monkeypatch.setattr(http._is_away, "_logged_at", None)
    client = await root()
    workflow_id = (await counts.astart(3)).workflow_id
    await arun_until_idle()
    query = {"live": live} if live else {}
    path = address(kind, workflow_id, key="s", offset="-1", **query)

    async with failing() as database:
        for count in range(MANY):
            database.left = count
            response = await getattr(client, method)(path)
            if response.status_code != 503:
                break
            assert response["Retry-After"] == "5"
            assert response["Cache-Control"] == "no-store"
        database.left = MANY
        if live == "sse" and method == "get":
            await Events(response).all()

    # The session, its user, the workflow and the data.
    assert count >= 4
    assert response.status_code in (200, 204)
    lines = [record.getMessage() for record in caplog.records if record.name != "django_dbos.steps"]
    assert [line for line in lines if "answered with 503" in line] == lines[:1]
    assert not [one for one in caplog.records if one.levelname == "ERROR"]


async def test_a_response_that_has_begun_ends_in_an_outage(
    async_db: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its workflow isn't active, so the tables are read again and again."""
    monkeypatch.setattr(waiting, "INACTIVE_PAUSE", 0.05)
    client = await root()
    handle = await echoes.astart()
    await handle.asend("before")
    await arun_until_idle()
    await handle.acancel()

    async with failing() as database:
        response = await client.get(
            address("streams", handle.workflow_id, key="s", live="sse", offset="-1")
        )
        events = Events(response)
        assert await events.values(1) == ["before"]
        # It has sent all, and looks whether the workflow goes on.
        reading = asyncio.create_task(events.all())
        database.left = MANY
        await aeventually(lambda: database.left < MANY - 10)
        database.left = 0
        rest = await reading
        again = await client.get(address("streams", handle.workflow_id, key="s"))

    assert not [event for event in rest if event[0] == "data"]
    assert again.status_code == 503


def test_a_response_of_a_wsgi_server_ends_in_an_outage(
    transactional_db: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = Client(**{"wsgi.multithread": True})  # type: ignore[arg-type]
    client.force_login(User.objects.create_superuser("root"))
    workflow_id = echoes.start().workflow_id
    path = address("streams", workflow_id, key="s", live="sse", offset="-1")

    async def fails(*arguments: Any) -> Any:
        raise outage()

    response: Any = client.get(path)
    monkeypatch.setattr(server_sent, "await_news", fails)
    text = b"".join(response.streaming_content).decode()

    assert response.status_code == 200
    assert "streamNextOffset" in text


async def test_a_message_is_refused_with_503_and_may_be_sent_again(async_db: None) -> None:
    client = await root()
    workflow_id = (await echoes.astart()).workflow_id
    body = json.dumps({"workflow_id": workflow_id, "message": 1, "idempotency_key": "k"})

    async with failing() as database:
        for count in range(MANY):
            database.left = count
            response = await client.post(PATH, body, content_type="application/json")
            if response.status_code != 503:
                break
            assert response["Retry-After"] == "5"

    assert count >= 4
    assert response.status_code == 204
    assert await received(workflow_id) == [("", 1)]


async def test_a_message_over_a_socket_is_refused_as_unavailable(async_db: None) -> None:
    user = await User.objects.acreate_superuser("root")
    workflow_id = (await echoes.astart()).workflow_id
    path = f"/ws/dbos/streams/?workflow_id={workflow_id}&key=s"
    socket = Socket(URLRouter(websocket_urlpatterns), path, (), user)
    await socket.connect()
    # Its first frame, so that it has begun.
    await socket.receive_output(LIMIT)
    message = json.dumps({"message": 1, "idempotency_key": "k"})

    async with failing() as database:
        database.left = 0
        await socket.say(message)
        refused = await socket.frame()
    await socket.say(message)
    sent = await socket.frame()
    await socket.disconnect()

    assert (refused, sent) == ({"refused": "k", "reason": "unavailable"}, {"sent": "k"})
    assert await received(workflow_id) == [("", 1)]


def asks_its_tables(user: User, *arguments: Any) -> bool:
    return User.objects.filter(pk=user.pk, username="anna").exists()


async def test_a_rule_whose_database_is_away_refuses_nobody(async_db: None, settings: Any) -> None:
    """A page that is refused doesn't come again."""
    settings.DBOS = {**settings.DBOS, "CAN_READ": asks_its_tables, "CAN_SEND": asks_its_tables}
    user = await User.objects.acreate_user("anna")
    client = AsyncClient()
    await client.aforce_login(user)
    workflow_id = (await echoes.astart()).workflow_id
    body = json.dumps({"workflow_id": workflow_id, "message": 1, "idempotency_key": "k"})
    path = address("streams", workflow_id, key="s")

    for statuses, ask in (
        ((503, 200), lambda: client.get(path)),
        ((503, 204), lambda: client.post(PATH, body, content_type="application/json")),
    ):
        found = []
        async with failing() as database:
            for count in range(MANY):
                database.left = count
                found.append((await ask()).status_code)
                if found[-1] != 503:
                    break
        assert (found[0], found[-1]) == statuses
        assert len(found) >= 5


async def test_a_socket_whose_rule_asks_a_database_that_is_away_comes_again(
    async_db: None, settings: Any
) -> None:
    settings.DBOS = {**settings.DBOS, "CAN_READ": asks_its_tables}
    await User.objects.acreate_user("anna")
    workflow_id = (await echoes.astart()).workflow_id
    path = f"/ws/dbos/streams/?workflow_id={workflow_id}&key=s"
    codes = []

    async with failing() as database:
        for count in range(MANY):
            # A user keeps the permissions that were read.
            database.left = MANY
            user = await User.objects.aget(username="anna")
            database.left = count
            socket = Socket(URLRouter(websocket_urlpatterns), path, (), user)
            await socket.connect()
            output = await socket.receive_output(LIMIT)
            await socket.disconnect()
            if output["type"] != "websocket.close":
                break
            codes.append(output["code"])

    assert set(codes) == {4500}
    assert len(codes) >= 4


async def test_a_missing_table_is_no_outage(async_db: None) -> None:
    client: AsyncClient = await root()
    client.raise_request_exception = False
    workflow_id = (await counts.astart(1)).workflow_id

    def fails(execute: Any, sql: str, *arguments: Any) -> Any:
        return execute(sql.replace("dbos_workflow", "dbos_missing"), *arguments)

    await sync_to_async(lambda: connection.execute_wrappers.append(fails))()
    try:
        response = await client.get(address("streams", workflow_id, key="s"))
    finally:
        await sync_to_async(lambda: connection.execute_wrappers.remove(fails))()

    assert response.status_code == 500
