"""Slots: how many workflows may run at once."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager


class Slots:
    """Counts the slots in use; tells when one becomes free."""

    def __init__(self, capacity: int, on_free: Callable[[], None]) -> None:
        self.capacity = capacity
        self._on_free = on_free
        self._lock = threading.Lock()
        self._used = 0

    @property
    def free(self) -> int:
        """How many are free; a run that came back from waiting may make it negative."""
        return self.capacity - self._used

    def take(self, count: int = 1) -> int:
        """Take up to `count` free slots; return how many that were."""
        with self._lock:
            taken = max(min(count, self.capacity - self._used), 0)
            self._used += taken
            return taken

    def give_back(self, count: int = 1) -> None:
        """Free slots again."""
        if count <= 0:
            return
        with self._lock:
            self._used -= count
        self._on_free()

    @contextmanager
    def lent(self) -> Iterator[None]:
        """A run that only waits lends its slot; it takes it back without waiting for one."""
        self.give_back()
        try:
            yield
        finally:
            with self._lock:
                self._used += 1
