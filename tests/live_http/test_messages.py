"""Messages from pages: by POST and over the websocket, permitted ones, once each."""

from __future__ import annotations

import json
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import urlencode

import pytest
from channels.routing import URLRouter
from django.contrib.auth.models import Permission, User
from django.db import connection
from django.test import AsyncClient, Client
from django.test.utils import CaptureQueriesContext

import django_dbos as dbos
from django_dbos.live import rates, sending
from django_dbos.models import Message, Workflow
from django_dbos.routing import websocket_urlpatterns
from django_dbos.telemetry import rare_warnings
from tests.consumers.client import Client as Socket
from tests.consumers.test_consumers import log_out, session_of
from tests.live_http.client import address, root
from tests.live_http.workflows import echoes

PATH = "/dbos/messages/"


async def post(client: AsyncClient, body: Any, **headers: str) -> Any:
    text = body if isinstance(body, str) else json.dumps(body)
    return await client.post(PATH, text, content_type="application/json", headers=headers)


async def received(workflow_id: str) -> list[tuple[str, Any]]:
    """Return (topic, message) of all that was sent to a workflow."""
    found = Message.objects.filter(workflow_id=workflow_id).order_by("message_id")
    return [(row.topic, row.message) async for row in found]


async def test_a_message_is_stored_for_its_workflow(async_db: None) -> None:
    client = await root()
    workflow_id = (await echoes.astart()).workflow_id

    response = await post(
        client, {"workflow_id": workflow_id, "message": {"text": "hello"}, "topic": "chat"}
    )

    assert (response.status_code, response.content) == (204, b"")
    assert await received(workflow_id) == [("chat", {"text": "hello"})]


async def test_the_engines_own_forms_of_values_mean_nothing_in_a_message(async_db: None) -> None:
    client = await root()
    workflow_id = (await echoes.astart()).workflow_id
    message = {"$model": "auth.user", "$type": "datetime", "pk": 1}

    await post(client, {"workflow_id": workflow_id, "message": message})

    assert await received(workflow_id) == [("", message)]


@pytest.mark.rule(81)
@pytest.mark.parametrize("by", ["field", "header"])
async def test_a_repeated_message_is_received_once(async_db: None, by: str) -> None:
    client = await root()
    workflow_id = (await echoes.astart()).workflow_id
    body = {"workflow_id": workflow_id, "message": 1}

    for _ in range(2):
        if by == "field":
            response = await post(client, {**body, "idempotency_key": "click-1"})
        else:
            response = await post(client, body, **{"Idempotency-Key": "click-1"})
        assert response.status_code == 204

    assert await received(workflow_id) == [("", 1)]


@pytest.mark.rule(81)
async def test_a_page_takes_no_key_of_anybody_else(async_db: None) -> None:
    client = await root()
    other = AsyncClient()
    await other.aforce_login(await User.objects.acreate_superuser("other"))
    workflow_id = (await echoes.astart()).workflow_id
    body = {"workflow_id": workflow_id, "idempotency_key": "k"}

    await post(client, {**body, "message": "one page"})
    await post(other, {**body, "message": "another page"})
    await dbos.asend(workflow_id, "the project", idempotency_key="k")

    messages = [message for _, message in await received(workflow_id)]
    assert messages == ["one page", "another page", "the project"]


async def test_a_form_sends_a_text_and_may_go_on(async_db: None) -> None:
    client = await root()
    workflow_id = (await echoes.astart()).workflow_id
    fields = {"workflow_id": workflow_id, "message": "yes", "topic": "answer"}

    stays = await client.post(PATH, fields)
    goes = await client.post(PATH, {**fields, "topic": "", "next": "/orders/7/"})
    astray = await client.post(PATH, {**fields, "next": "https://evil.example/"})

    assert [answer.status_code for answer in (stays, goes, astray)] == [204, 303, 204]
    assert goes["Location"] == "/orders/7/"
    assert await received(workflow_id) == [("answer", "yes"), ("", "yes"), ("answer", "yes")]


