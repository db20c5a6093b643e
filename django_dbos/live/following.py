"""Pages for transports to send: those that a reader may read, one after another.

Following raises `Refused`, also in the middle, once the permission was taken away; and
WorkflowDoesNotExist never: a workflow that doesn't exist, or was deleted, is refused like one that
the reader may not read; and one that was rewound, or whose id is another one's now, as gone.
"""

from __future__ import annotations

import asyncio
import random
from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator, Mapping
from typing import Generic, TypeVar

from django_dbos.core import names
from django_dbos.exceptions import WorkflowDoesNotExist
from django_dbos.live.access import Access
from django_dbos.live.batching import ask
from django_dbos.live.event_feeds import EventFeed
from django_dbos.live.feed import Feed
from django_dbos.live.frames import EventPage, StreamPage
from django_dbos.live.hub import Hub, get_hub
from django_dbos.live.looks import MAX_ENTRIES, MAX_EVENTS, Entries, Look, answer_all
from django_dbos.live.outages import OUTAGE
from django_dbos.live.readers import Reader
from django_dbos.live.stream_feeds import StreamFeed
from django_dbos.store.records import PageWanted

LARGEST_OFFSET = 2**31 - 1
# The seconds from a look that has failed to the next one; a random half of it more or less.
OUTAGE_PAUSE = 1.0

F = TypeVar("F", bound=Feed)
P = TypeVar("P", StreamPage, EventPage)


class Follower(ABC, Generic[F, P]):
    """A reader's place in the data of a workflow.

    `pages` is for a transport with a task for each reader. One with thousands of readers calls
    `look` until there is nothing new and then `begin_wait`: while they wait, no task does.

    Args:
        access: The reader's permission, whether it was checked or not.
    """

    __slots__ = ("_feed", "_has_told", "_hub", "_waiter", "access")

    def __init__(self, access: Access) -> None:
        self.access = access
        self._hub: Hub | None = None
        self._feed: F | None = None
        self._waiter: asyncio.Future[None] | None = None
        self._has_told = False

    @abstractmethod
    def _join(self, hub: Hub) -> F:
        """Join the feed of the data."""

    @abstractmethod
    async def _next_page(self, feed: F) -> P:
        """Return what the reader doesn't have yet, which may be nothing; note it as read."""

    async def open(self) -> None:
        """Begin, before the first look; raise Refused if the reader may not read."""
        await self.access.check_when_due()
        self._hub = get_hub()
        self._feed = self._join(self._hub)

    def close(self) -> None:
        """End, whether it was begun or not."""
        if self._waiter is not None:
            if not self._waiter.cancel() and not self._waiter.cancelled():
                # An error that nobody waits for any longer.
                self._waiter.exception()
            self._forget_waiter()
        if self._hub is not None and self._feed is not None:
            self._hub.leave(self._feed)
        self._hub = self._feed = None

    async def look(self) -> P | None:
        """Return the next page, or None if there is nothing new; raise Refused."""
        assert self._feed is not None
        try:
            while True:
                await self.access.check_again()
                page = await self._next_page(self._feed)
                if page.frames or page.end or (page.is_up_to_date and not self._has_told):
                    self._has_told = page.is_up_to_date
                    return page
                if page.is_up_to_date:
                    return None
        except WorkflowDoesNotExist:
            await self.access.refuse()

    async def look_through_outages(self) -> P | None:
        """Return what look() does, once the database is there."""
        assert self._hub is not None
        while True:
            try:
                return await self.look()
            except OUTAGE as error:
                self._hub.note_failure(error)
            await asyncio.sleep(OUTAGE_PAUSE * random.uniform(0.5, 1.5))

    def begin_wait(self) -> asyncio.Future[None] | None:
        """Return a future that is done once the caller is to look again, after end_wait().

        To be called in the step of the event loop in which look() found nothing new. None means
        that something came in that step: the caller looks at once.
        """
        assert self._hub is not None
        assert self._feed is not None
        self._waiter = self._hub.begin_wait(self._feed, self.access)
        return self._waiter

    async def end_wait(self) -> None:
        """Wait until the future is done; raise Refused if the reader may no longer read."""
        assert self._waiter is not None
        try:
            await self._waiter
        except WorkflowDoesNotExist:
            await self.access.refuse()
        finally:
            self._forget_waiter()

    def _forget_waiter(self) -> None:
        if self._waiter is not None and self._hub is not None and self._feed is not None:
            self._hub.end_wait(self._feed, self._waiter)
        self._waiter = None

    async def pages(self) -> AsyncGenerator[P, None]:
        """Yield the pages until the last one, which has an end; raise Refused.

        An outage of the database is an error before the first page, and is waited for after that.
        """
        try:
            await self.open()
            page = await self.look()
            while True:
                if page is not None:
                    yield page
                    if page.end:
                        return
                elif self.begin_wait() is not None:
                    await self.end_wait()
                page = await self.look_through_outages()
        finally:
            self.close()


