"""The statuses of a workflow, stored under the names that DBOS gives them (WAITING is ours)."""

from __future__ import annotations

from enum import StrEnum


class Status(StrEnum):
    """The state of a workflow, which also decides who may write its row."""

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
# These close the workflow's streams; after a cancellation, a resumed workflow may write on.
CLOSING = frozenset({Status.SUCCESS, Status.ERROR})
# ERROR can be resumed as well if the engine has quarantined the workflow, see
# Workflow.is_quarantined.
RESUMABLE = frozenset(
    {Status.CANCELLED, Status.DELAYED, Status.MAX_RECOVERY_ATTEMPTS_EXCEEDED, Status.WAITING}
)
