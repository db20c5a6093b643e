"""What both consumers share: who may connect and stay, what wakes them, and how they end.

A socket costs a task and no thread while nothing happens. It looks at the tables when this process
or, through LISTEN or the channel layer, another one says that something has changed, and on a timer
in any case.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from enum import Enum
from typing import Any
from urllib.parse import parse_qs

from channels.generic.websocket import AsyncJsonWebsocketConsumer

from django_dbos.conf import get_settings
from django_dbos.consumers import channel_layer, origins
from django_dbos.consumers.access import Access, Refused, one_more_socket
from django_dbos.core import names
from django_dbos.exceptions import WorkflowDoesNotExist
from django_dbos.store import get_store

logger = logging.getLogger("django_dbos.consumers")

NORMAL, TOO_BIG, INTERNAL_ERROR = 1000, 1009, 1011
BAD_REQUEST = 4400

# Clients have nothing to say, and certainly not more characters than this.
MAX_INCOMING = 4096
# While other processes' notifications arrive, the timer only makes up for a process that died
# between its commit and its notification: it can be so many times slower.
RELAXED = 10


class News(Enum):
    """What a look has brought."""

    NONE_LEFT = "all that there is by now was sent"
    MORE = "some was sent, and there is more"
    ENDED = "there can be no more"


class ClientDisconnected(Exception):
    """Raised by a send after the client has disconnected."""


class WorkflowConsumer(AsyncJsonWebsocketConsumer):
    """Sends what one workflow has published, to whoever may read it."""

    kind: str
    # Its socket must outlive a channel layer that is down, so Channels isn't to read from one.
    channel_layer_alias = "django_dbos has none"
    _serving: asyncio.Task[None] | None = None

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Serve one socket; however that ends, nothing of it goes on."""
        try:
            await super().__call__(scope, receive, _raising_disconnected(send))
        except ClientDisconnected as error:
            logger.debug("A client has disconnected: %r", error)
        finally:
            await self._stop_serving()

    async def connect(self) -> None:
        """Accept, and only then say why not: a browser hears of no close that comes before."""
        if not origins.is_allowed(self.scope):
            await self.close()
            return
        await self.accept()
        self._serving = asyncio.create_task(self._serve())

    async def receive(self, text_data: Any = None, bytes_data: Any = None, **kwargs: Any) -> None:
        """Ignore it."""
        if len(text_data or bytes_data or "") > MAX_INCOMING:
            await self._stop_serving()
            await self.close(TOO_BIG)

    def read_query(self, query: dict[str, str]) -> tuple[str, str | None]:
        """Return the workflow id and the key; raise ValueError for what is wrong with them."""
        raise NotImplementedError

    def keys(self) -> Sequence[str]:
        """The keys under which changes are notified."""
        raise NotImplementedError

    async def send_news(self) -> News:
        """Send some of what the client doesn't have."""
        raise NotImplementedError

    async def _serve(self) -> None:
        try:
            await self.close(await self._answer())
        except ClientDisconnected as error:
            logger.debug("A client has disconnected: %r", error)

    async def _stop_serving(self) -> None:
        if self._serving is not None:
            self._serving.cancel()
            await asyncio.wait([self._serving])

    async def _answer(self) -> int:
        """Send all that the client may have; the code to close with."""
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
            # Deleted in the meantime: what somebody who connects now would hear.
            return self.access.refusal.code
        except Refused as refused:
            return refused.code
        except ClientDisconnected:
            raise
        except Exception:
            logger.exception("The socket on workflow %r is closed", self.workflow_id)
            return INTERNAL_ERROR
        return NORMAL

    async def _follow(self) -> None:
        wakeups = get_store().wakeups
        with channel_layer.listening(), wakeups.watch(*self.keys()) as watch:
            while (news := await self.send_news()) is not News.ENDED:
                if news is News.NONE_LEFT:
                    pause = get_settings().poll_interval * (RELAXED if wakeups.is_listening else 1)
                    await watch.await_(max(0.0, min(pause, self.access.time_left)))
                # After the wait, so that nothing is sent which came after the right was taken.
                await self.access.check_again()


def required(query: dict[str, str], name: str) -> str:
    """A parameter that must be there; raises ValueError."""
    if name not in query:
        raise ValueError(f"The parameter {name!r} is missing: give it as ?{name}=….")
    return query[name]


def workflow_id_of(query: dict[str, str]) -> str:
    """The workflow id; raises ValueError."""
    return names.check_workflow_id(required(query, "workflow_id"))


def _query(scope: Any) -> dict[str, str]:
    text = scope.get("query_string", b"").decode("utf-8", "replace")
    return {name: values[-1] for name, values in parse_qs(text, keep_blank_values=True).items()}


def _raising_disconnected(
    send: Callable[[Any], Awaitable[None]],
) -> Callable[[Any], Awaitable[None]]:
    """Servers raise this and that when the client has gone: one error for all of them."""

    async def send_or_raise(message: Any) -> None:
        try:
            await send(message)
        except Exception as error:
            raise ClientDisconnected(str(error)) from error

    return send_or_raise
