"""Clock: the seconds by which an executor schedules its work; tests hand in one of their own."""

from __future__ import annotations

from collections.abc import Callable

Clock = Callable[[], float]
"""Returns seconds that never go back, from an arbitrary start: `time.monotonic`."""
