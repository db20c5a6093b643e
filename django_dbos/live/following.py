"""Pages for transports to send: async iterators of those that a reader may read.

Each raises `Refused`, also in the middle, once the permission was taken away; and
WorkflowDoesNotExist never: a workflow that doesn't exist, or was deleted, is refused like one that
the reader may not read.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Mapping
from typing import Protocol, TypeVar

from django_dbos.core import names
from django_dbos.exceptions import WorkflowDoesNotExist
from django_dbos.live.access import Access
from django_dbos.live.batching import ask
from django_dbos.live.event_feeds import EventFeed
from django_dbos.live.feed import Feed
from django_dbos.live.frames import EventPage, StreamPage
from django_dbos.live.hub import get_hub
from django_dbos.live.looks import MAX_ENTRIES, MAX_EVENTS, Entries, Look, answer_all
from django_dbos.live.readers import Reader
from django_dbos.live.stream_feeds import StreamFeed
from django_dbos.store.records import PageWanted

LARGEST_OFFSET = 2**31 - 1

F = TypeVar("F", bound=Feed)
F_contra = TypeVar("F_contra", bound=Feed, contravariant=True)
P = TypeVar("P", StreamPage, EventPage)
P_co = TypeVar("P_co", StreamPage, EventPage, covariant=True)


def follow_stream(
    reader: Reader,
    workflow_id: str,
    key: str,
    *,
    offset: int = 0,
    access: Access | None = None,
) -> AsyncGenerator[StreamPage, None]:
    """Return a stream's entries in pages, as they are written; the last page has an `end`.

    A page without frames tells that all is sent. It comes once each time that the reader has caught
    up, unless a page with frames has said so.

    Args:
        reader: Who asks.
        workflow_id: The workflow.
        key: The stream.
        offset: The offset of the first entry.
        access: An access of this reader to this stream, which was checked before.

    Raises:
        Refused: The reader may not read the stream, or no longer.
        ValueError: The id, the key or the offset is invalid.
    """
    access = access or _new_access(reader, workflow_id, "stream", key)
    return _follow(StreamFeed, key, access, _Entries(check_offset(offset)))


def follow_events(
    reader: Reader,
    workflow_id: str,
    *,
    key: str | None = None,
    versions: Mapping[str, int] | None = None,
    access: Access | None = None,
) -> AsyncGenerator[EventPage, None]:
    """Return the current values of a workflow's events, and then every change; the last has an end.

    Changes in quick succession may be merged into the latest one. Without a key the permission is
    checked for each key, and only the permitted ones are sent.

    Args:
        reader: Who asks.
        workflow_id: The workflow.
        key: The event; None for all of them.
        versions: The versions that the reader has already, by key.
        access: An access of this reader to these events, which was checked before.

    Raises:
        Refused: The reader may not read the events, or no longer.
        ValueError: The id or the key is invalid.
    """
    access = access or _new_access(reader, workflow_id, "event", key)
    return _follow(EventFeed, key, access, _Changes(dict(versions or {})))


class _Place(Protocol[F_contra, P_co]):
    """The place in a feed up to which a reader has read."""

    async def next_page(self, feed: F_contra, access: Access) -> P_co:
        """Return what the reader doesn't have yet, which may be nothing; note it as read."""


class _Entries:
    """The place of a stream's reader: the offset of the next entry."""

    def __init__(self, offset: int) -> None:
        self._offset = offset

    async def next_page(self, feed: StreamFeed, access: Access) -> StreamPage:
        page = await feed.page(self._offset)
        if page.frames:
            await access.check_again(is_sending=True)
        self._offset = page.next_offset
        return page


class _Changes:
    """The place of a reader of events: the versions that it has, by key."""

    def __init__(self, versions: dict[str, int]) -> None:
        self._versions = versions

    async def next_page(self, feed: EventFeed, access: Access) -> EventPage:
        state, is_current = await feed.state()
        known = self._versions
        changed = [key for key, version in state.versions.items() if version > known.get(key, 0)]
        if changed:
            await access.check_again(is_sending=True)
        allowed = await access.allowed(changed)
        frames = await feed.values(allowed[:MAX_EVENTS]) if allowed else []
        known.update({frame.key: frame.version for frame in frames})
        is_up_to_date = is_current and len(frames) >= len(allowed)
        return EventPage(
            frames=frames, is_up_to_date=is_up_to_date, end=state.end if is_up_to_date else None
        )


async def _follow(
    make: Callable[..., F], key: str | None, access: Access, place: _Place[F, P]
) -> AsyncGenerator[P, None]:
    """Yield the pages from a place on, until the one with an end; wait in between."""
    await access.check_when_due()
    hub = get_hub()
    has_told = False
    try:
        with hub.feed(make, access.workflow_id, access.token, key) as feed:
            while True:
                page = await place.next_page(feed, access)
                if page.frames or page.end or (page.is_up_to_date and not has_told):
                    has_told = page.is_up_to_date
                    yield page
                    if page.end:
                        return
                elif page.is_up_to_date:
                    await hub.wait(feed, access)
                await access.check_again()
    except WorkflowDoesNotExist:
        # It was deleted: the answer is that to a new reader.
        raise access.refusal from None


async def read_stream_page(
    reader: Reader,
    workflow_id: str,
    key: str,
    *,
    offset: int = 0,
    limit: int = MAX_ENTRIES,
    access: Access | None = None,
) -> StreamPage:
    """Return the entries that follow an offset now, without waiting for any.

    Args:
        reader: Who asks.
        workflow_id: The workflow.
        key: The stream.
        offset: The offset of the first entry. Beyond the stream's end the page is empty, and its
            `next_offset` is that of the next entry to be written.
        limit: The number of entries at most; large ones make it smaller.
        access: An access of this reader to this stream, which was checked before.

    Raises:
        Refused: The reader may not read the stream.
        ValueError: The id, the key or the offset is invalid.
    """
    offset = check_offset(offset)
    access = access or _new_access(reader, workflow_id, "stream", key)
    await access.check_when_due()
    look: Look = PageWanted(workflow_id, key, offset, min(max(limit, 1), MAX_ENTRIES), access.token)
    try:
        answer = await ask(answer_all, look)
    except WorkflowDoesNotExist:
        raise access.refusal from None
    assert isinstance(answer, Entries)
    return StreamPage(
        frames=answer.frames,
        next_offset=answer.next_offset,
        is_up_to_date=answer.is_last,
        end=answer.end,
    )


def check_offset(offset: int) -> int:
    """Return an offset; raise ValueError if no stream can have it."""
    if not 0 <= offset <= LARGEST_OFFSET:
        raise ValueError(f"The offset must be between 0 and {LARGEST_OFFSET}, not {offset}.")
    return offset


def _new_access(reader: Reader, workflow_id: str, kind: str, key: str | None) -> Access:
    """Return an access that isn't checked yet; raise ValueError for an invalid id or key."""
    names.check_workflow_id(workflow_id)
    if key is not None:
        names.check_key(key)
    return Access(reader, workflow_id, kind, key)
