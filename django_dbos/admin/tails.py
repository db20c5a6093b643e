"""The streams of a workflow's page, each with its last entries."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from django.db.models import Q
from django.utils.safestring import SafeString
from django.utils.translation import gettext

from django_dbos.admin.base import Links, rows_of, status_badge
from django_dbos.admin.look import Look
from django_dbos.admin.sections import STREAMS
from django_dbos.admin.values import Value, instant, shown_in_line, with_values
from django_dbos.core.status import CLOSING, Status
from django_dbos.models import StreamEntry

MAX_STREAMS = 10
TAIL = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """An entry of a stream."""

    offset: int
    time: str
    value: Value | None
    """None for the end of the stream."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Tail:
    """A stream with its last entries."""

    key: str
    url: str
    count: int
    state: SafeString
    entries: list[Entry]


@dataclass(frozen=True, slots=True, kw_only=True)
class Tails:
    """The first streams of a workflow by key, and the address of all if there are more."""

    streams: list[Tail]
    more_url: str


def read_tails(links: Links, workflow_id: str, look: Look) -> Tails:
    """Return the streams with their last entries: two queries, however many entries there are."""
    found = STREAMS.narrow(rows_of(StreamEntry).filter(workflow_id=workflow_id)).order_by("key")
    firsts = list(found[: MAX_STREAMS + 1])
    rows = _last_entries(workflow_id, firsts[:MAX_STREAMS], look)
    return Tails(
        streams=[
            _tail(first, links, rows.get(first.key, []), look) for first in firsts[:MAX_STREAMS]
        ],
        more_url=links.rows(STREAMS.name) if firsts[MAX_STREAMS:] else "",
    )


def _last_entries(workflow_id: str, firsts: list[Any], look: Look) -> dict[str, list[Any]]:
    if not firsts:
        return {}
    condition = Q()
    for first in firsts:
        condition |= Q(key=first.key, offset__gt=first.last_offset - TAIL)
    found = rows_of(StreamEntry).filter(condition, workflow_id=workflow_id)
    found = with_values(found, "value_text", look=look)
    rows: dict[str, list[Any]] = {}
    for row in found.order_by("key", "offset")[: MAX_STREAMS * TAIL]:
        rows.setdefault(row.key, []).append(row)
    return rows


def _tail(first: Any, links: Links, rows: list[Any], look: Look) -> Tail:
    # The end of its workflow also closes a stream, without an entry.
    is_closed = first.is_ended or first.owner_status in CLOSING
    return Tail(
        key=first.key,
        url=links.rows("entries", key=first.key),
        count=first.last_offset + (0 if first.is_ended else 1),
        state=status_badge(
            "" if is_closed else Status.PENDING, gettext("closed") if is_closed else gettext("open")
        ),
        entries=[_entry(row, links, look) for row in rows],
    )


def _entry(row: Any, links: Links, look: Look) -> Entry:
    value = None if row.is_end else shown_in_line(row, "value_text", look)
    if value is not None and value.is_cut:
        value = replace(value, whole_url=links.rows("entries", key=row.key, offset=row.offset))
    return Entry(offset=row.offset, time=instant(row.created_at).partition(" ")[2], value=value)
