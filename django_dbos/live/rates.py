"""The limit on frames and messages from pages: a number at once, and a rate after that."""

from __future__ import annotations

import threading
import time

# The number at once, and the number a second after that.
MAX_BURST, MAX_RATE = 50, 5.0
# The number of users beyond which the one is forgotten whose last message is the oldest.
MAX_USERS = 10_000


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


# In the order of their last messages.
_by_user: dict[str, Allowance] = {}
_lock = threading.Lock()


def take_of_user(pk: object) -> bool:
    """Count one more message of a user in this process; return whether it is within the limit."""
    name = str(pk)
    with _lock:
        allowance = _by_user[name] = _by_user.pop(name) if name in _by_user else Allowance()
        if len(_by_user) > MAX_USERS:
            del _by_user[next(iter(_by_user))]
        return allowance.take()
