"""The delay between two attempts at a step: exponential back-off with jitter."""

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
