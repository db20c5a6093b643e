"""The form of the worker's log lines, where the project configures none."""

from __future__ import annotations

import logging
import re
import textwrap
from typing import Any

# All but line breaks and tabs: a terminal obeys escape sequences.
CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029]")


class LineFormatter(logging.Formatter):
    """A formatter with one line a record, and tracebacks that are indented below it.

    An exception's message may contain any text that a user has sent, with line breaks: indented, no
    part of it can pass for a record. Escape sequences for terminals are shown, not sent.
    """

    def __init__(self) -> None:
        super().__init__("%(asctime)s %(levelname)s %(message)s")

    def formatException(self, ei: Any) -> str:  # noqa: N802
        """Return the traceback, indented and without control characters."""
        text = CONTROL.sub(lambda found: repr(found[0])[1:-1], super().formatException(ei))
        return textwrap.indent(text, "    ", lambda line: True)
