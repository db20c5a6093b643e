"""JSON in the arguments of commands."""

from __future__ import annotations

import json
import sys
from typing import Any

from django_dbos.management.base import UsageError

STDIN = "-"


def json_of(text: str, label: str) -> Any:
    """Return the value of JSON text, or of stdin for "-"; raise UsageError."""
    source = sys.stdin.read() if text == STDIN else text
    try:
        return json.loads(source)
    except (ValueError, RecursionError) as error:
        shown = source if len(source) <= 80 else f"{source[:77]}..."
        raise UsageError(
            f"{label} must be JSON, not {shown!r} ({error}). A text needs quotes: '\"paid\"'."
        ) from None
