"""What anybody may read of the tables: written once, for both databases.

On Django's connection of the calling thread, and so in the caller's transaction.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields
from typing import cast

from django.db.models import F

from django_dbos.core.records import Checkpoint, State
from django_dbos.core.status import ACTIVE, CLOSING, Status
from django_dbos.exceptions import WorkflowDoesNotExist
from django_dbos.models import Checkpoint as CheckpointRow
from django_dbos.models import Event, Executor, StreamEntry, Workflow
from django_dbos.store.records import Outcome, Page
from django_dbos.store.sessions import Session


class Reader:
    """Reads one database's tables."""

    def __init__(self, alias: str, session: Callable[[], Session]) -> None:
        self._alias = alias
        self._session = session

    def get_workflow(self, workflow_id: str) -> Workflow:
        """Return the row; raise WorkflowDoesNotExist."""
        workflow = Workflow.objects.using(self._alias).filter(workflow_id=workflow_id).first()
        if workflow is None:
            raise WorkflowDoesNotExist(workflow_id)
        return workflow

    # These are asked again and again by whoever waits: plain statements, since the ORM takes
    # several times as long to make one.

    def read_outcome(self, workflow_id: str) -> Outcome:
        """Return how a workflow stands; raise WorkflowDoesNotExist."""
        for status, *values in self._session().run("read_outcome", {"workflow_id": workflow_id}):
            return Outcome(Status(status), *values)
        raise WorkflowDoesNotExist(workflow_id)

    def read_status(self, workflow_id: str) -> Status:
        """Return the status; raise WorkflowDoesNotExist."""
        for row in self._session().run("read_status", {"workflow_id": workflow_id}):
            return Status(row[0])
        raise WorkflowDoesNotExist(workflow_id)

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

    def read_entries(self, workflow_id: str, key: str, offset: int, limit: int) -> Page:
        """Return up to `limit` entries from an offset; raise WorkflowDoesNotExist."""
        stream = {"workflow_id": workflow_id, "key": key}
        asked = {**stream, "offset": offset, "limit": limit + 1}
        read = self._session().run("read_entries", asked)
        if not read:
            raise WorkflowDoesNotExist(workflow_id)
        status = Status(read[0][0])
        found = [row[1:] for row in read if row[1] is not None]
        has_end = bool(found) and bool(found[-1][2])
        is_last = len(found) <= limit
        if not found and offset > 0:
            earlier = StreamEntry.objects.using(self._alias).filter(**stream, offset__lt=offset)
            has_end = earlier.filter(is_end=True).exists()
        return Page(
            entries=[(at, value) for at, value, _ in found[:limit] if value is not None],
            is_closed=(is_last and has_end) or status in CLOSING,
            is_active=status in ACTIVE,
            is_last=is_last or (len(found) == limit + 1 and has_end),
        )

    def read_checkpoint(self, workflow_id: str, step_number: int) -> Checkpoint | None:
        """Return what is recorded at a position, read on Django's connection."""
        found = CheckpointRow.objects.using(self._alias).filter(
            workflow_id=workflow_id, step_number=step_number
        )
        apart = ("duration", "output", "error")
        names = [one.name for one in fields(Checkpoint) if one.name not in apart]
        for values in found.values(*names, output=F("output_text"), error=F("error_text")):
            return Checkpoint(**{**values, "state": State(values["state"])})
        return None

    def read_checkpoints(self, workflow_id: str) -> list[CheckpointRow]:
        """Return a workflow's checkpoints, by step number."""
        found = CheckpointRow.objects.using(self._alias).filter(workflow_id=workflow_id)
        return list(found.order_by("step_number"))

    def has_executor_for(self, queue_name: str) -> bool:
        """Whether a live executor listens to the queue."""
        executors = Executor.objects.using(self._alias).filter(is_inline=False).judged()
        return any(
            one.queue_names is None or queue_name in one.queue_names
            for one in executors
            if one.is_live
        )
