"""Notifications over the channel layer: prompt, without data, and harmless when lost."""

from __future__ import annotations

import asyncio
import logging
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from importlib.util import find_spec
from typing import Any

import pytest
from channels.layers import get_channel_layer
from django.conf import settings as django_settings

from django_dbos.consumers import channel_layer
from django_dbos.store import get_store
from tests.log_records import ours
from tests.waiting import LIMIT, LOOK_INTERVAL, aeventually, eventually

needs_client = pytest.mark.skipif(
    find_spec("channels_redis") is None, reason="channels-redis isn't installed"
)
needs_layer = pytest.mark.skipif(not django_settings.REDIS_URL, reason="REDIS_URL isn't set")

NOBODY_THERE = {
    "default": {
        "BACKEND": "channels_redis.core.RedisChannelLayer",
        "CONFIG": {"hosts": ["redis://127.0.0.1:1"]},
    }
}


@pytest.fixture(autouse=True)
def _patient_sender(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have no send given up on a busy machine: the next ones would be dropped for some seconds."""
    monkeypatch.setattr(channel_layer, "SEND_TIMEOUT", LIMIT)


@contextmanager
def listening() -> Iterator[None]:
    receiver = channel_layer.listen()
    try:
        yield
    finally:
        receiver.leave()


@asynccontextmanager
async def received_keys() -> AsyncIterator[list[str]]:
    """Collect the keys of notifications, once the subscription is known to work."""
    keys: list[str] = []
    wakeups = get_store().wakeups

    def is_subscribed() -> bool:
        channel_layer.send_notifications(keys=["first"])
        return "first" in keys

    wakeups.add_key_listener(keys.extend)
    try:
        with listening():
            await aeventually(is_subscribed)
            yield keys
    finally:
        wakeups.remove_key_listener(keys.extend)


@needs_layer
async def test_a_notification_wakes_the_watch_of_its_key(async_db: None) -> None:
    async with received_keys() as keys:
        with get_store().wakeups.watch("hinted") as watch:
            # The listener notifies all keys once it is connected.
            while await watch.await_(0.2):
                pass

            channel_layer.send_notifications(keys=["other"])
            await aeventually(lambda: "other" in keys)
            was_woken = await watch.await_(0.1)
            channel_layer.send_notifications(keys=["hinted"])

            assert (was_woken, await watch.await_(LIMIT)) == (False, True)


@needs_layer
async def test_many_keys_are_all_sent(async_db: None) -> None:
    keys = {f"key {number}" for number in range(3 * channel_layer.MAX_SENT)}

    async with received_keys() as found:
        channel_layer.send_notifications(keys=sorted(keys))

        await aeventually(lambda: keys <= set(found))


@needs_layer
async def test_notifications_arrive_after_a_long_silence(
    async_db: None, caplog: pytest.LogCaptureFixture
) -> None:
    async with received_keys() as keys:
        # redis-py 8 times out after 5 seconds without a message.
        await asyncio.sleep(6)
        channel_layer.send_notifications(keys=["late"])
        await aeventually(lambda: "late" in keys)

    assert ours(caplog) == []


@needs_layer
async def test_membership_in_the_group_is_renewed(
    async_db: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(channel_layer, "RENEWAL", 0.1)
    layer = get_channel_layer()
    redis, group = layer.connection(0), layer._group_key(channel_layer.GROUP)

    async def until_joined() -> None:
        while not await redis.exists(group):  # noqa: ASYNC110
            await asyncio.sleep(LOOK_INTERVAL)

    # Without messages: a busy machine may need longer for one than a receiver has until a renewal.
    with listening():
        async with asyncio.timeout(LIMIT):
            await until_joined()
            # As if the membership had expired.
            await redis.delete(group)
            await until_joined()


class DeafLayer:
    """A layer whose client loses the cancellations of a receive, as if a message had come."""

    def __init__(self) -> None:
        self.joined = self.left = 0

    async def new_channel(self) -> str:
        return "specific!channel"

    async def group_add(self, group: str, channel: str) -> None:
        self.joined += 1

    async def group_discard(self, group: str, channel: str) -> None:
        self.left += 1

    async def receive(self, channel: str) -> dict[str, Any]:
        with suppress(asyncio.CancelledError):
            await asyncio.get_running_loop().create_future()
        return {"keys": []}


async def test_a_lost_cancellation_stops_neither_renewals_nor_the_end(
    async_db: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    layer = DeafLayer()
    monkeypatch.setattr(channel_layer, "RENEWAL", 0.01)
    monkeypatch.setattr(channel_layer, "_layer", lambda: layer)

    with listening():
        await aeventually(lambda: layer.joined > 2)

    await aeventually(lambda: layer.left == 1)


async def test_without_a_layer_nothing_is_sent_or_received(settings: Any) -> None:
    for layers in ({}, {"default": {"BACKEND": "channels.layers.InMemoryChannelLayer"}}):
        settings.CHANNEL_LAYERS = layers
        before = asyncio.all_tasks()

        channel_layer.send_notifications(keys=["any"])
        with listening():
            assert asyncio.all_tasks() == before


async def test_a_misconfigured_layer_is_ignored(
    settings: Any, caplog: pytest.LogCaptureFixture
) -> None:
    settings.CHANNEL_LAYERS = {"default": {"BACKEND": "nowhere.Layer"}}
    channel_layer._warn_once.cache_clear()

    for _ in range(3):
        channel_layer.send_notifications(keys=["any"])
        with listening():
            pass

    assert ["nowhere.Layer" in record.message for record in ours(caplog)] == [True]


@needs_client
def test_an_outage_is_logged_once_and_blocks_no_caller(
    settings: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    settings.CHANNEL_LAYERS = NOBODY_THERE
    monkeypatch.setattr(channel_layer, "PAUSE", 0.01)
    monkeypatch.setattr(channel_layer, "LINGER", 2.0)
    sender = channel_layer.Sender()
    sent, may_send, tried = channel_layer._send, threading.Event(), []

    async def send(keys: list[str]) -> None:
        tried.append(keys)
        await asyncio.to_thread(may_send.wait, LIMIT)
        await sent(keys)

    monkeypatch.setattr(channel_layer, "_send", send)

    # Callers don't wait for the send.
    for number in range(30):
        sender.send([f"key {number}"])
    may_send.set()

    def is_tried_again() -> bool:
        sender.send(["any"])
        return len(tried) > 3

    eventually(is_tried_again)
    monkeypatch.setattr(channel_layer, "LINGER", 0.1)
    wait_for_end(sender)
    assert [record.levelno for record in ours(caplog)] == [logging.WARNING]


def wait_for_end(sender: channel_layer.Sender) -> None:
    eventually(lambda: sender._thread is None)


@needs_client
def test_notifications_are_dropped_while_the_queue_is_full(
    settings: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    settings.CHANNEL_LAYERS = NOBODY_THERE
    monkeypatch.setattr(channel_layer, "MAX_QUEUED", 10)
    monkeypatch.setattr(channel_layer, "LINGER", 0.1)
    sender = channel_layer.Sender()

    sender.send([f"key {number}" for number in range(10_000)])
    wait_for_end(sender)

    assert len(ours(caplog)) == 1


FORKING = """
import os, sys, django
django.setup()
from django_dbos.consumers import channel_layer

# Held by another thread at the moment of the fork.
channel_layer._sender._lock.acquire()
child = os.fork()
if not child:
    os._exit(0 if channel_layer._sender._lock.acquire(timeout=5) else 1)
sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""


def test_a_forked_process_has_a_sender_of_its_own(process_environment: dict[str, str]) -> None:
    command = [sys.executable, "-c", FORKING]

    assert subprocess.run(command, env=process_environment, timeout=LIMIT).returncode == 0
