"""The statuses of a workflow, named and stored as DBOS names them (WAITING is ours)."""

from __future__ import annotations

from enum import StrEnum


class Status(StrEnum):
    """What a workflow is doing, and thereby who may touch its row."""

    ENQUEUED = "ENQUEUED"
    DELAYED = "DELAYED"
    PENDING = "PENDING"
    WAITING = "WAITING"
    SUCCESS = "SUCCESS"
    ERROR = "ERROR"
    CANCELLED = "CANCELLED"
    MAX_RECOVERY_ATTEMPTS_EXCEEDED = "MAX_RECOVERY_ATTEMPTS_EXCEEDED"


ACTIVE = frozenset({Status.ENQUEUED, Status.DELAYED, Status.PENDING, Status.WAITING})
FINISHED = frozenset(Status) - ACTIVE
# Streams of these count as closed; after a cancellation a resume may write on.
CLOSING = frozenset({Status.SUCCESS, Status.ERROR})
# Quarantined by the engine (see Workflow.is_quarantined), ERROR can be resumed as well.
RESUMABLE = frozenset(
    {Status.CANCELLED, Status.DELAYED, Status.MAX_RECOVERY_ATTEMPTS_EXCEEDED, Status.WAITING}
)
