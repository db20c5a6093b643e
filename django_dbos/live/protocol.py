"""The read side of the Durable Streams protocol in JSON mode: its rules, without any I/O.

The protocol is an open one, with clients in several languages: `GET` reads what there is,
`live=long-poll` and `live=sse` wait for more, and `HEAD` tells the end. Its document is PROTOCOL.md
of https://github.com/durable-streams/durable-streams.
"""

from __future__ import annotations

import json
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum

JSON, EVENT_STREAM, PLAIN = "application/json", "text/event-stream", "text/plain; charset=utf-8"

# Two offsets with a meaning of their own: the beginning, and the end as of now.
START, NOW = "-1", "now"

# Cursors count intervals of 20 seconds since 2024-10-09.
CURSOR_EPOCH, CURSOR_INTERVAL = 1_728_432_000, 20
# A cursor that comes back too early is answered by one that is up to an hour ahead.
MAX_JITTER = 3600
# A longer one isn't of ours.
MAX_CURSOR_DIGITS = 15

# Pages that can't change are kept for a minute, by the browser alone: others may not read them.
KEPT = "private, max-age=60, stale-while-revalidate=300"
CHECKED = "private, no-cache"
NOT_KEPT = "no-store"


class Live(Enum):
    """The way in which a reader waits for more."""

    NOT = ""
    LONG_POLL = "long-poll"
    SSE = "sse"


class BadQuery(ValueError):
    """A parameter is missing, malformed or given twice; the text says what was wanted."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Query:
    """The protocol's own parameters of a request."""

    offset: str
    live: Live
    cursor: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """A part of a stream: JSON texts, and the offset after them."""

    items: Sequence[str]
    next_offset: str
    is_up_to_date: bool
    is_closed: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """A complete answer."""

    status: int
    headers: Mapping[str, str] = field(default_factory=dict)
    body: str = ""


def read_query(
    parameters: Mapping[str, Sequence[str]], *, last_event_id: str | None = None
) -> Query:
    """Return the protocol's parameters; others are ignored.

    Args:
        parameters: The values of each parameter of the query string.
        last_event_id: The header by which a browser's EventSource goes on after a break: the id of
            its last event, which is the next offset.

    Raises:
        BadQuery: One of them is malformed, or missing where it is needed.
    """
    text = _single(parameters, "live") or ""
    try:
        live = Live(text)
    except ValueError:
        raise BadQuery(
            f"The parameter 'live' must be 'long-poll' or 'sse', not {text[:40]!r}."
        ) from None
    offset = _single(parameters, "offset")
    if offset is None and live is not Live.NOT:
        raise BadQuery(
            f"The parameter 'offset' is missing: live={live.value} needs one. Begin with offset=-1."
        )
    if offset == "":
        raise BadQuery("The parameter 'offset' is empty. Omit it, or begin with offset=-1.")
    if live is Live.SSE and last_event_id:
        offset = last_event_id
    return Query(
        offset=START if offset is None else offset,
        live=live,
        cursor=_read_cursor(_single(parameters, "cursor")),
    )


def _single(parameters: Mapping[str, Sequence[str]], name: str) -> str | None:
    values = parameters.get(name, ())
    if len(values) > 1:
        raise BadQuery(f"The parameter {name!r} is given {len(values)} times. Give it once.")
    return values[0] if values else None


def _read_cursor(text: str | None) -> int | None:
    """Return the number in a cursor; one that isn't of ours counts as none."""
    if text and text.isascii() and text.isdigit() and len(text) <= MAX_CURSOR_DIGITS:
        return int(text)
    return None


