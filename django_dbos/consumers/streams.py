"""StreamConsumer: `ws/dbos/streams/?workflow_id=…&key=…&offset=N[&tag=…][&token=…]`."""

from __future__ import annotations

from collections.abc import Mapping

from django_dbos.consumers.base import WorkflowConsumer, required
from django_dbos.live.following import StreamFollower
from django_dbos.live.frames import End, Frame, StreamPage
from django_dbos.live.readers import Reader


class StreamConsumer(WorkflowConsumer):
    """Sends a stream's entries in order, from an offset (default: 0) onwards, as they are written.

    The first frame is `{"tag": "…"}`, and then they are `{"offset": n, "value": …}`. The last is
    `{"closed": true}` if the stream was closed or its workflow has ended in SUCCESS or ERROR, and
    `{"closed": false}` if the workflow is no longer active but may be resumed. Then the socket is
    closed with code 1000. A client that reconnects with its last offset + 1 misses nothing; with
    the tag as well, it is closed with code 4410 if the workflow was rewound meanwhile, or another
    one has the id.
    """

    __slots__ = ()

    def follower(self, reader: Reader, query: Mapping[str, str]) -> StreamFollower:
        """Return a place in the stream, at the offset."""
        offset = query.get("offset", "0")
        if not (offset.isascii() and offset.isdigit() and len(offset) < 10):
            raise ValueError(f"The offset must be a number from 0 upwards, not {offset[:20]!r}.")
        key = required(query, "key")
        return StreamFollower(reader, required(query, "workflow_id"), key, offset=int(offset))

    def texts(self, page: StreamPage) -> list[str]:
        """Return the entries' frames, and the one that tells how the stream has ended."""
        texts = [frame.form("websocket", _text) for frame in page.frames]
        if page.end is not None:
            texts.append(CLOSED if page.end is End.CLOSED else INACTIVE)
        return texts


CLOSED, INACTIVE = '{"closed":true}', '{"closed":false}'


def _text(frame: Frame) -> str:
    return f'{{"offset":{frame.offset},"value":{frame.json_text}}}'
