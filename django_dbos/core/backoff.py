"""How long to wait before a step is tried again."""

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
    """Return the seconds to wait before attempt ``attempt``; the first one is 1 and never waits.

    The delay is ``interval`` before the second attempt and grows by the factor ``backoff`` with
    each further one, up to ``max_interval``. ``jitter`` (0 to 1) is the share of it that is taken
    off at random, so that steps which failed together aren't tried again together.
    """
    if attempt <= 1 or interval == 0:
        # However often it is doubled: a power of two may overflow, times 0 or not.
        return 0.0
    try:
        delay = min(interval * backoff ** (attempt - 2), max_interval)
    except OverflowError:
        delay = max_interval
    return delay * (1.0 - jitter * random())
