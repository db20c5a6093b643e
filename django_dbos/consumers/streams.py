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

# The number of entries that are read and sent at once; large ones make it smaller.
MAX_PAGE = 500


class StreamConsumer(WorkflowConsumer):
    """Sends a stream's entries in order, from an offset (default: 0) onwards, as they are written.

    Frames are `{"offset": n, "value": …}`. The last frame is `{"closed": true}` if the stream was
    closed or its workflow has ended in SUCCESS or ERROR, and `{"closed": false}` if the workflow is
    no longer active but may be resumed. Then the socket is closed with code 1000. A client that
    reconnects with its last offset + 1 misses nothing.
    """

    kind = "stream"

    def read_query(self, query: dict[str, str]) -> tuple[str, str | None]:
        """Return the workflow id and the key, and keep the offset."""
        offset = query.get("offset", "0")
        if not (offset.isascii() and offset.isdigit() and len(offset) < 10):
            raise ValueError(f"The offset must be a number from 0 upwards, not {offset[:20]!r}.")
        self._offset = int(offset)
        self._stream = names.check_key(required(query, "key"))
        return workflow_id_of(query), self._stream

    def keys(self) -> Sequence[str]:
        """Return the keys of the stream and of the workflow's end."""
        return (
            Wake.of_stream(self.workflow_id, self._stream).key,
            Wake.of_result(self.workflow_id).key,
        )

    async def send_news(self) -> News:
        """Send the next page of entries."""
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
        # Runs on a thread: a project's own serializer may query the database.
        return page, [
            {"offset": offset, "value": serializers.to_plain(text)} for offset, text in page.entries
        ]
