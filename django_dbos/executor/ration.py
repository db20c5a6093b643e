"""Ration: how often something may be done whose price is known only afterwards.

Some statements have to read all that an index of what is live ever held, for as long as somebody's
old snapshot lasts: PostgreSQL can remove none of it. What they find is rarely needed at once.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

# The part of the time that may be spent, and the seconds from which on something is dear.
SHARE, DEAR = 0.02, 0.01


class Ration:
    """Allows what is dear so seldom that it takes a fiftieth of the time, however long it takes."""

    def __init__(self) -> None:
        self.allowed_at = 0.0
        """On the monotonic clock."""
        self.is_dear = False
        """Whether it took long, the last two times: once may have been chance."""
        self._last_price = 0.0

    @property
    def is_allowed(self) -> bool:
        """Whether it may be done now."""
        return time.monotonic() >= self.allowed_at

    @contextmanager
    def spent(self, usual: float = 0.0) -> Iterator[None]:
        """What is done in the block counts, but for the seconds that it takes anyhow."""
        began = time.monotonic()
        try:
            yield
        finally:
            ended = time.monotonic()
            price = ended - began - usual
            lesser = min(price, self._last_price)
            self._last_price = price
            self.is_dear = lesser > DEAR
            self.allowed_at = ended + lesser / SHARE if self.is_dear else ended
