"""The content of `manage.py dbos_top`: one look at the tables, as values and as lines of text."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from django.utils import timezone

from django_dbos.core.statistics import Count, percentile
from django_dbos.management.base import printable, table_of
from django_dbos.store import get_store
from django_dbos.store.statistics import MOST, Statistics

# The span of time of the rates and the percentiles, in seconds.
SPAN = 60
# The numbers of queues that are read, and of queues, executors and runs that are shown.
MAX_READ, MAX_SHOWN = 200, 15
Cells = tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class QueueLine:
    """A queue with its depth."""

    name: str
    is_paused: bool
    queued: int
    running: int
    oldest_age: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class ExecutorLine:
    """An executor, and how full it is."""

    executor_id: str
    process: str
    state: str
    queues: list[str] | None
    running: int
    slots: int
    silent_for: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class RunLine:
    """A workflow that runs, and the time since its first run began."""

    workflow_id: str
    name: str
    queue_name: str
    running_for: float
    executor_id: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """One look. Times are in seconds; counts stop at a limit, MOST."""

    at: datetime
    active: dict[str, int]
    """The numbers of active workflows by status."""
    more: list[str]
    """The statuses of which there may be more: counting has stopped at MOST."""
    started: int
    """The number of workflows that were started in the last minute."""
    failed: int
    """The number of these that have failed."""
    duration_p50: float | None
    duration_p95: float | None
    wait_p50: float | None
    wait_p95: float | None
    queues: list[QueueLine]
    """The fullest first."""
    executors: list[ExecutorLine]
    """The busiest first."""
    longest: list[RunLine]
    """The runs that began first."""

    def as_dict(self) -> dict[str, Any]:
        """Return the look as JSON has it."""
        return dataclasses.asdict(self)


def take() -> Snapshot:
    """Look at the tables: a fixed number of queries, each of them bounded."""
    now, statistics = timezone.now(), Statistics(get_store())
    active = statistics.count_active()
    (bucket,) = statistics.read_buckets(now - timedelta(seconds=SPAN), timedelta(seconds=SPAN), 1)
    return Snapshot(
        at=now,
        active={str(status): count.number for status, count in active.items()},
        more=[str(status) for status, count in active.items() if count.is_cut],
        started=bucket.count,
        failed=bucket.failed,
        duration_p50=percentile(bucket.durations, 0.5),
        duration_p95=percentile(bucket.durations, 0.95),
        wait_p50=percentile(bucket.waits, 0.5),
        wait_p95=percentile(bucket.waits, 0.95),
        queues=_queues(),
        executors=[_executor(row) for row in statistics.read_executors()[:MAX_READ]],
        longest=[_run(row) for row in statistics.read_longest(MAX_SHOWN)],
    )


def text_of(snapshot: Snapshot) -> list[str]:
    """Return a look as lines of text."""
    lines = [f"{name:<10} {text}" for name, text in summary(snapshot)]
    for title, headings, rows in tables(snapshot):
        lines += ["", title]
        lines += table_of([headings, *rows]) if rows else ["none"]
    return lines


def summary(snapshot: Snapshot) -> list[tuple[str, str]]:
    """Return the figures above the tables, each with its name."""
    live = [found for found in snapshot.executors if found.state in ("alive", "draining")]
    slots, taken = sum(found.slots for found in live), sum(found.running for found in live)
    words = {"ENQUEUED": "queued", "PENDING": "running", "WAITING": "waiting", "DELAYED": "delayed"}
    counts = ", ".join(f"{_active(snapshot, status)} {word}" for status, word in words.items())
    started = f"{_count(snapshot.started)} started ({snapshot.started / SPAN:.2f}/s)"
    rate = f"{started}, {_count(snapshot.failed)} failed"
    return [
        ("workflows", counts),
        ("rate", f"{rate} in the last {SPAN} s"),
        ("duration", _percentiles(snapshot.duration_p50, snapshot.duration_p95)),
        ("waiting", _percentiles(snapshot.wait_p50, snapshot.wait_p95)),
        ("workers", f"{len(live)} live, {taken} of {slots} slots taken"),
    ]


def tables(snapshot: Snapshot) -> list[tuple[str, Cells, list[Cells]]]:
    """Return the tables: the title, the headings and the rows of each."""
    return [
        (
            "Queues",
            ("QUEUE", "STATE", "QUEUED", "RUNNING", "OLDEST"),
            [_queue_cells(queue) for queue in snapshot.queues[:MAX_SHOWN]],
        ),
        (
            "Workers",
            ("PROCESS", "STATE", "QUEUES", "RUNNING", "HEARTBEAT"),
            [_executor_cells(found) for found in snapshot.executors[:MAX_SHOWN]],
        ),
        (
            "Longest running",
            ("WORKFLOW", "NAME", "QUEUE", "FOR", "WORKER"),
            [
                (
                    printable(run.workflow_id),
                    printable(run.name),
                    printable(run.queue_name),
                    in_words(run.running_for),
                    printable(run.executor_id or ""),
                )
                for run in snapshot.longest
            ],
        ),
    ]


def in_words(seconds: float | None) -> str:
    """Return a duration as people read it: 12 ms, 1.2 s, 5 min, 3.2 h; "-" for None."""
    if seconds is None:
        return "-"
    if seconds < 1:
        return f"{seconds * 1_000:.0f} ms"
    if seconds < 120:
        return f"{seconds:.1f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7_200 else f"{seconds / 3_600:.1f} h"


def _percentiles(p50: float | None, p95: float | None) -> str:
    return f"p50 {in_words(p50)}, p95 {in_words(p95)}"


def _queues() -> list[QueueLine]:
    store = get_store()
    rows = store.list_queues()[:MAX_READ]
    counts = store.read_queue_counts([str(row.name) for row in rows], MOST)
    found = [
        QueueLine(
            name=str(row.name),
            is_paused=row.paused_at is not None,
            queued=counts[str(row.name)].queued,
            running=counts[str(row.name)].running,
            oldest_age=counts[str(row.name)].oldest_age,
        )
        for row in rows
    ]
    return sorted(found, key=lambda queue: (-queue.queued, -queue.running, queue.name))


def _executor(row: Any) -> ExecutorLine:
    silence = None if row.heard_at is None else (row.now - row.heard_at).total_seconds()
    return ExecutorLine(
        executor_id=str(row.executor_id),
        process=f"{row.hostname}:{row.pid}{' (inline)' if row.is_inline else ''}",
        state=_state(row),
        queues=row.queue_names,
        running=row.runs,
        slots=0 if row.is_inline else row.concurrency,
        silent_for=silence,
    )


def _state(row: Any) -> str:
    if row.heard_at is None:
        return "dead"
    if not row.is_live:
        return "silent"
    return "alive" if row.drain_requested_at is None else "draining"


def _run(row: Any) -> RunLine:
    return RunLine(
        workflow_id=str(row.workflow_id),
        name=str(row.name),
        queue_name=str(row.queue_name),
        running_for=max((row.now - row.started_at).total_seconds(), 0.0),
        executor_id=row.executor_id,
    )


def _queue_cells(queue: QueueLine) -> Cells:
    state = "paused" if queue.is_paused else "open"
    counts = (_count(queue.queued), _count(queue.running))
    return (printable(queue.name), state, *counts, in_words(queue.oldest_age))


def _executor_cells(found: ExecutorLine) -> Cells:
    queues = "all" if found.queues is None else ", ".join(found.queues)
    running = f"{found.running} of {found.slots}" if found.slots else str(found.running)
    heard = "" if found.silent_for is None else f"{in_words(found.silent_for)} ago"
    return (printable(found.process), found.state, printable(queues), running, heard)


def _active(snapshot: Snapshot, status: str) -> Count:
    return Count(snapshot.active[status], status in snapshot.more)


def _count(number: int) -> str:
    return str(Count(number, number >= MOST))
