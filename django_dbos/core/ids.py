"""Generated identifiers: of rows, workflows, children and executors."""

from __future__ import annotations

import hashlib
import os
import secrets
import socket
import time
import uuid

MAX_ID_LENGTH = 255
# Maps a random hex digit to one with the variant bits of RFC 9562 section 4.1.
VARIANT = {digit: "89ab"[int(digit, 16) % 4] for digit in "0123456789abcdef"}


def new_uuid() -> uuid.UUID:
    """Return a UUIDv7 (RFC 9562 section 5.7): ordered by time, so new rows share index pages."""
    milliseconds = time.time_ns() // 1_000_000
    value = (milliseconds & (1 << 48) - 1) << 80 | int.from_bytes(os.urandom(10))
    value = value & ~(0xF << 76) | 7 << 76
    value = value & ~(0x3 << 62) | 2 << 62
    return uuid.UUID(int=value)


def new_workflow_ids(count: int) -> list[str]:
    """Return ``count`` UUIDv7 workflow ids in ascending order.

    They are built as text: creating UUID objects takes much longer.
    """
    milliseconds = f"{time.time_ns() // 1_000_000:012x}"
    prefix = f"{milliseconds[:8]}-{milliseconds[8:]}-7"
    digits = os.urandom(10 * count).hex()
    randoms = (digits[start : start + 20] for start in range(0, 20 * count, 20))
    return sorted(
        f"{prefix}{random[:3]}-{VARIANT[random[3]]}{random[4:7]}-{random[7:19]}"
        for random in randoms
    )


def child_workflow_id(parent_id: str, step_number: int) -> str:
    """Return `<parent>-<step number>`, truncated and hashed if that exceeds MAX_ID_LENGTH."""
    child_id = f"{parent_id}-{step_number}"
    if len(child_id) <= MAX_ID_LENGTH:
        return child_id
    digest = hashlib.blake2b(child_id.encode(), digest_size=16).hexdigest()
    return f"{child_id[: MAX_ID_LENGTH - 33]}-{digest}"


def new_executor_id() -> str:
    """Return `host:pid:random`, unique among processes, even those that reuse a pid."""
    return f"{socket.gethostname()[:200]}:{os.getpid()}:{secrets.token_hex(4)}"


def lock_key(executor_id: str) -> int:
    """Return the 63-bit key of the session lock that an executor holds while its process lives."""
    digest = hashlib.blake2b(executor_id.encode(), digest_size=8).digest()
    return int.from_bytes(digest) >> 1
