"""The engine's queues beside a small model: any order of starts, claims, ends, deaths and changes.

Hypothesis makes up sequences of operations, and shortens those that fail. After each operation the
tables must say what the model says; a claim must take what the model allows, in the right order,
and leave nothing that it allows. Time is the database's, moved by `testing.advance`: periods are so
long that the seconds which a test takes make no difference.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from django.db import transaction
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

import django_dbos as dbos
from django_dbos.models import Workflow
from tests.flow.model import (
    ACTIVE,
    CANCELLED,
    DELAYED,
    DONE,
    LENT,
    QUEUED,
    RESERVED,
    RUNNING,
    WAITING,
    Item,
    Model,
    Options,
)
from tests.flow.world import World, work

QUEUES = ("plain", "limited", "keyed")
KEYS = ("a", "b", "c")
PERIOD = 1_000.0
# Sums of these never are the age at which a start leaves its window.
STEPS = (300.0, 700.0 - 1.0)
WHOLE: dict[str, Any] = {
    "concurrency": st.sampled_from((None, 1, 3)),
    "worker_concurrency": st.sampled_from((None, None, 1)),
    "rate": st.sampled_from((None, None, (2, PERIOD))),
    "hold_while_waiting": st.booleans(),
}
PARTS: dict[str, Any] = {
    "partition_concurrency": st.sampled_from((None, 1)),
    "partition_rate": st.sampled_from((None, None, (1, PERIOD))),
}
LIMITS = {
    "limited": st.builds(Options, **WHOLE),
    "keyed": st.builds(Options, **WHOLE, **PARTS),
}
NUMBERS = st.integers(0, 50)
# By the key: seconds of quiet, and at most.
DEBOUNCES = {"soon": (400.0, None), "in time": (400.0, 650.0)}


class Machine(RuleBasedStateMachine):
    """The engine and the model, side by side."""

    def __init__(self) -> None:
        super().__init__()
        self.block = transaction.atomic()
        self.block.__enter__()
        self.model = Model()
        self.world = World()
        self.executors = [self.world.new_executor() for _ in range(2)]
        self.passed: dict[tuple[str, str, str], Counter[str]] = defaultdict(Counter)

    def teardown(self) -> None:
        transaction.set_rollback(True)
        self.block.__exit__(None, None, None)

    @initialize(**LIMITS)
    def begin(self, limited: Options, keyed: Options) -> None:
        self.change("plain", Options())
        self.change("limited", limited)
        self.change("keyed", keyed)
        for queue in QUEUES:
            for key in KEYS:
                self.start(queue, key, 0, None, 1)

    # Starts

    @rule(
        queue=st.sampled_from(QUEUES),
        key=st.sampled_from(KEYS),
        priority=st.sampled_from((0, 0, 5)),
        delay=st.sampled_from((None, None, None, 500.0)),
        count=st.integers(1, 3),
    )
    def start(self, queue: str, key: str, priority: int, delay: float | None, count: int) -> None:
        key = key if queue == "keyed" else ""
        for _ in range(count):
            options = {"queue_name": queue, "priority": priority, "partition_key": key or None}
            handle = work.using(**options, run_after=delay).start(0)
            self.add(handle, queue, key, priority, delay)

    def add(
        self, handle: Any, queue: str, key: str = "", priority: int = 0, delay: float | None = None
    ) -> Item:
        item = Item(handle.workflow_id, queue, key, priority)
        if delay is not None:
            item.status, item.due_at = DELAYED, self.model.now + delay
        self.model.items[item.workflow_id] = item
        return item

    @rule(
        unique_id=st.sampled_from(("one", "other")),
        on_duplicate=st.sampled_from(("return", "reject", "replace")),
    )
    def start_once(self, unique_id: str, on_duplicate: Any) -> None:
        """Start a workflow that is unique while it is active."""
        holder = self.find(deduplication_id=unique_id, status=ACTIVE)
        starting = work.using(
            queue_name="limited", deduplication_id=unique_id, on_duplicate=on_duplicate
        )
        if holder is not None and on_duplicate == "reject":
            with pytest.raises(dbos.DuplicateWorkflow):
                starting.start(0)
            return
        handle = starting.start(0)
        if holder is not None and on_duplicate == "return":
            assert handle.workflow_id == holder.workflow_id
            return
        if holder is not None:
            self.model.cancel(holder)
        self.add(handle, "limited").deduplication_id = unique_id

    @rule()
    def start_once_in_a_while(self) -> None:
        """Start a workflow that stays unique for a time, also when it has ended."""
        holder = self.find(deduplication_id="rare", status=(*ACTIVE, DONE, CANCELLED))
        is_taken = holder is not None and (
            holder.status in ACTIVE or (holder.unique_until or 0.0) > self.model.now
        )
        starting = work.using(queue_name="plain", deduplication_id="rare", unique_for=500.0)
        handle = starting.start(0)
        if is_taken and holder is not None:
            assert handle.workflow_id == holder.workflow_id
            return
        item = self.add(handle, "plain")
        item.deduplication_id, item.unique_until = "rare", self.model.now + 500.0

    @rule(key=st.sampled_from(sorted(DEBOUNCES)), value=st.integers(0, 99))
    def start_debounced(self, key: str, value: int) -> None:
        delay, max_delay = DEBOUNCES[key]
        waiting = self.find(debounce_key=key, status=(DELAYED,))
        handle = work.using(
            queue_name="limited", debounce_key=key, delay=delay, max_delay=max_delay
        ).start(value)
        if waiting is None:
            waiting = self.add(handle, "limited", delay=delay)
            waiting.debounce_key = key
            waiting.latest_due = None if max_delay is None else self.model.now + max_delay
        assert handle.workflow_id == waiting.workflow_id
        waiting.value = value
        due_at = self.model.now + delay
        waiting.due_at = min(due_at, waiting.latest_due or due_at)

    # Claims

    @rule(executor=st.integers(0, 1), queue=st.sampled_from(QUEUES))
    def claim_one(self, executor: int, queue: str) -> None:
        self.claim(executor, queue, 1)

    @rule(executor=st.integers(0, 1), queue=st.sampled_from(QUEUES), limit=st.integers(2, 5))
    def claim_some(self, executor: int, queue: str, limit: int) -> None:
        self.claim(executor, queue, limit)

    def claim(self, executor: int, queue: str, limit: int) -> None:
        executor_id = self.executors[executor]
        waited = self.waiting_keys(queue, executor_id)
        order = self.order()
        kept = {
            item.workflow_id for item in self.model.candidates(queue) if self.model.is_kept(item)
        }
        claimed = self.world.claim(executor_id, queue, limit)
        assert len(claimed) == len(set(claimed)) <= limit
        for workflow_id in claimed:
            item = self.model.items[workflow_id]
            self.check_claim(item, executor_id, order, set(claimed))
            self.model.claim(item, executor_id)
        if len(claimed) < limit:
            left = [item for item in self.model.candidates(queue) if self.may(item, executor_id)]
            assert left == []
        # Those that have their places come first, whichever key's turn it is.
        if not kept.issuperset(claimed):
            self.check_turn(queue, executor_id, waited, claimed if limit == 1 else None)

    def may(self, item: Item, executor_id: str) -> bool:
        return self.model.may_run(item, executor_id)

    def check_claim(
        self, item: Item, executor_id: str, order: dict[str, Any], claimed: set[str]
    ) -> None:
        """Check that a claimed workflow was allowed to run, and was the next one of its key."""
        assert any(one is item for one in self.model.candidates(item.queue))
        assert self.may(item, executor_id)
        before = [
            other
            for other in self.model.candidates(item.queue)
            if other.key == item.key
            and other.workflow_id not in claimed
            and order[other.workflow_id] < order[item.workflow_id]
            and self.may(other, executor_id)
        ]
        assert before == []

    def order(self) -> dict[str, Any]:
        """Return the order in which the workflows of a key are claimed."""
        rows = Workflow.objects.values_list("workflow_id", "queue_sequence")
        return {
            workflow_id: (not self.model.is_kept(item), -item.priority, not item.is_again, position)
            for workflow_id, position in rows
            for item in [self.model.items[workflow_id]]
        }

    def waiting_keys(self, queue: str, executor_id: str) -> set[str]:
        """Return the keys of which an executor may claim something."""
        return {item.key for item in self.model.candidates(queue) if self.may(item, executor_id)}

    def check_turn(
        self, queue: str, executor_id: str, waited: set[str], claimed: list[str] | None
    ) -> None:
        """Check that an executor serves no key twice while another one waits."""
        if claimed is None:
            self.passed.clear()
            return
        for workflow_id in claimed:
            served = self.model.items[workflow_id].key
            for key in waited - {served}:
                self.passed[executor_id, queue, key][served] += 1
                assert self.passed[executor_id, queue, key][served] <= 1
            for one in self.executors:
                self.passed.pop((one, queue, served), None)

    # Ends

    @precondition(lambda self: self.running())
    @rule(number=NUMBERS)
    def finish(self, number: int) -> None:
        item = pick(self.running(), number)
        assert self.world.finish(item.workflow_id)
        self.model.leave(item, DONE)

    @precondition(lambda self: self.running())
    @rule(number=NUMBERS)
    def suspend(self, number: int) -> None:
        item = pick(self.running(), number)
        assert self.world.suspend(item.workflow_id)
        self.model.leave(item, WAITING)

    @precondition(lambda self: self.running())
    @rule(number=NUMBERS)
    def release(self, number: int) -> None:
        item = pick(self.running(), number)
        assert self.world.release(item.workflow_id)
        self.model.leave(item, QUEUED)

    @precondition(lambda self: self.with_place(1))
    @rule(number=NUMBERS)
    def lend(self, number: int) -> None:
        item = pick(self.with_place(1), number)
        assert self.world.lend(item.workflow_id)
        item.place = LENT

    @precondition(lambda self: self.with_place(LENT, RESERVED))
    @rule(number=NUMBERS)
    def take_place_again(self, number: int) -> None:
        item = pick(self.with_place(LENT, RESERVED), number)
        has_place = self.model.take_place_again(item)
        assert self.world.take_place_again(item.workflow_id) is has_place

    def with_place(self, *places: int) -> list[Item]:
        """Return the workflows that run, and have one of these places."""
        return [item for item in self.running() if item.place in places]

    @precondition(lambda self: self.lost())
    @rule(number=NUMBERS)
    def return_after_the_claim_was_lost(self, number: int) -> None:
        item = pick(self.lost(), number)
        if item.is_lingering:
            self.world.return_lost(item.workflow_id)
            self.model.function_returned(item)
        else:
            assert not self.world.finish(item.workflow_id)

    def running(self) -> list[Item]:
        """Return the workflows whose claims are held."""
        found = (self.model.items[workflow_id] for workflow_id in self.world.claims)
        return [item for item in found if item.status == RUNNING]

    def lost(self) -> list[Item]:
        """Return the workflows whose functions run although the claim is lost."""
        found = (self.model.items[workflow_id] for workflow_id in self.world.claims)
        return [item for item in found if item.status != RUNNING]

    @precondition(lambda self: self.with_status(WAITING))
    @rule(number=NUMBERS)
    def wake(self, number: int) -> None:
        item = pick(self.with_status(WAITING), number)
        self.world.wake(item.workflow_id)
        self.model.enqueue(item)

    @precondition(lambda self: self.with_status(RUNNING))
    @rule(number=NUMBERS)
    def cancel_running(self, number: int) -> None:
        self.cancel(pick(self.with_status(RUNNING), number))

    @precondition(lambda self: self.with_status(QUEUED, WAITING, DELAYED))
    @rule(number=NUMBERS)
    def cancel_other(self, number: int) -> None:
        self.cancel(pick(self.with_status(QUEUED, WAITING, DELAYED), number))

    def cancel(self, item: Item) -> None:
        assert dbos.WorkflowHandle(item.workflow_id).cancel()
        self.model.cancel(item)

    @precondition(lambda self: self.with_status(CANCELLED, WAITING, DELAYED))
    @rule(number=NUMBERS)
    def resume(self, number: int) -> None:
        item = pick(self.with_status(CANCELLED, WAITING, DELAYED), number)
        other = self.find(deduplication_id=item.deduplication_id or "none", status=ACTIVE)
        is_free = other is None or other is item
        assert dbos.WorkflowHandle(item.workflow_id).resume() is is_free
        if is_free:
            self.model.resume(item)

    @precondition(lambda self: self.with_status(RUNNING))
    @rule(executor=st.integers(0, 1))
    def die(self, executor: int) -> None:
        dead = self.executors[executor]
        self.executors[executor] = self.world.new_executor()
        self.world.die(dead)
        for item in self.model.items.values():
            if item.executor != dead:
                continue
            self.world.claims.pop(item.workflow_id, None)
            if item.status == RUNNING:
                item.deaths += 1
                self.model.leave(item, QUEUED)
            else:
                self.model.function_returned(item)

    # Changes

    @rule(options=LIMITS["limited"])
    def set_limits(self, options: Options) -> None:
        self.change("limited", options)

    @rule(options=LIMITS["keyed"])
    def set_limits_of_keys(self, options: Options) -> None:
        self.change("keyed", options)

    def change(self, queue: str, options: Options) -> None:
        dbos.queues.set(
            queue,
            concurrency=options.concurrency,
            worker_concurrency=options.worker_concurrency,
            rate_limit=rate(options.rate),
            partition_concurrency=options.partition_concurrency,
            partition_rate_limit=rate(options.partition_rate),
            hold_while_waiting=options.hold_while_waiting,
        )
        is_paused = self.model.options(queue).is_paused
        self.model.manage(queue, replace(options, is_paused=is_paused))

    @rule(queue=st.sampled_from(QUEUES), is_paused=st.booleans())
    def pause(self, queue: str, is_paused: bool) -> None:
        change = dbos.queues.pause if is_paused else dbos.queues.resume
        change(queue)
        if self.model.options(queue).is_paused != is_paused:
            changed = replace(self.model.options(queue), is_paused=is_paused)
            self.model.manage(queue, changed)

    @rule(seconds=st.sampled_from(STEPS))
    def pass_time(self, seconds: float) -> None:
        self.world.advance(seconds)
        self.model.advance(seconds)

    # The comparison

    @invariant()
    def tables_say_what_the_model_says(self) -> None:
        rows = {row.workflow_id: facts_of(row) for row in Workflow.objects.all()}
        assert rows == {item.workflow_id: expected_of(item) for item in self.model.items.values()}

    # Helpers

    def with_status(self, *statuses: str) -> list[Item]:
        return [item for item in self.model.items.values() if item.status in statuses]

    def find(self, *, status: tuple[str, ...], **values: str) -> Item | None:
        """Return the latest workflow with these values."""
        found = [
            item
            for item in self.with_status(*status)
            if all(getattr(item, name) == value for name, value in values.items())
        ]
        return found[-1] if found else None


def facts_of(row: Workflow) -> dict[str, Any]:
    return {
        "status": str(row.status),
        "place": row.place,
        "executor": row.executor_id,
        "has_run": row.started_at is not None,
        "deaths": row.recovery_attempts,
        "value": row.input["args"],
        "is_again": row.status == QUEUED and row.queue_sequence < 0,
    }


def expected_of(item: Item) -> dict[str, Any]:
    return {
        "status": item.status,
        "place": item.place,
        "executor": item.executor,
        "has_run": item.has_run,
        "deaths": item.deaths,
        "value": [item.value],
        "is_again": item.status == QUEUED and item.is_again,
    }


def pick(found: list[Any], number: int) -> Any:
    return found[number % len(found)]


def rate(limit: tuple[int, float] | None) -> Any:
    return None if limit is None else (limit[0], timedelta(seconds=limit[1]))


@pytest.mark.django_db
@pytest.mark.rule(54)
def test_queues_do_what_the_model_does() -> None:
    run_state_machine_as_test(  # type: ignore[no-untyped-call]
        Machine,
        settings=settings(
            max_examples=15,
            stateful_step_count=40,
            deadline=None,
            # The same sequences each time, and no files.
            derandomize=True,
            database=None,
            phases=(Phase.explicit, Phase.generate, Phase.shrink),
            suppress_health_check=list(HealthCheck),
        ),
    )


@pytest.mark.django_db
@pytest.mark.rule(56)
def test_a_resumed_workflow_needs_a_start_and_counts_as_one() -> None:
    def start() -> str:
        return work.using(queue_name="limited").start(0).workflow_id

    world = World()
    executor_id = world.new_executor()
    dbos.queues.set("limited", rate_limit=(2, timedelta(seconds=PERIOD)))
    resumed, second = start(), start()
    assert world.claim(executor_id, "limited", 1) == [resumed]
    handle = dbos.WorkflowHandle[int](resumed)
    handle.cancel()
    world.return_lost(resumed)
    handle.resume()

    assert world.claim(executor_id, "limited", 5) == [second]
    assert str(handle.describe().why_not_running).startswith("Rate limit: next start in ")
    world.advance(PERIOD + 1.0)
    third, _ = start(), start()
    assert world.claim(executor_id, "limited", 5) == [resumed, third]
    assert world.claim(executor_id, "limited", 5) == []
