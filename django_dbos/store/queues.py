"""Queues: their rows, changed by operators in the caller's transaction and by workers that start.

A row's lock is also that of the claims of its queue, so a change and a claim follow one another.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from django.db.models import Q, QuerySet

from django_dbos.core import queue_options, queues
from django_dbos.core.batch.notifications import Notifications
from django_dbos.core.queue_options import PlainOptions
from django_dbos.core.records import Lane, queue_key
from django_dbos.core.status import Status
from django_dbos.fields import DatabaseNow
from django_dbos.models import Queue, Workflow
from django_dbos.store.announcing import Announcing
from django_dbos.store.claims import Claims

NO_PLACE, WHILE_RUNNING, UNTIL_END = 0, 1, 2
# Of runs that hold no place until they have taken it back: see `lending`.
NOT_HELD = (queues.LENT, queues.RESERVED)
# True of every wait, and the condition of the indexes on waits.
IS_AWAITED = Q(due_at__isnull=False) | Q(wake_workflow_id__isnull=False)


class Queues(Claims, Announcing):
    """The rows of queues: declared, edited, paused."""

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
