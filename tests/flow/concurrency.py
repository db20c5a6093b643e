"""Threads with their own connections: some that begin together, one in a transaction."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any, TypeVar

from django.db import connections, transaction

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


@contextmanager
def open_transaction(act: Callable[[], Any]) -> Iterator[None]:
    """Call `act` in a transaction of another thread, which is committed after the block."""
    has_acted, may_end = threading.Event(), threading.Event()

    def hold() -> None:
        with transaction.atomic():
            act()
            has_acted.set()
            assert may_end.wait(LIMIT)
        connections.close_all()

    other = threading.Thread(target=hold)
    other.start()
    try:
        assert has_acted.wait(LIMIT)
        yield
    finally:
        may_end.set()
        other.join()
