"""Server-sent events: the pages of a source as one long response, for both kinds of servers."""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack, aclosing

from asgiref.sync import async_to_sync
from django.http import HttpRequest, StreamingHttpResponse

from django_dbos.conf import get_settings
from django_dbos.exceptions import WorkflowDoesNotExist
from django_dbos.live import offsets, protocol
from django_dbos.live.http import is_threaded, vary
from django_dbos.live.offsets import Offset
from django_dbos.live.outages import OUTAGE
from django_dbos.live.protocol import Page, Query
from django_dbos.live.readers import Presence, Refused
from django_dbos.live.sources import Source
from django_dbos.live.waiting import await_news, follow, threads

logger = logging.getLogger("django_dbos.live")

# The seconds after which a response ends, and its reader connects again; give or take a tenth, so
# that readers who came together, after a restart, don't come together again.
LIFETIME = 60.0
# The seconds without data after which a line is sent: proxies close silent connections.
KEEP_ALIVE_PAUSE = 15.0
KEEP_ALIVE = ": still here\n\n"
# The errors that end a response which has begun.
ENDS = (Refused, WorkflowDoesNotExist, *OUTAGE)


async def server_sent_events(
    request: HttpRequest, source: Source, offset: Offset, query: Query
) -> StreamingHttpResponse:
    """Return the response; raise Refused before it begins."""
    server = is_threaded(request)
    writer = _Writer(query)
    body: AsyncBody | SyncBody
    if server is None:
        body = await AsyncBody.begun(source, offset, writer)
    else:
        body = SyncBody(source, await source.look(offset), writer, is_threaded=server)
    response = StreamingHttpResponse(body, headers=protocol.sse_headers())
    vary(response)
    return response


class _Writer:
    """Turns pages into text. A page without data is only of interest when it is the first."""

    def __init__(self, query: Query) -> None:
        self._cursor = query.cursor
        self._is_up_to_date = False

    def text_of(self, page: Page | None) -> str:
        """Return what to send, if anything; None is a time without a page."""
        if page is None:
            return KEEP_ALIVE
        is_news = page.is_up_to_date and not self._is_up_to_date
        self._is_up_to_date = page.is_up_to_date
        if page.items or page.is_closed or is_news:
            return protocol.sse_events(page, cursor=self._cursor, now=time.time())
        return ""


class AsyncBody:
    """The body of a response of an ASGI server: a task, until the reader leaves."""

    def __init__(self, source: Source, offset: Offset, writer: _Writer) -> None:
        self._writer = writer
        self._loop = asyncio.get_running_loop()
        self._place = ExitStack()
        self._place.enter_context(Presence(source.reader))
        until = time.monotonic() + LIFETIME * random.uniform(0.9, 1.1)
        self._pages = follow(source, offset, until=until, tick=KEEP_ALIVE_PAUSE)
        self._first: Page | None = None

    @classmethod
    async def begun(cls, source: Source, offset: Offset, writer: _Writer) -> AsyncBody:
        """Return a body that has its first page, and so permission to send it."""
        body = cls(source, offset, writer)
        try:
            while body._first is None:
                body._first = await anext(body._pages)
        except BaseException:
            body._place.close()
            raise
        return body

    async def __aiter__(self) -> AsyncIterator[str]:
        try:
            async with aclosing(self._pages) as pages:
                yield self._writer.text_of(self._first)
                async for page in pages:
                    if text := self._writer.text_of(page):
                        yield text
        except ENDS as error:
            # The reader connects again, and is told why it can't.
            logger.debug("Server-sent events end: %r", error)
        finally:
            self._place.close()

    def close(self) -> None:
        """Give the place back, also if the body was never read. Django calls this on a thread."""
        self._loop.call_soon_threadsafe(self._place.close)


class SyncBody:
    """The body of a response of a WSGI server: it holds a thread, so it is short."""

    def __init__(self, source: Source, first: Page, writer: _Writer, *, is_threaded: bool) -> None:
        self._source = source
        self._first = first
        self._writer = writer
        self._place = ExitStack()
        self._may_wait = self._place.enter_context(threads.one_more(is_threaded))

    def __iter__(self) -> Iterator[str]:
        until = time.monotonic() + get_settings().long_poll
        page = self._first
        try:
            while True:
                yield self._writer.text_of(page) or KEEP_ALIVE
                if page.is_closed or (page.is_up_to_date and not self._may_wait):
                    return
                left = until - time.monotonic()
                if left <= 0:
                    return
                page = async_to_sync(self._next)(page, min(left, KEEP_ALIVE_PAUSE))
        except ENDS as error:
            logger.debug("Server-sent events end: %r", error)
        finally:
            self._place.close()

    async def _next(self, page: Page, seconds: float) -> Page:
        offset = offsets.read(page.next_offset)
        if not page.is_up_to_date:
            return await self._source.look(offset)
        return await await_news(self._source, offset, seconds)

    def close(self) -> None:
        """Give the place back, also if the body was never read."""
        self._place.close()
