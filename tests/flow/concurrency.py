"""Threads that begin together, each with its own connection."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from django.db import connections

from tests.waiting import LIMIT

T = TypeVar("T")


def together(count: int, act: Callable[[int], T]) -> list[T]:
    """Call `act` with 0, 1, 2, … on as many threads at once; return their values in order."""
    barrier = threading.Barrier(count, timeout=LIMIT)

    def begin(number: int) -> T:
        try:
            barrier.wait()
            return act(number)
        finally:
            connections.close_all()

    with ThreadPoolExecutor(count) as pool:
        return list(pool.map(begin, range(count)))
