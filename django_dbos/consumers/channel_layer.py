"""Notifications over the channel layer: "these keys have changed", never data.

Where LISTEN does not reach (a transaction pooler, LISTEN switched off), they spare sockets the wait
for their next look. A layer that is absent, slow or down costs time, never correctness: a thread
sends, and drops what it can't; one task a process receives, for all of its sockets.
"""

from __future__ import annotations

import asyncio
import functools
import logging
import os
import queue
import threading
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any

from channels.layers import InMemoryChannelLayer, get_channel_layer

from django_dbos.store import get_store
from django_dbos.store.pubsub import EVERYTHING

logger = logging.getLogger("django_dbos.consumers")

GROUP = "dbos.notifications"
MAX_QUEUED, MAX_SENT = 10_000, 500
# Seconds: how long a send may take, how long the layer is left alone after an error, how long the
# thread waits for more before it ends.
SEND_TIMEOUT, PAUSE, LINGER = 2.0, 5.0, 30.0
# Seconds after which a receiver joins the group again: layers forget members, Redis after a day.
RENEWAL = 3600.0


class FailureLog:
    """Logs the first of consecutive failures of the channel layer, and their end."""

    def __init__(self, what: str) -> None:
        self._what = what
        self._is_failing = False

    def note_failure(self, error: Exception) -> None:
        """Log the failure, unless the previous attempt failed too."""
        if not self._is_failing:
            logger.warning("%s, only looks on a timer: %r", self._what, error)
        self._is_failing = True

    def note_success(self) -> None:
        """Log that the layer works again, if the previous attempt failed."""
        if self._is_failing:
            logger.info("The channel layer can be used again")
        self._is_failing = False


class Receiver:
    """Receives notifications on one event loop for as long as sockets of it are open."""

    def __init__(self) -> None:
        self.users = 0
        self._task: asyncio.Task[None] | None = None
        self._failures = FailureLog("No notifications come over the channel layer")

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Notifications of other processes notify this one's watchers in here."""
        self.users += 1
        if self._task is None and _layer() is not None:
            self._task = asyncio.create_task(self._receive())
        try:
            yield
        finally:
            self.users -= 1
            if self.users == 0 and self._task is not None:
                self._task.cancel()
                self._task = None

    async def _receive(self) -> None:
        # A client library may turn a cancellation that meets a timeout into the latter: the count
        # of users ends this as well.
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
                # What was missed until now isn't known.
                get_store().wakeups.notify([EVERYTHING])
                with suppress(TimeoutError):
                    async with asyncio.timeout(RENEWAL):
                        await self._pass_on(layer, channel)
        finally:
            await layer.group_discard(GROUP, channel)

    async def _pass_on(self, layer: Any, channel: str) -> None:
        while self.users:
            try:
                message = await layer.receive(channel)
            except Exception as error:
                # Nothing came for as long as the layer's client waits: 5 s, with redis-py 8. Its
                # TimeoutError isn't Python's.
                if type(error).__name__ != "TimeoutError":
                    raise
                continue
            get_store().wakeups.notify(message["keys"])


_receivers: dict[asyncio.AbstractEventLoop, Receiver] = {}


@contextmanager
def listening() -> Iterator[None]:
    """Receive notifications on the running loop in here."""
    loop = asyncio.get_running_loop()
    receiver = _receivers.setdefault(loop, Receiver())
    try:
        with receiver.listening():
            yield
    finally:
        if receiver.users == 0:
            _receivers.pop(loop, None)


class Sender:
    """A thread that sends notifications; it starts with the first, and ends when there are none."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._queue: queue.Queue[str] = queue.Queue(MAX_QUEUED)
        self._thread: threading.Thread | None = None
        self._silent_until = 0.0
        self._failures = FailureLog("No notifications can be sent over the channel layer")

    def send(self, keys: Iterable[str]) -> None:
        """Send notifications soon; never blocks, never raises."""
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
        """What is queued, each key once; None when nothing came for a while."""
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
    """A forked process has no such thread, and its copy of the lock may be held for ever."""
    global _sender
    _sender = Sender()
    _receivers.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_begin_anew)


def send_notifications(*, keys: Sequence[str], **kwargs: Any) -> None:
    """Receives `keys_changed`."""
    if _layer() is not None:
        _sender.send(keys)


def _layer() -> Any:
    """The channel layer; one in memory reaches nobody whom this process doesn't notify anyway."""
    try:
        layer: Any = get_channel_layer()
    except Exception as error:
        _warn_once(str(error))
        return None
    return None if isinstance(layer, InMemoryChannelLayer) else layer


@functools.cache
def _warn_once(message: str) -> None:
    logger.warning("The channel layer can't be used: %r", message)
