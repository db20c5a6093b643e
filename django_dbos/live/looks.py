"""Looks: the reads of the tables for feeds. All that are asked for at one moment are one call."""

from __future__ import annotations

from dataclasses import dataclass

from django_dbos import serializers
from django_dbos.core.status import ACTIVE, CLOSING
from django_dbos.exceptions import WorkflowDoesNotExist
from django_dbos.live.frames import End, EventFrame, Frame
from django_dbos.store import get_store
from django_dbos.store.records import EventVersions, Page, PageWanted, VersionsWanted

# The number of entries, and of events, that are read and sent at once; large ones make it smaller.
MAX_ENTRIES, MAX_EVENTS = 500, 100


@dataclass(frozen=True, slots=True)
class Entries:
    """The answer: the entries, where the stream ends now, and whether it goes on."""

    frames: list[Frame]
    next_offset: int
    """The offset after these entries; if there are none, of the next one to be written."""
    is_last: bool
    end: End | None


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


Look = PageWanted | VersionsWanted | ValueLook
Answer = Entries | Versions | list[EventFrame]


def answer_all(looks: list[Look]) -> list[Answer | BaseException | None]:
    """Answer looks on a thread that may use the ORM; the error of one is its answer.

    One that is answered by None is to be asked for again: the others were too large.
    """
    reader = get_store().reader
    wanted = [look for look in looks if isinstance(look, PageWanted)]
    pages = iter(reader.read_pages(wanted) if wanted else ())
    events = [look for look in looks if isinstance(look, VersionsWanted)]
    versions = iter(reader.read_many_versions(events) if events else ())
    return [
        _entries(next(pages))
        if isinstance(look, PageWanted)
        else _versions(next(versions))
        if isinstance(look, VersionsWanted)
        else _values(look)
        for look in looks
    ]


def _versions(found: EventVersions | WorkflowDoesNotExist) -> Versions | BaseException:
    if isinstance(found, WorkflowDoesNotExist):
        return found
    if found.status in CLOSING:
        return Versions(found.versions, End.CLOSED)
    return Versions(found.versions, None if found.status in ACTIVE else End.INACTIVE)


def _values(look: ValueLook) -> list[EventFrame] | BaseException:
    try:
        return [
            EventFrame(key, version, serializers.to_plain_text(text))
            for key, text, version in get_store().reader.read_some_events(
                look.workflow_id, look.keys
            )
        ]
    except Exception as error:
        return error


def _entries(page: Page | WorkflowDoesNotExist | None) -> Entries | BaseException | None:
    if page is None or isinstance(page, WorkflowDoesNotExist):
        return page
    try:
        # Here, since a project's own serializer may take its time, or query the database.
        frames = [Frame(offset, serializers.to_plain_text(text)) for offset, text in page.entries]
    except Exception as error:
        return error
    end = None
    if page.is_ended:
        end = End.CLOSED if page.is_closed else End.INACTIVE
    return Entries(frames, page.next_offset, page.is_last, end)
