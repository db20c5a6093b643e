"""Looks: the reads of the tables for feeds. All that are asked for at one moment are one call."""

from __future__ import annotations

from dataclasses import dataclass
from uuid import UUID

from django_dbos import serializers
from django_dbos.live.frames import End, EventFrame, Frame
from django_dbos.store import get_store

# The number of entries, and of events, that are read and sent at once; large ones make it smaller.
MAX_ENTRIES, MAX_EVENTS = 500, 100


@dataclass(frozen=True, slots=True)
class StreamLook:
    """The question for a stream's entries from an offset on."""

    workflow_id: str
    key: str
    offset: int
    token: UUID | None
    limit: int = MAX_ENTRIES


@dataclass(frozen=True, slots=True)
class Entries:
    """The answer: the entries, where the stream ends now, and whether it goes on."""

    frames: list[Frame]
    next_offset: int
    """The offset of the first entry after these, or, if there are none, of the next to come."""
    is_last: bool
    end: End | None


@dataclass(frozen=True, slots=True)
class VersionLook:
    """The question for the versions of a workflow's events, or of one."""

    workflow_id: str
    key: str | None
    token: UUID | None


@dataclass(frozen=True, slots=True)
class Versions:
    """The answer: the version of each event, and whether there can be more."""

    versions: dict[str, int]
    end: End | None


@dataclass(frozen=True, slots=True)
class ValueLook:
    """The question for the values of events."""

    workflow_id: str
    keys: tuple[str, ...]


Look = StreamLook | VersionLook | ValueLook
Answer = Entries | Versions | list[EventFrame]


def answer_all(looks: list[Look]) -> list[Answer | BaseException]:
    """Answer looks on a thread that may use the ORM; the error of one is its answer."""
    answers: list[Answer | BaseException] = []
    for look in looks:
        try:
            answers.append(_answer(look))
        except Exception as error:
            answers.append(error)
    return answers


def _answer(look: Look) -> Answer:
    if isinstance(look, StreamLook):
        return _read_entries(look)
    reader = get_store().reader
    if isinstance(look, VersionLook):
        is_active, versions = reader.read_versions(look.workflow_id, look.key, token=look.token)
        return Versions(versions, None if is_active else End.INACTIVE)
    return [
        EventFrame(key, version, serializers.to_plain_text(text))
        for key, text, version in reader.read_some_events(look.workflow_id, look.keys)
    ]


def _read_entries(look: StreamLook) -> Entries:
    page = get_store().reader.read_entries(
        look.workflow_id, look.key, look.offset, look.limit, token=look.token
    )
    # Not on the event loop: a project's own serializer may take its time, or query the database.
    frames = [Frame(offset, serializers.to_plain_text(text)) for offset, text in page.entries]
    end = None
    if page.is_ended:
        end = End.CLOSED if page.is_closed else End.INACTIVE
    return Entries(
        frames=frames,
        next_offset=min(page.next_offset, look.offset + len(frames)),
        is_last=page.is_last,
        end=end,
    )
