"""The permissions of many readers at once: few statements, the same answers as one by one."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, aclosing, asynccontextmanager
from typing import Any

import pytest
from asgiref.sync import sync_to_async
from django.contrib.auth.models import User
from django.test import Client as Browser

from django_dbos.live import access
from django_dbos.live.following import follow_events, follow_stream
from django_dbos.live.readers import Reader, Reason, Refused
from django_dbos.live.users import reread_all
from django_dbos.models import Workflow
from django_dbos.store import get_store
from tests.consumers.test_consumers import captured
from tests.live.workflows import started, write
from tests.waiting import LIMIT

ENGINES = [
    "django.contrib.sessions.backends.db",
    "django.contrib.sessions.backends.cached_db",
    "django.contrib.sessions.backends.cache",
    "django.contrib.sessions.backends.file",
]


async def logged_in(*names: str) -> list[Reader]:
    """Return readers with users and sessions of their own."""

    def log_in(name: str) -> Reader:
        user = User.objects.create_user(name)
        browser = Browser()
        browser.force_login(user)
        reader = Reader(user, browser.session)
        reader.read_session()
        return reader

    return [await sync_to_async(log_in)(name) for name in names]


@pytest.mark.parametrize("engine", ENGINES)
async def test_users_are_read_again_with_any_sessions(
    async_db: None, settings: Any, engine: str
) -> None:
    settings.SESSION_ENGINE = engine
    readers = await logged_in("stays", "logs_out", "deactivated", "new_password", "deleted")
    stays, logs_out = readers[:2]

    def change() -> None:
        logs_out.session.__class__(logs_out.session.session_key).flush()
        User.objects.filter(username="deactivated").update(is_active=False)
        User.objects.filter(username="new_password").update(password="another")
        User.objects.filter(username="deleted").delete()

    await sync_to_async(change)()
    await sync_to_async(reread_all)(readers)

    assert [one.user.is_authenticated for one in readers] == [True, False, False, False, False]
    assert stays.user.username == "stays"


async def test_a_user_without_a_session_is_read_again(async_db: None) -> None:
    users = [await sync_to_async(User.objects.create_user)(name) for name in ("a", "b")]
    readers = [Reader(user) for user in users]
    await User.objects.filter(username="b").aupdate(is_active=False)

    await sync_to_async(reread_all)([*readers, Reader(None), Reader(token="any")])

    assert [one.user.is_authenticated for one in readers] == [True, False]


async def test_users_without_sessions_are_read_at_once(async_db: None) -> None:
    users = [await sync_to_async(User.objects.create_user)(f"user-{number}") for number in range(9)]
    # A project may have made the user from a text.
    readers = [Reader(user) for user in users] + [Reader(User(pk=str(users[0].pk)))]

    async with captured() as statements:
        await sync_to_async(reread_all)(readers)

    assert len(statements) == 1
    assert [one.user.username for one in readers] == [*(user.username for user in users), "user-0"]
    assert readers[0].user is readers[-1].user


@asynccontextmanager
async def followed(readers: list[Reader], ids: list[str]) -> AsyncIterator[list[Any]]:
    async with AsyncExitStack() as stack:
        pages = [
            await stack.enter_async_context(aclosing(follow_stream(reader, workflow_id, "s")))
            for reader, workflow_id in zip(readers, ids, strict=True)
        ]
        for one in pages:
            await anext(one)
        yield pages


async def test_many_checks_at_once_take_a_few_statements(
    async_db: None, settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings.DBOS = {**settings.DBOS, "RECHECK": 3_600, "POLL_INTERVAL": 3_600}
    counts = []
    for number in (3, 30):
        readers = await logged_in(*(f"user-{number}-{one}" for one in range(number)))
        ids = [await started(user=reader.user) for reader in readers]
        async with followed(readers, ids) as pages:
            monkeypatch.setattr(access, "SENDING", 0)
            for workflow_id in ids:
                await write(workflow_id, "1", notifies=False)
            async with captured() as statements:
                get_store().wakeups.notify_everything()
                found = await asyncio.gather(*(next_frames(one) for one in pages))
            monkeypatch.setattr(access, "SENDING", 1)
        assert found == [["1"]] * number
        counts.append(sum("stream_entry" not in one["sql"] for one in statements))

    # Of the looks and the checks that come up during one, more or fewer are in one call.
    assert counts[1] < 30


async def next_frames(pages: Any) -> list[str]:
    async with asyncio.timeout(LIMIT):
        while not (page := await anext(pages)).frames:
            pass
        return [frame.json_text for frame in page.frames]


async def test_a_refusal_by_a_rule_tells_nothing_by_its_time(
    async_db: None, settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A rule is asked for existing workflows only; its time is hidden."""
    ended: list[float] = []
    slept: list[float] = []
    sleep = asyncio.sleep

    async def noted(seconds: float) -> None:
        slept.append(seconds)
        await sleep(0)

    def rule(user: Any, workflow: Workflow, kind: str, key: str | None) -> bool:
        ended.append(1)
        return False

    settings.DBOS = {**settings.DBOS, "CAN_READ": rule}
    workflow_id = await started()
    monkeypatch.setattr(access.asyncio, "sleep", noted)

    for asked in (workflow_id, "unknown"):
        for follow in (follow_stream(Reader(), asked, "s"), follow_events(Reader(), asked)):
            with pytest.raises(Refused) as caught:
                await anext(follow)
            assert caught.value.reason is Reason.NOT_LOGGED_IN

    assert len(ended) == 2
    assert len(slept) == 4
    assert all(0 < seconds <= access.REFUSAL_STEP for seconds in slept)
