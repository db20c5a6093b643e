"""Notifications of changed keys over the channel layer; they never carry data.

They spare sockets the wait for their next poll where LISTEN isn't available (a transaction pooler,
DBOS["LISTEN"] switched off). A layer that is absent, slow or down costs time, never correctness.
One thread per process sends, and drops notifications that it can't send; one task per event loop
receives for all of its sockets.
"""

from __future__ import annotations

import asyncio
import functools
import logging
import os
import queue
import threading
import time
from collections.abc import Iterable, Sequence
from contextlib import suppress
from typing import Any

from channels.layers import InMemoryChannelLayer, get_channel_layer

from django_dbos.store import get_store
from django_dbos.store.pubsub import EVERYTHING

logger = logging.getLogger("django_dbos.consumers")

GROUP = "dbos.notifications"
MAX_QUEUED, MAX_SENT = 10_000, 500
# In seconds: the timeout of a send, the pause after an error of the layer, and the time after which
# an idle thread ends.
SEND_TIMEOUT, PAUSE, LINGER = 2.0, 5.0, 30.0
# Seconds after which a receiver joins the group again: memberships expire, in Redis after a day.
RENEWAL = 3600.0


class FailureLog:
    """Logs the first of several consecutive failures of the channel layer, and their end."""

    def __init__(self, description: str) -> None:
        self.description = description
        self._is_failing = False

    def note_failure(self, error: Exception) -> None:
        """Log the failure, unless the previous attempt failed too."""
        if not self._is_failing:
            logger.warning("%s; sockets poll on a timer: %r", self.description, error)
        self._is_failing = True

    def note_success(self) -> None:
        """Log that the layer works again, if the previous attempt failed."""
        if self._is_failing:
            logger.info("The channel layer works again")
        self._is_failing = False


class Receiver:
    """Receives notifications on one event loop while sockets on it are open."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.users = 0
        self._loop = loop
        self._task: asyncio.Task[None] | None = None
        self._failures = FailureLog("The channel layer delivers no notifications")

    def join(self) -> None:
        """Receive notifications, and pass them to this process's waits, until the last leave()."""
        self.users += 1
        if self._task is None and _layer() is not None:
            self._task = asyncio.create_task(self._receive())

    def leave(self) -> None:
        """Undo one join()."""
        self.users -= 1
        if self.users:
            return
        if self._task is not None:
            self._task.cancel()
            self._task = None
        if _receivers.get(self._loop) is self:
            del _receivers[self._loop]

    async def _receive(self) -> None:
        # The count of users ends this loop too: a client library may turn a cancellation that
        # coincides with a timeout into the latter.
        while self.users:
            try:
                await self._subscribed()
            except Exception as error:
                self._failures.note_failure(error)
                await asyncio.sleep(PAUSE)

    async def _subscribed(self) -> None:
        layer = _layer()
        channel = await layer.new_channel()
        try:
            while self.users:
                await layer.group_add(GROUP, channel)
                self._failures.note_success()
                # Any key may have changed before this.
                get_store().wakeups.notify([EVERYTHING])
                until = self._loop.time() + RENEWAL
                with suppress(TimeoutError):
                    async with asyncio.timeout_at(until):
                        await self._pass_on(layer, channel, until)
        finally:
            await layer.group_discard(GROUP, channel)

    async def _pass_on(self, layer: Any, channel: str, until: float) -> None:
        # The time ends this loop too, as the timeout cancels only once.
        while self.users and self._loop.time() < until:
            try:
                message = await layer.receive(channel)
            except Exception as error:
                # The layer's client has timed out, with redis-py 8 after 5 s. Its TimeoutError
                # isn't Python's.
                if type(error).__name__ != "TimeoutError":
                    raise
                continue
            get_store().wakeups.notify(message["keys"])


_receivers: dict[asyncio.AbstractEventLoop, Receiver] = {}


def listen() -> Receiver:
    """Receive notifications on the running event loop, until the caller leaves the receiver."""
    loop = asyncio.get_running_loop()
    receiver = _receivers.setdefault(loop, Receiver(loop))
    receiver.join()
    return receiver


class Sender:
    """Sends notifications on a thread, which starts with the first one and ends when idle."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._queue: queue.Queue[str] = queue.Queue(MAX_QUEUED)
        self._thread: threading.Thread | None = None
        self._silent_until = 0.0
        self._failures = FailureLog("The channel layer sends no notifications")

    def send(self, keys: Iterable[str]) -> None:
        """Enqueue notifications. Never blocks, never raises."""
        if time.monotonic() < self._silent_until:
            return
        with self._lock:
            try:
                for key in keys:
                    self._queue.put_nowait(key)
            except queue.Full as error:
                self._fail(error)
            if self._thread is None:
                self._thread = threading.Thread(
                    target=self._run, name="dbos-notifications", daemon=True
                )
                self._thread.start()

    def _run(self) -> None:
        with asyncio.Runner() as runner:
            while (keys := self._next()) is not None:
                try:
                    runner.run(_send(keys))
                except Exception as error:
                    self._fail(error)
                else:
                    self._failures.note_success()

    def _fail(self, error: Exception) -> None:
        self._failures.note_failure(error)
        self._silent_until = time.monotonic() + PAUSE

    def _next(self) -> list[str] | None:
        """Wait for keys and return them without duplicates, or None if none came for a while."""
        try:
            keys = {self._queue.get(timeout=LINGER)}
        except queue.Empty:
            with self._lock:
                if self._queue.empty():
                    self._thread = None
                    return None
            return self._next()
        while len(keys) < MAX_SENT and not self._queue.empty():
            keys.add(self._queue.get_nowait())
        return sorted(keys)


async def _send(keys: list[str]) -> None:
    async with asyncio.timeout(SEND_TIMEOUT):
        await _layer().group_send(GROUP, {"type": "dbos.notifications", "keys": keys})


_sender = Sender()


def _begin_anew() -> None:
    """Start afresh after a fork: the thread isn't copied, and the lock's copy may stay held."""
    global _sender
    _sender = Sender()
    _receivers.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_begin_anew)


def send_notifications(*, keys: Sequence[str], **kwargs: Any) -> None:
    """Receive the signal ``keys_changed``, and send its keys to other processes."""
    if _layer() is not None:
        _sender.send(keys)


def _layer() -> Any:
    """Return the channel layer, or None if it is missing, broken or reaches only this process."""
    try:
        layer: Any = get_channel_layer()
    except Exception as error:
        _warn_once(str(error))
        return None
    return None if isinstance(layer, InMemoryChannelLayer) else layer


@functools.cache
def _warn_once(message: str) -> None:
    logger.warning("The channel layer is unusable: %r", message)