def next_cursor(given: int | None, now: float) -> str:
    """Return the cursor of a live answer, which differs from the one that the reader has sent.

    Proxies key their copies by it, so no reader gets the same kept answer for ever.

    Args:
        given: The reader's cursor, if it sent one.
        now: The time, in seconds since 1970.
    """
    current = int(now - CURSOR_EPOCH) // CURSOR_INTERVAL
    if given is None or given < current:
        return str(current)
    return str(given + max(1, random.randint(1, MAX_JITTER) // CURSOR_INTERVAL))


def catch_up(page: Page, *, tag: str, query: Query, if_none_match: str | None) -> Reply:
    """Return the answer to a plain GET."""
    if query.offset == NOW:
        return Reply(status=200, headers=_headers(page, NOT_KEPT), body="[]")
    return _data(page, tag, query, if_none_match, {})


def long_poll(
    page: Page, *, tag: str, query: Query, if_none_match: str | None, now: float
) -> Reply:
    """Return the answer to a long poll: the data, or that none came in time."""
    cursor = {} if page.is_closed else {"Stream-Cursor": next_cursor(query.cursor, now)}
    if page.items:
        return _data(page, tag, query, if_none_match, cursor)
    headers = _headers(page, NOT_KEPT) | cursor
    del headers["Content-Type"]
    # An answer without data is about the end of the stream.
    return Reply(status=204, headers=headers | {"Stream-Up-To-Date": "true"})


def head(page: Page) -> Reply:
    """Return the answer to HEAD; the page begins at the end of the stream."""
    return Reply(status=200, headers=_headers(page, NOT_KEPT))


def sse_headers() -> dict[str, str]:
    """Return the headers of a stream of server-sent events."""
    return {
        "Content-Type": EVENT_STREAM,
        "Cache-Control": CHECKED,
        # nginx would collect the answer first.
        "X-Accel-Buffering": "no",
        **_safety(),
    }


def sse_events(page: Page, *, cursor: int | None, now: float) -> str:
    """Return a page as server-sent events: its data, if there is any, and where to go on."""
    control: dict[str, str | bool] = {"streamNextOffset": page.next_offset}
    if not page.is_closed:
        control["streamCursor"] = next_cursor(cursor, now)
    if page.is_up_to_date or page.is_closed:
        control["upToDate"] = True
    if page.is_closed:
        control["streamClosed"] = True
    texts = [("data", json_array(page.items))] if page.items else []
    texts.append(("control", json.dumps(control, separators=(",", ":"))))
    return "".join(_sse_event(name, text, page.next_offset) for name, text in texts)


def refusal(status: int, text: str, **headers: str) -> Reply:
    """Return the answer to a request that is refused, in plain text."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return Reply(
        status=status,
        headers={"Content-Type": PLAIN, "Cache-Control": NOT_KEPT, **_safety(), **named},
        body=f"{text}\n",
    )


def json_array(items: Sequence[str]) -> str:
    """Return JSON texts as the text of one array."""
    return f"[{','.join(items)}]"


def _data(
    page: Page, tag: str, query: Query, if_none_match: str | None, more: Mapping[str, str]
) -> Reply:
    """Return a page, or 304 to a reader that has it already."""
    end = f"{page.next_offset}:c" if page.is_closed else page.next_offset
    etag = f'"{tag}:{query.offset}:{end}"'
    # The end moves, so a page that ends there is asked for again. What is before it never changes
    # in one workflow; an offset that names none, such as -1, leads to another one's after a rewind.
    is_final = tag in query.offset and not page.is_up_to_date and not page.is_closed
    headers = {**_headers(page, KEPT if is_final else CHECKED), "ETag": etag, **more}
    if if_none_match is not None and _matches(if_none_match, etag):
        del headers["Content-Type"]
        return Reply(status=304, headers=headers)
    return Reply(status=200, headers=headers, body=json_array(page.items))


def _headers(page: Page, cache_control: str) -> dict[str, str]:
    headers = {
        "Content-Type": JSON,
        "Cache-Control": cache_control,
        "Stream-Next-Offset": page.next_offset,
        **_safety(),
    }
    if page.is_up_to_date or page.is_closed:
        headers["Stream-Up-To-Date"] = "true"
    if page.is_closed:
        headers["Stream-Closed"] = "true"
    return headers


def _safety() -> dict[str, str]:
    """Return headers that keep pages of other sites from embedding an answer."""
    return {
        "X-Content-Type-Options": "nosniff",
        "Cross-Origin-Resource-Policy": "same-origin",
    }


def _matches(if_none_match: str, etag: str) -> bool:
    """Return whether a reader has this version: weak comparison, as for all GETs."""
    tags = [tag.strip().removeprefix("W/") for tag in if_none_match.split(",")]
    return etag in tags or tags == ["*"]


def _sse_event(name: str, text: str, next_offset: str) -> str:
    # Breaks are only between the tokens of JSON. Other breaks than these don't end a line here.
    lines = text.replace("\r\n", "\n").replace("\r", "\n").split("\n")
    data = "".join(f"data:{line}\n" for line in lines)
    return f"event: {name}\n{data}id: {next_offset}\n\n"
