"""The options of a fork, for callers' type checkers."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any, Literal, TypedDict


class ForkOptions(TypedDict, total=False):
    """The options of a fork, as in StartOptions; most of those not given are the original's."""

    workflow_id: str | None
    """Default: a new UUIDv7; in workflow code, one that is derived from the workflow's."""
    queue_name: str | None
    priority: int
    run_after: datetime | timedelta | float | None
    """Default: at once."""
    timeout: timedelta | float | None
    """Counted anew, from the fork's first run on."""
    partition_key: str | None
    deduplication_id: str | None
    """Default: none. DuplicateWorkflow if another workflow has it."""
    unique_for: timedelta | float | None
    on_duplicate: Literal["reject", "replace"]
    """Default: "reject"."""
    user: Any
    attributes: dict[str, Any] | None
