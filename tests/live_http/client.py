"""A reader over HTTP: requests to the live views, and their answers read as browsers do."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any
from urllib.parse import urlencode

from django.contrib.auth.models import User
from django.test import AsyncClient

from tests.waiting import LIMIT


def address(kind: str, workflow_id: str, **query: Any) -> str:
    """Return the path of a stream or of events."""
    return f"/dbos/{kind}/?{urlencode({'workflow_id': workflow_id, **query})}"


async def root() -> AsyncClient:
    """Return a client whose user may read everything."""
    client = AsyncClient()
    user, _ = await User.objects.aget_or_create(username="root", is_superuser=True)
    await client.aforce_login(user)
    return client


class Events:
    """The server-sent events of a response."""

    def __init__(self, response: Any) -> None:
        self._parts: AsyncIterator[bytes] = aiter(response.streaming_content)
        self._response = response
        self._text = ""

    async def next(self) -> tuple[str, Any] | None:
        """Return the next event; None at the end of the response."""
        while "\n\n" not in self._text:
            try:
                part = await asyncio.wait_for(anext(self._parts), LIMIT)
            except StopAsyncIteration:
                return None
            self._text += part.decode()
        block, self._text = self._text.split("\n\n", 1)
        if block.startswith(":"):
            return await self.next()
        name, *lines, last = block.split("\n")
        assert last.startswith("id: ")
        data = "\n".join(line.removeprefix("data:") for line in lines)
        return name.removeprefix("event: "), json.loads(data)

    async def all(self) -> list[tuple[str, Any]]:
        """Return all events until the end of the response."""
        found = []
        while (event := await self.next()) is not None:
            found.append(event)
        return found

    async def values(self, count: int) -> list[Any]:
        """Return the values of the next data events, until there are so many."""
        found: list[Any] = []
        while len(found) < count:
            event = await self.next()
            assert event is not None, found
            if event[0] == "data":
                found += event[1]
        return found

    def close_response(self) -> None:
        """Close the response, as a handler does when its browser has left."""
        self._response.close()
