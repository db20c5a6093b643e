"""Watermark: the queue position up to which a dispatcher has claimed one lane.

A claimed row leaves the index of enqueued rows, except while an old snapshot lasts: until it ends,
a claim from the bottom reads every entry that the index ever held. Claims therefore continue above
the last position taken. Rows that were committed late, below it, are found by looking back: to the
bottom while that is cheap, otherwise to the lane's position a minute ago (CORRECTNESS rule 29).
"""

from __future__ import annotations

import time
from contextlib import AbstractContextManager

from django_dbos.executor.throttle import Throttle

BOTTOM = -1
# Claim batch size: initial, growth factor, maximum. Slots are reserved while a claim runs, so a
# small first batch leaves some for children and waits.
FIRST_CLAIMS, MORE_CLAIMS, MAX_CLAIMS = 8, 4, 500
# Seconds between looks back in a lane that keeps yielding full batches.
LOOK_BACK = 3.0
# Seconds before looking back in a lane that yielded less than a full batch.
SECOND_LOOK = 0.05
# Seconds; rows of a transaction that was open for longer are found only from the bottom.
RECENT = 60.0
# Seconds without use after which a watermark is dropped: queues come and go.
LIFETIME = 3_600.0


class Watermark:
    """Says from which position one lane is claimed."""

    def __init__(self) -> None:
        self.above = BOTTOM
        self.appetite = FIRST_CLAIMS
        self.is_exhausted = False
        """Whether only rows that were committed late can be left."""
        self._floor = self._next_floor = BOTTOM
        """The lane's position more than RECENT ago, and a little later."""
        self._raise_at = 0.0
        self._look_back_at = 0.0
        self._to_bottom, self._to_floor = Throttle(), Throttle()

    @property
    def pause(self) -> float:
        """Return the seconds until there may be something to claim."""
        return max(self._look_back_at - time.monotonic(), 0.0) if self.is_exhausted else 0.0

    @property
    def is_forgotten(self) -> bool:
        """Whether it has been unused for LIFETIME."""
        return time.monotonic() > self._look_back_at + LIFETIME

    @property
    def must_look_back(self) -> bool:
        """Whether the next claim is to begin further down."""
        return time.monotonic() >= self._look_back_at

    def looking_back(self, usual: float) -> AbstractContextManager[None]:
        """Start from further down in the block; a claim from here usually takes `usual` seconds."""
        now = time.monotonic()
        if now >= self._raise_at:
            self._floor, self._next_floor = self._next_floor, self.above
            self._raise_at = now + RECENT
        is_to_bottom = self._to_bottom.is_allowed
        self.above = BOTTOM if is_to_bottom else self._floor
        throttle = self._to_bottom if is_to_bottom else self._to_floor
        return throttle.spent(usual)

    def note_claim(self, last: int, *, count: int, is_all: bool, looked_back: bool) -> None:
        """Record a claim of `count` rows up to position `last`; `is_all`: it drained the lane."""
        self.above = last
        self.appetite = FIRST_CLAIMS if is_all else min(self.appetite * MORE_CLAIMS, MAX_CLAIMS)
        # Rows below may have been committed late.
        self.is_exhausted = is_all and not looked_back
        if self.is_exhausted:
            self._look_back_in(SECOND_LOOK if count else 0.0)
        elif looked_back:
            self._look_back_in(0.0 if is_all else LOOK_BACK)

    def begin(self, *, was_empty: bool) -> None:
        """Note that something has been enqueued in the lane."""
        self.is_exhausted = False
        if was_empty and self._to_bottom.is_expensive:
            # Most likely the new row, which is above.
            self._look_back_in(LOOK_BACK)

    def _look_back_in(self, seconds: float) -> None:
        """Schedule the next look back, no sooner than its throttles allow."""
        allowed_at = min(self._to_bottom.allowed_at, self._to_floor.allowed_at)
        self._look_back_at = max(time.monotonic() + seconds, allowed_at)
