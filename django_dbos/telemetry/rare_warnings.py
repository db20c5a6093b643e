"""Warnings that strangers, or an outage, cause as often as they like: one a minute is logged."""

from __future__ import annotations

import logging
import threading
import time

# The seconds after a line in which others are only counted.
INTERVAL = 60.0


class RareWarning:
    """A warning that a process logs at most once a minute; the next line counts those before it.

    Args:
        logger: Where it goes.
        text: The text, with the places of its arguments.
    """

    def __init__(self, logger: logging.Logger, text: str) -> None:
        self._logger = logger
        self._text = text
        self._lock = threading.Lock()
        self._logged_at: float | None = None
        self._unlogged = 0

    def warn(self, *args: object) -> None:
        """Log the warning with these arguments, or count it."""
        now = time.monotonic()
        with self._lock:
            if self._logged_at is not None and now - self._logged_at < INTERVAL:
                self._unlogged += 1
                return
            more, self._unlogged, self._logged_at = self._unlogged, 0, now
        text, values = self._text, args
        if more:
            text, values = f"{text} (%d more since the last line)", (*args, more)
        # With its arguments apart, by which collectors of logs group; and the place that warns.
        self._logger.warning(text, *values, stacklevel=2)