@pytest.mark.parametrize(
    ("body", "told"),
    [
        ("{", "isn't JSON"),
        ("[" * 100_000, "isn't JSON"),
        ('{"workflow_id": "id", "message": NaN}', "NaN isn't a JSON value"),
        ("[]", "must be a JSON object with workflow_id, message"),
        ({"workflow_id": "id"}, "The field 'message' is missing"),
        ({"message": 1}, "The field 'workflow_id' is missing"),
        ({"workflow_id": "id", "message": 1, "topci": "t"}, "Did you mean 'topic'?"),
        ({"workflow_id": 7, "message": 1}, "must be a str, not int 7"),
        ({"workflow_id": "id", "message": 1, "topic": ""}, "can't be empty"),
        ({"workflow_id": "id", "message": 1, "idempotency_key": "k" * 129}, "than 128 characters"),
        ('{"workflow_id": "id", "message": "\\ud800"}', "surrogate"),
    ],
)
async def test_a_bad_message_is_explained(async_db: None, body: Any, told: str) -> None:
    client = await root()

    response = await post(client, body)

    assert response.status_code == 400
    assert told in response.content.decode()


async def test_a_message_that_is_too_large_is_413(async_db: None, settings: Any) -> None:
    settings.DBOS = {**settings.DBOS, "MAX_PAYLOAD_BYTES": 100}
    client = await root()
    workflow_id = (await echoes.astart()).workflow_id

    response = await post(client, {"workflow_id": workflow_id, "message": "x" * 200})

    assert response.status_code == 413


@pytest.mark.parametrize("method", ["get", "head", "put", "delete"])
async def test_only_post_sends(async_db: None, method: str) -> None:
    client = await root()

    response = await getattr(client, method)(PATH)

    assert (response.status_code, response["Allow"]) == (405, "POST")


def test_a_post_of_another_site_is_refused(transactional_db: None) -> None:
    client = Client(enforce_csrf_checks=True)
    client.force_login(User.objects.create_superuser("root"))
    workflow_id = echoes.start().workflow_id
    body = {"workflow_id": workflow_id, "message": 1}

    refused = client.post(PATH, json.dumps(body), content_type="application/json")

    assert refused.status_code == 403
    assert not Message.objects.filter(workflow_id=workflow_id).exists()


async def status_of(user: User | None, workflow_id: str, topic: str = "t") -> tuple[Any, ...]:
    client = AsyncClient()
    if user is not None:
        await client.aforce_login(user)
    body = {"workflow_id": workflow_id, "message": 1, "topic": topic}
    response = await post(client, body)
    return response.status_code, response.content, dict(response.headers)


async def test_strangers_and_owners_send_nothing_and_learn_nothing(async_db: None) -> None:
    owner, stranger = [await User.objects.acreate_user(name) for name in ("owner", "stranger")]
    workflow_id = (await echoes.using(user=owner).astart()).workflow_id

    for user in (owner, stranger, None):
        known = await status_of(user, workflow_id)
        unknown = await status_of(user, "unknown")
        assert known == unknown
        assert known[0] == (404 if user else 401)
    assert await received(workflow_id) == []


@pytest.mark.parametrize("kind", ["messages", "streams", "events"])
def test_a_refusal_asks_the_same_of_the_database_for_an_unknown_workflow(
    transactional_db: None, kind: str
) -> None:
    client = Client()
    client.force_login(User.objects.create_user("stranger"))
    asked = []
    for workflow_id in (echoes.start().workflow_id, "01a22494-6a7e-7931-89e8-4fff28b0e384"):
        with CaptureQueriesContext(connection) as queries:
            if kind == "messages":
                body = json.dumps({"workflow_id": workflow_id, "message": 1})
                response = client.post(PATH, body, content_type="application/json")
            else:
                response = client.get(address(kind, workflow_id, key="s"))
        assert response.status_code == 404
        # All but the values: times, ids.
        asked.append([re.sub("'[^']*'", "", query["sql"]) for query in queries])

    assert asked[0] == asked[1] != []


