"""Queues with limits: what may be claimed, given what runs and what has started.

A workflow *holds a place* in its queue's limits from its claim on: while it runs, or until it ends.
A *start* is the claim of a workflow that was queued as new: its first one, and the one after a
resume(); a replay, a recovery and a wake-up are none. A limit of None is no limit.

A run that waits and can't be suspended *lends* its place. When it wants to go on, it *reserves*
one: nobody who claims may have it, but the run holds it only once that exceeds no limit.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from enum import StrEnum
from itertools import zip_longest
from typing import TypeVar

from django_dbos.core.frozen import dataclass

T = TypeVar("T")

LENT, RESERVED = -1, 3
"""The place of a run that has lent its own; and the same once it wants that back."""
HELD = (1, 2)
"""The places that workflows hold: while they run, and until they end."""

BUCKETS = 1_000
"""Starts of one thousandth of a rate's period are counted together, once the rate is above this."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """The limits of a managed queue, as its row holds them."""

    concurrency: int | None = None
    worker_concurrency: int | None = None
    rate_count: int | None = None
    rate_period: float | None = None
    """Seconds."""
    partition_concurrency: int | None = None
    partition_rate_count: int | None = None
    partition_rate_period: float | None = None
    """Seconds."""
    hold_while_waiting: bool = False
    is_paused: bool = False

    @property
    def place(self) -> int:
        """The place that a claim takes: 2 until the workflow ends, or 1 while it runs."""
        return 2 if self.hold_while_waiting else 1

    def for_partition(self, partition_key: str) -> Limits:
        """Return the limits of one partition; those of partitions concern no workflow without."""
        if partition_key:
            return self
        return Limits(
            concurrency=self.concurrency,
            worker_concurrency=self.worker_concurrency,
            rate_count=self.rate_count,
            rate_period=self.rate_period,
            hold_while_waiting=self.hold_while_waiting,
            is_paused=self.is_paused,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    """The workflows that count against the limits of a queue, and of one of its partitions."""

    places: int = 0
    own_places: int = 0
    """The places of the executor that claims."""
    partition_places: int = 0
    starts_left: int | None = None
    next_start: float | None = None
    """Seconds until the rate limit allows a start; None: at once."""
    partition_starts_left: int | None = None
    partition_next_start: float | None = None


class Obstacle(StrEnum):
    """The obstacle to the claim of a workflow of a managed queue."""

    PAUSED = "paused"
    LINGERING = "lingering"
    """The function still runs where it was claimed before."""
    CONCURRENCY = "concurrency"
    WORKER_CONCURRENCY = "worker concurrency"
    RATE = "rate"
    PARTITION_CONCURRENCY = "partition concurrency"
    PARTITION_RATE = "partition rate"


@dataclass(frozen=True, slots=True, kw_only=True)
class Waiting:
    """An enqueued workflow of a managed queue."""

    queue_name: str
    partition_key: str
    place: int
    """The place that it holds already: 0 for none."""
    is_lingering: bool
    """True if that place is counted for a run that was interrupted and goes on."""
    is_start: bool


def obstacle(limits: Limits, usage: Usage, waiting: Waiting) -> Obstacle | None:
    """Return what keeps a workflow from being claimed; None if nothing does."""
    limits = limits.for_partition(waiting.partition_key)
    if limits.is_paused:
        return Obstacle.PAUSED
    if waiting.is_lingering:
        return Obstacle.LINGERING
    if is_reached(limits.worker_concurrency, usage.own_places):
        return Obstacle.WORKER_CONCURRENCY
    if waiting.place:
        # It is among those that are counted.
        return None
    if is_reached(limits.concurrency, usage.places):
        return Obstacle.CONCURRENCY
    if is_reached(limits.partition_concurrency, usage.partition_places):
        return Obstacle.PARTITION_CONCURRENCY
    if not waiting.is_start:
        return None
    if usage.next_start is not None:
        return Obstacle.RATE
    if usage.partition_next_start is not None and limits.partition_rate_count is not None:
        return Obstacle.PARTITION_RATE
    return None


def is_reached(limit: int | None, count: int) -> bool:
    """Return whether a limit lets no more through."""
    return limit is not None and count >= limit


def room(limit: int | None, count: int) -> int | None:
    """Return how many more a limit lets through; it may have been lowered below the count."""
    return None if limit is None else max(limit - count, 0)


def least(*rooms: int | None) -> int | None:
    """Return the smallest of several rooms."""
    return min((one for one in rooms if one is not None), default=None)


def next_start(starts: Iterable[tuple[float, int]], count: int, period: float) -> float | None:
    """Return the seconds until a rate allows another start; None if it does so now.

    Args:
        starts: The age in seconds of the starts in the window and their numbers, newest first.
        count: The starts that any window of the period may have.
        period: Seconds.
    """
    total = 0
    for age, number in starts:
        total += number
        if total >= count:
            # Once this one has left the window.
            return max(period - age, 0.0)
    return None


def bucket(count: int, period: float) -> float:
    """Return the seconds of which a rate's starts share a row; 0 if each claim has its own."""
    return period / BUCKETS if count > BUCKETS else 0.0


def share(room: int, keys: int) -> int:
    """Return how many workflows each of several partition keys gets from what there is room for."""
    return -(-room // max(keys, 1))


def in_turn(taken: Iterable[Iterable[T]]) -> list[T]:
    """Return the first workflow of each key, then the second of each, and so on."""
    rounds = zip_longest(*taken)
    return [one for each in rounds for one in each if one is not None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Visit:
    """One claim of the turn through a queue's partition keys."""

    queue_name: str
    names: Sequence[str]
    """The names of the workflows that may be claimed."""
    after: str | None = None
    """The partition key after which the turn goes on; None: with the first."""
    limit: int
    """The largest number of workflows to claim."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """The part of a turn that one claim went through, and its findings there."""

    after: str | None = None
    """The partition key after which the turn goes on; None: the last one was served."""
    is_cut: bool = False
    """True if keys of this part may have more to claim at once."""
    is_full: bool = False
    """True if nothing more of the queue can be claimed here now."""
    is_locked: bool = False
    """True if another transaction holds the lock of the queue, so that nothing was claimed."""
    is_managed: bool = True
    is_open: bool = False
    """True if the limits let something through, if there was anything that could run here."""
    next_start: float | None = None
    """Seconds until a rate limit allows a start that it refuses now."""


class Turn:
    """The turn of an executor through the partition keys of a queue.

    It goes on after the key that was served last. A queue without keys is a turn of one.
    """

    def __init__(self) -> None:
        self.after: str | None = None
        """The key served last; None: the turn begins with the first key."""
        self.next_start: float | None = None
        """Seconds until a rate limit allows the next start, as this turn has seen it."""
        self._is_whole = True
        """True if the turn began with the first key, and has left nothing behind."""

    def begin(self) -> None:
        """Note that something was enqueued, or has become claimable, anywhere in the queue."""
        self._is_whole = self.after is None
        if self._is_whole:
            self.next_start = None

    def note(self, part: Part) -> bool:
        """Note what a claim found; return whether there may be more to claim at once."""
        self.after = part.after
        if part.is_full:
            self.next_start = None
            return False
        starts = [one for one in (self.next_start, part.next_start) if one is not None]
        self.next_start = min(starts, default=None)
        self._is_whole = self._is_whole and not part.is_cut
        if part.after is not None:
            return True
        is_over, self._is_whole = self._is_whole, True
        if not is_over:
            self.next_start = None
        return not is_over
