"""Figures about many workflows, for the admin's overview and `manage.py dbos_top`.

Each query walks an index, and reads a bounded number of its entries: a table of millions costs no
more than one of thousands. So counts stop at a limit, and percentiles are those of a sample. All of
them ask for the order of an index: a planner that expects many matches would read the table itself.
"""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

from django.db.models import Case, F, When
from django.utils import timezone

from django_dbos import serializers
from django_dbos.core.statistics import Bucket, Count, Failure, place_of, starts_of
from django_dbos.core.status import Status
from django_dbos.exceptions import SerializationError
from django_dbos.fields import DatabaseNow, StoredSize
from django_dbos.models import Executor, Workflow
from django_dbos.store.base import Store

# The number at which counts stop, of workflows in a bucket that are looked at, and of failures.
MOST, SAMPLE, MOST_FAILURES = 10_000, 100, 200
# The size of an error up to which it is read.
MAX_ERROR = 64 * 1024
# The number of runs among which the longest are found.
MOST_RUNS = 1_000
ENDED_BADLY = (Status.ERROR, Status.CANCELLED, Status.MAX_RECOVERY_ATTEMPTS_EXCEEDED)


class Statistics:
    """Reads the figures of one store, on Django's connection of the calling thread."""

    def __init__(self, store: Store) -> None:
        self._store = store

    @property
    def _workflows(self) -> Any:
        return Workflow.objects.using(self._store.alias).order_by()

    def count_active(self) -> dict[Status, Count]:
        """Return the numbers of active workflows by status; MOST rows are read of each."""
        (row,) = self._store.session().run("count_active", {"most": MOST})
        enqueued, pending, waiting, delayed, others, due, awaited = row
        is_cut = due >= MOST
        return {
            Status.ENQUEUED: _counted(enqueued),
            Status.PENDING: _counted(pending),
            Status.WAITING: Count(waiting + others, is_cut or awaited >= MOST),
            Status.DELAYED: Count(delayed, is_cut),
        }

    def count_ended_badly(self, since: datetime) -> dict[Status, Count]:
        """Return the numbers of unsuccessful workflows that were created since, each up to MOST."""
        found = self._workflows.filter(created_at__gte=since).order_by("-created_at")
        return {
            status: _counted(found.filter(status=status)[:MOST].count()) for status in ENDED_BADLY
        }

    def read_buckets(self, since: datetime, width: timedelta, number: int) -> list[Bucket]:
        """Return what was created in these spans of time, with a sample of each."""
        session, edges = self._store.session(), starts_of(since, width, number)
        texts = [_in_utc(edge) for edge in edges]
        params = {
            "firsts": session.pack(texts[:-1]),
            "lasts": session.pack(texts[1:]),
            "most": MOST,
            "sample": SAMPLE,
        }
        rows = session.run("read_buckets", params)
        return [_bucket(start, *row) for start, row in zip(edges[:-1], rows, strict=True)]

    def read_failures(self, since: datetime) -> list[Failure]:
        """Return the newest failed workflows, up to MOST_FAILURES, with what raised each."""
        is_short = When(error_size__lte=MAX_ERROR, then=F("error_text"))
        found = self._workflows.filter(status=Status.ERROR, created_at__gte=since)
        found = found.annotate(error_size=StoredSize(F("error_text")))
        found = found.annotate(error_read=Case(is_short)).order_by("-created_at")
        # Not values_list(), which orders by the value that is read: no index has that.
        rows = found.only("workflow_id", "name", "created_at")[:MOST_FAILURES]
        return [_failure(row) for row in rows]

    def read_executors(self) -> list[Any]:
        """Return the executors as `judged()` does, and their numbers of runs as `runs`."""
        rows = list(Executor.objects.using(self._store.alias).judged().order_by("hostname", "pid"))
        running = self._workflows.filter(status=Status.PENDING)
        running = running.filter(executor_id__in=[row.executor_id for row in rows])
        counts = dict.fromkeys((row.executor_id for row in rows), 0)
        in_order = running.order_by("executor_id")
        for executor_id in in_order.values_list("executor_id", flat=True)[:MOST]:
            counts[executor_id] += 1
        for row in rows:
            row.runs = counts[row.executor_id]
        return rows

    def read_longest(self, number: int) -> list[Any]:
        """Return the runs whose workflows began first, among MOST_RUNS, with the time as `now`."""
        running = self._workflows.filter(status=Status.PENDING, started_at__isnull=False)
        rows = running.only("name", "queue_name", "started_at", "executor_id", "recovery_attempts")
        in_order = rows.annotate(now=DatabaseNow()).order_by("executor_id")
        found = list(in_order[:MOST_RUNS])
        return sorted(found, key=lambda row: (row.started_at, row.workflow_id))[:number]


def _counted(number: int) -> Count:
    return Count(number, number >= MOST)


def _bucket(start: datetime, count: int, failed: int, sample: str | None) -> Bucket:
    newest = json.loads(sample or "[]")
    return Bucket(
        start=start,
        count=count,
        failed=failed,
        durations=[max(ran, 0.0) for _, ran in newest if ran is not None],
        waits=[max(waited, 0.0) for waited, _ in newest if waited is not None],
    )


def _in_utc(value: datetime) -> str:
    """Return an instant as both databases read it without a time zone."""
    instant = value if timezone.is_aware(value) else timezone.make_aware(value)
    return f"{instant.astimezone(UTC):%Y-%m-%d %H:%M:%S.%f}"


def _failure(row: Any) -> Failure:
    class_path, place = "", ""
    try:
        if row.error_read is not None:
            summary = serializers.summarize_error(row.error_read)
            class_path, place = summary.class_path, place_of(summary.traceback)
    except SerializationError:
        class_path = ""
    return Failure(
        workflow_id=str(row.workflow_id),
        name=str(row.name),
        at=row.created_at,
        error=class_path.replace(":", ".").rpartition(".")[2],
        place=place,
    )
