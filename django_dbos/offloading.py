"""Large values in a Django storage: the row has `!offloaded:<key>:<size>:<digest>:<name>`.

A compound text may have references inside, and keys. If it is offloaded itself, the row has these
references, too, behind its own, which names one of the keys that are to be replaced, if there are
any: what reads rows alone, as the sweep does, sees all objects and all old keys.

The object is written before the row, so that no row refers to an object that isn't there; an object
whose row was rolled back is left to `manage.py dbos_sweep_offloaded`. Objects never change, and
have names that can't be guessed. Rows may share one: the engine copies texts from row to row.

With DBOS["ENCRYPTION"], the object holds the encrypted text, and the reference the id of its key.
"""

from __future__ import annotations

import hashlib
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
from django_dbos.core import compound
from django_dbos.exceptions import OffloadedValueMissing, OffloadFailed, SerializationError

R = TypeVar("R")

PREFIX = "!offloaded:"
FOLDER = "dbos"
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
    """Return the references in a stored text: itself, and those of the parts of a compound one."""
    if PREFIX not in text:
        return
    for one in [text] if is_offloaded(text) else compound.parts_of(text):
        for found in PATTERN.finditer(one) if is_offloaded(one) else ():
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
    text = fetch(text)
    return compound.with_parts(text, inlined) if PREFIX in text else text


def saved_again(text: str, change: Callable[[str], str], is_old: Callable[[str], bool]) -> str:
    """Return a stored text with references to changed objects, where the key of one is old."""
    if PREFIX not in text or not any(is_old(one.key_id) for one in references_in(text)):
        return text
    if not is_offloaded(text):
        return compound.with_parts(text, lambda part: saved_again(part, change, is_old))
    content = fetch(text)
    changed = change(content)
    return text if changed == content else _saved(changed)


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
    folder = f"{FOLDER}/{datetime.now(UTC).date().isoformat()}"
    with _storage_failures():
        storage, name = storage_of(), f"{folder}/{uuid.uuid4().hex}"
        stored_as = storage.save(name, ContentFile(content))
    made = str(Reference(_key_to_name(text), len(content), _digest(content), stored_as))
    # Another name is fine, such as one with a suffix, where the sweep finds it.
    if not PATTERN.fullmatch(made) or stored_as.rpartition("/")[0] != folder:
        with _storage_failures():
            storage.delete(stored_as)
        raise OffloadFailed(
            f"it has named an object {stored_as!r}, not {name!r}. It may choose another name in "
            "that folder, of ASCII letters, digits, '_', '-' and '.'"
        )
    return " ".join([made, *map(str, references_in(text))])


def _key_to_name(text: str) -> str:
    """Return the key of an object for its reference: of several, one that is to be replaced."""
    ring = encryption.get_keyring()
    primary = None if ring is None else ring.primary
    key_ids = sorted(encryption.key_ids_in(text), key=lambda key_id: key_id == primary)
    return next(iter(key_ids), "")


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
