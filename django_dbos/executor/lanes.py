"""Lanes: where something is enqueued for this executor, and from where on each is claimed.

A lane is a queue and a priority, claimed above a watermark. A queue that is managed, or has
partition keys, is one lane, claimed in turn of its keys.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable

from django_dbos.core.records import Lane
from django_dbos.executor.clock import Clock
from django_dbos.executor.identity import Identity
from django_dbos.executor.turns import PacedTurn
from django_dbos.executor.watermark import Watermark


class Lanes:
    """The lanes that may hold claimable workflows, each with its watermark or its turn."""

    def __init__(self, identity: Identity, clock: Clock) -> None:
        self._identity = identity
        self._clock = clock
        self._lock = threading.Lock()
        self._notified: set[Lane] = set()
        self._open: set[Lane] = set()
        self._watermarks: dict[Lane, Watermark] = {}
        self._turns: dict[str, PacedTurn] = {}
        self._managed: set[str] = set()
        """Queues that were managed when they were last claimed from."""
        self._opens_at: dict[Lane, float] = {}
        """When a rate limit allows the next start, on the clock."""
        self._turn = 0

    @property
    def is_empty(self) -> bool:
        """True if nothing is left to claim, and no notification is pending."""
        return not (self._open or self._notified)

    def is_alone(self, lane: Lane) -> bool:
        """Return whether no other lane is open."""
        return self._open == {lane}

    def served(self, lanes: Iterable[Lane]) -> set[Lane]:
        """Return the lanes whose queues this executor serves."""
        return {lane for lane in lanes if self._identity.serves(lane.queue_name)}

    def notify(self, lanes: Iterable[Lane]) -> bool:
        """Note that something was enqueued in these lanes; from any thread.

        Returns whether any of them is served here.
        """
        served = self.served(lanes)
        with self._lock:
            self._notified |= served
        return bool(served)

    def open_notified(self) -> None:
        """Claim from the lanes that were notified since the last call."""
        with self._lock:
            notified, self._notified = self._notified, set()
        self.open(notified)

    def open(self, lanes: set[Lane]) -> None:
        """Claim from these lanes, in which workflows are enqueued."""
        for lane in {self._as_claimed(lane) for lane in lanes}:
            if lane.priority is None:
                self._turns.setdefault(lane.queue_name, PacedTurn(self._clock)).begin()
                self._opens_at.pop(lane, None)
            else:
                watermark = self._watermarks.setdefault(lane, Watermark(self._clock))
                watermark.begin(was_empty=lane not in self._open)
            self._open.add(lane)

    def open_due(self) -> None:
        """Claim from the lanes of which a rate limit allows a start by now."""
        now = self._clock()
        self.open({lane for lane, at in self._opens_at.items() if at <= now})

    @property
    def pause(self) -> float | None:
        """The seconds until a rate limit allows a start; None: no lane waits for that."""
        if not self._opens_at:
            return None
        return max(min(self._opens_at.values()) - self._clock(), 0.0)

    def close(self, lane: Lane, *, seconds: float | None = None) -> None:
        """Claim no more from a lane, which is empty; open it again after some seconds."""
        self._open.discard(lane)
        if seconds is not None:
            self._opens_at[lane] = self._clock() + seconds

    def watermark(self, lane: Lane) -> Watermark:
        """Return the watermark of an open lane."""
        return self._watermarks[lane]

    def turn(self, lane: Lane) -> PacedTurn:
        """Return the turn of an open lane without a priority."""
        return self._turns[lane.queue_name]

    def full_turn(self, queue_name: str) -> PacedTurn | None:
        """Return the turn through a queue from which nothing more could be claimed; any thread.

        None while there are other lanes to claim from, whose turn it may be.
        """
        turn, lane = self._turns.get(queue_name), Lane(queue_name, None)
        if turn is None or not turn.is_full or len(self._open) > (lane in self._open):
            return None
        with self._lock:
            others = [one for one in self._notified if one.queue_name != queue_name]
        return None if others else turn

    def note_managed(self, queue_name: str) -> None:
        """Claim from a queue as one lane from now on, since it is managed."""
        self._managed.add(queue_name)
        lanes = {lane for lane in self._open if lane.queue_name == queue_name}
        self._open -= lanes
        self.open(lanes or {Lane(queue_name, None)})

    def note_unmanaged(self, queue_name: str) -> bool:
        """Claim from a queue priority by priority again; return whether that is news."""
        was_managed = queue_name in self._managed
        self._managed.discard(queue_name)
        return was_managed

    def _as_claimed(self, lane: Lane) -> Lane:
        return Lane(lane.queue_name, None) if lane.queue_name in self._managed else lane

    def in_order(self) -> list[Lane]:
        """Return the open lanes: higher priorities first, another queue first each time."""
        self._turn += 1
        lanes = sorted(self._open, key=_name_and_priority)
        start = self._turn % len(lanes) if lanes else 0
        return sorted(lanes[start:] + lanes[:start], key=_priority, reverse=True)

    def drop_unused(self) -> None:
        """Drop the watermarks of lanes in which nothing was enqueued for long."""
        self._watermarks = {
            lane: watermark
            for lane, watermark in self._watermarks.items()
            if lane in self._open or not watermark.is_forgotten
        }
        # A turn in the middle goes on there.
        used = {lane.queue_name for lane in (*self._open, *self._opens_at)}
        self._turns = {
            queue_name: turn
            for queue_name, turn in self._turns.items()
            if queue_name in used or turn.after is not None
        }

    def rewind(self) -> None:
        """Claim from the bottom again: positions may have been lost with an answer."""
        self._watermarks = {
            lane: Watermark(self._clock) for lane in self._open if lane.priority is not None
        }
        for turn in self._turns.values():
            turn.begin()


def _priority(lane: Lane) -> int:
    return lane.priority or 0


def _name_and_priority(lane: Lane) -> tuple[str, int]:
    return lane.queue_name, _priority(lane)
