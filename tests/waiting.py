"""How tests wait: until something is so, on a machine that may be busy with other things."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

# Seconds after which it won't become so any more. Generous: only a failing test waits for so long.
LIMIT = 90.0
LOOK_INTERVAL = 0.01


def eventually(check: Callable[[], object], *, every: float = LOOK_INTERVAL) -> None:
    """Wait until `check` returns something true."""
    until = time.monotonic() + LIMIT
    while not check():
        assert time.monotonic() < until, "It didn't become so in time."
        time.sleep(every)


async def aeventually(check: Callable[[], object], *, every: float = LOOK_INTERVAL) -> None:
    """Wait on a loop until `check`, which must not block, returns something true."""
    until = time.monotonic() + LIMIT
    while not check():
        assert time.monotonic() < until, "It didn't become so in time."
        await asyncio.sleep(every)
