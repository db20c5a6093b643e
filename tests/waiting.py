"""Helpers that wait until a condition holds, on a machine that may be busy."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

# The timeout in seconds. It is generous, as only a failing test waits that long.
LIMIT = 90.0
LOOK_INTERVAL = 0.01


def eventually(check: Callable[[], object], *, every: float = LOOK_INTERVAL) -> None:
    """Wait until `check` returns a true value, and return it."""
    until = time.monotonic() + LIMIT
    while not check():
        assert time.monotonic() < until, "It didn't become so in time."
        time.sleep(every)


async def aeventually(check: Callable[[], object], *, every: float = LOOK_INTERVAL) -> None:
    """Wait on an event loop until `check`, which must not block, returns a true value."""
    until = time.monotonic() + LIMIT
    while not check():
        assert time.monotonic() < until, "It didn't become so in time."
        await asyncio.sleep(every)
