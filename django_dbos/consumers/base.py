"""What both consumers share: who may connect, what wakes them, and how they end.

A socket costs a task and no thread while nothing happens. It looks at the tables when this process
or, through LISTEN or the channel layer, another one says that something has changed, and every
DBOS["POLL_INTERVAL"] in any case.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Sequence
from typing import Any
from urllib.parse import parse_qs, urlparse

from channels.generic.websocket import AsyncJsonWebsocketConsumer
from channels.security.websocket import OriginValidator
from django.conf import settings
from django.contrib.auth.models import AnonymousUser

from django_dbos.conf import get_settings
from django_dbos.consumers import access, hints
from django_dbos.core import names
from django_dbos.store import get_store
from django_dbos.store.wakeups import Watch

logger = logging.getLogger("django_dbos.consumers")

NORMAL, BAD_REQUEST, NOT_LOGGED_IN, FORBIDDEN = 1000, 4400, 4401, 4403
INTERNAL_ERROR = 1011


class WorkflowConsumer(AsyncJsonWebsocketConsumer):
    """Sends what one workflow has published, to whoever may read it."""

    kind: str
    # Its socket must outlive a channel layer that is down, so Channels isn't to read from one.
    channel_layer_alias = "django_dbos has none"

    async def connect(self) -> None:
        """Accept, then say why not: a browser hears of no close that comes before."""
        self._serving: asyncio.Task[None] | None = None
        if not _is_origin_allowed(dict(self.scope)):
            await self.close()
            return
        await self.accept()
        try:
            self.workflow_id, self.key = self.read_query(_query(dict(self.scope)))
        except (TypeError, ValueError) as error:
            await self.send_json({"error": str(error)})
            await self.close(BAD_REQUEST)
            return
        user = self.scope.get("user") or AnonymousUser()
        if not await access.may_read(user, self.workflow_id, self.kind, self.key):
            await self.close(FORBIDDEN if user.is_authenticated else NOT_LOGGED_IN)
            return
        self._serving = asyncio.create_task(self._serve())

    async def disconnect(self, code: int) -> None:
        """Stop looking."""
        if self._serving is not None and self._serving is not asyncio.current_task():
            self._serving.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._serving

    async def receive(self, text_data: Any = None, bytes_data: Any = None, **kwargs: Any) -> None:
        """Clients have nothing to say."""

    def read_query(self, query: dict[str, str]) -> tuple[str, str | None]:
        """Return the workflow id and the key; raise ValueError for what is wrong with them."""
        raise NotImplementedError

    def keys(self) -> Sequence[str]:
        """The keys under which changes are notified."""
        raise NotImplementedError

    async def send_news(self) -> bool:
        """Send what the client doesn't have; whether there can be no more."""
        raise NotImplementedError

    async def _serve(self) -> None:
        try:
            with hints.listening(), get_store().wakeups.watch(*self.keys()) as watch:
                await self._follow(watch)
        except OSError as error:
            # The client went away while something was sent to it.
            logger.debug("The socket on workflow %r has ended: %s", self.workflow_id, error)
            return
        except Exception:
            logger.exception("The socket on workflow %r is closed", self.workflow_id)
            await self.close(INTERNAL_ERROR)
            return
        await self.close(NORMAL)

    async def _follow(self, watch: Watch) -> None:
        while not await self.send_news():
            await watch.await_(get_settings().poll_interval)


def required(query: dict[str, str], name: str) -> str:
    """A parameter that must be there; raises ValueError."""
    if name not in query:
        raise ValueError(f"The parameter {name!r} is missing: give it as ?{name}=….")
    return query[name]


def workflow_id_of(query: dict[str, str]) -> str:
    """The workflow id; raises ValueError."""
    return names.check_workflow_id(required(query, "workflow_id"))


def _query(scope: dict[str, Any]) -> dict[str, str]:
    text = scope.get("query_string", b"").decode("utf-8", "replace")
    return {name: values[-1] for name, values in parse_qs(text, keep_blank_values=True).items()}


def _is_origin_allowed(scope: dict[str, Any]) -> bool:
    """Whether the page that connects is one of this site's; other programs send no origin."""
    headers = dict(scope.get("headers", []))
    if b"origin" not in headers:
        return True
    hosts = settings.ALLOWED_HOSTS
    if settings.DEBUG and not hosts:
        hosts = ["localhost", "127.0.0.1", "[::1]"]
    origin = urlparse(headers[b"origin"].decode("latin1"))
    validator = OriginValidator(WorkflowConsumer.as_asgi(), hosts)
    return bool(validator.valid_origin(origin))
