"""Views of streams and events over HTTP: the read side of the Durable Streams protocol.

They are async views, for ASGI servers and WSGI servers. With ASGI a waiting request is a task; with
WSGI it holds a thread, so only DBOS["WAITING_THREADS"] of them wait, and others are told to come
again.
"""

from __future__ import annotations

import time

from django.http import HttpRequest, HttpResponseBase
from django.views.decorators.csrf import csrf_exempt

from django_dbos.conf import get_settings
from django_dbos.core import names
from django_dbos.live import offsets, protocol
from django_dbos.live.http import (
    BUSY,
    checked,
    is_threaded,
    live_view,
    reader_of,
    required,
    response_of,
    workflow_id_of,
)
from django_dbos.live.offsets import Offset
from django_dbos.live.protocol import NOW, Live, Page, Query
from django_dbos.live.readers import Presence
from django_dbos.live.server_sent import server_sent_events
from django_dbos.live.sources import EventSource, Source, StreamSource
from django_dbos.live.waiting import await_news, threads


# Exempt, so that other methods are answered with 405 without a token, too.
@csrf_exempt
@live_view("GET", "HEAD")
async def streams(request: HttpRequest) -> HttpResponseBase:
    """Serve a stream's entries: `?workflow_id=…&key=…`."""
    workflow_id = workflow_id_of(request)
    key = checked(names.check_key, required(request, "key"))
    return await _serve(request, StreamSource(await reader_of(request), workflow_id, key))


# Exempt, so that other methods are answered with 405 without a token, too.
@csrf_exempt
@live_view("GET", "HEAD")
async def events(request: HttpRequest) -> HttpResponseBase:
    """Serve the changes of a workflow's events, or of one: `?workflow_id=…[&key=…]`."""
    workflow_id = workflow_id_of(request)
    key = checked(names.check_key, required(request, "key")) if "key" in request.GET else None
    return await _serve(request, EventSource(await reader_of(request), workflow_id, key))


async def _serve(request: HttpRequest, source: Source) -> HttpResponseBase:
    query = protocol.read_query(
        dict(request.GET.lists()), last_event_id=request.headers.get("Last-Event-ID")
    )
    offset = Offset() if query.offset == NOW else offsets.read(query.offset)
    await source.check(offset)
    if request.method == "HEAD":
        return response_of(protocol.head(await source.end()))
    if query.offset == NOW:
        end = await source.end()
        offset = offsets.read(end.next_offset)
        if query.live is Live.NOT or (end.is_closed and query.live is Live.LONG_POLL):
            return _reply(request, source, query, end)
    if query.live is Live.SSE:
        return await server_sent_events(request, source, offset, query)
    if query.live is Live.LONG_POLL:
        return await _long_poll(request, source, offset, query)
    return _reply(request, source, query, await source.look(offset))


async def _long_poll(
    request: HttpRequest, source: Source, offset: Offset, query: Query
) -> HttpResponseBase:
    server = is_threaded(request)
    if server is None:
        with Presence(source.reader):
            page = await await_news(source, offset, get_settings().long_poll)
        return _reply(request, source, query, page)
    with threads.one_more(server) as may_wait:
        if may_wait:
            page = await await_news(source, offset, get_settings().long_poll)
        else:
            page = await source.look(offset)
    if not may_wait and not page.items and not page.is_closed:
        return response_of(BUSY)
    return _reply(request, source, query, page)


def _reply(request: HttpRequest, source: Source, query: Query, page: Page) -> HttpResponseBase:
    known = request.headers.get("If-None-Match")
    if query.live is Live.LONG_POLL:
        reply = protocol.long_poll(
            page, tag=source.tag, query=query, if_none_match=known, now=time.time()
        )
    else:
        reply = protocol.catch_up(page, tag=source.tag, query=query, if_none_match=known)
    return response_of(reply)
