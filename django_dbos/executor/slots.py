"""Slots: the limit of workflows that run at once."""

from __future__ import annotations

import threading
from collections.abc import Callable


class Slots:
    """The number of slots in use; `on_free` is called when one becomes free.

    A run gives its slot back when its function has ended, before that is written, so that the next
    workflow is claimed meanwhile. At most `capacity` ends may be on their way like that: while the
    database is slow, nothing is claimed ahead of it.
    """

    def __init__(self, capacity: int, on_free: Callable[[], None]) -> None:
        self.capacity = capacity
        self._on_free = on_free
        self._lock = threading.Lock()
        self._used = 0
        self._settling = 0
        self._all_settled = threading.Event()
        self._all_settled.set()

    @property
    def free(self) -> int:
        """The number of free slots; negative when runs return from a wait to a full executor."""
        return min(self.capacity, 2 * self.capacity - self._settling) - self._used

    def take(self, count: int = 1) -> int:
        """Take up to `count` free slots; return how many were taken."""
        with self._lock:
            taken = max(min(count, self.free), 0)
            self._used += taken
            return taken

    def untake(self, count: int) -> None:
        """Free slots that were taken in vain, without calling `on_free`."""
        with self._lock:
            self._used -= count

    def give_back(self, count: int = 1) -> None:
        """Free slots again."""
        if count <= 0:
            return
        with self._lock:
            self._used -= count
        self._on_free()

    def await_settlement(self) -> None:
        """Count a run that ends, and whose end is still to be written."""
        with self._lock:
            self._settling += 1
            self._all_settled.clear()

    def settle(self) -> None:
        """Count the end of a run as written."""
        with self._lock:
            was_full = self.free <= 0
            self._settling -= 1
            if not self._settling:
                self._all_settled.set()
        if was_full:
            self._on_free()

    def wait_until_settled(self, timeout: float) -> None:
        """Wait until no end is left to be written, for `timeout` seconds at most."""
        self._all_settled.wait(timeout)

    def take_again(self) -> None:
        """Take a slot for a run that had lent its own, even if none is free."""
        with self._lock:
            self._used += 1
