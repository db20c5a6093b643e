"""Values as pages show them. `static/django_dbos/live.js` shows later values in the same way."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

# Between a number and its percent sign, so that they stay on one line.
NARROW = "\N{NO-BREAK SPACE}"


def text_of(value: Any) -> str:
    """Return the text that is shown of a plain value: of an object, its "text" if it has one."""
    if value is None:
        return ""
    if isinstance(value, str):
        return value
    if isinstance(value, Mapping) and isinstance(value.get("text"), str):
        return str(value["text"])
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


@dataclass(frozen=True, slots=True)
class Progress:
    """The share of something that is done; `done` is None while nobody knows."""

    done: float | None
    total: float
    text: str = ""

    @property
    def percent(self) -> str:
        """The percentage, rounded down: only all of it is 100."""
        if self.done is None:
            return ""
        return f"{math.floor(self.done * 100 / self.total)}{NARROW}%"


def progress_of(value: Any, total: float = 100) -> Progress:
    """Return the progress that a plain value says.

    Args:
        value: A number; a text, without a number; or an object with `done`, and perhaps `total`
            and `text`. Anything else says nothing.
        total: The number that means all, unless the value has its own. Of 0 there is no share.
    """
    if isinstance(value, str):
        return Progress(None, total, value)
    fields = value if isinstance(value, Mapping) else {"done": value}
    own, done = _number(fields.get("total")), _number(fields.get("done"))
    size = own if own is not None and own > 0 else total
    known = None if done is None or not size else min(max(done, 0), size)
    return Progress(known, size, text_of(fields.get("text", "")))


def _number(value: Any) -> float | None:
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return value if is_number and math.isfinite(value) else None