async def test_the_permission_allows_all_messages_while_the_account_is_active(
    async_db: None,
) -> None:
    user = await User.objects.acreate_user("operator")
    permission = await Permission.objects.aget(codename="send_message")
    await user.user_permissions.aadd(permission)
    workflow_id = (await echoes.astart()).workflow_id

    assert (await status_of(user, workflow_id))[0] == 204
    assert (await status_of(user, "unknown"))[0] == 404


async def test_the_rule_decides_by_user_workflow_and_topic(async_db: None, settings: Any) -> None:
    asked = []

    def can_send(user: Any, workflow: Workflow, topic: str | None) -> bool:
        asked.append((user.username, workflow.workflow_id, topic))
        return topic == "answer"

    settings.DBOS = {**settings.DBOS, "CAN_SEND": can_send}
    owner = await User.objects.acreate_user("owner")
    workflow_id = (await echoes.astart()).workflow_id

    statuses = [(await status_of(owner, workflow_id, topic))[0] for topic in ("answer", "other")]

    assert statuses == [204, 404]
    assert asked == [("owner", workflow_id, "answer"), ("owner", workflow_id, "other")]
    # Visitors are asked about, too.
    assert (await status_of(None, workflow_id, "answer"))[0] == 204


async def test_a_rule_that_fails_refuses(
    async_db: None, settings: Any, caplog: pytest.LogCaptureFixture
) -> None:
    settings.DBOS = {**settings.DBOS, "CAN_SEND": lambda *args: 1 / 0}
    user = await User.objects.acreate_user("user")
    workflow_id = (await echoes.astart()).workflow_id

    assert (await status_of(user, workflow_id))[0] == 404
    assert "DBOS['CAN_SEND'] raised an error" in caplog.text


async def test_a_user_sends_only_so_much_at_once(
    async_db: None, settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rates, "MAX_RATE", 0)
    monkeypatch.setattr(rates, "MAX_BURST", 2)
    settings.DBOS = {**settings.DBOS, "CAN_SEND": lambda user, workflow, topic: True}
    user, other = [await User.objects.acreate_user(name) for name in ("user", "other")]
    workflow_id = (await echoes.using(user=user).astart()).workflow_id

    answers = [(await status_of(user, workflow_id))[0] for _ in range(3)]
    refused = await status_of(user, "unknown")

    assert answers == [204, 204, 429]
    assert refused[2]["Retry-After"]
    # An unknown workflow isn't told apart, and others aren't affected.
    assert refused == await status_of(user, workflow_id)
    assert (await status_of(other, workflow_id))[0] == 204
    async with connected(workflow_id, user) as socket:
        reply = await say(socket, message=1, idempotency_key="k")
    assert reply == {"refused": "k", "reason": "too many"}
    assert len(await received(workflow_id)) == 3


async def test_holders_of_the_permission_send_without_a_limit(
    async_db: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rates, "MAX_BURST", 0)
    user = await User.objects.acreate_superuser("root")
    workflow_id = (await echoes.astart()).workflow_id

    assert (await status_of(user, workflow_id))[0] == 204


async def test_visitors_of_a_workflow_send_it_only_so_much_at_once(
    async_db: None, settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rates, "MAX_RATE", 0)
    monkeypatch.setattr(rates, "MAX_BURST", 2)
    settings.DBOS = {**settings.DBOS, "CAN_SEND": lambda user, workflow, topic: True}
    workflow_id, other = [(await echoes.astart()).workflow_id for _ in range(2)]

    answers = [(await status_of(None, workflow_id))[0] for _ in range(3)]
    refused = await status_of(None, workflow_id)
    unknown = [await status_of(None, "unknown") for _ in range(3)]

    assert answers == [204, 204, 429]
    # An unknown workflow isn't told apart, and other workflows and users aren't affected.
    assert [one[0] for one in unknown[:2]] == [401, 401]
    assert unknown[2] == refused
    assert (await status_of(None, other))[0] == 204
    assert (await status_of(await User.objects.acreate_user("user"), workflow_id))[0] == 204
    async with connected(workflow_id, None, token=await dbos.astream_token(workflow_id)) as socket:
        reply = await say(socket, message=1, idempotency_key="k")
    assert reply == {"refused": "k", "reason": "too many"}
    assert len(await received(workflow_id)) == 3


