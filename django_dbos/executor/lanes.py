"""Lanes: where something is enqueued for this executor, and from which position each is claimed.

A lane is a queue and a priority.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable

from django_dbos.core.records import Lane
from django_dbos.executor.clock import Clock
from django_dbos.executor.identity import Identity
from django_dbos.executor.watermark import Watermark


class Lanes:
    """The lanes that may hold claimable workflows, each with its watermark."""

    def __init__(self, identity: Identity, clock: Clock) -> None:
        self._identity = identity
        self._clock = clock
        self._lock = threading.Lock()
        self._notified: set[Lane] = set()
        self._open: set[Lane] = set()
        self._watermarks: dict[Lane, Watermark] = {}
        self._turn = 0

    @property
    def is_empty(self) -> bool:
        """Whether nothing is left to claim, and no notification is pending."""
        return not (self._open or self._notified)

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
        for lane in lanes:
            watermark = self._watermarks.setdefault(lane, Watermark(self._clock))
            watermark.begin(was_empty=lane not in self._open)
        self._open |= lanes

    def close(self, lane: Lane) -> None:
        """Claim no more from a lane, which is empty."""
        self._open.discard(lane)

    def watermark(self, lane: Lane) -> Watermark:
        """Return the watermark of an open lane."""
        return self._watermarks[lane]

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

    def rewind(self) -> None:
        """Claim from the bottom again: positions may have been lost with an answer."""
        self._watermarks = {lane: Watermark(self._clock) for lane in self._open}


def _priority(lane: Lane) -> int:
    return lane.priority or 0


def _name_and_priority(lane: Lane) -> tuple[str, int]:
    return lane.queue_name, _priority(lane)
