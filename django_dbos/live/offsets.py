"""Offsets of the Durable Streams protocol: opaque to readers, and sorted like what they mean.

`<tag>_<position>` for a stream, where the tag belongs to one workflow: an offset is never taken for
one of a later workflow with the same id. A plain number is a position, too: pages use it to change
from websockets to HTTP.

`<tag>_<changes>` for one event, whose version counts its changes; and
`<tag>_<changes>_<versions>` for all events of a workflow: the versions that the reader has, a hash
of each key and a number, after their sum, which every change raises.
"""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from uuid import UUID

from django_dbos.live.protocol import START, BadQuery

# The longest offset, in characters: servers and proxies limit the length of addresses and headers.
MAX_LENGTH = 4000

_PATTERN = re.compile(r"(?:([0-9a-f]{8})_)?([0-9]{1,10})(?:_([A-Za-z0-9_-]*))?")
_HASH_BYTES = 6


class OffsetGone(Exception):
    """An offset of another workflow, which had the same id before."""


class TooManyEvents(Exception):
    """The versions of that many events fit into no offset."""

    def __init__(self, count: int) -> None:
        super().__init__(
            f"The offset of {count} events is too long for an address. Name one event: &key=…"
        )


@dataclass(frozen=True, slots=True)
class Offset:
    """The parts of an offset."""

    position: int = 0
    versions: Mapping[bytes, int] = field(default_factory=dict)
    _tag: str | None = None

    def check(self, tag: str) -> None:
        """Raise OffsetGone if the offset is of a workflow with another tag."""
        if self._tag not in (None, tag):
            raise OffsetGone

    def versions_of(self, keys: Iterable[str]) -> dict[str, int]:
        """Return the versions of those of the events that the reader has."""
        hashed = ((key, self.versions.get(_hash(key))) for key in keys)
        return {key: version for key, version in hashed if version is not None}


def tag_of(token: UUID) -> str:
    """Return the tag of the workflow with this token, which it doesn't reveal."""
    return hashlib.blake2b(token.bytes, digest_size=4, person=b"dbos offset").hexdigest()


def read(text: str) -> Offset:
    """Return what an offset of ours says.

    Raises:
        BadQuery: The text isn't one.
    """
    if text == START:
        return Offset()
    match = _PATTERN.fullmatch(text) if len(text) <= MAX_LENGTH else None
    versions = None if match is None else _unpack(match[3] or "")
    if match is None or versions is None:
        raise BadQuery(
            f"The parameter 'offset' must be -1, now, or a Stream-Next-Offset, not {text[:60]!r}."
        )
    return Offset(int(match[2]), versions, match[1])


def of_position(tag: str, position: int) -> str:
    """Return the offset of a position in a stream, or of a version of one event."""
    return f"{tag}_{position:010d}"


def of_versions(tag: str, versions: Mapping[str, int]) -> str:
    """Return the offset of a reader who has these versions of events.

    Raises:
        TooManyEvents: The offset would have more than MAX_LENGTH characters.
    """
    text = f"{of_position(tag, sum(versions.values()))}_{_pack(versions)}"
    if len(text) > MAX_LENGTH:
        raise TooManyEvents(len(versions))
    return text


def _hash(key: str) -> bytes:
    return hashlib.blake2b(key.encode(), digest_size=_HASH_BYTES).digest()


def _pack(versions: Mapping[str, int]) -> str:
    packed = bytearray()
    for key, version in sorted(versions.items()):
        packed += _hash(key) + _pack_number(version)
    return base64.urlsafe_b64encode(packed).decode().rstrip("=")


def _unpack(text: str) -> dict[bytes, int] | None:
    """Return the packed versions; None if the text isn't from here."""
    try:
        packed = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
    except ValueError:
        return None
    found: dict[bytes, int] = {}
    at = 0
    while at < len(packed):
        name, at = packed[at : at + _HASH_BYTES], at + _HASH_BYTES
        number = shift = 0
        while at < len(packed):
            byte, at = packed[at], at + 1
            number |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                break
        else:
            return None
        found[name] = number
    return found


def _pack_number(number: int) -> bytes:
    """Return a number in groups of seven bits, the lowest first; the last has no eighth bit."""
    groups = bytearray()
    while number >= 0x80:
        groups.append(number & 0x7F | 0x80)
        number >>= 7
    groups.append(number)
    return bytes(groups)
