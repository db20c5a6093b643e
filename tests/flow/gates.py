"""A step that waits for its test, and the order in which steps begin and end."""

from __future__ import annotations

import threading

events: list[str] = []
"""The beginnings and ends of steps."""
reached, go = threading.Event(), threading.Event()
"""The first step has begun; it may end."""

IN_ORDER = ["first begins", "first ends", "second begins", "second ends"]
"""The events of two workflows, one after the other."""
