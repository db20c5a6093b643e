"""StreamConsumer: `ws/dbos/streams/?workflow_id=…&key=…&offset=N[&token=…]`."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing

from django_dbos.consumers.base import WorkflowConsumer, required, workflow_id_of
from django_dbos.core import names
from django_dbos.live.following import follow_stream
from django_dbos.live.frames import End, Frame
from django_dbos.live.readers import Reader


class StreamConsumer(WorkflowConsumer):
    """Sends a stream's entries in order, from an offset (default: 0) onwards, as they are written.

    Frames are `{"offset": n, "value": …}`. The last frame is `{"closed": true}` if the stream was
    closed or its workflow has ended in SUCCESS or ERROR, and `{"closed": false}` if the workflow is
    no longer active but may be resumed. Then the socket is closed with code 1000. A client that
    reconnects with its last offset + 1 misses nothing.
    """

    def read_query(self, query: dict[str, str]) -> str:
        """Return the workflow id, and keep the key and the offset."""
        offset = query.get("offset", "0")
        if not (offset.isascii() and offset.isdigit() and len(offset) < 10):
            raise ValueError(f"The offset must be a number from 0 upwards, not {offset[:20]!r}.")
        self._offset = int(offset)
        self._key = names.check_key(required(query, "key"))
        return workflow_id_of(query)

    async def follow(self, reader: Reader) -> AsyncGenerator[list[str], None]:
        """Yield the entries' frames, and the one that tells how the stream has ended."""
        follow = follow_stream(reader, self.workflow_id, self._key, offset=self._offset)
        async with aclosing(follow) as pages:
            async for page in pages:
                texts = [frame.form("websocket", _text) for frame in page.frames]
                if page.end is not None:
                    texts.append(CLOSED if page.end is End.CLOSED else INACTIVE)
                yield texts


CLOSED, INACTIVE = '{"closed":true}', '{"closed":false}'


def _text(frame: Frame) -> str:
    return f'{{"offset":{frame.offset},"value":{frame.json_text}}}'
