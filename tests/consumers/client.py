"""A websocket client that calls an ASGI application without a server."""

from __future__ import annotations

import asyncio
import json
from typing import Any

from asgiref.testing import ApplicationCommunicator

from tests.waiting import LIMIT


class Client(ApplicationCommunicator):
    """Connects to one path; `frames` reads until the socket is closed."""

    def __init__(self, application: Any, path: str, headers: Any, user: Any, **scope: Any) -> None:
        path, _, query = path.partition("?")
        found = {
            "type": "websocket",
            "path": path,
            "query_string": query.encode(),
            "headers": list(headers),
            "subprotocols": [],
            "user": user,
            **scope,
        }
        super().__init__(application, found)
        self.is_accepted = False
        self.is_closed = False

    async def connect(self) -> None:
        """Connect, and set `is_accepted` to the application's answer."""
        await self.send_input({"type": "websocket.connect"})
        answer = await self.receive_output(LIMIT)
        self.is_accepted = answer["type"] == "websocket.accept"
        self.is_closed = not self.is_accepted

    async def drop(self) -> None:
        """Cancel the application, as a stopping server does."""
        self.future.cancel()
        await asyncio.wait([self.future])

    async def say(self, text: str) -> None:
        """Send a text frame."""
        await self.send_input({"type": "websocket.receive", "text": text})

    async def frame(self) -> Any:
        """Return the next frame."""
        message = await self.receive_output(LIMIT)
        assert message["type"] == "websocket.send", message
        return json.loads(message["text"])

    async def frames(self) -> tuple[list[Any], int]:
        """Return all frames until the socket is closed, and its close code."""
        found = []
        while True:
            message = await self.receive_output(LIMIT)
            if message["type"] == "websocket.close":
                self.is_closed = True
                return found, message.get("code", 1000)
            found.append(json.loads(message["text"]))

    async def disconnect(self) -> None:
        """Disconnect, and wait until the application has ended."""
        await self.send_input({"type": "websocket.disconnect", "code": 1000})
        await self.wait(LIMIT)
