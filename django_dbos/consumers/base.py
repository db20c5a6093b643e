"""The base class of both consumers: connecting, permissions, waiting for changes, and closing.

An idle socket costs a task and no thread. It reads the tables after notifications of changes, which
come from this process or, through LISTEN or the channel layer, from others; and also on a timer.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from enum import Enum
from typing import Any
from urllib.parse import parse_qs

from channels.generic.websocket import AsyncJsonWebsocketConsumer

from django_dbos.conf import get_settings
from django_dbos.consumers import channel_layer, origins
from django_dbos.consumers.access import Access, Refused, one_more_socket
from django_dbos.core import names
from django_dbos.exceptions import WorkflowDoesNotExist
from django_dbos.operations.polling import auntil
from django_dbos.store import get_store

logger = logging.getLogger("django_dbos.consumers")

NORMAL, TOO_BIG, INTERNAL_ERROR = 1000, 1009, 1011
BAD_REQUEST = 4400

# The limit on an incoming frame, in characters. Clients have no reason to send any.
MAX_INCOMING = 4096
# The factor by which the timer is slower while notifications of other processes arrive. It then
# only covers a process that died between its commit and its notification.
RELAXED = 10


class News(Enum):
    """The result of sending the news."""

    NONE_LEFT = "all current data was sent"
    MORE = "a part was sent, and there is more"
    ENDED = "all data was sent, and no more can come"


class ClientDisconnected(Exception):
    """A send failed because the client has disconnected."""


class WorkflowConsumer(AsyncJsonWebsocketConsumer):
    """The base of consumers that send the published data of one workflow to permitted users."""

    kind: str
    # Without an alias Channels reads from no layer, so the socket survives a layer that is down.
    channel_layer_alias = "django_dbos has none"
    _serving: asyncio.Task[None] | None = None

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Serve one socket, and stop its task however that ends."""
        try:
            await super().__call__(scope, receive, _raising_disconnected(send))
        except ClientDisconnected as error:
            logger.debug("The client has disconnected: %r", error)
        finally:
            await self._stop_serving()

    async def connect(self) -> None:
        """Accept the socket first: browsers don't see the code of a close before that."""
        if not origins.is_allowed(self.scope):
            await self.close()
            return
        await self.accept()
        self._serving = asyncio.create_task(self._serve())

    async def receive(self, text_data: Any = None, bytes_data: Any = None, **kwargs: Any) -> None:
        """Ignore incoming frames; close the socket if one is too big."""
        if len(text_data or bytes_data or "") > MAX_INCOMING:
            await self._stop_serving()
            await self.close(TOO_BIG)

    def read_query(self, query: dict[str, str]) -> tuple[str, str | None]:
        """Return the workflow id and the key; raise ValueError if one is invalid."""
        raise NotImplementedError

    def keys(self) -> Sequence[str]:
        """Return the keys under which changes are notified."""
        raise NotImplementedError

    async def send_news(self) -> News:
        """Send some of the data that the client doesn't have yet."""
        raise NotImplementedError

    async def _serve(self) -> None:
        try:
            await self.close(await self._send_all())
        except ClientDisconnected as error:
            logger.debug("The client has disconnected: %r", error)

    async def _stop_serving(self) -> None:
        if self._serving is not None:
            self._serving.cancel()
            await asyncio.wait([self._serving])

    async def _send_all(self) -> int:
        """Send all data, until its end or a refusal; return the code to close with."""
        try:
            self.workflow_id, self.key = self.read_query(_query(self.scope))
        except (TypeError, ValueError) as error:
            await self.send_json({"error": str(error)})
            return BAD_REQUEST
        self.access = Access(self.scope, self.workflow_id, self.kind, self.key)
        try:
            with one_more_socket(self.scope.get("user")):
                await self.access.check()
                await self._follow()
        except WorkflowDoesNotExist:
            # The workflow was deleted: give the same answer as to a new connection.
            return self.access.refusal.code
        except Refused as refused:
            return refused.code
        except ClientDisconnected:
            raise
        except Exception:
            logger.exception("The socket on workflow %r is closed by an error", self.workflow_id)
            return INTERNAL_ERROR
        return NORMAL

    async def _follow(self) -> None:
        wakeups = get_store().wakeups
        with channel_layer.listening(), wakeups.watch(*self.keys()) as watch:
            await auntil(watch, _End(self))


class _End:
    """The wait for the end of a socket's data; each poll sends the news."""

    def __init__(self, consumer: WorkflowConsumer) -> None:
        self._consumer = consumer

    async def poll(self, is_expected: bool) -> tuple[News] | None:
        while (news := await self._consumer.send_news()) is News.MORE:
            await self._consumer.access.check_again()
        return (news,) if news is News.ENDED else None

    async def pause(self) -> float:
        relaxed = RELAXED if get_store().wakeups.is_listening else 1
        pause = get_settings().poll_interval * relaxed
        return max(0.0, min(pause, self._consumer.access.time_left))

    def blocking(self) -> AbstractContextManager[None]:
        return nullcontext()

    async def resume(self) -> None:
        # After the pause, so that data is never sent after a permission was revoked.
        await self._consumer.access.check_again()


def required(query: dict[str, str], name: str) -> str:
    """Return a parameter of the query string; raise ValueError if it is missing."""
    if name not in query:
        raise ValueError(f"The parameter {name!r} is missing. Add it to the address: ?{name}=…")
    return query[name]


def workflow_id_of(query: dict[str, str]) -> str:
    """Return the workflow id; raise ValueError if it is missing or invalid."""
    return names.check_workflow_id(required(query, "workflow_id"))


def _query(scope: Any) -> dict[str, str]:
    text = scope.get("query_string", b"").decode("utf-8", "replace")
    return {name: values[-1] for name, values in parse_qs(text, keep_blank_values=True).items()}


def _raising_disconnected(
    send: Callable[[Any], Awaitable[None]],
) -> Callable[[Any], Awaitable[None]]:
    """Wrap ``send``: turn the various errors of servers after a disconnect into one."""

    async def send_or_raise(message: Any) -> None:
        try:
            await send(message)
        except Exception as error:
            raise ClientDisconnected(str(error)) from error

    return send_or_raise
