"""Records that a store returns."""

from __future__ import annotations

from dataclasses import dataclass
from uuid import UUID

from django_dbos.core.records import Lane
from django_dbos.core.status import Status


@dataclass(frozen=True, slots=True, kw_only=True)
class Started:
    """A started workflow: its id, and whether this call made it."""

    workflow_id: str
    is_new: bool


@dataclass(frozen=True, slots=True)
class Outcome:
    """A workflow's status, and the serialized value or error that it ended with."""

    status: Status
    output: str | None
    error: str | None
    recovery_attempts: int


@dataclass(frozen=True, slots=True)
class QueueCounts:
    """The numbers of workflows of a queue that are enqueued, run, and hold places."""

    queued: int
    running: int
    places: int
    oldest_age: float | None
    """Seconds since the start of the oldest enqueued workflow that never ran."""


@dataclass(frozen=True, slots=True)
class Unfinished:
    """A workflow without an outcome that its awaiters record."""

    workflow_id: str
    is_quarantined: bool


@dataclass(frozen=True, slots=True)
class Failed:
    """The number of children that ended without success, and the first of them."""

    count: int
    workflow_id: str
    error: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """Entries of a stream, and whether more can follow."""

    entries: list[tuple[int, str]]
    is_closed: bool
    """True if the stream was closed, or its workflow ended in SUCCESS or ERROR."""
    is_active: bool
    is_last: bool
    """True if the stream has no further entries yet."""
    next_offset: int = 0
    """The offset after the last of these entries; without any, of the next one to be written."""

    @property
    def is_ended(self) -> bool:
        """True if no entry can follow these."""
        return self.is_last and (self.is_closed or not self.is_active)


@dataclass(frozen=True, slots=True)
class PageWanted:
    """A question for the entries of a stream from an offset on."""

    workflow_id: str
    key: str
    offset: int
    limit: int
    token: UUID | None
    """The workflow's token; a later workflow with the same id has another one."""


@dataclass(frozen=True, slots=True)
class VersionsWanted:
    """A question for the versions of a workflow's events, or of one."""

    workflow_id: str
    key: str | None
    token: UUID | None


@dataclass(frozen=True, slots=True)
class EventVersions:
    """The versions of a workflow's events, by key, and its status."""

    versions: dict[str, int]
    status: Status


@dataclass(frozen=True, slots=True, kw_only=True)
class Held:
    """The rows that name an executor: claim numbers by workflow id."""

    claims: dict[str, int]
    lingering: dict[str, int]
    """Workflows whose claims were taken while they ran, and whose places are still counted."""
    places: dict[str, tuple[str, int]]
    """The queues and the places of the claims that hold one."""

    @property
    def count(self) -> int:
        """The number of all of them."""
        return len(self.claims) + len(self.lingering)


@dataclass(frozen=True, slots=True, kw_only=True)
class HeartbeatReport:
    """The answer to a heartbeat: whether the executor counts as alive, and its pending work."""

    is_registered: bool
    has_enqueued: bool
    next_due: float | None
    next_deadline: float | None
    next_schedule: float | None
    held_count: int | None
    """None if the heartbeat wasn't thorough; `has_enqueued` isn't known then either."""
    expired_executors: dict[str, float]
    """Executors whose lease is over, with the seconds since their last heartbeats."""
    unlocked_executors: dict[str, float]
    """Executors whose lock is free, with the same."""
    has_lost_wakeup: bool
    must_drain: bool = False
    """True if the executor was asked to claim nothing more, and to end when its runs have."""
    message_mark: int = 0
    event_mark: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Recovered:
    """The fate of a dead executor's workflows."""

    enqueued: list[str]
    given_up: list[str]
    lanes: list[Lane]
    left: int = 0
    """The number that it still holds: locked by a transaction, or beyond one call's limit."""

    @property
    def count(self) -> int:
        """The number of recovered workflows."""
        return len(self.enqueued) + len(self.given_up)


@dataclass(frozen=True, slots=True)
class PlaceReply:
    """The answer to a run that wants its place back."""

    place: int | None = None
    """The place that it holds now: 0 where none is needed; None: it has to wait."""
    is_held: bool = True
    """False if its claim seems to be lost."""
    is_locked: bool = False
    """True if others have locked the queue or the workflow, so that it may ask again soon."""
    partition_key: str = ""
