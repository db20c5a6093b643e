"""Identifiers that the engine makes."""

from __future__ import annotations

import hashlib
import os
import secrets
import socket
import time
import uuid

MAX_ID_LENGTH = 255
# The digit of a UUID that begins with its variant, by any random digit.
VARIANT = {digit: "89ab"[int(digit, 16) % 4] for digit in "0123456789abcdef"}


def new_uuid() -> uuid.UUID:
    """A UUIDv7 (RFC 9562 section 5.7): ordered by time, so that new rows share index pages."""
    milliseconds = time.time_ns() // 1_000_000
    value = (milliseconds & (1 << 48) - 1) << 80 | int.from_bytes(os.urandom(10))
    value = value & ~(0xF << 76) | 7 << 76
    value = value & ~(0x3 << 62) | 2 << 62
    return uuid.UUID(int=value)


def new_workflow_ids(count: int) -> list[str]:
    """Ids of workflows that were given none, in order; as texts, a UUID takes much longer."""
    milliseconds = f"{time.time_ns() // 1_000_000:012x}"
    opening = f"{milliseconds[:8]}-{milliseconds[8:]}-7"
    digits = os.urandom(10 * count).hex()
    parts = (digits[at : at + 20] for at in range(0, 20 * count, 20))
    return sorted(f"{opening}{one[:3]}-{VARIANT[one[3]]}{one[4:7]}-{one[7:19]}" for one in parts)


def child_workflow_id(parent_id: str, step_number: int) -> str:
    """`<parent>-<step number>`; cut and hashed when that is longer than an id may be."""
    child_id = f"{parent_id}-{step_number}"
    if len(child_id) <= MAX_ID_LENGTH:
        return child_id
    digest = hashlib.blake2b(child_id.encode(), digest_size=16).hexdigest()
    return f"{child_id[: MAX_ID_LENGTH - 33]}-{digest}"


def new_executor_id() -> str:
    """`host:pid:random`: two processes never share one, nor one process before and after."""
    return f"{socket.gethostname()[:200]}:{os.getpid()}:{secrets.token_hex(4)}"


def lock_key(executor_id: str) -> int:
    """The 63-bit number of the session lock that shows that an executor's process lives."""
    digest = hashlib.blake2b(executor_id.encode(), digest_size=8).digest()
    return int.from_bytes(digest) >> 1
