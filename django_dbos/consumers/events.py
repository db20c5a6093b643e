"""EventConsumer: `ws/dbos/events/?workflow_id=…[&key=…]`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from channels.db import database_sync_to_async

from django_dbos import serializers
from django_dbos.consumers.base import WorkflowConsumer, workflow_id_of
from django_dbos.core import names
from django_dbos.core.records import Wake
from django_dbos.core.status import ACTIVE
from django_dbos.store import get_store


class EventConsumer(WorkflowConsumer):
    """Sends the current values of a workflow's events, or of one, and then every change.

    Frames are `{"key": …, "value": …, "version": n}`; of changes in quick succession the latest is
    sent. Once the workflow isn't active any more, the socket is closed with 1000; whoever follows a
    workflow that is resumed connects again.
    """

    kind = "event"

    def read_query(self, query: dict[str, str]) -> tuple[str, str | None]:
        self._versions: dict[str, int] = {}
        key = query.get("key")
        return workflow_id_of(query), None if key is None else names.check_key(key)

    def keys(self) -> Sequence[str]:
        return (
            Wake.of_event(self.workflow_id, self.key or "").key,
            Wake.of_result(self.workflow_id).key,
        )

    async def send_news(self) -> bool:
        is_active, frames = await database_sync_to_async(self._read)()
        for frame in frames:
            await self.send_json(frame)
            self._versions[frame["key"]] = frame["version"]
        return not is_active

    def _read(self) -> tuple[bool, list[dict[str, Any]]]:
        # The status first: what a workflow set before it ended is then seen.
        store = get_store()
        is_active = store.reader.read_status(self.workflow_id) in ACTIVE
        # Not on the event loop: a project's own serializer may want the database.
        return is_active, [
            {"key": key, "value": serializers.to_plain(text), "version": version}
            for key, text, version in store.reader.read_events(self.workflow_id, self.key)
            if version > self._versions.get(key, 0)
        ]
