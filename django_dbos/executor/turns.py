"""Turns of an executor through the partition keys of a queue, with their pauses."""

from __future__ import annotations

import threading

from django_dbos.core.backoff import Backoff
from django_dbos.core.queues import Part, Turn
from django_dbos.executor.clock import Clock
from django_dbos.executor.watermark import FIRST_CLAIMS, MAX_CLAIMS, MORE_CLAIMS

# The first and the longest pause in seconds while others hold the lock of the queue: a claim takes
# a few milliseconds, an operator's transaction any time.
LOCK_PAUSES = (0.002, 0.25)
# One of this number of batches of ends in a full queue leaves its places to whichever executor
# comes first: one that has begun later gets its share.
PASSED_ON = 10


class PacedTurn(Turn):
    """The turn through one queue, and when it goes on."""

    def __init__(self, clock: Clock) -> None:
        super().__init__()
        self._clock = clock
        self._lock_backoff = Backoff(*LOCK_PAUSES)
        self._goes_on_at = 0.0
        self._has_claimed = False
        self.lock = threading.Lock()
        """Held during a claim, of which there is one at a time."""
        self.batch_size = FIRST_CLAIMS
        """The largest number of workflows for the next claim."""
        self.is_full = False
        """True if the last claim left nothing that a limit lets through."""
        self._successions = 0
        self._opened_at = 0.0
        self.is_served = False
        """True if the writer has claimed since the lane was opened, and left it full."""
        self.is_fruitless = False
        """True if nothing was claimed since the lane was opened, though no limit is reached."""

    @property
    def pause(self) -> float:
        """The seconds until the lock of the queue is tried again."""
        return max(self._goes_on_at - self._clock(), 0.0)

    def begin(self) -> None:
        """Note that something was enqueued, and try the lock at once."""
        super().begin()
        self._goes_on_at = 0.0
        self._opened_at = self._clock()
        self.is_served = False
        self.is_fruitless = False
        self._has_claimed = False

    def may_succeed(self) -> bool:
        """Return whether the writer may claim; every so often the places are left to others."""
        self._successions = (self._successions + 1) % PASSED_ON
        return self.is_full and self._successions > 0

    def note_succession(self, part: Part, count: int, *, limit: int, began: float) -> None:
        """Note a claim by the writer, which was sent at `began`."""
        self.note_claim(part, count, limit=limit)
        self.is_served = part.is_full and began > self._opened_at

    def note_claim(self, part: Part, count: int, *, limit: int) -> bool:
        """Note a claim of `count` workflows, of `limit` that were wanted.

        Returns whether there may be more to claim at once.
        """
        if part.is_locked:
            self._goes_on_at = self._clock() + self._lock_backoff.grow()
            return True
        self._lock_backoff.reset()
        self.is_full = part.is_full
        self._has_claimed = self._has_claimed or bool(count)
        self.is_fruitless = (self.is_fruitless or part.is_open) and not self._has_claimed
        may_have_more = self.note(part)
        if count == limit:
            self.batch_size = min(self.batch_size * MORE_CLAIMS, MAX_CLAIMS)
        elif not (may_have_more or part.is_full):
            self.batch_size = FIRST_CLAIMS
        return may_have_more
