"""The data that a store hands out: what it found, and what came of what it was asked."""

from __future__ import annotations

from dataclasses import dataclass

from django_dbos.core.records import Lane
from django_dbos.core.status import Status


@dataclass(frozen=True, slots=True, kw_only=True)
class Started:
    """What came of asking for a workflow: its id, and whether this call made it."""

    workflow_id: str
    is_new: bool


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a workflow stands, and what it ended with, as serialized text."""

    status: Status
    output: str | None
    error: str | None
    recovery_attempts: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """Some entries of a stream, and whether there will be more."""

    entries: list[tuple[int, str]]
    is_closed: bool
    """The stream was closed, or its workflow ended in SUCCESS or ERROR."""
    is_active: bool
    is_last: bool
    """These are all there are by now."""

    @property
    def is_ended(self) -> bool:
        """Whether nothing comes after these entries."""
        return self.is_last and (self.is_closed or not self.is_active)


@dataclass(frozen=True, slots=True, kw_only=True)
class HeartbeatReport:
    """What an executor sees when it beats: whether it is alive, and what there is to do."""

    is_registered: bool
    has_enqueued: bool
    next_due: float | None
    next_deadline: float | None
    held_count: int | None
    """None: this look was no thorough one, and `has_enqueued` isn't known either."""
    expired_executors: dict[str, float]
    """Those whose lease is over, and the seconds since their last heartbeats."""
    unlocked_executors: dict[str, float]
    """Those whose lock is free, and the same."""
    has_lost_wakeup: bool
    message_mark: int = 0
    event_mark: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Recovered:
    """What a dead executor's workflows became."""

    enqueued: list[str]
    given_up: list[str]
    lanes: list[Lane]
    left: int = 0
    """How many it still holds: locked by somebody's transaction, or more than one look takes."""

    @property
    def count(self) -> int:
        """How many were recovered."""
        return len(self.enqueued) + len(self.given_up)
