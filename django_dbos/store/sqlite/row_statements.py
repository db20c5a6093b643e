"""Row statements: one statement with VALUES of many rows.

One execution is better than one for each row: sqlite3 releases the interpreter's lock whenever a
statement runs, and among many threads it takes a while to get it back.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

from django_dbos.store import statements
from django_dbos.store.sessions import Params
from django_dbos.store.statements import PLACEHOLDER

Values = tuple[Any, ...]

# The rows of one statement at most: SQLite takes 32,766 parameters.
MAX_ROWS = 512
_VALUES = re.compile(r"(.*VALUES )(\([^;]*?\)s\s*\))(.*)", re.DOTALL)


@dataclass(frozen=True, slots=True)
class RowsStatement:
    """A statement with VALUES of many rows, and the parameters before and after these."""

    text: str
    before: list[str]
    after: list[str]

    def params(self, rows: Sequence[Values], given: Params) -> list[Any]:
        """Return all parameters, in the order of the text."""
        listed = [given[name] for name in self.before]
        for row in rows:
            listed += row
        return listed + [given[name] for name in self.after]


@cache
def for_rows(text: str, count: int) -> RowsStatement:
    """Return a statement whose VALUES has one row as a statement for `count` rows."""
    before, row, after = _split(text)
    repeated = ", ".join([PLACEHOLDER.sub("?", row)] * count)
    return RowsStatement(
        text=f"{PLACEHOLDER.sub('?', before)}{repeated}{PLACEHOLDER.sub('?', after)}",
        before=PLACEHOLDER.findall(before),
        after=PLACEHOLDER.findall(after),
    )


def row_names(name: str) -> list[str]:
    """Return the parameters of a row in the VALUES of a statement, in their order."""
    _, row, _ = _split(statements.load("sqlite", name))
    return PLACEHOLDER.findall(row)


def _split(text: str) -> tuple[str, str, str]:
    """Split a statement into the text before its row of VALUES, the row, and the rest."""
    before, row, after = _VALUES.fullmatch(text).groups()  # type: ignore[union-attr]
    return before, row, after


def parts_of(rows: Sequence[Values]) -> Iterator[list[Values]]:
    """Yield the rows in few parts of few sizes, so that few statements are run and prepared.

    Parts are filled up with rows of NULL, which belong to no workflow.
    """
    for first in range(0, len(rows), MAX_ROWS):
        part = list(rows[first : first + MAX_ROWS])
        room = (1 << (len(part) - 1).bit_length()) - len(part)
        yield part + [(None,) * len(part[0])] * room
