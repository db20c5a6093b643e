"""The rules of the Durable Streams protocol, as its document states them."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from django_dbos.live import protocol
from django_dbos.live.protocol import BadQuery, Live, Page, Query, Reply
from tests.fuzz.parts import fuzz

TAG = "0123abcd"
OFFSET = f"{TAG}_0000000002"
NOW = 1_728_432_000.0 + 20 * 1000
PAGE = Page(items=["1", '{"a":2}'], next_offset=OFFSET, is_up_to_date=True, is_closed=False)
PLAIN = Query(offset="-1", live=Live.NOT, cursor=None)
POLL = Query(offset="-1", live=Live.LONG_POLL, cursor=None)


def caught_up(page: Page = PAGE, query: Query = PLAIN, if_none_match: str | None = None) -> Reply:
    return protocol.catch_up(page, tag=TAG, query=query, if_none_match=if_none_match)


def polled(page: Page = PAGE, query: Query = POLL, if_none_match: str | None = None) -> Reply:
    return protocol.long_poll(page, tag=TAG, query=query, if_none_match=if_none_match, now=NOW)


def emptied(page: Page, **changes: Any) -> Page:
    return replace(page, items=[], **changes)


# --- The query -----------------------------------------------------------------------------


def test_a_query_without_parameters_reads_from_the_start() -> None:
    assert protocol.read_query({"other": ["x"]}) == PLAIN


def test_a_query_has_an_offset_a_mode_and_a_cursor() -> None:
    query = protocol.read_query({"offset": [OFFSET], "live": ["sse"], "cursor": ["17"]})

    assert query == Query(offset=OFFSET, live=Live.SSE, cursor=17)


@pytest.mark.parametrize(
    ("parameters", "wanted"),
    [
        ({"live": ["long-poll"]}, "live=long-poll needs one"),
        ({"live": ["sse"]}, "live=sse needs one"),
        ({"offset": [""]}, "is empty"),
        ({"offset": ["1", "2"]}, "given 2 times"),
        ({"offset": ["1"], "live": ["polling"]}, "not 'polling'"),
        ({"offset": ["1"], "cursor": ["1", "1"]}, "given 2 times"),
    ],
)
def test_bad_queries_are_refused(parameters: dict[str, list[str]], wanted: str) -> None:
    with pytest.raises(BadQuery, match=wanted):
        protocol.read_query(parameters)


def test_a_browser_goes_on_after_its_last_event() -> None:
    parameters = {"offset": ["-1"], "live": ["sse"]}

    assert protocol.read_query(parameters, last_event_id=OFFSET).offset == OFFSET
    assert protocol.read_query(parameters, last_event_id="").offset == "-1"
    assert protocol.read_query({}, last_event_id=OFFSET).offset == "-1"


@pytest.mark.parametrize("cursor", ["", "x", "-1", "1e3", "٣", "9" * 16])
def test_a_foreign_cursor_counts_as_none(cursor: str) -> None:
    assert protocol.read_query({"cursor": [cursor]}).cursor is None


# --- Cursors -------------------------------------------------------------------------------


def test_a_cursor_counts_intervals_of_20_seconds() -> None:
    assert protocol.next_cursor(None, NOW) == "1000"
    assert protocol.next_cursor(None, NOW + 19.9) == "1000"
    assert protocol.next_cursor(None, NOW + 20) == "1001"
    assert protocol.next_cursor(999, NOW) == "1000"


@fuzz(100)
@given(st.integers(min_value=0, max_value=10**15 - 1))
def test_a_cursor_never_comes_back(given_cursor: int) -> None:
    cursor = int(protocol.next_cursor(given_cursor, NOW))

    assert cursor > given_cursor or cursor == 1000 > given_cursor
    assert cursor >= 1000
    if given_cursor >= 1000:
        assert cursor - given_cursor <= protocol.MAX_JITTER // 20


# --- Catching up ---------------------------------------------------------------------------


def test_a_page_is_an_array_with_the_next_offset() -> None:
    reply = caught_up()

    assert (reply.status, reply.body) == (200, '[1,{"a":2}]')
    assert reply.headers["Content-Type"] == "application/json"
    assert reply.headers["Stream-Next-Offset"] == OFFSET
    assert reply.headers["Stream-Up-To-Date"] == "true"
    assert "Stream-Closed" not in reply.headers


def test_a_part_of_a_stream_is_neither_up_to_date_nor_closed_and_may_be_kept() -> None:
    part = replace(PAGE, is_up_to_date=False, next_offset=f"{TAG}_0000000004")
    reply = caught_up(part, replace(PLAIN, offset=OFFSET))

    assert "Stream-Up-To-Date" not in reply.headers
    assert "Stream-Closed" not in reply.headers
    assert reply.headers["Cache-Control"] == ("private, max-age=60, stale-while-revalidate=300")


@pytest.mark.parametrize("offset", ["-1", "0", "2"])
def test_a_page_whose_address_names_no_workflow_is_asked_for_again(offset: str) -> None:
    """After a rewind, a browser would give a reader who begins anew what there was before."""
    reply = caught_up(replace(PAGE, is_up_to_date=False), replace(PLAIN, offset=offset))

    assert reply.headers["Cache-Control"] == "private, no-cache"


def test_the_end_of_a_stream_is_asked_for_again() -> None:
    assert caught_up().headers["Cache-Control"] == "private, no-cache"
    closed = caught_up(emptied(PAGE, is_closed=True))
    assert closed.headers["Cache-Control"] == "private, no-cache"
    assert closed.headers["Stream-Closed"] == "true"
    assert closed.headers["Stream-Up-To-Date"] == "true"
    assert closed.body == "[]"


def test_the_current_end_is_asked_for_without_data_and_never_kept() -> None:
    reply = caught_up(emptied(PAGE), replace(PLAIN, offset="now"))

    assert (reply.status, reply.body) == (200, "[]")
    assert reply.headers["Cache-Control"] == "no-store"
    assert reply.headers["Stream-Next-Offset"] == OFFSET
    assert reply.headers["Stream-Up-To-Date"] == "true"
    assert "ETag" not in reply.headers


@pytest.mark.parametrize("answer", [caught_up, polled])
def test_a_reader_that_has_the_page_gets_304(answer: Any) -> None:
    etag = answer().headers["ETag"]

    for given_tags in (etag, f"W/{etag}", f'"other", {etag}', "*"):
        reply = answer(if_none_match=given_tags)
        assert (reply.status, reply.body) == (304, "")
        # A kept answer takes these over.
        assert reply.headers["ETag"] == etag
        assert reply.headers["Stream-Next-Offset"] == OFFSET
        assert "Content-Type" not in reply.headers
    assert answer(if_none_match='"other"').status == 200


def test_the_etag_changes_with_the_data_the_start_and_the_end_of_the_stream() -> None:
    etags = [
        caught_up(page, query).headers["ETag"]
        for page, query in (
            (PAGE, PLAIN),
            (replace(PAGE, next_offset=f"{TAG}_0000000003"), PLAIN),
            (replace(PAGE, is_closed=True), PLAIN),
            (PAGE, replace(PLAIN, offset=f"{TAG}_0000000001")),
        )
    ]

    assert len(set(etags)) == 4


# --- Long polls ----------------------------------------------------------------------------


def test_a_long_poll_returns_data_with_a_cursor() -> None:
    reply = polled()

    assert (reply.status, reply.body) == (200, '[1,{"a":2}]')
    assert reply.headers["Stream-Cursor"] == "1000"
    assert reply.headers["Stream-Up-To-Date"] == "true"


def test_a_long_poll_without_data_is_204() -> None:
    reply = polled(emptied(PAGE), replace(POLL, cursor=1000))

    assert (reply.status, reply.body) == (204, "")
    assert reply.headers["Stream-Next-Offset"] == OFFSET
    assert reply.headers["Stream-Up-To-Date"] == "true"
    assert int(reply.headers["Stream-Cursor"]) > 1000
    assert reply.headers["Cache-Control"] == "no-store"
    assert "Content-Type" not in reply.headers


def test_a_long_poll_at_the_end_of_a_closed_stream_needs_no_cursor() -> None:
    reply = polled(emptied(PAGE, is_closed=True))

    assert reply.status == 204
    assert reply.headers["Stream-Closed"] == "true"
    assert reply.headers["Stream-Up-To-Date"] == "true"
    assert "Stream-Cursor" not in reply.headers


# --- Server-sent events --------------------------------------------------------------------


def events_of(text: str) -> list[tuple[str, Any]]:
    """Read server-sent events as a browser does."""
    found = []
    for block in text.split("\n\n")[:-1]:
        name, *lines, last = block.split("\n")
        assert last == f"id: {OFFSET}"
        data = "\n".join(line.removeprefix("data:") for line in lines)
        found.append((name.removeprefix("event: "), json.loads(data)))
    return found


def test_a_page_is_a_data_event_and_a_control_event() -> None:
    text = protocol.sse_events(PAGE, cursor=None, now=NOW)

    assert events_of(text) == [
        ("data", [1, {"a": 2}]),
        ("control", {"streamNextOffset": OFFSET, "streamCursor": "1000", "upToDate": True}),
    ]


def test_a_page_without_data_is_a_control_event() -> None:
    page = emptied(PAGE, is_up_to_date=False)

    (event,) = events_of(protocol.sse_events(page, cursor=1000, now=NOW))

    assert event[0] == "control"
    assert int(event[1]["streamCursor"]) > 1000
    assert "upToDate" not in event[1]
    assert "streamClosed" not in event[1]


def test_the_last_event_has_no_cursor() -> None:
    text = protocol.sse_events(replace(PAGE, is_closed=True), cursor=7, now=NOW)

    control = {"streamNextOffset": OFFSET, "upToDate": True, "streamClosed": True}
    assert events_of(text)[-1] == ("control", control)


@pytest.mark.parametrize("item", ['{\n"a":\r\n1}', '"\u2028"', '"\\n\\ndata: x"', '"<script>"'])
def test_no_value_breaks_out_of_its_event(item: str) -> None:
    text = protocol.sse_events(replace(PAGE, items=[item]), cursor=None, now=NOW)

    assert events_of(text)[0] == ("data", [json.loads(item)])
    assert [name for name, _ in events_of(text)] == ["data", "control"]


def test_events_are_never_collected_by_a_proxy() -> None:
    headers = protocol.sse_headers()

    assert headers["Content-Type"] == "text/event-stream"
    assert "no-cache" in headers["Cache-Control"]
    assert headers["X-Accel-Buffering"] == "no"


# --- All answers ---------------------------------------------------------------------------


def test_every_answer_has_the_headers_of_safety() -> None:
    answers = [
        caught_up().headers,
        polled().headers,
        polled(emptied(PAGE)).headers,
        protocol.head(PAGE).headers,
        protocol.sse_headers(),
        protocol.refusal(404, "No.").headers,
    ]

    for headers in answers:
        assert headers["X-Content-Type-Options"] == "nosniff"
        assert headers["Cross-Origin-Resource-Policy"] == "same-origin"
        assert headers["Cache-Control"]


def test_the_end_is_told_by_head_and_never_kept() -> None:
    reply = protocol.head(emptied(PAGE))

    assert (reply.status, reply.body) == (200, "")
    assert reply.headers["Content-Type"] == "application/json"
    assert reply.headers["Stream-Next-Offset"] == OFFSET
    assert reply.headers["Cache-Control"] == "no-store"


def test_a_refusal_is_plain_text_and_never_kept() -> None:
    reply = protocol.refusal(401, "Log in.", WWW_Authenticate="Bearer")

    assert (reply.status, reply.body) == (401, "Log in.\n")
    assert reply.headers["WWW-Authenticate"] == "Bearer"
    assert reply.headers["Content-Type"].startswith("text/plain")
    assert reply.headers["Cache-Control"] == "no-store"
