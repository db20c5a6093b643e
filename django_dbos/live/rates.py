"""The limit on frames and messages from pages: a number at once, and a rate after that."""

from __future__ import annotations

import threading
import time

# The number at once, and the number a second after that.
MAX_BURST, MAX_RATE = 50, 5.0
# The number of users, and of workflows, beyond which the one is forgotten whose last message is the
# oldest.
MAX_COUNTED = 10_000


class Allowance:
    """The frames or messages that a socket or a user may still send."""

    __slots__ = ("_counted_at", "_left")

    def __init__(self) -> None:
        self._left = float(MAX_BURST)
        self._counted_at = time.monotonic()

    def take(self) -> bool:
        """Count one more; return whether it is within the limit."""
        now = time.monotonic()
        earned = (now - self._counted_at) * MAX_RATE
        self._left = min(self._left + earned, MAX_BURST) - 1
        self._counted_at = now
        return self._left >= 0


class Allowances:
    """The allowances of users, or of workflows, by their names."""

    def __init__(self) -> None:
        # In the order of their last messages.
        self._by_name: dict[str, Allowance] = {}
        self._lock = threading.Lock()

    def take(self, name: str) -> bool:
        """Count one more message in this process; return whether it is within the limit."""
        with self._lock:
            known = self._by_name
            allowance = known[name] = known.pop(name) if name in known else Allowance()
            if len(known) > MAX_COUNTED:
                del known[next(iter(known))]
            return allowance.take()


of_users = Allowances()
# Anonymous visitors can't be distinguished: those of one workflow share its allowance, so that a
# flood of their messages fills one workflow at most, and only so fast.
of_visitors = Allowances()
