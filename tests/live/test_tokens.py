"""Tokens: signed, scoped and expiring; they open one workflow to whoever has them."""

from __future__ import annotations

import time
import uuid
from datetime import timedelta
from typing import Any

import pytest
from django.contrib.auth.models import AnonymousUser, User
from django.core import signing
from django.db.models import QuerySet

import django_dbos as dbos
from django_dbos.exceptions import WorkflowDoesNotExist
from django_dbos.live import tokens
from django_dbos.live.following import follow_events, follow_stream, read_stream_page
from django_dbos.live.readers import Reader, Reason, Refused
from django_dbos.models import Checkpoint, Workflow
from django_dbos.testing import arun_until_idle
from tests.consumers.test_consumers import connected
from tests.live.workflows import collect, sets_events, started, waits, write
from tests.waiting import aeventually

# Random, so that they can't be compressed.
LONG_KEYS = ["".join(uuid.uuid4().hex for _ in range(7)) for _ in range(50)]


async def reason(token: str, workflow_id: str, key: str = "s") -> Reason | None:
    """Return why a stream is refused to the holder of a token; None if it isn't."""
    try:
        await read_stream_page(Reader(token=token), workflow_id, key)
    except Refused as refused:
        return refused.reason
    return None


async def test_a_token_opens_a_workflows_streams(async_db: None) -> None:
    workflow_id = await started()
    other_id = await started()
    token = await dbos.astream_token(workflow_id)

    assert await reason(token, workflow_id) is None
    assert await reason(token, workflow_id, "another") is None
    assert await reason(token, other_id) is Reason.FORBIDDEN
    assert await reason(token, "unknown") is Reason.FORBIDDEN
    with pytest.raises(Refused):
        await anext(follow_events(Reader(token=token), workflow_id))


async def test_a_token_may_be_limited_to_keys(async_db: None) -> None:
    workflow_id = await started()
    token = await dbos.astream_token(workflow_id, keys=["s", "t"])

    answers = [await reason(token, workflow_id, key) for key in ("s", "t", "u")]

    assert answers == [None, None, Reason.FORBIDDEN]


async def test_a_token_of_events_shows_its_keys_only(async_db: None) -> None:
    handle = await sets_events.astart({"a": 1, "b": 2, "c": 3})
    token = await dbos.aevent_token(handle.workflow_id, keys=["a", "c"])
    await arun_until_idle()

    frames = await collect(follow_events(Reader(token=token), handle.workflow_id), 2)

    assert [(frame.key, frame.json_text) for frame in frames] == [("a", "1"), ("c", "3")]
    with pytest.raises(Refused):
        await anext(follow_events(Reader(token=token), handle.workflow_id, key="b"))


async def test_a_token_decides_whoever_is_logged_in(async_db: None) -> None:
    workflow_id, other_id = await started(), await started()
    superuser = User(is_superuser=True, is_active=True, pk=1)
    reader = Reader(superuser, token=await dbos.astream_token(workflow_id))

    await read_stream_page(reader, workflow_id, "s")
    with pytest.raises(Refused):
        await read_stream_page(reader, other_id, "s")


@pytest.mark.parametrize("change", ["cut", "other salt", "other key", "not json", "long", ""])
async def test_a_forged_token_is_refused(async_db: None, settings: Any, change: str) -> None:
    workflow_id = await started()
    token = await dbos.astream_token(workflow_id)
    content = signing.loads(token, salt=tokens.SALT)
    settings.SECRET_KEY_FALLBACKS = []
    forged = {
        "cut": token[:-1],
        "other salt": signing.dumps(content, salt="another"),
        "other key": signing.dumps(content, key="another", salt=tokens.SALT),
        "not json": signing.dumps([1, 2], salt=tokens.SALT),
        "long": token + "x" * tokens.MAX_LENGTH,
        "": "",
    }[change]

    assert await reason(forged, workflow_id) is Reason.NOT_LOGGED_IN


async def test_a_retired_secret_still_verifies(async_db: None, settings: Any) -> None:
    workflow_id = await started()
    token = await dbos.astream_token(workflow_id)

    settings.SECRET_KEY_FALLBACKS = [settings.SECRET_KEY]
    settings.SECRET_KEY = "the next one"

    assert await reason(token, workflow_id) is None


