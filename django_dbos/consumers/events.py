"""EventConsumer: `ws/dbos/events/?workflow_id=…[&key=…][&token=…]`."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing

from django_dbos.consumers.base import WorkflowConsumer, workflow_id_of
from django_dbos.core import names
from django_dbos.core.values.plain_json import to_text
from django_dbos.live.following import follow_events
from django_dbos.live.frames import EventFrame
from django_dbos.live.readers import Reader


class EventConsumer(WorkflowConsumer):
    """Sends the current values of a workflow's events, or of one event, and then every change.

    Frames are `{"key": …, "value": …, "version": n}`. Changes in quick succession may be merged
    into the latest one. When the workflow is no longer active, the socket is closed with code 1000;
    to follow a workflow that is resumed later, connect again. Without a key in the query string,
    permission is checked for each key separately, and only the permitted keys are sent.
    """

    def read_query(self, query: dict[str, str]) -> str:
        """Return the workflow id, and keep the key if there is one."""
        key = query.get("key")
        self._key = None if key is None else names.check_key(key)
        return workflow_id_of(query)

    async def follow(self, reader: Reader) -> AsyncGenerator[list[str], None]:
        """Yield the frames of the events that have changed."""
        async with aclosing(follow_events(reader, self.workflow_id, key=self._key)) as pages:
            async for page in pages:
                yield [frame.form("websocket", _text) for frame in page.frames]


def _text(frame: EventFrame) -> str:
    key = to_text(frame.key)
    return f'{{"key":{key},"value":{frame.json_text},"version":{frame.version}}}'
