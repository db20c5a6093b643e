"""PostgreSQL's array literals, written here: psycopg takes ten times as long for one of texts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from uuid import UUID

PLAIN = (int, float, UUID)


def array(values: Sequence[Any]) -> Any:
    """One column for `unnest`, which fills up a missing one with NULL.

    Texts and numbers become a literal; a list of anything else is left to psycopg.
    """
    kinds = {type(value) for value in values}
    has_null = type(None) in kinds
    kinds.discard(type(None))
    if not kinds:
        return None
    if kinds == {str}:
        if has_null:
            return _braced(["NULL" if one is None else _quoted(one) for one in values])
        return _all_quoted(values)
    if all(issubclass(kind, PLAIN) for kind in kinds):
        return _braced(["NULL" if one is None else str(one) for one in values])
    return list(values)


def _all_quoted(texts: Sequence[str]) -> str:
    """At once, by what no text may contain. One that does is left for the driver to refuse."""
    joined = "\0".join(texts)
    if joined.count("\0") >= len(texts):
        return _braced([_quoted(one) for one in texts])
    return _braced([_quoted(joined).replace("\0", '","')])


def _quoted(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


def _braced(elements: list[str]) -> str:
    return f"{{{','.join(elements)}}}"