class StreamFollower(Follower[StreamFeed, StreamPage]):
    """A place in one stream; the arguments are those of follow_stream()."""

    __slots__ = ("_key", "_offset")

    def __init__(
        self,
        reader: Reader,
        workflow_id: str,
        key: str,
        *,
        offset: int = 0,
        access: Access | None = None,
    ) -> None:
        super().__init__(access or _new_access(reader, workflow_id, "stream", key))
        self._key = key
        self._offset = check_offset(offset)

    def _join(self, hub: Hub) -> StreamFeed:
        return hub.join(StreamFeed, self.access.workflow_id, self.access.token, self._key)

    async def _next_page(self, feed: StreamFeed) -> StreamPage:
        page = await feed.page(self._offset)
        if page.frames:
            await self.access.check_again(is_sending=True)
        self._offset = page.next_offset
        return page


class EventFollower(Follower[EventFeed, EventPage]):
    """A place in a workflow's events; the arguments are those of follow_events()."""

    __slots__ = ("_key", "_versions")

    def __init__(
        self,
        reader: Reader,
        workflow_id: str,
        *,
        key: str | None = None,
        versions: Mapping[str, int] | None = None,
        access: Access | None = None,
    ) -> None:
        super().__init__(access or _new_access(reader, workflow_id, "event", key))
        self._key = key
        self._versions = dict(versions or {})

    def _join(self, hub: Hub) -> EventFeed:
        return hub.join(EventFeed, self.access.workflow_id, self.access.token, self._key)

    async def _next_page(self, feed: EventFeed) -> EventPage:
        state, is_current = await feed.state()
        known = self._versions
        changed = [key for key, version in state.versions.items() if version > known.get(key, 0)]
        if changed:
            # Before the read: a reader who lost the permission costs none.
            await self.access.check_again(is_sending=True)
        allowed = await self.access.allowed(changed)
        frames = await feed.values(allowed[:MAX_EVENTS]) if allowed else []
        if frames:
            # And after it: the values may be newer than the check, if the read took its time.
            await self.access.check_again(is_sending=True)
            still = set(await self.access.allowed([frame.key for frame in frames]))
            frames = [frame for frame in frames if frame.key in still]
        known.update({frame.key: frame.version for frame in frames})
        is_up_to_date = is_current and len(frames) >= len(allowed)
        return EventPage(
            frames=frames, is_up_to_date=is_up_to_date, end=state.end if is_up_to_date else None
        )


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
    up, unless a page with frames has said so. The iterator raises Refused when the reader may not
    read the stream, or no longer.

    Args:
        reader: Who asks.
        workflow_id: The workflow.
        key: The stream.
        offset: The offset of the first entry.
        access: An access of this reader to this stream, which was checked before.

    Raises:
        ValueError: The id, the key or the offset is invalid.
    """
    return StreamFollower(reader, workflow_id, key, offset=offset, access=access).pages()


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
    checked for each key, and only the permitted ones are sent. The iterator raises Refused when the
    reader may not read the events, or no longer.

    Args:
        reader: Who asks.
        workflow_id: The workflow.
        key: The event; None for all of them.
        versions: The versions that the reader has already, by key.
        access: An access of this reader to these events, which was checked before.

    Raises:
        ValueError: The id or the key is invalid.
    """
    return EventFollower(reader, workflow_id, key=key, versions=versions, access=access).pages()


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
        await access.refuse()
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
