"""Snapshots: the state of a stream or an event as of now, for a page that is rendered with it.

They are read on the caller's thread and connection, and so in its transaction.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from asgiref.sync import async_to_sync

from django_dbos import serializers
from django_dbos.core import names
from django_dbos.exceptions import WorkflowDoesNotExist
from django_dbos.live.access import Access
from django_dbos.live.batching import alone
from django_dbos.live.following import LARGEST_OFFSET
from django_dbos.live.readers import Reader
from django_dbos.store import get_store

# The number of entries with which a page begins, unless it says how many it wants.
MAX_ENTRIES = 10_000


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamSnapshot:
    """The last entries of a stream; live readers go on at `next_offset`."""

    tag: str
    entries: list[tuple[int, Any]]
    next_offset: int


@dataclass(frozen=True, slots=True, kw_only=True)
class EventSnapshot:
    """The value of an event, and its version; 0 before the first."""

    tag: str
    value: Any
    version: int


def take_of_stream(
    reader: Reader, workflow_id: str, key: str, *, last: int | None = None
) -> StreamSnapshot:
    """Return a stream's last entries, or its first ones.

    Args:
        reader: Who asks.
        workflow_id: The workflow.
        key: The stream.
        last: The number of entries; None begins with the first entry. There are fewer if they
            have more than a megabyte together: readers get the rest live.

    Raises:
        Refused: The reader may not read the stream, or there is no such workflow.
    """
    access = _check(reader, workflow_id, "stream", key)
    read_entries = get_store().reader.read_entries
    first, limit = 0, MAX_ENTRIES
    try:
        if last is not None:
            beyond = read_entries(workflow_id, key, LARGEST_OFFSET, 1, token=access.token)
            first, limit = max(0, beyond.next_offset - last), last
        page = read_entries(workflow_id, key, first, limit, token=access.token)
    except WorkflowDoesNotExist:
        raise access.refusal from None
    found = [(offset, serializers.to_plain(text)) for offset, text in page.entries]
    next_offset = found[-1][0] + 1 if found else first
    return StreamSnapshot(tag=access.tag, entries=found, next_offset=next_offset)


def take_of_event(reader: Reader, workflow_id: str, key: str) -> EventSnapshot:
    """Return an event's value; raise Refused as take_of_stream() does."""
    tag = _check(reader, workflow_id, "event", key).tag
    for _, text, version in get_store().reader.read_events(workflow_id, key):
        return EventSnapshot(tag=tag, value=serializers.to_plain(text), version=version)
    return EventSnapshot(tag=tag, value=None, version=0)


def _check(reader: Reader, workflow_id: str, kind: str, key: str) -> Access:
    access = Access(reader, names.check_workflow_id(workflow_id), kind, names.check_key(key))
    with alone():
        async_to_sync(access.check)()
    return access
