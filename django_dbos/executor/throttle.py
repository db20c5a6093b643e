"""Throttle: limits the frequency of an operation whose cost is known only afterwards.

While an old snapshot lasts PostgreSQL can remove no dead index entries, so that some statements
read everything that an index of live rows ever held. Their results are rarely urgent.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from django_dbos.executor.clock import Clock

# The share of wall time that may be spent, and the seconds above which an operation is expensive.
SHARE, EXPENSIVE = 0.02, 0.01


class Throttle:
    """A limit of 2 % of wall time for an expensive operation; a cheap one is always allowed."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self.allowed_at = 0.0
        """When the operation may run again, on the clock."""
        self.is_expensive = False
        """True if the last two runs both took long: one may have been chance."""
        self._last_cost = 0.0

    @property
    def is_allowed(self) -> bool:
        """True if the operation may run now."""
        return self._clock() >= self.allowed_at

    @contextmanager
    def spent(self, usual: float = 0.0) -> Iterator[None]:
        """Measure the block as one run, without the `usual` seconds that it takes at best."""
        began = self._clock()
        try:
            yield
        finally:
            ended = self._clock()
            cost = ended - began - usual
            lesser = min(cost, self._last_cost)
            self._last_cost = cost
            self.is_expensive = lesser > EXPENSIVE
            self.allowed_at = ended + lesser / SHARE if self.is_expensive else ended
