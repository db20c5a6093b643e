"""Streams and events as streams of the Durable Streams protocol: their pages, and their offsets."""

from __future__ import annotations

import abc
import json
from collections.abc import AsyncGenerator
from contextlib import aclosing

from django_dbos.core.records import Wake
from django_dbos.core.status import CLOSING, Status
from django_dbos.live import offsets
from django_dbos.live.access import Access
from django_dbos.live.following import (
    LARGEST_OFFSET,
    follow_events,
    follow_stream,
    read_stream_page,
)
from django_dbos.live.frames import End, EventFrame, EventPage, StreamPage
from django_dbos.live.offsets import Offset
from django_dbos.live.protocol import Page
from django_dbos.live.readers import Reader
from django_dbos.live.threads import in_thread
from django_dbos.store import get_store


class Source(abc.ABC):
    """One stream of the protocol, for one reader."""

    kind: str

    def __init__(self, reader: Reader, workflow_id: str, key: str | None) -> None:
        self.reader = reader
        self.workflow_id = workflow_id
        self.key = key
        self.access = Access(reader, workflow_id, self.kind, key)
        self.tag = ""

    async def check(self, offset: Offset) -> None:
        """Raise Refused unless the reader may read; OffsetGone if the offset isn't of here."""
        await self.access.check()
        self.tag = self.access.tag
        offset.check(self.tag)

    @property
    @abc.abstractmethod
    def wakes(self) -> tuple[str, ...]:
        """The keys that are notified when there is something new, or the workflow goes on."""

    @abc.abstractmethod
    async def end(self) -> Page:
        """Return the page at the current end: without data."""

    @abc.abstractmethod
    async def look(self, offset: Offset) -> Page:
        """Return the page at an offset, without waiting."""

    @abc.abstractmethod
    def follow(self, offset: Offset) -> AsyncGenerator[Page, None]:
        """Return the pages from an offset on, until the workflow is no longer active."""


class StreamSource(Source):
    """A stream's values."""

    kind = "stream"
    key: str

    @property
    def wakes(self) -> tuple[str, ...]:
        """The keys of the stream and of the workflow's end."""
        return (
            Wake.of_stream(self.workflow_id, self.key).key,
            Wake.of_result(self.workflow_id).key,
        )

    async def end(self) -> Page:
        """Return the page at the current end: without data."""
        return self._page(await self._read(LARGEST_OFFSET))

    async def look(self, offset: Offset) -> Page:
        """Return the entries from an offset on, without waiting."""
        return self._page(await self._read(offset.position))

    async def follow(self, offset: Offset) -> AsyncGenerator[Page, None]:
        """Yield the entries from an offset on, as they are written."""
        at = await self._within(offset.position)
        following = follow_stream(
            self.reader, self.workflow_id, self.key, offset=at, access=self.access
        )
        async with aclosing(following) as pages:
            async for page in pages:
                yield self._page(page)

    async def _within(self, position: int) -> int:
        """Return a position, or the end if that is before it: what comes mustn't be lost."""
        return min(position, (await self._read(LARGEST_OFFSET)).next_offset) if position else 0

    async def _read(self, position: int) -> StreamPage:
        at = min(position, LARGEST_OFFSET)
        return await read_stream_page(
            self.reader, self.workflow_id, self.key, offset=at, access=self.access
        )

    def _page(self, page: StreamPage) -> Page:
        return Page(
            items=[frame.json_text for frame in page.frames],
            next_offset=offsets.of_position(self.tag, page.next_offset),
            is_up_to_date=page.is_up_to_date,
            is_closed=page.end is End.CLOSED,
        )


class EventSource(Source):
    """The changes of a workflow's events, or of one: each as `{"key", "value", "version"}`."""

    kind = "event"

    @property
    def wakes(self) -> tuple[str, ...]:
        """The keys of the event and of the workflow's end."""
        return (
            Wake.of_event(self.workflow_id, self.key or "").key,
            Wake.of_result(self.workflow_id).key,
        )

    async def end(self) -> Page:
        """Return the page at the current end: without data."""
        status, found = await self._read()
        versions = {key: found[key] for key in await self.access.allowed(found)}
        end = End.CLOSED if status in CLOSING else None
        return self._page(EventPage(frames=(), is_up_to_date=True, end=end), versions)

    async def look(self, offset: Offset) -> Page:
        """Return the events that have changed since an offset, without waiting."""
        async with aclosing(self.follow(offset)) as pages:
            # The first page is always there at once, though it may be empty.
            return await anext(pages)

    async def follow(self, offset: Offset) -> AsyncGenerator[Page, None]:
        """Yield the events that have changed since an offset, and every later change."""
        _, found = await self._read()
        given = offset.versions_of(found)
        if self.key is not None and offset.position:
            given = {self.key: offset.position}
        # A version that there isn't yet would hide the changes up to it.
        versions = {key: min(given[key], found[key]) for key in given if key in found}
        following = follow_events(
            self.reader, self.workflow_id, key=self.key, versions=versions, access=self.access
        )
        async with aclosing(following) as pages:
            async for page in pages:
                versions |= {frame.key: frame.version for frame in page.frames}
                yield self._page(page, versions)

    async def _read(self) -> tuple[Status, dict[str, int]]:
        return await in_thread(self._read_versions)

    def _read_versions(self) -> tuple[Status, dict[str, int]]:
        reader = get_store().reader
        return reader.read_versions(self.workflow_id, self.key, token=self.access.token)

    def _page(self, page: EventPage, versions: dict[str, int]) -> Page:
        if self.key is None:
            next_offset = offsets.of_versions(self.tag, versions)
        else:
            next_offset = offsets.of_position(self.tag, versions.get(self.key, 0))
        return Page(
            items=[frame.form("http", _event_text) for frame in page.frames],
            next_offset=next_offset,
            is_up_to_date=page.is_up_to_date,
            is_closed=page.end is End.CLOSED,
        )


def _event_text(frame: EventFrame) -> str:
    key = json.dumps(frame.key, ensure_ascii=False)
    return f'{{"key":{key},"value":{frame.json_text},"version":{frame.version}}}'