async def test_an_expired_token_is_refused_also_in_the_middle(
    async_db: None, settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings.DBOS = {**settings.DBOS, "POLL_INTERVAL": 0.05}
    workflow_id = await started()
    token = await dbos.astream_token(workflow_id, max_age=timedelta(minutes=5))
    now, later = time.time, [0.0]
    monkeypatch.setattr(tokens.time, "time", lambda: now() + later[0])

    pages = follow_stream(Reader(token=token), workflow_id, "s")
    await anext(pages)
    later[0] = 302

    with pytest.raises(Refused) as caught:
        await collect(pages, 1)
    assert caught.value.reason is Reason.EXPIRED
    assert await reason(token, workflow_id) is Reason.EXPIRED


@pytest.mark.rule(79)
async def test_a_token_does_not_open_a_later_workflow_with_the_id(async_db: None) -> None:
    workflow_id = await started()
    token = await dbos.astream_token(workflow_id)
    assert await reason(token, workflow_id) is None

    await QuerySet(Workflow).filter(pk=workflow_id).aupdate(token=uuid.uuid4())

    assert await reason(token, workflow_id) is Reason.FORBIDDEN


async def test_the_websockets_take_tokens(async_db: None) -> None:
    workflow_id = await started()
    await write(workflow_id, '"for the holder"')
    token = await dbos.astream_token(workflow_id, keys=["s"])
    query = {"workflow_id": workflow_id, "key": "s"}

    async with connected("streams", AnonymousUser(), token=token, **query) as client:
        assert await client.frame() == {"offset": 0, "value": "for the holder"}
    answers = []
    for kind, asked in (
        ("streams", {**query, "token": token[:-2]}),
        ("streams", {**query, "token": token, "key": "t"}),
        ("events", {**query, "token": token}),
    ):
        async with connected(kind, AnonymousUser(), **asked) as client:
            answers.append(await client.frames())

    assert answers == [([], 4401), ([], 4403), ([], 4403)]


@dbos.workflow
def invites() -> str:
    return dbos.stream_token(dbos.current_workflow().workflow_id, keys=["s"])


async def test_a_workflow_records_its_token(async_db: None) -> None:
    handle = await invites.astart()
    await arun_until_idle()

    token = await handle.aget_result()

    assert await reason(token, handle.workflow_id) is None
    assert await Checkpoint.objects.filter(workflow_id=handle.workflow_id).acount() == 1


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"keys": "progress"}, TypeError, r"\['progress'\]"),
        ({"keys": []}, ValueError, "None opens all"),
        ({"keys": ["k"] * 51}, ValueError, "50"),
        ({"keys": ["a\0"]}, ValueError, "NUL"),
        ({"max_age": 0}, ValueError, "max_age"),
        ({"max_age": -1}, ValueError, "max_age"),
        ({"max_age": "1h"}, TypeError, "max_age"),
        (
            {"keys": ["".join(uuid.uuid4().hex for _ in range(7)) for _ in range(50)]},
            ValueError,
            "fewer keys",
        ),
    ],
)
def test_a_mistake_is_named(
    transactional_db: None, options: Any, error: type[Exception], message: str
) -> None:
    workflow_id = waits.start().workflow_id
    for make in (dbos.stream_token, dbos.event_token):
        with pytest.raises(error, match=message):
            make(workflow_id, **options)


def test_a_token_needs_a_workflow(transactional_db: None) -> None:
    with pytest.raises(WorkflowDoesNotExist):
        dbos.stream_token("unknown")


async def test_the_workflow_of_a_token_is_checked_while_it_is_open(
    async_db: None, settings: Any
) -> None:
    settings.DBOS = {**settings.DBOS, "RECHECK": 0.05, "POLL_INTERVAL": 3_600}
    workflow_id = await started()
    token = await dbos.astream_token(workflow_id)

    async with connected(
        "streams", AnonymousUser(), workflow_id=workflow_id, key="s", token=token
    ) as client:
        await aeventually(lambda: not client.future.done())
        await QuerySet(Workflow).filter(pk=workflow_id).adelete()
        assert await client.frames() == ([], 4403)
