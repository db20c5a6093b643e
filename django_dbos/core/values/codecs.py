"""The two kinds of codecs, by which types beyond plain JSON are recorded.

A ``ValueCodec`` records the values of one type. A ``ClassCodec`` records the instances of a kind of
classes (enums, dataclasses, …) together with the path of their class. The payload that ``encode``
returns is serialized in turn, so it may contain other such values.

Decoding never runs a user's ``__init__``, ``__new__`` or ``__setstate__``, as reading a history
must not run code. There are two exceptions: exceptions that can't be restored otherwise (see
errors.py), and validators of pydantic and attrs (see foreign_codecs.py).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

JSONValue = Any


class Refused(Exception):
    """A value can't be recorded. The path to it is collected while the error passes containers."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason
        self.path: list[str] = []

    def __str__(self) -> str:
        if not self.path:
            return self.reason
        shown = self.path if len(self.path) <= 12 else [*self.path[:6], "…", *self.path[-3:]]
        return f"at ${''.join(shown)}, {self.reason}"


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class ValueCodec:
    """Records the values of one type under a tag.

    ``plain`` turns a payload into plain JSON values for browsers.
    """

    tag: str
    encode: Callable[[Any], Any]
    decode: Callable[[Any], Any]
    plain: Callable[[Any], JSONValue]


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class ClassCodec:
    """Records the instances of a kind of classes under a tag and the path of their class."""

    tag: str
    accepts: Callable[[type], bool]
    encode: Callable[[Any], Any]
    decode: Callable[[type, Any], Any]
    plain: Callable[[str, Any], JSONValue]


def type_name(cls: type) -> str:
    """Return the dotted path of a class, for error messages."""
    if cls.__module__ == "builtins":
        return cls.__qualname__
    return f"{cls.__module__}.{cls.__qualname__}"
