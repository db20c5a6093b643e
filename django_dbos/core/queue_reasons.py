"""The reasons why an enqueued workflow isn't running, as far as its queue is one.

A pure rule over what the tables say; the admin and `handle.describe()` show its sentences.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django_dbos.core.queues import is_reached
from django_dbos.core.texts import gettext_noop

MOST_AHEAD = 1_000
"""The number at which the count of workflows ahead of one stops."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Holdup:
    """An enqueued workflow and its queue. A limit that the queue doesn't have is None."""

    workflow_id: str
    queue_name: str
    partition_key: str
    holds_place: bool
    """True if it has a place already, which it keeps until its end."""
    lingers_on: str | None
    """The executor in which its function still runs, after a cancel or a takeover."""
    has_started: bool
    parent_key: str | None = None
    """The partition key of its parent; None if that holds no place of this queue."""
    paused_at: datetime | None = None
    paused_by: str | None = None
    concurrency: int | None = None
    places: int = 0
    worker_concurrency: int | None = None
    partition_concurrency: int | None = None
    partition_places: int = 0
    next_start: float | None = None
    """Seconds until the queue's rate allows the next start."""
    partition_next_start: float | None = None
    ahead: int = 0
    """The workflows of its key that come before it, up to MOST_AHEAD."""


@dataclass(frozen=True, slots=True)
class Reason:
    """A sentence, as a template that can be translated, and its values."""

    template: str
    values: dict[str, Any]

    def __str__(self) -> str:
        return self.template % self.values


def reasons(
    holdup: Holdup, show: Callable[[datetime], str], *, are_workers_full: bool = False
) -> list[Reason]:
    """Return what keeps the workflow from running, the most telling reason first.

    Those that come before it are a reason of their own: see `behind`.

    Args:
        holdup: What the tables say.
        show: Returns an instant as its readers expect it.
        are_workers_full: True if each worker of the queue is at `worker_concurrency`.
    """
    return list(_of_queue(holdup, show, are_workers_full))


def of_busy_workers(slots: int) -> Reason:
    """Return the reason why a workflow waits whose queue doesn't hold it up."""
    if slots == 1:
        return Reason(gettext_noop("The only slot of its worker is taken."), {})
    return Reason(gettext_noop("All %(slots)d slots of its workers are taken."), {"slots": slots})


def _of_queue(
    holdup: Holdup, show: Callable[[datetime], str], are_workers_full: bool
) -> Iterator[Reason]:
    if holdup.paused_at is not None:
        yield _paused(holdup, show(holdup.paused_at))
    if holdup.lingers_on is not None:
        # What it waits for is its own place.
        yield Reason(
            gettext_noop("Its step still runs on %(executor)s; it goes on once that has ended."),
            {"executor": holdup.lingers_on},
        )
        return
    if are_workers_full:
        yield Reason(
            gettext_noop("Each worker of queue '%(queue)s' is at its limit of %(limit)d."),
            {"queue": holdup.queue_name, "limit": holdup.worker_concurrency},
        )
    if not holdup.holds_place:
        yield from _places(holdup)
    if not holdup.has_started:
        yield from _rates(holdup)


def _paused(holdup: Holdup, since: str) -> Reason:
    values = {"queue": holdup.queue_name, "since": since, "by": holdup.paused_by}
    if holdup.paused_by:
        return Reason(
            gettext_noop("Queue '%(queue)s' is paused since %(since)s by %(by)s."), values
        )
    return Reason(gettext_noop("Queue '%(queue)s' is paused since %(since)s."), values)


def _places(holdup: Holdup) -> Iterator[Reason]:
    limit, part = holdup.concurrency, holdup.partition_concurrency
    is_full = is_reached(limit, holdup.places)
    is_key_full = is_reached(part, holdup.partition_places)
    if is_full:
        yield Reason(
            gettext_noop("Queue '%(queue)s' is at %(places)d of %(limit)d."),
            {"queue": holdup.queue_name, "places": holdup.places, "limit": limit},
        )
    if is_key_full:
        yield Reason(
            gettext_noop("Key '%(key)s' of queue '%(queue)s' is at %(places)d of %(limit)d."),
            {
                "queue": holdup.queue_name,
                "key": holdup.partition_key,
                "places": holdup.partition_places,
                "limit": part,
            },
        )
    is_own_key = is_key_full and holdup.parent_key == holdup.partition_key
    if holdup.parent_key is not None and (is_full or is_own_key):
        yield Reason(gettext_noop("Its parent holds one of these places."), {})


def _rates(holdup: Holdup) -> Iterator[Reason]:
    if holdup.next_start is not None:
        yield Reason(
            gettext_noop("Rate limit: next start in %(seconds)d s."), _in(holdup.next_start)
        )
    if holdup.partition_next_start is not None:
        yield Reason(
            gettext_noop("Rate limit of its key: next start in %(seconds)d s."),
            _in(holdup.partition_next_start),
        )


def _in(seconds: float) -> dict[str, Any]:
    return {"seconds": max(math.ceil(seconds), 1)}


def behind(holdup: Holdup) -> Reason | None:
    """Return how many workflows come before it, the last of the reasons; None if none does."""
    if not holdup.ahead:
        return None
    values = {"ahead": min(holdup.ahead, MOST_AHEAD)}
    is_more = holdup.ahead > MOST_AHEAD
    if holdup.partition_key:
        return Reason(
            gettext_noop("Behind more than %(ahead)d of its key.")
            if is_more
            else gettext_noop("Behind %(ahead)d of its key."),
            values,
        )
    return Reason(
        gettext_noop("Behind more than %(ahead)d of its queue.")
        if is_more
        else gettext_noop("Behind %(ahead)d of its queue."),
        values,
    )
