"""Hints over the channel layer: "this key has changed", never data.

Where LISTEN does not reach (a transaction pooler, LISTEN switched off), they spare sockets the wait
for their next look. A layer that is absent, slow or down costs time, never correctness: a thread
of its own sends, and drops what it can't.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import os
import queue
import threading
import time
from collections.abc import Iterable, Sequence
from typing import Any

from channels.layers import InMemoryChannelLayer, get_channel_layer

logger = logging.getLogger("django_dbos.consumers")

MAX_QUEUED = 10_000
# Seconds: how long a send may take, how long the layer is left alone after an error, how long the
# thread waits for more before it ends.
SEND_TIMEOUT, PAUSE, LINGER = 2.0, 5.0, 30.0


def group_of(key: str) -> str:
    """The group of whoever watches a key: names there are short and ASCII."""
    return f"dbos.{hashlib.blake2b(key.encode(), digest_size=16).hexdigest()}"


async def join(keys: Sequence[str], layer: Any, channel_name: str | None) -> list[str]:
    """Subscribe to the hints of some keys; return the groups joined."""
    if layer is None or channel_name is None:
        return []
    groups = [group_of(key) for key in keys]
    try:
        async with asyncio.timeout(SEND_TIMEOUT):
            for group in groups:
                await layer.group_add(group, channel_name)
    except Exception as error:
        logger.warning("No hints over the channel layer, only looks on a timer: %s", error)
        return []
    return groups


async def leave(groups: Sequence[str], layer: Any, channel_name: str | None) -> None:
    """Undo `join`."""
    try:
        async with asyncio.timeout(SEND_TIMEOUT):
            for group in groups:
                await layer.group_discard(group, channel_name)
    except Exception as error:
        logger.debug("The channel layer doesn't answer: %s", error)


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
                    runner.run(self._send(keys))
                except Exception as error:
                    logger.warning("The channel layer can't be reached: %s", error)
                    self._silent_until = time.monotonic() + PAUSE

    def _next(self) -> set[str] | None:
        """What is queued, each key once; None when nothing came for a while."""
        try:
            keys = {self._queue.get(timeout=LINGER)}
        except queue.Empty:
            with self._lock:
                if self._queue.empty():
                    self._thread = None
                    return None
            return set()
        while not self._queue.empty():
            keys.add(self._queue.get_nowait())
        return keys

    async def _send(self, keys: set[str]) -> None:
        layer: Any = get_channel_layer()
        for key in keys:
            async with asyncio.timeout(SEND_TIMEOUT):
                await layer.group_send(group_of(key), {"type": "dbos.changed", "key": key})


_sender = Sender()


def send_hints(*, keys: Sequence[str], **kwargs: Any) -> None:
    """Receives `keys_changed`."""
    layer = get_channel_layer()
    # An in-memory layer reaches nobody whom the notification within this process doesn't.
    if layer is not None and not isinstance(layer, InMemoryChannelLayer):
        _sender.send(keys)
