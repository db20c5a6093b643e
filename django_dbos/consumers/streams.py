"""StreamConsumer: `ws/dbos/streams/?workflow_id=…&key=…&offset=N`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from channels.db import database_sync_to_async

from django_dbos import serializers
from django_dbos.consumers.base import News, WorkflowConsumer, required, workflow_id_of
from django_dbos.core import names
from django_dbos.core.records import Wake
from django_dbos.store import get_store
from django_dbos.store.records import Page

# Entries read and sent at once; the reader stops earlier where they are large.
MAX_PAGE = 500


class StreamConsumer(WorkflowConsumer):
    """Sends a stream's entries from an offset on, in order, as they come.

    Frames are `{"offset": n, "value": …}` and, at the end, `{"closed": true}`: the stream was
    closed, or its workflow has ended in SUCCESS or ERROR. `{"closed": false}` says that the
    workflow isn't active any more, and may be resumed. Then the socket is closed with 1000. Whoever
    reconnects asks for its last offset + 1, and misses nothing.
    """

    kind = "stream"

    def read_query(self, query: dict[str, str]) -> tuple[str, str | None]:
        offset = query.get("offset", "0")
        if not (offset.isascii() and offset.isdigit() and len(offset) < 10):
            raise ValueError(f"The offset must be a number from 0 on, not {offset[:20]!r}.")
        self._offset = int(offset)
        self._stream = names.check_key(required(query, "key"))
        return workflow_id_of(query), self._stream

    def keys(self) -> Sequence[str]:
        return (
            Wake.of_stream(self.workflow_id, self._stream).key,
            Wake.of_result(self.workflow_id).key,
        )

    async def send_news(self) -> News:
        page, frames = await database_sync_to_async(self._read)()
        if frames:
            await self.access.check_again(is_sending=True)
        for frame in frames:
            await self.send_json(frame)
            self._offset = frame["offset"] + 1
        if page.is_ended:
            await self.send_json({"closed": page.is_closed})
            return News.ENDED
        return News.NONE_LEFT if page.is_last else News.MORE

    def _read(self) -> tuple[Page, list[dict[str, Any]]]:
        page = get_store().reader.read_entries(
            self.workflow_id, self._stream, self._offset, MAX_PAGE, token=self.access.token
        )
        # Not on the event loop: a project's own serializer may want the database.
        return page, [
            {"offset": offset, "value": serializers.to_plain(text)} for offset, text in page.entries
        ]
