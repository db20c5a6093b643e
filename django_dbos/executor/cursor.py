"""Cursor: how far a dispatcher has taken one lane, and where it claims next.

What is claimed leaves the index of what is enqueued, but not while somebody's old snapshot lasts:
until then a claim from the bottom reads all that ever was there. So claims go on above the last
place that was taken. What was committed late, below it, is found by looking back: to the bottom
while that is cheap, else to where the lane was a while ago (CORRECTNESS rule 29).
"""

from __future__ import annotations

import time
from contextlib import AbstractContextManager

from django_dbos.executor.ration import Ration

BOTTOM = -1
# How many workflows one statement claims: at first, how many times more when it finds as many, at
# most. While it is under way their slots are taken: children and waits must not find none each
# time.
FIRST_CLAIMS, MORE_CLAIMS, MAX_CLAIMS = 8, 4, 500
# Seconds after which a lane that gives enough is looked back through all the same.
LOOK_BACK = 3.0
# Seconds before a lane that gave too little is looked back through.
SECOND_LOOK = 0.05
# A transaction that was open for longer may commit what only a look to the bottom finds.
RECENT = 60.0
# Seconds without use after which a cursor is forgotten: queues come and go.
LIFETIME = 3_600.0


class Cursor:
    """Where one lane is claimed from."""

    def __init__(self) -> None:
        self.above = BOTTOM
        self.appetite = FIRST_CLAIMS
        self.is_exhausted = False
        """Whether only what was committed late can be left."""
        self._floor = self._next_floor = BOTTOM
        """Where the lane was more than RECENT ago, and a little later."""
        self._raise_at = 0.0
        self._look_back_at = 0.0
        self._to_bottom, self._to_floor = Ration(), Ration()

    @property
    def pause(self) -> float:
        """Seconds until there may be something to claim."""
        return max(self._look_back_at - time.monotonic(), 0.0) if self.is_exhausted else 0.0

    @property
    def is_forgotten(self) -> bool:
        """Whether nothing has been claimed by it for long."""
        return time.monotonic() > self._look_back_at + LIFETIME

    @property
    def must_look_back(self) -> bool:
        """Whether the next claim is to begin further down."""
        return time.monotonic() >= self._look_back_at

    def looking_back(self, usual: float) -> AbstractContextManager[None]:
        """Claim from further down in the block; a claim from here takes so many seconds."""
        now = time.monotonic()
        if now >= self._raise_at:
            self._floor, self._next_floor = self._next_floor, self.above
            self._raise_at = now + RECENT
        is_to_bottom = self._to_bottom.is_allowed
        self.above = BOTTOM if is_to_bottom else self._floor
        ration = self._to_bottom if is_to_bottom else self._to_floor
        return ration.spent(usual)

    def note_claim(self, last: int, *, count: int, is_all: bool, looked_back: bool) -> None:
        """So many were claimed, up to this place: all that there were, or as many as wanted."""
        self.above = last
        self.appetite = FIRST_CLAIMS if is_all else min(self.appetite * MORE_CLAIMS, MAX_CLAIMS)
        # Then perhaps something below has been committed late.
        self.is_exhausted = is_all and not looked_back
        if self.is_exhausted:
            self._look_back_in(SECOND_LOOK if count else 0.0)
        elif looked_back:
            self._look_back_in(0.0 if is_all else LOOK_BACK)

    def begin(self, *, was_empty: bool) -> None:
        """Something has been enqueued in the lane."""
        self.is_exhausted = False
        if was_empty and self._to_bottom.is_dear:
            # It is what was told of, most likely: above.
            self._look_back_in(LOOK_BACK)

    def _look_back_in(self, seconds: float) -> None:
        """Look back in so many seconds, or when it may be done."""
        allowed_at = min(self._to_bottom.allowed_at, self._to_floor.allowed_at)
        self._look_back_at = max(time.monotonic() + seconds, allowed_at)
