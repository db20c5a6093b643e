"""What others are told after a commit: that what they may be waiting for is there now.

The receivers are waiting workflows, whose rows a `Wake` enqueues; watchers of keys, in this process
and in others; and executors, which claim from the lanes that got something. A notification says
where to read and never carries data, so one that is lost costs only the wait for the next poll.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import field

from django_dbos.core.batch.fast_path import FastWrite
from django_dbos.core.batch.plan import Plan
from django_dbos.core.frozen import dataclass
from django_dbos.core.records import (
    Finish,
    Lane,
    RecordEntry,
    RecordEvent,
    Wake,
    run_key,
)


@dataclass(slots=True, kw_only=True)
class Notifications:
    """What to tell others after a commit."""

    wakes: list[Wake] = field(default_factory=list)
    keys: list[str] = field(default_factory=list)
    """What no row waits for, or not by now: only who watches it is told."""
    lanes: list[Lane] = field(default_factory=list)
    notified: set[str] = field(default_factory=set)
    """Keys that other processes know of already."""

    @classmethod
    def of_plan(cls, plan: Plan) -> Notifications:
        """What to tell of a batch."""
        keys = [Wake.of_result(one.workflow_id).key for one in plan.finished if one.is_quarantined]
        started = [
            (new.queue_name, new.priority) for new, is_reserved in plan.workflows if not is_reserved
        ]
        return cls(
            wakes=wakes_of(plan),
            keys=keys,
            lanes=plan.lanes + started,
            notified=set(plan.notified),
        )

    @classmethod
    def of_cancelled(cls, workflow_ids: Sequence[str]) -> Notifications:
        """What to tell of workflows that were cancelled while somebody may run them."""
        return cls(
            wakes=[Wake.of_result(one) for one in workflow_ids],
            keys=[run_key(one) for one in workflow_ids],
        )

    @classmethod
    def merged(cls, several: Sequence[Notifications]) -> Notifications:
        """All of them in one; what one of them has to notify isn't old for another's sake."""
        news = {key for one in several for key in one.news}
        return cls(
            wakes=list(dict.fromkeys(wake for one in several for wake in one.wakes)),
            keys=[key for one in several for key in one.keys],
            lanes=[lane for one in several for lane in one.lanes],
            notified={key for one in several for key in one.notified} - news,
        )

    @property
    def is_empty(self) -> bool:
        """Whether there is nobody to tell."""
        return not (self.wakes or self.keys or self.lanes)

    @property
    def all_keys(self) -> list[str]:
        """Every key that somebody may watch."""
        return sorted({key for wake in self.wakes for key in wake.keys} | set(self.keys))

    @property
    def news(self) -> list[str]:
        """The keys to notify other processes of."""
        return [key for key in self.all_keys if key not in self.notified]


def wakes_of(plan: Plan) -> list[Wake]:
    """What waiting workflows may be waiting for, and has come with this batch."""
    return [
        *{Wake.of_message(one.workflow_id, one.topic) for one in plan.messages},
        *{Wake.of_event(one.workflow_id, one.key) for one in plan.event_values},
        *{Wake.of_stream(one.workflow_id, one.key) for one in plan.entries},
        *(Wake.of_result(one.workflow_id) for one in plan.finished if not one.is_quarantined),
        *(Wake.of_streams(one.workflow_id) for one in plan.finished if one.is_quarantined),
    ]


def keys_of(writes: Sequence[FastWrite]) -> list[str]:
    """The keys of which others are to be notified once these are written."""
    wakes = [wake for wake in map(_wake_of, writes) if wake is not None]
    return sorted({key for wake in wakes for key in wake.keys})


def _wake_of(write: FastWrite) -> Wake | None:
    match write:
        case RecordEntry():
            return Wake.of_stream(write.workflow_id, write.key)
        case RecordEvent():
            return Wake.of_event(write.workflow_id, write.key)
        case Finish():
            return Wake.of_result(write.workflow_id)
    return None
