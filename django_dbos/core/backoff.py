"""Growing delays: between attempts at a step, and between retries of the engine's own work."""

from __future__ import annotations

import random as random_module
from collections.abc import Callable


def delay_before_attempt(
    attempt: int,
    *,
    interval: float,
    backoff: float,
    max_interval: float,
    jitter: float,
    random: Callable[[], float] = random_module.random,
) -> float:
    """Return the seconds to wait before an attempt.

    Args:
        attempt: The number of the attempt. The first is 1, and is never delayed.
        interval: The delay before the second attempt, in seconds.
        backoff: The factor by which the delay grows with each further attempt.
        max_interval: The longest delay, in seconds.
        jitter: The largest share (0 to 1) of the delay that is taken off at random, so that steps
            which failed together aren't retried together.
        random: Returns a number from 0 to 1.
    """
    if attempt <= 1 or interval == 0:
        # Even times 0, a large power of the factor may overflow.
        return 0.0
    try:
        delay = min(interval * backoff ** (attempt - 2), max_interval)
    except OverflowError:
        delay = max_interval
    return delay * (1.0 - jitter * random())


class Backoff:
    """A delay that doubles with each failure in a row.

    Args:
        first: The delay after the first failure, in seconds.
        last: The longest delay, in seconds.
    """

    __slots__ = ("_first", "_last", "delay")

    def __init__(self, first: float, last: float) -> None:
        self._first = first
        self._last = last
        self.delay = 0.0
        """The latest delay in seconds; 0 before the first failure."""

    def grow(self) -> float:
        """Note a failure, and return the seconds to wait."""
        self.delay = min(max(self.delay * 2, self._first), self._last)
        return self.delay

    def reset(self) -> None:
        """Note a success: the next delay is the first one."""
        self.delay = 0.0
