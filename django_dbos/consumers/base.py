"""The base class of both consumers: connecting, sending pages, and closing.

An idle socket costs two tasks and no thread: `django_dbos.live` looks at the tables for all of
them, after notifications that come from this process or, through LISTEN or the channel layer, from
others.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing
from typing import Any
from urllib.parse import parse_qs

from channels.generic.websocket import AsyncWebsocketConsumer

from django_dbos.consumers import channel_layer, messages, origins
from django_dbos.core import names
from django_dbos.core.values.plain_json import to_text
from django_dbos.live.rates import Allowance
from django_dbos.live.readers import Reader, Reason, Refused, one_more

logger = logging.getLogger("django_dbos.consumers")

NORMAL, TOO_BIG, INTERNAL_ERROR = 1000, 1009, 1011
BAD_REQUEST = 4400
REFUSALS = {
    Reason.NOT_LOGGED_IN: 4401,
    Reason.EXPIRED: 4401,
    Reason.FORBIDDEN: 4403,
    Reason.TOO_MANY: 4429,
}

# The limit on an incoming frame, in characters.
MAX_INCOMING = 4096


class ClientDisconnected(Exception):
    """A send failed because the client has disconnected."""


class WorkflowConsumer(AsyncWebsocketConsumer):
    """The base of consumers that send the published data of one workflow to permitted readers."""

    # Without an alias Channels reads from no layer, so the socket survives a layer that is down.
    channel_layer_alias = "django_dbos has none"
    _serving: asyncio.Task[None] | None = None
    _allowance: Allowance | None = None

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
        """Take a message; close the socket if a frame is too big, or there are too many."""
        if len(text_data or bytes_data or "") > MAX_INCOMING:
            await self._refuse(TOO_BIG)
        elif not self._is_within_limit():
            await self._refuse(REFUSALS[Reason.TOO_MANY])
        elif text_data:
            await self._take(text_data)

    async def _take(self, text: str) -> None:
        try:
            workflow_id = workflow_id_of(_query(self.scope))
        except (TypeError, ValueError):
            # The socket is about to be closed: its address is wrong.
            return
        reply = await messages.answer(self.scope, workflow_id, text)
        if reply is not None:
            await self._send(to_text(reply))

    def read_query(self, query: dict[str, str]) -> str:
        """Return the workflow id, and keep the rest; raise ValueError if something is invalid."""
        raise NotImplementedError

    def follow(self, reader: Reader) -> AsyncGenerator[list[str], None]:
        """Yield the texts of the frames to send, page by page, until the end."""
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

    async def _refuse(self, code: int) -> None:
        await self._stop_serving()
        await self.close(code)

    def _is_within_limit(self) -> bool:
        """Count an incoming frame; most sockets never get one."""
        self._allowance = self._allowance or Allowance()
        return self._allowance.take()

    async def _send_all(self) -> int:
        """Send all data, until its end or a refusal; return the code to close with."""
        query = _query(self.scope)
        try:
            self.workflow_id = self.read_query(query)
        except (TypeError, ValueError) as error:
            await self._send(to_text({"error": str(error)}))
            return BAD_REQUEST
        reader = Reader(self.scope.get("user"), self.scope.get("session"), query.get("token"))
        try:
            with one_more(reader), channel_layer.listening():
                await self._send_pages(reader)
        except Refused as refused:
            return REFUSALS[refused.reason]
        except ClientDisconnected:
            raise
        except Exception:
            logger.exception("The socket on workflow %r is closed by an error", self.workflow_id)
            return INTERNAL_ERROR
        return NORMAL

    async def _send_pages(self, reader: Reader) -> None:
        async with aclosing(self.follow(reader)) as pages:
            async for texts in pages:
                for text in texts:
                    await self._send(text)

    async def _send(self, text: str) -> None:
        # Not by send(), which makes the same message by way of two more calls.
        message: Any = {"type": "websocket.send", "text": text}
        await self.base_send(message)


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
