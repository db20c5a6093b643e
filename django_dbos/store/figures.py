"""The state of the whole system in figures, for health checks, alerts and the metrics view.

The queries are those of `store.statistics`: they walk indexes, and read a bounded number of rows.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from django.db.models import Exists, OuterRef, Q
from django.utils import timezone

from django_dbos.core.statistics import Bucket, Count
from django_dbos.core.status import Status
from django_dbos.models import Executor, Queue, Workflow
from django_dbos.store.base import Store
from django_dbos.store.statistics import MOST, Statistics

# The number of queues that are read, of those with enqueued and of those with running workflows.
MOST_QUEUES = 200
# The time after its lease at which a dead executor should have been recovered, in leases.
PATIENCE = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class QueueFigures:
    """A queue with enqueued or running workflows."""

    name: str
    enqueued: int
    running: int
    oldest_enqueued: float | None
    """Seconds since the start of the oldest that is enqueued and never ran."""
    oldest_running: float | None
    """Seconds since the first run of the oldest that runs."""
    is_paused: bool
    has_worker: bool
    """True if a live worker claims from it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Figures:
    """The state of one database's workflows. Counts stop at 10,000, and so does what follows."""

    window: float
    """The seconds to which the figures of recent workflows refer."""
    active: dict[Status, Count]
    queues: Sequence[QueueFigures]
    workers: int
    silent_executors: Sequence[str]
    """Executors without a heartbeat for longer than two leases, which nobody has recovered."""
    stuck: int
    """The workflows that such executors, and executors without a row, hold."""
    quarantined: int
    recent: Bucket
    """The workflows that were created in the window."""
    failed: int
    """Those that failed in the window, whenever they were created."""
    given_up: int

    @property
    def failure_rate(self) -> float:
        """The share of those created in the window that failed."""
        ended = self.recent.count
        return self.recent.failed / ended if ended else 0.0

    @property
    def oldest_enqueued(self) -> float | None:
        """Seconds since the start of the oldest enqueued workflow, of queues that aren't paused."""
        ages = [
            queue.oldest_enqueued
            for queue in self.queues
            if queue.oldest_enqueued is not None and not queue.is_paused
        ]
        return max(ages, default=None)


def read_figures(store: Store, *, window: float) -> Figures:
    """Read the figures on Django's connection of the calling thread."""
    statistics = Statistics(store)
    now = timezone.now()
    span = timedelta(seconds=window)
    workflows = Workflow.objects.using(store.alias).order_by()
    executors = statistics.read_executors()
    silent = [row.executor_id for row in executors if _is_silent(row)]
    workers = [row for row in executors if row.is_live and not row.is_inline]
    return Figures(
        window=window,
        active=statistics.count_active(),
        queues=_queues(store, workflows, workers, now),
        workers=len(workers),
        silent_executors=silent,
        stuck=_count(_stuck(store, workflows, silent)),
        quarantined=_count(workflows.filter(is_quarantined=True).order_by("created_at")),
        recent=statistics.read_buckets(now - span, span, 1)[0],
        failed=_count(_ended(workflows, Status.ERROR, now - span)),
        given_up=_count(_ended(workflows, Status.MAX_RECOVERY_ATTEMPTS_EXCEEDED, now - span)),
    )


def _count(rows: Any) -> int:
    return int(rows[:MOST].count())


def _ended(workflows: Any, status: Status, since: datetime) -> Any:
    # Both conditions are those of a partial index.
    ended_badly = Q(status__in=("ERROR", "MAX_RECOVERY_ATTEMPTS_EXCEEDED"))
    found = workflows.filter(ended_badly, status=status, finished_at__gte=since)
    return found.order_by("finished_at")


def _is_silent(row: Any) -> bool:
    return row.heard_at is None or bool(row.now - row.heard_at > PATIENCE * row.lease)


def _stuck(store: Store, workflows: Any, silent: Sequence[str]) -> Any:
    # Asked with the rows of executors in one statement: one that has registered, and claimed, since
    # they were read isn't missed (CORRECTNESS rule 102).
    rows = Executor.objects.using(store.alias).filter(executor_id=OuterRef("executor_id"))
    lost = ~Exists(rows) | Q(executor_id__in=silent)
    return workflows.filter(lost, status=Status.PENDING).order_by("executor_id")


def _queues(
    store: Store, workflows: Any, workers: Sequence[Any], now: datetime
) -> list[QueueFigures]:
    session = store.session()
    enqueued = [row[0] for row in session.run("list_waiting_queues", {"limit": MOST_QUEUES})]
    running: Counter[str] = Counter()
    oldest: dict[str, datetime] = {}
    runs = workflows.filter(status=Status.PENDING, started_at__isnull=False).order_by("executor_id")
    for name, started_at in runs.values_list("queue_name", "started_at")[:MOST]:
        running[name] += 1
        oldest[name] = min(oldest.get(name, started_at), started_at)
    paused = set(
        Queue.objects.using(store.alias)
        .filter(paused_at__isnull=False)
        .values_list("name", flat=True)[:MOST]
    )
    counts = store.read_queue_counts(enqueued, MOST)
    return [
        QueueFigures(
            name=name,
            enqueued=counts[name].queued if name in counts else 0,
            running=running[name],
            oldest_enqueued=counts[name].oldest_age if name in counts else None,
            oldest_running=_seconds(oldest.get(name), now),
            is_paused=name in paused,
            has_worker=any(
                worker.queue_names is None or name in worker.queue_names for worker in workers
            ),
        )
        for name in sorted({*enqueued, *(name for name, _ in running.most_common(MOST_QUEUES))})
    ]


def _seconds(since: datetime | None, now: datetime) -> float | None:
    return None if since is None else max((now - since).total_seconds(), 0.0)
