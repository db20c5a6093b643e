"""Queues: their rows, changed by operators in the caller's transaction and by workers that start.

A row's lock is also that of the claims of its queue, so a change and a claim follow one another.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from functools import reduce
from operator import or_
from typing import Any

from django.db.models import Count, Q, QuerySet

from django_dbos.core import queue_options, queues
from django_dbos.core.batch.notifications import Notifications
from django_dbos.core.queue_options import PlainOptions
from django_dbos.core.queue_reasons import MOST_AHEAD, Holdup
from django_dbos.core.records import Lane, queue_key
from django_dbos.core.status import Status
from django_dbos.fields import DatabaseNow
from django_dbos.models import Queue, QueueStart, Workflow
from django_dbos.store.announcing import Announcing
from django_dbos.store.claims import Claims
from django_dbos.store.records import QueueCounts

Window = tuple[str, str]
"""A queue and a partition key; no key for the rate of the whole queue."""
NO_PLACE, WHILE_RUNNING, UNTIL_END = 0, 1, 2
# Of runs that hold no place until they have taken it back: see `lending`.
NOT_HELD = (queues.LENT, queues.RESERVED)
# True of every wait, and the condition of the indexes on waits.
IS_AWAITED = Q(due_at__isnull=False) | Q(wake_workflow_id__isnull=False)


class Queues(Claims, Announcing):
    """The rows of queues: declared, edited, paused, counted."""

    def list_queues(self) -> list[Queue]:
        """Return the queues that have a row, by name."""
        return list(Queue.objects.using(self.alias).order_by("name"))

    def find_queue(self, name: str) -> Queue | None:
        """Return a queue's row, or None."""
        return Queue.objects.using(self.alias).filter(name=name).first()

    def has_active(self, name: str) -> bool:
        """Return whether any workflow of a queue hasn't ended."""
        found = self._workflows().filter(queue_name=name)
        # A query for each partial index: one for all would read the whole table.
        conditions = (
            Q(status=Status.ENQUEUED),
            Q(status=Status.PENDING),
            Q(status__in=(Status.DELAYED, Status.WAITING), due_at__isnull=False),
            Q(status=Status.WAITING, wake_workflow_id__isnull=False),
        )
        return any(found.filter(condition).exists() for condition in conditions)

    def edit_queue(self, name: str, options: PlainOptions, *, pins_declared: bool = True) -> Queue:
        """Change some of a queue's options, which win over those that are declared.

        Unless it `pins_declared`, an option that is declared so isn't edited any more, and follows
        the next declaration. Raises ValueError if the options contradict others in force.
        """

        def edit(queue: Queue) -> None:
            edited = {**(queue.edited or {}), **options}
            queue.edited = edited if pins_declared else _differing(edited, options, queue)
            errors = queue_options.contradictions(_in_force(queue))
            if errors:
                raise errors[0]

        return self._change(name, edit)

    def reset_queue(self, name: str) -> Queue:
        """Return to the declared options."""

        def reset(queue: Queue) -> None:
            queue.edited = None

        return self._change(name, reset)

    def pause_queue(self, name: str, by: str | None) -> Queue:
        """Stop the claims from a queue; a paused queue stays as it is."""

        def pause(queue: Queue) -> None:
            if queue.paused_at is None:
                queue.paused_at, queue.paused_by = DatabaseNow(), by

        return self._change(name, pause)

    def resume_queue(self, name: str) -> Queue:
        """Allow the claims from a paused queue."""

        def resume(queue: Queue) -> None:
            queue.paused_at = queue.paused_by = None

        return self._change(name, resume)

    def declare_queues(
        self, declared: Mapping[str, PlainOptions], known: Iterable[str]
    ) -> list[Queue]:
        """Write what the settings declare, and rows for other known queues; return the changed.

        A queue that isn't declared any more loses its declared options. Nothing is written, and no
        row locked, where the tables already say so. Each queue is committed by itself.
        """
        stored = {queue.name: queue.declared for queue in self.list_queues()}
        self._insert({*declared, *known} - stored.keys())
        return [
            self._declare(name, declared.get(name))
            for name in sorted({*stored, *declared})
            if stored.get(name) != declared.get(name)
        ]

    def _declare(self, name: str, options: PlainOptions | None) -> Queue:
        def declare(queue: Queue) -> None:
            queue.declared = options

        return self._change(name, declare)

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

    def _insert(self, names: Iterable[str]) -> None:
        """Insert rows that say nothing yet, for the queues that have none."""
        rows = [Queue(name=name, updated_at=DatabaseNow()) for name in sorted(names)]
        if rows:
            with self.session().transaction():
                self._rows().bulk_create(rows, ignore_conflicts=True)

    def _change(self, name: str, change: Callable[[Queue], None]) -> Queue:
        """Change a queue's row under its lock, and notify the workers after the commit."""
        with self.session().transaction():
            self._insert([name])
            queue = self._rows().select_for_update().get(name=name)
            before = _state(queue)
            change(queue)
            if _state(queue) == before:
                return queue
            self._write(queue)
            self._move_places(queue)
            lanes = [lane for lane in self.list_lanes(self.session()) if lane.queue_name == name]
        self._announce_after_commit(
            Notifications(
                keys=[queue_key(name)], lanes=list(dict.fromkeys([Lane(name, None), *lanes]))
            )
        )
        return self._rows().get(name=name)

    def _write(self, queue: Queue) -> None:
        in_force = _in_force(queue)
        columns = queue_options.to_columns(in_force)
        queue.hold_while_waiting = columns["hold_while_waiting"]
        queue.is_managed = queue.paused_at is not None or queue_options.has_limit(in_force)
        self._rows().filter(name=queue.name).update(
            **columns,
            declared=queue.declared,
            edited=queue.edited,
            paused_at=queue.paused_at,
            paused_by=queue.paused_by,
            is_managed=queue.is_managed,
            updated_at=DatabaseNow(),
        )

    def _move_places(self, queue: Queue) -> None:
        """Give places to workflows that are entitled to them, and take them from others.

        Workflows run already when a queue becomes managed. What holds a place until its end isn't
        what does so while it runs.
        """
        if not queue.is_managed:
            return
        # Those of a cancelled workflow whose function goes on are its executor's to free.
        workflows: QuerySet[Workflow] = QuerySet(Workflow, using=self.alias)
        found = workflows.filter(queue_name=queue.name)
        running = found.filter(status=Status.PENDING)
        resting = found.filter(status__in=(Status.WAITING, Status.ENQUEUED), executor_id=None)
        if queue.hold_while_waiting:
            _set_places(running.exclude(place=UNTIL_END), UNTIL_END)
            waiting = resting.filter(IS_AWAITED, status=Status.WAITING, place=NO_PLACE)
            # Not the children of a map() that are held behind others: they haven't begun.
            _set_places(waiting.filter(started_at__isnull=False), UNTIL_END)
        else:
            _set_places(running.exclude(place__in=(WHILE_RUNNING, *NOT_HELD)), WHILE_RUNNING)
            _set_places(resting.filter(place=UNTIL_END), NO_PLACE)

    def _rows(self) -> QuerySet[Queue]:
        # Not the manager's, which refuses changes.
        return QuerySet(Queue, using=self.alias)


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


def _set_places(workflows: QuerySet[Workflow], place: int) -> None:
    # In the order in which the writers of batches lock them.
    locked = workflows.order_by("workflow_id").select_for_update(no_key=True)
    ids = list(locked.values_list("workflow_id", flat=True))
    for first in range(0, len(ids), 1_000):
        workflows.filter(workflow_id__in=ids[first : first + 1_000]).update(place=place)


def _in_force(queue: Queue) -> PlainOptions:
    return queue_options.merged(queue.declared, queue.edited)


def _differing(edited: PlainOptions, given: PlainOptions, queue: Queue) -> PlainOptions | None:
    """Return the edited options without those just given that are declared alike."""
    declared = queue.declared or {}
    return {
        name: value
        for name, value in edited.items()
        # Of no limit and of False an option says the same as nothing.
        if name not in given or (value or None) != (declared.get(name) or None)
    } or None


def _state(queue: Queue) -> tuple[Any, ...]:
    return queue.declared, queue.edited, queue.paused_at, queue.paused_by
