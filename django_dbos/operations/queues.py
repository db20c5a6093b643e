"""Queues as code sees them: which are known, what is in force, and which starts they refuse."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from django_dbos.conf import get_settings
from django_dbos.core import names, queue_options, registry
from django_dbos.core.queue_reasons import Reason, behind, of_busy_workers, reasons
from django_dbos.core.status import Status
from django_dbos.exceptions import QueueDoesNotExist

if TYPE_CHECKING:
    from django_dbos.models import Queue, Workflow
    from django_dbos.store.base import Store

# Where counts stop: a queue of a million costs no more to count than one of this size.
MOST_COUNTED = 100_000


@dataclass(frozen=True, slots=True, kw_only=True)
class QueueDescription:
    """A queue's options, and whether it is paused."""

    name: str
    options: dict[str, Any]
    """The options in force, with rates as texts such as "100/m"; without those that limit
    nothing."""
    declared: dict[str, Any] | None
    """The options in DBOS["QUEUES"], as of the last start of a worker, or as of now before the
    first one; None if the queue isn't there."""
    edited: dict[str, Any] | None
    """The options that were set at run time: they win over `declared` until `reset()`."""
    paused_at: datetime | None
    paused_by: str | None
    updated_at: datetime | None
    """The time of the last change; None if no worker has met the queue yet."""

    @property
    def is_paused(self) -> bool:
        """True if the queue is paused."""
        return self.paused_at is not None


@dataclass(frozen=True, slots=True, kw_only=True)
class QueueDepth:
    """The numbers of workflows of a queue. A count stops at 100,000."""

    queued: int
    """Those that are enqueued."""
    running: int
    """Those that a worker runs now."""
    waiting: int
    """Those that wait in `recv`, `sleep` and the like."""
    places: int
    """The places that are taken under the queue's limits; 0 without limits."""
    oldest_age: timedelta | None
    """The time since the start of the oldest enqueued workflow that hasn't run yet."""


def known_names() -> set[str]:
    """Return the queues that the settings and workflow functions of this process name."""
    settings = get_settings()
    named = {definition.queue_name for definition in registry.workflows.values()}
    return {settings.default_queue, *settings.queues, *filter(None, named)}


def list_all(store: Store) -> list[QueueDescription]:
    """Return all known queues, by name."""
    found = {queue.name: _described(queue) for queue in store.list_queues()}
    missing = {name: _undescribed(name) for name in known_names() - found.keys()}
    return [queue for _, queue in sorted({**found, **missing}.items())]


def find(store: Store, name: str) -> QueueDescription:
    """Return a known queue; raise QueueDoesNotExist for any other name."""
    row = store.find_queue(name)
    if row is not None:
        return _described(row)
    check_known(store, name)
    return _undescribed(name)


def check_known(store: Store, name: str) -> None:
    """Raise QueueDoesNotExist unless something names the queue, or it has active workflows."""
    if name in known_names() or store.find_queue(name) or store.has_active(name):
        return
    raise QueueDoesNotExist(name, names.closest(name, others(store, name)))


def is_used(store: Store, name: str) -> bool:
    """Return whether anything but a worker that serves the queue speaks for its existence."""
    row = store.find_queue(name)
    has_options = row is not None and bool(row.declared or row.edited or row.paused_at)
    return name in known_names() or has_options or store.has_active(name)


def others(store: Store, name: str) -> list[str]:
    """Return the other known queues, of which a misspelt name may mean one."""
    return sorted((known_names() | {queue.name for queue in store.list_queues()}) - {name})


def edit(store: Store, name: str, options: queue_options.PlainOptions) -> QueueDescription:
    """Set options of a queue, which may be a new one."""
    return _described(store.edit_queue(name, options))


def reset(store: Store, name: str) -> QueueDescription:
    """Return a known queue to what is declared."""
    check_known(store, name)
    return _described(store.reset_queue(name))


def pause(store: Store, name: str, by: str | None) -> QueueDescription:
    """Pause a known queue."""
    check_known(store, name)
    return _described(store.pause_queue(name, by))


def resume(store: Store, name: str) -> QueueDescription:
    """Resume a known queue."""
    check_known(store, name)
    return _described(store.resume_queue(name))


def measure(store: Store, name: str) -> QueueDepth:
    """Count the workflows of a queue, known or not."""
    counts = store.read_queue_counts([name], MOST_COUNTED)[name]
    age = counts.oldest_age
    return QueueDepth(
        queued=counts.queued,
        running=counts.running,
        waiting=store.count_waiting(name, MOST_COUNTED),
        places=counts.places,
        oldest_age=None if age is None else timedelta(seconds=max(age, 0.0)),
    )


