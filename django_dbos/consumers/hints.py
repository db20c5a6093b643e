"""Hints over the channel layer: "these keys have changed", never data.

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
from contextlib import contextmanager
from typing import Any

from channels.layers import InMemoryChannelLayer, get_channel_layer

from django_dbos.store import get_store

logger = logging.getLogger("django_dbos.consumers")

GROUP = "dbos.hints"
MAX_QUEUED = 10_000
# Seconds: how long a send may take, how long the layer is left alone after an error, how long the
# thread waits for more before it ends.
SEND_TIMEOUT, PAUSE, LINGER = 2.0, 5.0, 30.0


class Receiver:
    """Receives hints on one event loop for as long as sockets of it are open."""

    def __init__(self) -> None:
        self._users = 0
        self._task: asyncio.Task[None] | None = None

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Hints of other processes notify this one's watchers in here."""
        self._users += 1
        if self._task is None and _layer() is not None:
            self._task = asyncio.create_task(self._receive())
        try:
            yield
        finally:
            self._users -= 1
            if self._users == 0 and self._task is not None:
                self._task.cancel()
                self._task = None

    async def _receive(self) -> None:
        # A client library may turn a cancellation that meets a timeout into the latter: the count
        # of users ends this as well.
        while self._users:
            try:
                await self._subscribed()
            except Exception as error:
                logger.warning("No hints over the channel layer, only looks on a timer: %s", error)
                await asyncio.sleep(PAUSE)

    async def _subscribed(self) -> None:
        layer = _layer()
        channel = await layer.new_channel()
        await layer.group_add(GROUP, channel)
        try:
            while self._users:
                try:
                    message = await layer.receive(channel)
                except Exception as error:
                    # Nothing came for as long as the layer's client waits; redis-py has a
                    # TimeoutError of its own.
                    if type(error).__name__ == "TimeoutError":
                        continue
                    raise
                get_store().wakeups.notify(message["keys"])
        finally:
            await layer.group_discard(GROUP, channel)


_receivers: dict[asyncio.AbstractEventLoop, Receiver] = {}


@contextmanager
def listening() -> Iterator[None]:
    """Receive hints on the running loop in here."""
    loop = asyncio.get_running_loop()
    receiver = _receivers.setdefault(loop, Receiver())
    try:
        with receiver.listening():
            yield
    finally:
        if receiver._users == 0:
            _receivers.pop(loop, None)


class Sender:
    """A thread that sends hints; it starts with the first, and ends when there are none."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._queue: queue.Queue[str] = queue.Queue(MAX_QUEUED)
        self._thread: threading.Thread | None = None
        self._pid = 0
        self._silent_until = 0.0

    def send(self, keys: Iterable[str]) -> None:
        """Send hints soon; never blocks, never raises."""
        if time.monotonic() < self._silent_until:
            return
        with self._lock:
            if self._pid != os.getpid():
                self._pid, self._thread = os.getpid(), None
                self._queue = queue.Queue(MAX_QUEUED)
            try:
                for key in keys:
                    self._queue.put_nowait(key)
            except queue.Full:
                logger.warning("Dropped hints: the channel layer doesn't keep up")
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="dbos-hints", daemon=True)
                self._thread.start()

    def _run(self) -> None:
        with asyncio.Runner() as runner:
            while (keys := self._next()) is not None:
                try:
                    runner.run(_send(keys))
                except Exception as error:
                    logger.warning("The channel layer can't be reached: %s", error)
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
            return []
        while not self._queue.empty():
            keys.add(self._queue.get_nowait())
        return sorted(keys)


async def _send(keys: list[str]) -> None:
    async with asyncio.timeout(SEND_TIMEOUT):
        await _layer().group_send(GROUP, {"type": "dbos.hints", "keys": keys})


_sender = Sender()


def send_hints(*, keys: Sequence[str], **kwargs: Any) -> None:
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
    logger.warning("The channel layer can't be used: %s", message)
