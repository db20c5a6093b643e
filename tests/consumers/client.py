"""A websocket client that calls an ASGI application without a server."""

from __future__ import annotations

import asyncio
import json
from typing import Any

from asgiref.testing import ApplicationCommunicator

from tests.waiting import LIMIT


class Client(ApplicationCommunicator):
    """Connects to one path; `frames` reads until the socket is closed.

    Frames with a tag aren't among those that it returns; `tag` is that of the last one.
    """

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
        self.tag: str | None = None
        self._code = 0

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
        frame = await self._next()
        assert frame is not None, "The socket is closed."
        return frame

    async def frames(self) -> tuple[list[Any], int]:
        """Return all frames until the socket is closed, and its close code."""
        found = []
        while (frame := await self._next()) is not None:
            found.append(frame)
        return found, self._code

    async def _next(self) -> Any:
        """Return the next frame without a tag, or None once the socket is closed."""
        while (message := await self.receive_output(LIMIT))["type"] == "websocket.send":
            frame = json.loads(message["text"])
            if "tag" not in frame:
                return frame
            self.tag = frame["tag"]
        assert message["type"] == "websocket.close", message
        self.is_closed = True
        self._code = message.get("code", 1000)
        return None

    async def disconnect(self) -> None:
        """Disconnect, and wait until the application has ended."""
        await self.send_input({"type": "websocket.disconnect", "code": 1000})
        await self.wait(LIMIT)
