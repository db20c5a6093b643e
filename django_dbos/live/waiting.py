"""Waiting for the pages of a source, as long as a request lasts."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import AsyncGenerator, Iterator
from contextlib import aclosing, contextmanager

from django_dbos.conf import get_settings
from django_dbos.live import offsets
from django_dbos.live.offsets import Offset
from django_dbos.live.protocol import Page
from django_dbos.live.sources import Source
from django_dbos.store import get_store

# The seconds between two looks at a workflow that isn't active: it may be resumed.
INACTIVE_PAUSE = 5.0


async def follow(
    source: Source, offset: Offset, *, until: float, tick: float
) -> AsyncGenerator[Page | None, None]:
    """Yield pages until there can't be another one, or the time is over.

    The stream of a workflow that isn't active, but may be resumed, is one that is open. Its last
    page may come again, without data.

    Args:
        source: What to follow.
        offset: Where to begin.
        until: The end, as time.monotonic() tells it.
        tick: The seconds without a page after which None is yielded.
    """
    while True:
        async with aclosing(_pages(source, offset, until, tick)) as pages:
            async for page in pages:
                yield page
                if page is not None:
                    offset = offsets.read(page.next_offset)
                    if page.is_closed:
                        return
        left = until - time.monotonic()
        if left <= 0:
            return
        with get_store().wakeups.watch(*source.wakes) as watch:
            if not await watch.await_(min(left, tick, INACTIVE_PAUSE)):
                yield None


async def await_news(source: Source, offset: Offset, seconds: float) -> Page:
    """Return the first page with data, or the last without any once the time is up."""
    page: Page | None = None
    pages = follow(source, offset, until=time.monotonic() + seconds, tick=seconds)
    async with aclosing(pages):
        async for found in pages:
            page = found or page
            if page is not None and (page.items or page.is_closed):
                return page
    assert page is not None
    return page


async def _pages(
    source: Source, offset: Offset, until: float, tick: float
) -> AsyncGenerator[Page | None, None]:
    """Yield the pages of an active workflow, at least one; and None after each tick without one."""
    async with aclosing(source.follow(offset)) as pages:
        upcoming: asyncio.Future[Page | None] | None = None
        is_first = True
        try:
            while (left := until - time.monotonic()) > 0 or is_first:
                upcoming = upcoming or asyncio.ensure_future(anext(pages, None))
                await asyncio.wait({upcoming}, timeout=tick if is_first else min(left, tick))
                if not upcoming.done():
                    yield None
                    continue
                page, upcoming, is_first = upcoming.result(), None, False
                if page is None:
                    return
                yield page
        finally:
            if upcoming is not None:
                upcoming.cancel()
                await asyncio.wait({upcoming})


class Threads:
    """The threads of a WSGI server that wait: each of them serves nobody else."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.waiting = 0

    @contextmanager
    def one_more(self, is_threaded: bool) -> Iterator[bool]:
        """Count a thread for the length of a block; yield whether it may wait.

        Args:
            is_threaded: The process has other threads that serve requests.
        """
        with self._lock:
            may_wait = is_threaded and self.waiting < get_settings().waiting_threads
            self.waiting += may_wait
        try:
            yield may_wait
        finally:
            with self._lock:
                self.waiting -= may_wait


threads = Threads()
