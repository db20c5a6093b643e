"""The base class of both consumers: connecting, sending pages, and closing.

An idle socket costs one task, that of its server, and no thread: `django_dbos.live` looks at the
tables for all of them, after notifications that come from this process or, through LISTEN or the
channel layer, from others. A task that sends begins with news, and ends when all is sent.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from typing import Any
from urllib.parse import parse_qs

from asgiref.sync import markcoroutinefunction

from django_dbos.consumers import channel_layer, messages, origins
from django_dbos.core.values.plain_json import to_text
from django_dbos.live.following import Follower
from django_dbos.live.outages import OUTAGE
from django_dbos.live.rates import Allowance
from django_dbos.live.readers import Presence, Reader, Reason, Refused
from django_dbos.telemetry import concealing

logger = logging.getLogger("django_dbos.consumers")

# Daphne closes with no other code of the protocol's own than 1000: the socket would stay open.
NORMAL, BAD_REQUEST, TOO_BIG, INTERNAL_ERROR = 1000, 4400, 4413, 4500
REFUSALS = {
    Reason.NOT_LOGGED_IN: 4401,
    Reason.EXPIRED: 4401,
    Reason.FORBIDDEN: 4403,
    Reason.GONE: 4410,
    Reason.TOO_MANY: 4429,
}

# The limit on an incoming frame, in characters.
MAX_INCOMING = 4096

Receive = Callable[[], Awaitable[Mapping[str, Any]]]
Send = Callable[[Mapping[str, Any]], Awaitable[None]]


class ClientDisconnected(Exception):
    """A send failed because the client has disconnected."""


class WorkflowConsumer:
    """The base of consumers that send the published data of one workflow to permitted readers.

    It isn't one of Channels' consumers: those have two tasks each, and keep the scope.
    """

    __slots__ = (
        "_allowance",
        "_follower",
        "_is_stopped",
        "_presence",
        "_receiver",
        "_send",
        "_session",
        "_task",
        "_user",
    )

    def __init__(self, scope: Mapping[str, Any], send: Send) -> None:
        self._send = send
        self._user, self._session = scope.get("user"), scope.get("session")
        self._follower: Follower[Any, Any] | None = None
        self._presence: Presence | None = None
        self._receiver: channel_layer.Receiver | None = None
        self._task: asyncio.Task[None] | None = None
        self._is_stopped = False
        self._allowance: Allowance | None = None

    @classmethod
    def as_asgi(cls) -> Callable[[Mapping[str, Any], Receive, Send], Awaitable[None]]:
        """Return the ASGI application that serves each socket with a consumer of its own."""

        def application(scope: Mapping[str, Any], receive: Receive, send: Send) -> Awaitable[None]:
            # Not a coroutine of its own, which would keep the scope.
            return cls(scope, send).serve(scope, receive)

        # Servers and test clients take a function without this mark for one of ASGI 2.
        return markcoroutinefunction(application)

    async def serve(self, scope: Mapping[str, Any], receive: Receive) -> None:
        """Serve one socket, and leave nothing of it however that ends."""
        try:
            await receive()
            await self._connect(scope)
            # A router's copy for this socket alone, of more than a kilobyte.
            del scope
            while (message := await receive())["type"] != "websocket.disconnect":
                await self._take(message.get("text"), message.get("bytes"))
        except ClientDisconnected as error:
            logger.debug("The client has disconnected: %r", error)
        finally:
            await self._stop()

    # What consumers differ in

    def follower(self, reader: Reader, query: Mapping[str, str]) -> Follower[Any, Any]:
        """Return what to follow; raise ValueError or TypeError if a parameter is invalid."""
        raise NotImplementedError

    def texts(self, page: Any) -> list[str]:
        """Return the texts of the frames to send for a page."""
        raise NotImplementedError

    # Connecting and receiving

    async def _connect(self, scope: Mapping[str, Any]) -> None:
        """Accept the socket first: browsers don't see the code of a close before that."""
        if not origins.is_allowed(scope):
            await self._emit({"type": "websocket.close"})
            return
        await self._emit({"type": "websocket.accept", "subprotocol": None})
        query = _query(scope)
        try:
            reader = Reader(self._user, self._session, query.get("token"))
            self._follower = self.follower(reader, query)
        except (TypeError, ValueError) as error:
            await self._send_text(to_text({"error": str(error)}))
            await self._close(BAD_REQUEST)
            return
        begin = partial(self._begin, tag=query.get("tag"))
        self._task = asyncio.create_task(self._run(begin))

    async def _take(self, text: str | None, data: bytes | None) -> None:
        """Take a message; close the socket if a frame is too big, or there are too many."""
        if self._follower is None or self._is_stopped:
            # The socket is about to be closed.
            return
        if len(text or data or "") > MAX_INCOMING:
            await self._refuse(TOO_BIG)
        elif not self._is_within_limit():
            await self._refuse(REFUSALS[Reason.TOO_MANY])
        elif text:
            workflow_id = self._follower.access.workflow_id
            reply = await messages.answer(Reader(self._user, self._session), workflow_id, text)
            if reply is not None:
                await self._send_text(to_text(reply))

    async def _refuse(self, code: int) -> None:
        await self._stop()
        await self._close(code)

    def _is_within_limit(self) -> bool:
        """Count an incoming frame; most sockets never get one."""
        self._allowance = self._allowance or Allowance()
        return self._allowance.take()

    # Sending

    async def _begin(self, follower: Follower[Any, Any], tag: str | None) -> bool:
        self._presence = Presence(follower.access.reader)
        self._receiver = channel_layer.listen()
        await follower.open()
        follower.access.check_tag(tag)
        # Before all data: who has data knows what it is of, however soon the connection breaks.
        await self._send_text(to_text({"tag": follower.access.tag}))
        return await self._send_pages(follower)

    def _go_on(self, waiter: asyncio.Future[None]) -> None:
        """Send the news that a wait has ended with."""
        if not self._is_stopped:
            self._task = asyncio.create_task(self._run(self._continue))

    async def _continue(self, follower: Follower[Any, Any]) -> bool:
        await follower.end_wait()
        return await self._send_pages(follower)

    async def _send_pages(self, follower: Follower[Any, Any]) -> bool:
        """Send what there is; return True at the end, and False to be called again."""
        while True:
            page = await follower.look_through_outages()
            if page is not None:
                for text in self.texts(page):
                    await self._send_text(text)
                if page.end:
                    return True
            elif (waiter := follower.begin_wait()) is not None:
                waiter.add_done_callback(self._go_on)
                return False

    async def _run(self, send: Callable[[Follower[Any, Any]], Awaitable[bool]]) -> None:
        """Send, and close the socket at the end, or if the reader is refused."""
        assert self._follower is not None
        code = NORMAL
        try:
            if not await send(self._follower):
                self._task = None
                return
        except Refused as refused:
            code = REFUSALS[refused.reason]
        except ClientDisconnected as error:
            logger.debug("The client has disconnected: %r", error)
            return
        except OUTAGE as error:
            logger.warning("A socket is closed, as the database is unavailable: %r", error)
            code = INTERNAL_ERROR
        except Exception as error:
            workflow_id = self._follower.access.workflow_id
            logger.error(
                "The socket on workflow %r is closed by an error",
                workflow_id,
                exc_info=concealing.shown("", error),
            )
            code = INTERNAL_ERROR
        self._leave()
        try:
            await self._close(code)
        except ClientDisconnected as error:
            logger.debug("The client has disconnected: %r", error)

    async def _stop(self) -> None:
        """Stop sending."""
        self._is_stopped = True
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            await asyncio.wait([task])
        self._leave()

    def _leave(self) -> None:
        """Give everything back that a socket takes."""
        if self._follower is not None:
            self._follower.close()
        if self._presence is not None:
            self._presence.close()
        if self._receiver is not None:
            self._receiver.leave()
            self._receiver = None

    async def _send_text(self, text: str) -> None:
        await self._emit({"type": "websocket.send", "text": text})

    async def _close(self, code: int) -> None:
        await self._emit({"type": "websocket.close", "code": code})

    async def _emit(self, message: Mapping[str, Any]) -> None:
        """Send a message; raise ClientDisconnected for the errors of servers after that."""
        try:
            await self._send(message)
        except Exception as error:
            raise ClientDisconnected(str(error)) from error


def required(query: Mapping[str, str], name: str) -> str:
    """Return a parameter of the query string; raise ValueError if it is missing."""
    if name not in query:
        raise ValueError(f"The parameter {name!r} is missing. Add it to the address: ?{name}=…")
    return query[name]


def _query(scope: Any) -> dict[str, str]:
    text = scope.get("query_string", b"").decode("utf-8", "replace")
    return {name: values[-1] for name, values in parse_qs(text, keep_blank_values=True).items()}
