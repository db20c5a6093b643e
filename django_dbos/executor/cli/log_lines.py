"""How the worker's log looks where the project says nothing of it."""

from __future__ import annotations

import logging
import re
import textwrap
from typing import Any

# All but line breaks and tabs: a terminal obeys escape sequences.
CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029]")


class LineFormatter(logging.Formatter):
    """One line a record; a traceback below it is indented, and rules no terminal.

    An exception's message may hold whatever a user has sent, line breaks included: indented, no
    part of it can pass for a record.
    """

    def __init__(self) -> None:
        super().__init__("%(asctime)s %(levelname)s %(message)s")

    def formatException(self, ei: Any) -> str:  # noqa: N802
        text = CONTROL.sub(lambda found: repr(found[0])[1:-1], super().formatException(ei))
        return textwrap.indent(text, "    ", lambda line: True)
