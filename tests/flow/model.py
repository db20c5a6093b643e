"""A small model of queues, as the oracle of the tests: what may run, in which order, and when.

It has no tables, no SQL and no races: each operation is one step, and time passes only when it is
told. A workflow has a place while it counts against the limits of its queue.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace

Rate = tuple[int, float]
"""A number of starts, and a period in seconds."""

QUEUED, RUNNING, WAITING, DELAYED, DONE, CANCELLED = (
    "ENQUEUED", "PENDING", "WAITING", "DELAYED", "SUCCESS", "CANCELLED",
)  # fmt: skip
ACTIVE = (QUEUED, RUNNING, WAITING, DELAYED)
LENT, RESERVED = -1, 3
# With how many deaths in a row a workflow is a suspect, which is claimed in another way.
SUSPECT = 3


@dataclass(frozen=True)
class Options:
    """The limits of a queue; None is no limit."""

    concurrency: int | None = None
    worker_concurrency: int | None = None
    rate: Rate | None = None
    partition_concurrency: int | None = None
    partition_rate: Rate | None = None
    hold_while_waiting: bool = False
    is_paused: bool = False

    @property
    def is_managed(self) -> bool:
        """Whether the queue has a limit or a pause."""
        return replace(self, hold_while_waiting=False) != Options()


@dataclass
class Item:
    """A workflow."""

    workflow_id: str
    queue: str
    key: str
    priority: int
    status: str = QUEUED
    place: int = 0
    """0: none; 1: while it runs; 2: until it ends; LENT and RESERVED: while all of it waits."""
    executor: str | None = None
    """Who runs it, or still runs the function of a cancelled one."""
    has_run: bool = False
    is_again: bool = False
    """Whether it is queued ahead of those that start: its next claim is no start."""
    deaths: int = 0
    due_at: float | None = None
    latest_due: float | None = None
    value: int = 0
    """Its argument: that of the last start, if several are one workflow."""
    deduplication_id: str | None = None
    unique_until: float | None = None
    debounce_key: str | None = None

    @property
    def is_lingering(self) -> bool:
        """Whether it has lost its claim while its function runs."""
        return self.status != RUNNING and self.executor is not None


@dataclass
class Model:
    """Queues, workflows and a clock."""

    queues: dict[str, Options] = field(default_factory=dict)
    items: dict[str, Item] = field(default_factory=dict)
    now: float = 0.0
    starts: list[tuple[float, str, str | None]] = field(default_factory=list)
    """The time, queue and key of each start that a rate counts; None: the rate of the queue."""

    def options(self, queue: str) -> Options:
        """Return the limits of a queue."""
        return self.queues.get(queue, Options())

    # Counting

    def places(
        self,
        queue: str,
        *,
        key: str | None = None,
        executor: str | None = None,
        counts: tuple[int, ...] = (1, 2, RESERVED),
    ) -> int:
        """Return how many places of a queue are taken: in all, of a key, or by an executor."""
        return sum(
            item.place in counts
            and item.queue == queue
            and key in (None, item.key)
            and executor in (None, item.executor)
            for item in self.items.values()
        )

    def starts_within(self, queue: str, period: float, key: str | None = None) -> int:
        """Return the number of starts in the window that ends now, of a queue or of a key."""
        return sum(
            started > self.now - period and (queue, key) == (of_queue, of_key)
            for started, of_queue, of_key in self.starts
        )

    # What may be claimed

    def candidates(self, queue: str) -> Iterator[Item]:
        """Yield the workflows that are enqueued and no suspects.

        Those that linger wait for their own places, unless nothing is counted any more.
        """
        is_managed = self.options(queue).is_managed
        for item in self.items.values():
            is_queued = item.queue == queue and item.status == QUEUED
            is_waiting = item.is_lingering and (is_managed or bool(item.key))
            if is_queued and not is_waiting and item.deaths < SUSPECT:
                yield item

    def is_kept(self, item: Item) -> bool:
        """Return whether a workflow goes on in the place that it has, ahead of all others.

        Without limits and keys a place means nothing.
        """
        counts = self.options(item.queue).is_managed or bool(item.key)
        return item.place > 0 and not item.is_lingering and counts

    def may_run(self, item: Item, executor: str) -> bool:
        """Return whether the limits allow an executor to claim a workflow now."""
        options = self.options(item.queue)
        if options.is_paused or not self._has_start(item, options):
            return False
        own = self.places(item.queue, executor=executor)
        if not _has_room(options.worker_concurrency, own):
            return False
        if item.place:
            return True
        if not _has_room(options.concurrency, self.places(item.queue)):
            return False
        of_key = self.places(item.queue, key=item.key)
        return not item.key or _has_room(options.partition_concurrency, of_key)

    def _has_start(self, item: Item, options: Options) -> bool:
        if item.is_again:
            return True
        rates = [(options.rate, None)]
        if item.key:
            rates.append((options.partition_rate, item.key))
        return all(
            rate is None or self.starts_within(item.queue, rate[1], key) < rate[0]
            for rate, key in rates
        )

    # Changes

    def claim(self, item: Item, executor: str) -> None:
        """Have an executor run a workflow."""
        options = self.options(item.queue)
        if not item.is_again:
            self._count_start(item, options)
        item.status, item.executor, item.has_run = RUNNING, executor, True
        if options.is_managed and not item.place:
            item.place = 2 if options.hold_while_waiting else 1

    def _count_start(self, item: Item, options: Options) -> None:
        if options.rate is not None:
            self.starts.append((self.now, item.queue, None))
        if options.partition_rate is not None and item.key:
            self.starts.append((self.now, item.queue, item.key))

    def enqueue(self, item: Item) -> None:
        """Queue a workflow, again or for the first time."""
        item.status, item.due_at, item.debounce_key = QUEUED, None, None
        is_managed = self.options(item.queue).is_managed
        item.is_again = item.place == 2 or (item.has_run and is_managed)

    def leave(self, item: Item, status: str) -> None:
        """End a run: a place that is held until the end stays unless this is the end."""
        item.executor = None
        if item.place != 2 or status not in ACTIVE:
            item.place = 0
        item.status = status
        if status == QUEUED:
            self.enqueue(item)

    def cancel(self, item: Item) -> None:
        """Cancel a workflow: the place of one that runs stays until its function has returned."""
        if item.executor is None or item.place in (LENT, RESERVED):
            item.place = 0
        if not item.place:
            item.executor = None
        item.status, item.due_at, item.debounce_key = CANCELLED, None, None

    def take_place_again(self, item: Item) -> bool:
        """Give a run that has lent its place one, or reserve it the next; return whether it has."""
        options, executor = self.options(item.queue), item.executor
        if item.place not in (LENT, RESERVED):
            return True
        if not options.is_managed:
            item.place = 0
            return True
        own = self.places(item.queue, executor=executor, counts=(1, 2))
        of_key = self.places(item.queue, key=item.key, counts=(1, 2))
        has_room = (
            not options.is_paused
            and _has_room(options.worker_concurrency, own)
            and _has_room(options.concurrency, self.places(item.queue, counts=(1, 2)))
            and (not item.key or _has_room(options.partition_concurrency, of_key))
        )
        item.place = RESERVED if not has_room else 2 if options.hold_while_waiting else 1
        return has_room

    def function_returned(self, item: Item) -> None:
        """Free the place of a workflow that has lost its claim."""
        item.executor, item.place = None, 0

    def resume(self, item: Item) -> None:
        """Queue a cancelled, waiting or delayed workflow as if it were new."""
        item.status, item.due_at, item.debounce_key, item.deaths = QUEUED, None, None, 0
        item.is_again = item.place == 2 and item.executor is None

    def manage(self, queue: str, options: Options) -> None:
        """Change the limits of a queue: what runs counts from now on."""
        self.queues[queue] = options
        if not options.is_managed:
            return
        for item in self.items.values():
            if item.queue != queue or item.is_lingering:
                continue
            if item.status == RUNNING:
                is_held = item.place not in (LENT, RESERVED)
                item.place = 2 if options.hold_while_waiting else 1 if is_held else item.place
            elif options.hold_while_waiting:
                item.place = item.place or (2 if item.status == WAITING else 0)
            elif item.status in ACTIVE:
                item.place = 0

    def advance(self, seconds: float) -> None:
        """Let time pass, and queue the delayed workflows that are due."""
        self.now += seconds
        for item in self.items.values():
            if item.status == DELAYED and item.due_at is not None and item.due_at <= self.now:
                self.enqueue(item)


def _has_room(limit: int | None, used: int) -> bool:
    return limit is None or used < limit
