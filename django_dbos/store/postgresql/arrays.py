"""Array literals of PostgreSQL's: psycopg takes ten times as long to write one of texts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any
from uuid import UUID

PLAIN = (int, float, UUID)


def arrays(columns: Mapping[str, Sequence[Any]]) -> dict[str, Any]:
    """Return one array for each column, for `unnest`."""
    return {name: array(values) for name, values in columns.items()}


def array(values: Sequence[Any]) -> Any:
    """Return a column as `unnest` takes it; None for one of NULLs only, which `unnest` fills up.

    Texts and numbers become a literal; a list of any other type is left to psycopg.
    """
    kinds = {type(value) for value in values}
    has_null = type(None) in kinds
    kinds.discard(type(None))
    if not kinds:
        return None
    if kinds == {str}:
        if has_null:
            return _braced(["NULL" if text is None else _quoted(text) for text in values])
        return _all_quoted(values)
    if all(issubclass(kind, PLAIN) for kind in kinds):
        return _braced(["NULL" if value is None else str(value) for value in values])
    return list(values)


def _all_quoted(texts: Sequence[str]) -> str:
    """Quote all texts at once, joined by NUL, which the driver refuses in any of them."""
    joined = "\0".join(texts)
    if joined.count("\0") >= len(texts):
        return _braced([_quoted(text) for text in texts])
    return _braced([_quoted(joined).replace("\0", '","')])


def _quoted(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


def _braced(elements: list[str]) -> str:
    return f"{{{','.join(elements)}}}"
