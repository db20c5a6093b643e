"""Watermark: the queue position up to which a dispatcher has claimed one lane.

A claimed row leaves the index of enqueued rows, except while an old snapshot lasts: until it ends,
a claim from the bottom reads every entry that the index ever held. Claims therefore continue above
the last position taken. Rows that were committed late, below it, are found by a rescan: from the
bottom while that is cheap, otherwise from the lane's position a minute ago (CORRECTNESS rule 29).
"""

from __future__ import annotations

from contextlib import AbstractContextManager

from django_dbos.executor.clock import Clock
from django_dbos.executor.throttle import Throttle

# Below all positions: those of workflows that queue again in a managed queue are negative.
BOTTOM = -(2**62)
# Claim batch size: initial, growth factor, maximum. Slots are reserved while a claim runs, so a
# small first batch leaves some for children and waits.
FIRST_CLAIMS, MORE_CLAIMS, MAX_CLAIMS = 8, 4, 500
# Seconds between rescans of a lane that keeps yielding full batches.
RESCAN_PAUSE = 3.0
# Seconds before the rescan of a lane that yielded less than a full batch.
FIRST_RESCAN = 0.05
# Seconds; rows of a transaction that was open for longer are found only from the bottom.
RECENT = 60.0
# Seconds without use after which a watermark is dropped: queues come and go.
LIFETIME = 3_600.0


class Watermark:
    """The position from which one lane is claimed."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self.above = BOTTOM
        self.batch_size = FIRST_CLAIMS
        """The largest number of workflows for the next claim."""
        self.is_exhausted = False
        """True if only rows that were committed late can be left."""
        self._floor = self._next_floor = BOTTOM
        """The lane's position more than RECENT ago, and a little later."""
        self._raise_at = 0.0
        self._rescan_at = 0.0
        self._from_bottom, self._from_floor = Throttle(clock), Throttle(clock)

    @property
    def pause(self) -> float:
        """The seconds until there may be something to claim."""
        return max(self._rescan_at - self._clock(), 0.0) if self.is_exhausted else 0.0

    @property
    def is_forgotten(self) -> bool:
        """True if it has been unused for LIFETIME."""
        return self._clock() > self._rescan_at + LIFETIME

    @property
    def must_rescan(self) -> bool:
        """True if the next claim must begin at a lower position."""
        return self._clock() >= self._rescan_at

    def rescanning(self, usual: float) -> AbstractContextManager[None]:
        """Start from further down in the block; a claim from here usually takes `usual` seconds."""
        now = self._clock()
        if now >= self._raise_at:
            self._floor, self._next_floor = self._next_floor, self.above
            self._raise_at = now + RECENT
        is_from_bottom = self._from_bottom.is_allowed
        self.above = BOTTOM if is_from_bottom else self._floor
        throttle = self._from_bottom if is_from_bottom else self._from_floor
        return throttle.spent(usual)

    def note_claim(self, last: int, *, count: int, is_all: bool, is_rescan: bool) -> None:
        """Record a claim of `count` rows up to position `last`; `is_all`: it drained the lane."""
        self.above = last
        self.batch_size = FIRST_CLAIMS if is_all else min(self.batch_size * MORE_CLAIMS, MAX_CLAIMS)
        # Rows below may have been committed late.
        self.is_exhausted = is_all and not is_rescan
        if self.is_exhausted:
            self._rescan_in(FIRST_RESCAN if count else 0.0)
        elif is_rescan:
            self._rescan_in(0.0 if is_all else RESCAN_PAUSE)

    def begin(self, *, was_empty: bool) -> None:
        """Note that something has been enqueued in the lane."""
        self.is_exhausted = False
        if was_empty and self._from_bottom.is_expensive:
            # Most likely the new row, which is above.
            self._rescan_in(RESCAN_PAUSE)

    def _rescan_in(self, seconds: float) -> None:
        """Schedule the next rescan, no sooner than its throttles allow."""
        allowed_at = min(self._from_bottom.allowed_at, self._from_floor.allowed_at)
        self._rescan_at = max(self._clock() + seconds, allowed_at)
