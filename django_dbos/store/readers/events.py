"""Reads of events: their values and their versions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast
from uuid import UUID

from django.db.models import Sum, Window

from django_dbos.core.status import Status
from django_dbos.exceptions import WorkflowDoesNotExist
from django_dbos.fields import StoredSize
from django_dbos.models import Event
from django_dbos.store.readers.part import PAGE_BYTES, ReaderPart, status_and_token
from django_dbos.store.records import EventVersions, VersionsWanted


class EventReader(ReaderPart):
    """Reads events."""

    def read_event(self, workflow_id: str, key: str) -> str | None:
        """Return the latest value's text, or None; raise WorkflowDoesNotExist."""
        params = {"workflow_id": workflow_id, "key": key}
        for _, value in self._session().run("read_event", params):
            return cast("str | None", value)
        raise WorkflowDoesNotExist(workflow_id)

    def read_events(self, workflow_id: str, key: str | None = None) -> list[tuple[str, str, int]]:
        """Return (key, value's text, version) of a workflow's events, by key."""
        events = Event.objects.using(self._alias).filter(workflow_id=workflow_id)
        if key is not None:
            events = events.filter(key=key)
        return list(events.order_by("key").values_list("key", "value_text", "version"))

    def read_some_events(self, workflow_id: str, keys: Sequence[str]) -> list[tuple[str, str, int]]:
        """Return (key, value's text, version) of a page of these events, by key.

        A page has at least one event, and ends at PAGE_BYTES.
        """
        events = Event.objects.using(self._alias).filter(workflow_id=workflow_id, key__in=keys)
        before = Window(Sum(StoredSize("value_text")), order_by="key") - StoredSize("value_text")
        page = events.annotate(bytes_before=before).filter(bytes_before__lt=PAGE_BYTES)
        return list(page.order_by("key").values_list("key", "value_text", "version"))

    def read_versions(
        self, workflow_id: str, key: str | None, *, token: UUID | None
    ) -> tuple[Status, dict[str, int]]:
        """Return a workflow's status, and its events' versions, without their values.

        Raise WorkflowDoesNotExist, also if a new workflow has the id: its token is another one.
        """
        read = self._session().run("read_versions", {"workflow_id": workflow_id, "key": key})
        status, _ = status_and_token(read, workflow_id, token)
        return status, {row[2]: row[3] for row in read if row[2] is not None}

    def read_many_versions(
        self, wanted: Sequence[VersionsWanted]
    ) -> list[EventVersions | WorkflowDoesNotExist]:
        """Return the versions of several workflows' events."""
        found: list[EventVersions | WorkflowDoesNotExist] = []
        for one in wanted:
            try:
                status, versions = self.read_versions(one.workflow_id, one.key, token=one.token)
            except WorkflowDoesNotExist as error:
                found.append(error)
            else:
                found.append(EventVersions(versions, status))
        return found
