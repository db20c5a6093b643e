"""Frames: values as JSON text, ready to send; and pages of them, which readers share."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Generic, Self, TypeVar


class End(StrEnum):
    """Why no frame can follow."""

    CLOSED = "closed"
    """The stream was closed, or its workflow ended in SUCCESS or ERROR."""
    INACTIVE = "inactive"
    """The workflow is no longer active; it may be resumed."""


class _Sendable:
    """A value as JSON text, and the forms in which transports send it.

    The first of many readers makes a form, and the others send the same text.
    """

    __slots__ = ("_forms", "json_text")

    def __init__(self, json_text: str) -> None:
        self.json_text = json_text
        self._forms: dict[str, str] = {}

    def form(self, transport: str, make: Callable[[Self], str]) -> str:
        """Return the frame as a transport sends it."""
        text = self._forms.get(transport)
        if text is None:
            text = self._forms[transport] = make(self)
        return text


class Frame(_Sendable):
    """One entry of a stream."""

    __slots__ = ("offset",)

    def __init__(self, offset: int, json_text: str) -> None:
        super().__init__(json_text)
        self.offset = offset


class EventFrame(_Sendable):
    """One version of an event."""

    __slots__ = ("key", "version")

    def __init__(self, key: str, version: int, json_text: str) -> None:
        super().__init__(json_text)
        self.key = key
        self.version = version


F = TypeVar("F", Frame, EventFrame)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Page(Generic[F]):
    frames: Sequence[F]
    is_up_to_date: bool
    """True if there was nothing more to send when this was read."""
    end: End | None = None
    """Set on the last page: nothing can follow."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamPage(_Page[Frame]):
    """Some entries of a stream, in order."""

    next_offset: int
    """The offset from which the next page is read: that of the last entry + 1."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EventPage(_Page[EventFrame]):
    """Events that have changed, by key."""