def explain(
    store: Store,
    workflows: Sequence[Workflow],
    workers_of: Callable[[str], Mapping[str, int]],
    show: Callable[[datetime], str],
) -> dict[str, list[Reason]]:
    """Return why workflows that are enqueued aren't running, apart from a lack of workers.

    Args:
        store: The store with the rows.
        workflows: Workflows of any status.
        workers_of: Returns the live workers of a queue: the slots of each, by its id.
        show: Returns an instant as its readers expect it.

    Returns:
        The reasons by workflow id; an id without any may be missing.
    """
    queued = [row for row in workflows if row.status == Status.ENQUEUED]
    holdups = store.read_holdups(queued)
    limits = {held.queue_name: held.worker_concurrency or 0 for held in holdups}
    full = {name for name, limit in limits.items() if _are_full(store, name, limit, workers_of)}
    found = {
        held.workflow_id: reasons(held, show, are_workers_full=held.queue_name in full)
        for held in holdups
    }
    rest = {row.workflow_id: row.queue_name for row in queued if not found.get(row.workflow_id)}
    busy = _busy_workers(store, {*rest.values()}, workers_of)
    found |= {key: [busy[name]] for key, name in rest.items() if name in busy}
    for held in holdups:
        if turn := behind(held):
            found[held.workflow_id].append(turn)
    return found


def _are_full(
    store: Store, name: str, limit: int, workers_of: Callable[[str], Mapping[str, int]]
) -> bool:
    """Return whether each worker of a queue has as many workflows of it as it may."""
    ids = workers_of(name) if limit else ()
    if not ids:
        return False
    taken = store.count_places_of_executors(name)
    return all(taken.get(executor_id, 0) >= limit for executor_id in ids)


def _busy_workers(
    store: Store, names: Collection[str], workers_of: Callable[[str], Mapping[str, int]]
) -> dict[str, Reason]:
    """Return the reason for each of these queues whose workers have no free slot."""
    slots = {name: workers_of(name) for name in names}
    ids = {executor_id for workers in slots.values() for executor_id in workers}
    runs = store.count_runs_of_executors(ids) if ids else {}
    return {
        name: of_busy_workers(sum(workers.values()))
        for name, workers in slots.items()
        if workers and all(runs.get(key, 0) >= count for key, count in workers.items())
    }


def check_partition_key(queue_name: str, partition_key: str | None) -> None:
    """Raise ValueError for a start without a key in a queue that is declared to limit each key."""
    limit = None if partition_key else _limit_of_keys(queue_name)
    if limit is not None:
        raise ValueError(
            f"Queue {queue_name!r} has {limit}, so a start in it needs a partition key: "
            'using(partition_key="customer-7").'
        )


def check_move(store: Store, queue_name: str, workflow_ids: Sequence[str]) -> None:
    """Raise ValueError for a workflow without a key that is to be resumed in such a queue."""
    without = unfit_for_move(store, queue_name, workflow_ids)
    if without:
        raise ValueError(
            f"Workflow {without[0]!r} has no partition key, which queue {queue_name!r} needs, "
            f"since it has {_limit_of_keys(queue_name)}. Resume it in another queue."
        )


def unfit_for_move(store: Store, queue_name: str, workflow_ids: Sequence[str]) -> list[str]:
    """Return the workflows that lack the partition key which the queue needs."""
    # Not at the top: `import django_dbos` works before the apps are loaded.
    from django_dbos.models import Workflow

    if _limit_of_keys(queue_name) is None:
        return []
    rows = Workflow.objects.using(store.alias).filter(workflow_id__in=workflow_ids)
    return list(rows.filter(partition_key="").values_list("workflow_id", flat=True))


def _limit_of_keys(queue_name: str) -> str | None:
    """Return the option by which a queue is declared to limit each key; None if there is none."""
    options = get_settings().queues.get(queue_name, {})
    limits = (name for name in queue_options.PARTITION_LIMITS if options.get(name) is not None)
    return next(limits, None)


def _described(row: Queue) -> QueueDescription:
    return QueueDescription(
        name=str(row.name),
        options=_shown(queue_options.merged(row.declared, row.edited)),
        declared=row.declared,
        edited=row.edited,
        paused_at=row.paused_at,
        paused_by=row.paused_by,
        updated_at=row.updated_at,
    )


def _shown(in_force: Mapping[str, Any]) -> dict[str, Any]:
    """Return the options that limit something."""
    return {name: value for name, value in in_force.items() if value not in (None, False)}


def _undescribed(name: str) -> QueueDescription:
    """Return a queue that has no row yet, as the next worker that starts will write it."""
    declared = get_settings().queues.get(name)
    return QueueDescription(
        name=name,
        options=_shown(declared or {}),
        declared=None if declared is None else {**declared},
        edited=None,
        paused_at=None,
        paused_by=None,
        updated_at=None,
    )
