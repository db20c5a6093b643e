"""Large values in a Django storage: the row has `!offloaded:<key>:<size>:<digest>:<name>`.

The object is written before the row, so that no row refers to an object that isn't there; an object
whose row was rolled back is left to `manage.py dbos_sweep_offloaded`. Objects never change, and
have names that can't be guessed. Rows may share one: the engine copies texts from row to row.

With DBOS["ENCRYPTION"], the object holds the encrypted text, and the reference the id of its key.
"""

from __future__ import annotations

import hashlib
import json
import re
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import fields, is_dataclass, replace
from datetime import UTC, date, datetime
from typing import Any, NamedTuple, TypeVar, cast

from django.core.files.base import ContentFile
from django.core.files.storage import Storage, storages

from django_dbos import encryption
from django_dbos.conf import get_settings
from django_dbos.exceptions import OffloadedValueMissing, OffloadFailed, SerializationError

R = TypeVar("R")

PREFIX = "!offloaded:"
FOLDER = "dbos"
# Also within the text of several values, which is JSON.
PATTERN = re.compile(r"!offloaded:([A-Za-z0-9_.-]*):(\d+):([0-9a-f]{32}):([A-Za-z0-9_./-]+)")
# The fields of records that hold a value's text.
VALUES = frozenset({"input", "output", "error", "message", "value", "initial"})


class Reference(NamedTuple):
    """An offloaded value, as its row names it."""

    key_id: str
    """The key that it is encrypted with; "" for none."""
    size: int
    """Its size in bytes."""
    digest: str
    name: str

    def __str__(self) -> str:
        return f"{PREFIX}{self.key_id}:{self.size}:{self.digest}:{self.name}"


def limit() -> int | None:
    """Return the size in bytes above which values are offloaded; None if none are."""
    offload = get_settings().offload
    return None if offload is None else offload.above


def is_offloaded(text: str) -> bool:
    """Return whether a stored text refers to an object."""
    return text.startswith(PREFIX)


def references_in(text: str) -> Iterator[Reference]:
    """Return the references in a stored text: itself, or those in the text of several values."""
    for found in PATTERN.finditer(text) if PREFIX in text else ():
        yield Reference(found[1], int(found[2]), found[3], found[4])


def has_large(record: Any, above: int) -> bool:
    """Return whether a record has a value that is to be offloaded."""
    return any(_is_large(text, above) for text in _texts_of(record))


def offloaded(record: R) -> R:
    """Return a record, such as a write or a message, whose large values are in the storage.

    Raises:
        OffloadFailed: The storage has failed.
    """
    above = limit()
    if above is None or not has_large(record, above):
        return record
    return cast(R, _changed(record, above, {}))


def offload(text: str) -> str:
    """Return the reference to a text that this writes to the storage, if it is large."""
    above = limit()
    return _saved(text) if above is not None and _is_large(text, above) else text


def fetch(text: str) -> str:
    """Return the text that is stored where a reference leads; other texts are returned unchanged.

    Raises:
        OffloadedValueMissing: There is no such object.
        SerializationError: The object isn't as it was written.
        OffloadFailed: The storage has failed.
    """
    if not is_offloaded(text):
        return text
    reference = next(references_in(text), None)
    if reference is None:
        raise SerializationError(f"The reference {text[:80]!r} to an offloaded value is damaged.")
    storage = storage_of()
    try:
        with storage.open(reference.name) as opened:
            content = cast(bytes, opened.read())
    except FileNotFoundError as error:
        raise OffloadedValueMissing(reference.name) from error
    except Exception as error:
        # Some storages have an error of their own for what isn't there.
        with _storage_failures():
            is_there = storage.exists(reference.name)
        if is_there:
            raise OffloadFailed(f"{type(error).__name__}: {error}") from error
        raise OffloadedValueMissing(reference.name) from error
    if _digest(content) != reference.digest:
        raise SerializationError(
            f"The object {reference.name!r} with an offloaded value isn't as it was written."
        )
    return content.decode()


def inlined(text: str) -> str:
    """Return a stored text with its offloaded parts in it."""
    if is_offloaded(text):
        return fetch(text)
    return _with_references(text, lambda reference: fetch(str(reference)))


def saved_again(text: str, change: Callable[[str], str], is_old: Callable[[str], bool]) -> str:
    """Return a stored text with references to changed objects, where the key of one is old."""

    def again(reference: Reference) -> str:
        if not is_old(reference.key_id):
            return str(reference)
        return _saved(change(fetch(str(reference))))

    return _with_references(text, again)


def storage_of() -> Storage:
    """Return the storage of DBOS["OFFLOAD"]; without that setting, the default one."""
    offload = get_settings().offload
    return storages["default" if offload is None else offload.storage]


def day_of(name: str) -> date | None:
    """Return the day on which an object was written, by its name; None for other names."""
    try:
        return date.fromisoformat(name.split("/")[1])
    except (IndexError, ValueError):
        return None


def _saved(text: str) -> str:
    content = text.encode()
    name = f"{FOLDER}/{datetime.now(UTC).date().isoformat()}/{uuid.uuid4().hex}"
    with _storage_failures():
        stored_as = storage_of().save(name, ContentFile(content))
    key_ids = encryption.key_ids_in(text) if text.startswith(encryption.PREFIX) else ()
    made = str(Reference(next(iter(key_ids), ""), len(content), _digest(content), stored_as))
    if not PATTERN.fullmatch(made):
        raise SerializationError(f"The storage has named an object {stored_as!r}, not {name!r}.")
    return made


@contextmanager
def _storage_failures() -> Iterator[None]:
    try:
        yield
    except Exception as error:
        raise OffloadFailed(f"{type(error).__name__}: {error}") from error


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:32]


def _is_large(text: str, above: int) -> bool:
    if len(text) * 4 <= above or is_offloaded(text):
        return False
    return len(text if text.isascii() else text.encode()) > above


def _texts_of(record: Any) -> Iterator[str]:
    for field in fields(record):
        value = getattr(record, field.name)
        if field.name in VALUES and isinstance(value, str):
            yield value
        elif isinstance(value, tuple):
            for part in value:
                if is_dataclass(part):
                    yield from _texts_of(part)
        elif field.name == "checkpoint" and value is not None:
            yield from _texts_of(value)


def _changed(record: Any, above: int, saved: dict[str, str]) -> Any:
    changes: dict[str, Any] = {}
    for field in fields(record):
        value = getattr(record, field.name)
        if field.name in VALUES and isinstance(value, str) and _is_large(value, above):
            if value not in saved:
                saved[value] = _saved(value)
            changes[field.name] = saved[value]
        elif isinstance(value, tuple) and any(is_dataclass(part) for part in value):
            changes[field.name] = tuple(_changed(part, above, saved) for part in value)
        elif field.name == "checkpoint" and value is not None:
            changes[field.name] = _changed(value, above, saved)
    return replace(record, **changes) if changes else record


def _with_references(text: str, change: Callable[[Reference], str]) -> str:
    """Return a text with its references changed; within JSON they are strings."""
    if PREFIX not in text:
        return text
    is_whole = is_offloaded(text)

    def changed(found: re.Match[str]) -> str:
        new = change(Reference(found[1], int(found[2]), found[3], found[4]))
        return new if is_whole else json.dumps(new)[1:-1]

    return PATTERN.sub(changed, text)
