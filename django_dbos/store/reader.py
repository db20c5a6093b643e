"""Reads of the tables, for both databases.

They use Django's connection of the calling thread, and so the caller's transaction.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import cast
from uuid import UUID

from django.db.models import Sum, Window

from django_dbos.core import names, registry
from django_dbos.core.records import Checkpoint
from django_dbos.core.status import ACTIVE, CLOSING, Status
from django_dbos.exceptions import WorkflowDoesNotExist
from django_dbos.fields import StoredSize
from django_dbos.models import Checkpoint as CheckpointRow
from django_dbos.models import Event, Executor, StreamEntry, Workflow
from django_dbos.store.columns import CHECKPOINT
from django_dbos.store.records import (
    EventVersions,
    Failed,
    Outcome,
    Page,
    PageWanted,
    Unfinished,
    VersionsWanted,
)
from django_dbos.store.sessions import Row, Session

# The size at which a page of values ends, in bytes: a single value may have megabytes.
PAGE_BYTES = 1_000_000
# The number of entries that a statement for many pages reads at most.
MAX_ROWS = 5_000


class Reader:
    """Reads the tables of one database."""

    def __init__(self, alias: str, session: Callable[[], Session]) -> None:
        self._alias = alias
        self._session = session

    def get_workflow(self, workflow_id: str) -> Workflow:
        """Return the row without its values; raise WorkflowDoesNotExist."""
        found = Workflow.objects.using(self._alias).filter(workflow_id=workflow_id)
        workflow = found.defer("input_text", "output_text", "error_text", "attributes").first()
        if workflow is None:
            raise WorkflowDoesNotExist(workflow_id)
        return workflow

    def find_function(self, workflow_id: str) -> tuple[str, str | None] | None:
        """Return name and version of a workflow's function; None if there is no such workflow."""
        found = Workflow.objects.using(self._alias).filter(workflow_id=workflow_id)
        return found.values_list("name", "version").first()

    # Waits poll these: plain statements, since the ORM takes several times as long to make one.

    def read_outcome(self, workflow_id: str) -> Outcome:
        """Return the status and outcome; raise WorkflowDoesNotExist."""
        for status, *values in self._session().run("read_outcome", {"workflow_id": workflow_id}):
            return Outcome(Status(status), *values)
        raise WorkflowDoesNotExist(workflow_id)

    def find_unfinished(self, workflow_ids: Sequence[str]) -> list[Unfinished]:
        """Return those of the workflows that haven't ended or are quarantined, in their order.

        Raise WorkflowDoesNotExist for one that doesn't exist.
        """
        session = self._session()
        rows = session.run("find_unfinished", {"workflow_ids": session.pack(workflow_ids)})
        for workflow_id, status, _ in rows:
            if status is None:
                raise WorkflowDoesNotExist(workflow_id)
        return [Unfinished(row[0], bool(row[2])) for row in rows]

    def read_unfinished_children(
        self, parent_id: str, step_number: int
    ) -> list[tuple[str, str | None]]:
        """Return a step's unfinished children, each with the one that it is held behind."""
        children = {"parent_id": parent_id, "step_number": step_number}
        rows = self._session().run("read_unfinished_children", children)
        return cast("list[tuple[str, str | None]]", rows)

    def read_failed(self, parent_id: str, step_number: int) -> Failed | None:
        """Return the first of a step's children that ended without success; None if there is none.

        Quarantined ones haven't ended.
        """
        children = {"parent_id": parent_id, "step_number": step_number}
        for row in self._session().run("read_failed", children):
            return Failed(*row)
        return None

    def read_outcomes(self, workflow_ids: Sequence[str]) -> dict[str, Outcome]:
        """Return the statuses and outcomes of those of the workflows that exist."""
        session = self._session()
        rows = session.run("read_outcomes", {"workflow_ids": session.pack(workflow_ids)})
        return {
            workflow_id: Outcome(Status(status), *values) for workflow_id, status, *values in rows
        }

    def read_original(self, workflow_id: str) -> str | None:
        """Return the id of the workflow that one was forked from; None for all others."""
        found = Workflow.objects.using(self._alias).filter(workflow_id=workflow_id)
        return found.values_list("forked_from", flat=True).first()

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

    def read_versions(
        self, workflow_id: str, key: str | None, *, token: UUID | None
    ) -> tuple[Status, dict[str, int]]:
        """Return a workflow's status, and its events' versions, without their values.

        Raise WorkflowDoesNotExist, also if a new workflow has the id: its token is another one.
        """
        read = self._session().run("read_versions", {"workflow_id": workflow_id, "key": key})
        status, _ = _status_and_token(read, workflow_id, token)
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

    def read_some_events(self, workflow_id: str, keys: Sequence[str]) -> list[tuple[str, str, int]]:
        """Return (key, value's text, version) of a page of these events, by key.

        A page has at least one event, and ends at PAGE_BYTES.
        """
        events = Event.objects.using(self._alias).filter(workflow_id=workflow_id, key__in=keys)
        before = Window(Sum(StoredSize("value_text")), order_by="key") - StoredSize("value_text")
        page = events.annotate(bytes_before=before).filter(bytes_before__lt=PAGE_BYTES)
        return list(page.order_by("key").values_list("key", "value_text", "version"))

    def read_entries(
        self, workflow_id: str, key: str, offset: int, limit: int, *, token: UUID | None = None
    ) -> Page:
        """Return up to `limit` entries from an offset: at least one, and up to PAGE_BYTES.

        Raise WorkflowDoesNotExist, also if a new workflow has the id: its token is another one.
        """
        stream = {"workflow_id": workflow_id, "key": key}
        asked = {**stream, "offset": offset, "limit": limit + 1, "max_bytes": PAGE_BYTES}
        read = self._session().run("read_entries", asked)
        status, _ = _status_and_token(read, workflow_id, token)
        rows = [row[2:] for row in read if row[2] is not None]
        # The entry after the page comes without its value.
        found = [row[:3] for row in rows if not row[3]]
        has_end = bool(found) and bool(found[-1][2])
        is_last = len(found) <= limit and len(found) == len(rows)
        entries = [(at, value) for at, value, _ in found[:limit] if value is not None]
        next_offset = entries[-1][0] + 1 if entries else offset
        if not found and offset > 0:
            end, has_end = self._read_tail(workflow_id, key)
            # What was written since the first query is read from this offset on, and the end later.
            has_end = has_end and end <= offset
            next_offset = min(offset, end)
        return Page(
            entries=entries,
            next_offset=next_offset,
            is_closed=(is_last and has_end) or status in CLOSING,
            is_active=status in ACTIVE,
            is_last=is_last or (len(found) == limit + 1 and has_end),
        )

    def read_pages(self, wanted: Sequence[PageWanted]) -> list[Page | WorkflowDoesNotExist | None]:
        """Return pages of several streams, which share PAGE_BYTES.

        A page may be shorter than the others allow: `is_last` tells. One for which the others have
        left no room is None, and is to be asked for again; the first one never is.
        """
        pages: list[Page | WorkflowDoesNotExist | None] = []
        room = PAGE_BYTES
        for one in wanted:
            if room <= 0:
                pages.append(None)
                continue
            try:
                page = self.read_entries(
                    one.workflow_id, one.key, one.offset, one.limit, token=one.token
                )
            except WorkflowDoesNotExist as error:
                pages.append(error)
            else:
                room -= sum(len(text) for _, text in page.entries)
                pages.append(page)
        return pages

    def _read_tail(self, workflow_id: str, key: str) -> tuple[int, bool]:
        """Return the offset after a stream's last value, and whether the stream was closed."""
        entries = StreamEntry.objects.using(self._alias).filter(workflow_id=workflow_id, key=key)
        last = entries.order_by("-offset").values_list("offset", "is_end").first()
        if last is None:
            return 0, False
        offset, is_end = last
        return (offset if is_end else offset + 1), is_end

    def read_checkpoint(self, workflow_id: str, step_number: int) -> Checkpoint | None:
        """Return the checkpoint at a position, or None."""
        step = {"workflow_id": workflow_id, "step_number": step_number}
        found = self._session().run("read_checkpoint", step)
        return CHECKPOINT.read(found[0]) if found else None

    def read_checkpoints(self, workflow_id: str) -> list[CheckpointRow]:
        """Return a workflow's checkpoints, by step number."""
        found = CheckpointRow.objects.using(self._alias).filter(workflow_id=workflow_id)
        return list(found.order_by("step_number"))

    def why_unclaimed(
        self,
        queue_name: str,
        name: str,
        version: str | None,
        workers: Sequence[Executor] | None = None,
    ) -> str:
        """Return the reason why no live worker claims a workflow, or an empty text if one may.

        `workers` are the live workers of the queue, where they are known.
        """
        if workers is None:
            workers = self.find_workers(queue_name)
        if not workers:
            return f"no live worker serves queue {queue_name!r}; run dbos_worker"
        listed = [row.workflow_names for row in workers]
        if any(known is None or registry.is_listed(name, version, known) for known in listed):
            return ""
        if any(known is not None and name in known for known in listed):
            return (
                f"no live worker of queue {queue_name!r} knows version {version!r} of its function "
                f"{name!r}; deploy that code, too: @….version({version!r})"
            )
        found = {one for known in listed for one in registry.without_versions(known or ())}
        similar = names.closest(name, sorted(found))
        return (
            f"no live worker of queue {queue_name!r} knows its function {name!r}"
            f"{f', but one knows {similar!r}' if similar else ''}; deploy the code, or give a "
            "renamed function this name: @workflow(name=…)"
        )

    def find_workers(self, queue_name: str) -> list[Executor]:
        """Return the live workers that serve a queue."""
        executors = Executor.objects.using(self._alias).filter(is_inline=False).judged()
        return [
            row
            for row in executors
            if row.is_live and (row.queue_names is None or queue_name in row.queue_names)
        ]


def _status_and_token(read: list[Row], workflow_id: str, token: UUID | None) -> tuple[Status, UUID]:
    """Return the status and token of the workflow that all rows belong to."""
    if not read:
        raise WorkflowDoesNotExist(workflow_id)
    status, found = Status(read[0][0]), UUID(str(read[0][1]))
    if token is not None and token != found:
        raise WorkflowDoesNotExist(workflow_id)
    return status, found
