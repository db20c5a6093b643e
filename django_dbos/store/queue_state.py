"""The state of queues: how many workflows they have, and what holds those up that are enqueued."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from functools import reduce
from operator import or_

from django.db.models import Count, Q

from django_dbos.core import queues
from django_dbos.core.queue_reasons import MOST_AHEAD, Holdup
from django_dbos.core.status import Status
from django_dbos.fields import DatabaseNow
from django_dbos.models import Queue, QueueStart, Workflow
from django_dbos.store.connecting import Connecting
from django_dbos.store.queues import IS_AWAITED, NO_PLACE
from django_dbos.store.records import QueueCounts

Window = tuple[str, str]
"""A queue and a partition key; no key for the rate of the whole queue."""


class QueueState(Connecting):
    """Counts the workflows of queues, and tells what holds them up."""

    def count_waiting(self, name: str, most: int) -> int:
        """Return how many workflows of a queue wait in `recv` and the like, at most `most`."""
        found = self._workflows().filter(IS_AWAITED, status=Status.WAITING, queue_name=name)
        return found[:most].count()

    def read_queue_counts(self, names: Sequence[str], most: int) -> dict[str, QueueCounts]:
        """Return how many workflows each queue has; each count stops at `most`."""
        session = self.session()
        params = {"names": session.pack(names), "most": most}
        return {
            name: QueueCounts(*counts) for name, *counts in session.run("read_queue_counts", params)
        }

    def read_holdups(self, workflows: Sequence[Workflow]) -> list[Holdup]:
        """Return what holds up those of these workflows that are enqueued.

        Three queries at most; one if nothing limits, pauses or partitions any of their queues.
        """
        asked = {row.workflow_id: row for row in workflows if row.status == Status.ENQUEUED}
        names = {row.queue_name for row in asked.values()}
        found = Queue.objects.using(self.alias).filter(name__in=names, is_managed=True)
        managed = {queue.name: queue for queue in found} if names else {}
        ids = [
            row.workflow_id
            for row in asked.values()
            if row.queue_name in managed or row.partition_key or row.place
        ]
        if not ids:
            return []
        session = self.session()
        params = {"workflow_ids": session.pack(ids), "most": MOST_AHEAD + 1}
        read = session.run("read_holdups", params)
        waits = self._read_next_starts([asked[row[0]] for row in read], managed)
        return [_holdup(asked[row[0]], managed, waits, *row[1:]) for row in read]

    def _read_next_starts(
        self, workflows: Sequence[Workflow], managed: Mapping[str, Queue]
    ) -> dict[Window, float | None]:
        """Return the seconds until the rates of queues and partitions allow the next starts."""
        windows = {window: rate for row in workflows for window, rate in _windows(row, managed)}
        if not windows:
            return {}
        condition = reduce(or_, (Q(queue_name=name, partition_key=key) for name, key in windows))
        found = QueueStart.objects.using(self.alias).filter(condition).order_by("-last_at")
        columns = ("queue_name", "partition_key", "last_at", "count")
        starts: dict[Window, list[tuple[float, int]]] = {window: [] for window in windows}
        for name, key, last_at, count, now in found.values_list(*columns, DatabaseNow()):
            starts[name, key].append(((now - last_at).total_seconds(), count))
        return {
            window: queues.next_start(_within(starts[window], period), count, period)
            for window, (count, period) in windows.items()
        }

    def count_runs_of_executors(self, executor_ids: Collection[str]) -> dict[str, int]:
        """Return how many workflows each of these executors runs."""
        held = self._workflows().filter(status=Status.PENDING, executor_id__in=executor_ids)
        found = held.order_by().values("executor_id").annotate(count=Count("workflow_id"))
        return {str(row["executor_id"]): row["count"] for row in found}

    def count_places_of_executors(self, name: str) -> dict[str, int]:
        """Return how many places of a queue each executor has taken."""
        held = self._workflows().filter(queue_name=name, place__gt=NO_PLACE)
        held = held.exclude(executor_id=None).order_by()
        found = held.values("executor_id").annotate(count=Count("workflow_id"))
        return {str(row["executor_id"]): row["count"] for row in found}


def _windows(
    workflow: Workflow, managed: Mapping[str, Queue]
) -> Iterator[tuple[Window, tuple[int, float]]]:
    """Yield the windows whose starts delay that of a workflow, with count and period."""
    queue, key = managed.get(workflow.queue_name), workflow.partition_key
    if queue is None or not _is_start(workflow):
        return
    if queue.rate_count is not None and queue.rate_period is not None:
        yield (workflow.queue_name, ""), (queue.rate_count, queue.rate_period)
    if key and queue.partition_rate_count is not None and queue.partition_rate_period is not None:
        yield (
            (workflow.queue_name, key),
            (queue.partition_rate_count, queue.partition_rate_period),
        )


def _is_start(workflow: Workflow) -> bool:
    """Return whether an enqueued workflow was queued as new: those that go on come before zero."""
    return workflow.queue_sequence >= 0


def _within(starts: list[tuple[float, int]], period: float) -> list[tuple[float, int]]:
    return [(age, count) for age, count in starts if age < period]


def _holdup(
    workflow: Workflow,
    managed: Mapping[str, Queue],
    waits: Mapping[Window, float | None],
    holds_place: bool,
    lingers_on: str | None,
    parent_key: str | None,
    places: int,
    partition_places: int,
    ahead: int,
) -> Holdup:
    queue, key = managed.get(workflow.queue_name) or Queue(), workflow.partition_key
    return Holdup(
        workflow_id=workflow.workflow_id,
        queue_name=workflow.queue_name,
        partition_key=key,
        holds_place=bool(holds_place),
        lingers_on=lingers_on,
        parent_key=parent_key,
        has_started=not _is_start(workflow),
        paused_at=queue.paused_at,
        paused_by=queue.paused_by,
        concurrency=queue.concurrency,
        places=places,
        worker_concurrency=queue.worker_concurrency,
        # Those of partitions concern no workflow without a key.
        partition_concurrency=queue.partition_concurrency if key else None,
        partition_places=partition_places,
        next_start=waits.get((workflow.queue_name, "")),
        partition_next_start=waits.get((workflow.queue_name, key)) if key else None,
        ahead=ahead,
    )
