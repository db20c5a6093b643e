"""EventConsumer: `ws/dbos/events/?workflow_id=…[&key=…]`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from channels.db import database_sync_to_async

from django_dbos import serializers
from django_dbos.consumers.base import News, WorkflowConsumer, workflow_id_of
from django_dbos.core import names
from django_dbos.core.records import Wake
from django_dbos.store import get_store

# The number of events whose values are read at once; large ones make it smaller.
MAX_PAGE = 100


class EventConsumer(WorkflowConsumer):
    """Sends the current values of a workflow's events, or of one event, and then every change.

    Frames are `{"key": …, "value": …, "version": n}`. Changes in quick succession may be merged
    into the latest one. When the workflow is no longer active, the socket is closed with code 1000;
    to follow a workflow that is resumed later, connect again. Without a key in the query string,
    permission is checked for each key separately, and only the permitted keys are sent.
    """

    kind = "event"

    def read_query(self, query: dict[str, str]) -> tuple[str, str | None]:
        """Return the workflow id, and the key if there is one."""
        self._versions: dict[str, int] = {}
        key = query.get("key")
        return workflow_id_of(query), None if key is None else names.check_key(key)

    def keys(self) -> Sequence[str]:
        """Return the keys of the event and of the workflow's end."""
        return (
            Wake.of_event(self.workflow_id, self.key or "").key,
            Wake.of_result(self.workflow_id).key,
        )

    async def send_news(self) -> News:
        """Send the events that have changed since they were last sent."""
        store = get_store()
        read_versions = database_sync_to_async(store.reader.read_versions)
        is_active, versions = await read_versions(
            self.workflow_id, self.key, token=self.access.token
        )
        changed = [key for key in versions if versions[key] > self._versions.get(key, 0)]
        if changed:
            await self.access.check_again(is_sending=True)
        allowed = await self.access.allowed(changed)
        frames = await database_sync_to_async(self._read)(allowed[:MAX_PAGE]) if allowed else []
        for frame in frames:
            await self.send_json(frame)
            self._versions[frame["key"]] = frame["version"]
        if len(frames) < len(allowed):
            return News.MORE
        return News.NONE_LEFT if is_active else News.ENDED

    def _read(self, keys: list[str]) -> list[dict[str, Any]]:
        # Runs on a thread: a project's own serializer may query the database.
        return [
            {"key": key, "value": serializers.to_plain(text), "version": version}
            for key, text, version in get_store().reader.read_some_events(self.workflow_id, keys)
        ]