def test_visitors_beyond_the_limit_cost_no_query(
    transactional_db: None, settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[Any] = []
    monkeypatch.setattr(rates, "MAX_BURST", 0)
    settings.DBOS = {**settings.DBOS, "CAN_SEND": lambda *given: asked.append(given)}
    body = json.dumps({"workflow_id": "w", "message": 1})

    with CaptureQueriesContext(connection) as queries:
        response = Client().post(PATH, body, content_type="application/json")

    assert (response.status_code, asked, len(queries)) == (429, [], 0)


async def test_a_flood_of_visitors_is_logged_once_a_minute(
    async_db: None,
    settings: Any,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(rates, "MAX_RATE", 0)
    monkeypatch.setattr(rates, "MAX_BURST", 1)
    monkeypatch.setattr(sending._too_many_of_visitors, "_logged_at", None)
    monkeypatch.setattr(sending._too_many_of_visitors, "_unlogged", 0)
    settings.DBOS = {**settings.DBOS, "CAN_SEND": lambda user, workflow, topic: True}
    workflow_id = (await echoes.astart()).workflow_id

    answers = {(await status_of(None, workflow_id))[0] for _ in range(20)}

    assert answers == {204, 429}
    # Neither the engine nor Django says more.
    lines = [record.getMessage() for record in caplog.records]
    assert lines == [f"A visitor's message to {workflow_id!r} is refused: there are too many"]
    # Collectors of logs group by the text without its values.
    assert [(one.msg, one.args) for one in caplog.records] == [
        (sending._too_many_of_visitors._text, (workflow_id,))
    ]
    assert caplog.records[0].module == "sending"
    caplog.clear()
    monkeypatch.setattr(rare_warnings, "INTERVAL", 0)
    await status_of(None, workflow_id)
    assert [record.getMessage() for record in caplog.records] == [
        f"{lines[0]} (18 more since the last line)"
    ]


def test_those_that_are_counted_are_few(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rates, "MAX_COUNTED", 3)
    monkeypatch.setattr(rates, "MAX_RATE", 0)
    allowances = rates.Allowances()

    for number in range(10):
        assert allowances.take(str(number))

    assert list(allowances._by_name) == ["7", "8", "9"]


@pytest.fixture(autouse=True)
def _nobody_has_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rates, "of_users", rates.Allowances())
    monkeypatch.setattr(rates, "of_visitors", rates.Allowances())


async def test_a_token_sends_nothing(async_db: None) -> None:
    client = await root()
    workflow_id = (await echoes.astart()).workflow_id
    token = await dbos.astream_token(workflow_id)

    response = await post(
        client,
        {"workflow_id": workflow_id, "message": 1},
        Authorization=f"Bearer {token}",
    )

    assert response.status_code in (401, 404)
    assert await received(workflow_id) == []


# --- Over the websocket --------------------------------------------------------------------


@asynccontextmanager
async def connected(
    workflow_id: str, user: Any, *, token: str | None = None, session: Any = None
) -> AsyncIterator[Socket]:
    query = {"workflow_id": workflow_id, "key": "s", **({"token": token} if token else {})}
    path = f"/ws/dbos/streams/?{urlencode(query)}"
    socket = Socket(URLRouter(websocket_urlpatterns), path, (), user, session=session)
    await socket.connect()
    try:
        yield socket
    finally:
        if not socket.future.done():
            await socket.disconnect()


async def say(socket: Socket, **frame: Any) -> Any:
    await socket.say(json.dumps(frame))
    return await socket.frame()


@pytest.mark.rule(81)
async def test_a_socket_sends_messages_once_each(async_db: None) -> None:
    user = await User.objects.acreate_superuser("root")
    workflow_id = (await echoes.astart()).workflow_id

    async with connected(workflow_id, user) as socket:
        for _ in range(2):
            reply = await say(socket, message={"a": 1}, topic="chat", idempotency_key="k")
            assert reply == {"sent": "k"}

    assert await received(workflow_id) == [("chat", {"a": 1})]


@pytest.mark.rule(81)
async def test_a_socket_is_told_why_a_message_is_refused(async_db: None) -> None:
    user = await User.objects.acreate_superuser("root")
    workflow_id = (await echoes.astart()).workflow_id

    async with connected(workflow_id, user) as socket:
        unnamed = await say(socket, message=1)
        misspelt = await say(socket, message=1, idempotency_key="k", topci="t")
        await User.objects.filter(pk=user.pk).aupdate(is_superuser=False)
        forbidden = await say(socket, message=1, idempotency_key="k")

    assert (unnamed["refused"], "idempotency_key" in unnamed["reason"]) == (None, True)
    assert "Did you mean 'topic'?" in misspelt["reason"]
    assert forbidden == {"refused": "k", "reason": "forbidden"}
    assert await received(workflow_id) == []


@pytest.mark.parametrize(
    ("key", "told"),
    [
        ("Infinity", "must be a str, not float inf"),
        ("1e400", "must be a str, not float inf"),
        ("7", "must be a str, not int 7"),
        (r'"\ud800"', "lone surrogates"),
        ("[" * 900 + "]" * 900, "must be a str, not list"),
    ],
)
async def test_an_idempotency_key_that_is_no_text_ends_no_socket(
    async_db: None, key: str, told: str
) -> None:
    user = await User.objects.acreate_superuser("root")
    workflow_id = (await echoes.astart()).workflow_id

    async with connected(workflow_id, user) as socket:
        await socket.say(f'{{"message": 1, "idempotency_key": {key}}}')
        refused = await socket.frame()
        sent = await say(socket, message=2, idempotency_key="k")

    assert refused["refused"] is None
    assert told in refused["reason"]
    assert sent == {"sent": "k"}


@pytest.mark.parametrize("by_token", [False, True])
async def test_a_socket_sends_nothing_after_a_log_out(async_db: None, by_token: bool) -> None:
    user = await User.objects.acreate_superuser("root")
    workflow_id = (await echoes.astart()).workflow_id
    token = await dbos.astream_token(workflow_id) if by_token else None
    session = await session_of(user)

    async with connected(workflow_id, user, token=token, session=session) as socket:
        before = await say(socket, message=1, idempotency_key="k")
        await log_out(user, session)
        after = await say(socket, message=2, idempotency_key="l")

    assert before == {"sent": "k"}
    assert after == {"refused": "l", "reason": "not logged in"}
    assert await received(workflow_id) == [("", 1)]


@pytest.mark.parametrize("text", ["ping", "[]", "{}", '{"other": 1}', "[" * 4000])
async def test_other_frames_are_ignored(async_db: None, text: str) -> None:
    user = await User.objects.acreate_superuser("root")
    workflow_id = (await echoes.astart()).workflow_id

    async with connected(workflow_id, user) as socket:
        await socket.say(text)
        assert await say(socket, message=1, idempotency_key="k") == {"sent": "k"}


async def test_a_socket_reads_what_it_has_sent(async_db: None, worker: Any) -> None:
    user = await User.objects.acreate_superuser("root")
    workflow_id = (await echoes.astart()).workflow_id

    async with connected(workflow_id, user) as socket:
        await socket.say(json.dumps({"message": "hello", "idempotency_key": "k"}))
        frames = [await socket.frame(), await socket.frame()]

    assert {"sent": "k"} in frames
    assert {"offset": 0, "value": "hello"} in frames
