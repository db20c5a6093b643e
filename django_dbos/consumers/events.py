"""EventConsumer: `ws/dbos/events/?workflow_id=…[&key=…][&tag=…][&token=…]`."""

from __future__ import annotations

from collections.abc import Mapping

from django_dbos.consumers.base import WorkflowConsumer, required
from django_dbos.core.values.plain_json import to_text
from django_dbos.live.following import EventFollower
from django_dbos.live.frames import EventFrame, EventPage
from django_dbos.live.readers import Reader


class EventConsumer(WorkflowConsumer):
    """Sends the current values of a workflow's events, or of one event, and then every change.

    The first frame is `{"tag": "…"}`, and then they are `{"key": …, "value": …, "version": n}`.
    Changes in quick succession may be merged into the latest one. When the workflow is no longer
    active, the socket is closed with code 1000; to follow a workflow that is resumed later, connect
    again. A client that reconnects with the tag is closed with code 4410 if the workflow was
    rewound meanwhile, or another one has the id. Without a key in the query string,
    permission is checked for each key separately, and only the permitted keys are sent.
    """

    __slots__ = ()

    def follower(self, reader: Reader, query: Mapping[str, str]) -> EventFollower:
        """Return a place in the events, or in the one whose key there is."""
        return EventFollower(reader, required(query, "workflow_id"), key=query.get("key"))

    def texts(self, page: EventPage) -> list[str]:
        """Return the frames of the events that have changed."""
        return [frame.form("websocket", _text) for frame in page.frames]


def _text(frame: EventFrame) -> str:
    key = to_text(frame.key)
    return f'{{"key":{key},"value":{frame.json_text},"version":{frame.version}}}'
