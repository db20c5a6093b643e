"""The notifications after a commit: new data is there that others may wait for.

The receivers are waiting workflows, whose rows a `Wake` enqueues; watchers of keys, in this process
and in others; and executors, which claim from the lanes that got workflows. A notification names
the place to read and never carries data, so that a lost one costs the wait for the next poll.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import field
from typing import NamedTuple

from django_dbos.core.batch.fast_path import FastWrite
from django_dbos.core.batch.plan import Plan
from django_dbos.core.frozen import dataclass
from django_dbos.core.records import (
    Finish,
    Lane,
    RecordEntry,
    RecordEvent,
    Wake,
    WakeKind,
    due_key,
    run_key,
)
from django_dbos.core.status import Status


@dataclass(slots=True, kw_only=True)
class Notifications:
    """The notifications that follow a commit."""

    wakes: list[Wake] = field(default_factory=list)
    keys: list[str] = field(default_factory=list)
    """Keys that no row waits for; only watchers are notified."""
    lanes: list[Lane] = field(default_factory=list)
    due_at: list[float] = field(default_factory=list)
    """When delayed workflows are due, on the clock of `time.monotonic()`."""
    notified: set[str] = field(default_factory=set)
    """Keys of which other processes are notified already."""

    @classmethod
    def of_plan(cls, plan: Plan) -> Notifications:
        """Return the notifications of a batch."""
        keys = [Wake.of_result(end.workflow_id).key for end in plan.finished if end.is_quarantined]
        keys += [run_key(workflow_id) for workflow_id in plan.replaced]
        started = [new.lane for new, is_reserved in plan.workflows if not is_reserved]
        freed = [Lane(queue_name, None) for queue_name in plan.freed_queues]
        return cls(
            wakes=wakes_of(plan),
            keys=keys,
            lanes=list(dict.fromkeys([*plan.lanes, *started, *freed])),
            notified=set(plan.notified),
        )

    @classmethod
    def of_cancelled(cls, workflow_ids: Sequence[str], freed: Sequence[Lane]) -> Notifications:
        """Return the notifications of cancelled workflows, which executors may still run.

        In the queues of `freed` some of them have freed places.
        """
        return cls(
            wakes=wakes_of_cancelled(workflow_ids),
            keys=[run_key(workflow_id) for workflow_id in workflow_ids],
            lanes=list(freed),
        )

    @classmethod
    def merged(cls, parts: Sequence[Notifications]) -> Notifications:
        """Merge notifications. A key counts as notified only if all of them have notified it."""
        if len(parts) == 1:
            return parts[0]
        news = {key for part in parts for key in part.news}
        return cls(
            wakes=list(dict.fromkeys(wake for part in parts for wake in part.wakes)),
            keys=[key for part in parts for key in part.keys],
            lanes=list(dict.fromkeys(lane for part in parts for lane in part.lanes)),
            due_at=[at for part in parts for at in part.due_at],
            notified={key for part in parts for key in part.notified} - news,
        )

    @property
    def is_empty(self) -> bool:
        """True if there is nobody to notify."""
        return not (self.wakes or self.keys or self.lanes or self.due_at)

    @property
    def all_keys(self) -> list[str]:
        """All keys that watchers may have."""
        keys = {key for wake in self.wakes for key in wake.keys} | set(self.keys)
        if self.due_at:
            # The earliest one: its timer finds the next.
            keys.add(due_key(min(self.due_at) - time.monotonic()))
        return sorted(keys)

    @property
    def news(self) -> list[str]:
        """The keys of which other processes aren't notified yet."""
        return self.news_among(self.all_keys)

    def news_among(self, keys: Sequence[str]) -> list[str]:
        """Return those of all keys of which other processes aren't notified yet."""
        return [key for key in keys if key not in self.notified]


def wakes_of(plan: Plan) -> list[Wake]:
    """Return the waits that may be over with this batch."""
    # Tuples first: a batch may have hundreds of one stream's entries, and wakes take ten times as
    # long to make and to compare.
    topics = {(message.workflow_id, message.topic) for message in plan.messages}
    events = {(event.workflow_id, event.key) for event in plan.event_values}
    streams = {(entry.workflow_id, entry.key) for entry in plan.entries}
    return [
        *(Wake.of_message(*topic) for topic in topics),
        *(Wake.of_event(*event) for event in events),
        *(Wake.of_stream(*stream) for stream in streams),
        *(Wake.of_result(end.workflow_id) for end in plan.finished if not end.is_quarantined),
        *wakes_of_cancelled(plan.replaced),
        *(Wake.of_failure(end.workflow_id) for end in plan.finished if has_failed(end)),
        *(Wake.of_streams(end.workflow_id) for end in plan.finished if end.is_quarantined),
    ]


def wakes_of_cancelled(workflow_ids: Sequence[str]) -> list[Wake]:
    """Return the waits that are over once these workflows are cancelled."""
    return [*map(Wake.of_result, workflow_ids), *map(Wake.of_failure, workflow_ids)]


def has_failed(end: Finish) -> bool:
    """Return whether a workflow has ended without success, and for good."""
    return end.status is not Status.SUCCESS and not end.is_quarantined


def keys_of(writes: Sequence[FastWrite]) -> list[str]:
    """Return the keys to notify once these writes are committed."""
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


class WakeGroups(NamedTuple):
    """Waits that may be over, by the statements that end them."""

    written: list[Wake]
    """Those for a message, an event or an entry of a stream."""
    ended: dict[str, list[str]]
    """The ids of workflows that have ended, by the kind of wait that is over with them."""
    failed: list[str]
    """The ids of failed workflows."""


def group_wakes(wakes: Sequence[Wake]) -> WakeGroups:
    """Group waits by the statements that end them."""
    groups = WakeGroups([], {}, [])
    for wake in wakes:
        if wake.kind is WakeKind.FAILURES:
            groups.failed.append(wake.workflow_id)
        elif wake.is_end:
            groups.ended.setdefault(wake.kind.value, []).append(wake.workflow_id)
        else:
            groups.written.append(wake)
    return groups
