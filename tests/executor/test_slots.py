"""Slots: limits on running workflows, and on ends that are being written."""

from __future__ import annotations

import threading
from typing import Any

import pytest

from django_dbos.executor.slots import Slots
from django_dbos.models import Workflow
from django_dbos.store import get_store
from tests.executor import workflows
from tests.executors import Start
from tests.process import workflows as gated
from tests.process.workflows import Gate
from tests.waiting import LIMIT, eventually


def test_ends_that_are_being_written_use_no_slots_but_are_limited() -> None:
    freed: list[int] = []
    slots = Slots(2, lambda: freed.append(slots.free))

    for _ in range(4):
        assert slots.take() == 1
        slots.await_settlement()
        slots.give_back()

    assert slots.free == 0
    assert slots.take(5) == 0
    slots.settle()
    assert (slots.free, freed[-1]) == (1, 1)
    for _ in range(3):
        slots.settle()
    assert slots.free == 2


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("workflow", [workflows.counts, workflows.acounts])
def test_the_next_run_begins_before_the_last_end_is_written(
    workflow: Any, start_executor: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    start: Start = start_executor
    executor = start(concurrency=1)
    may_write = threading.Event()
    apply = executor.store.apply

    def slowly(*args: Any, **options: Any) -> Any:
        may_write.wait(LIMIT)
        return apply(*args, **options)

    monkeypatch.setattr(executor.store, "apply", slowly)
    handles = workflow.start_many([(0,)] * 5)

    # Two workflows have ended; no third is claimed before one of these ends is written.
    eventually(lambda: len(executor.runs) == 2)
    assert Workflow.objects.filter(status="ENQUEUED").count() == 3
    may_write.set()
    assert [handle.get_result(timeout=LIMIT) for handle in handles] == [0] * 5
    eventually(lambda: executor.runs.slots.free == 1 and not executor.runs)


@pytest.mark.django_db(transaction=True)
def test_a_running_claim_leaves_slots_for_children(
    start_executor: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    executor = start_executor(concurrency=20)
    asked: list[tuple[int, int]] = []
    claim = executor.store.claim_workflows

    def note(*args: Any, **options: Any) -> Any:
        asked.append((options["limit"], executor.runs.slots.free))
        return claim(*args, **options)

    monkeypatch.setattr(executor.store, "claim_workflows", note)
    assert workflows.counts.start(0).get_result(timeout=LIMIT) == 0

    assert {limit for limit, _ in asked} == {8}
    assert all(free >= 11 for _, free in asked)


@pytest.mark.django_db(transaction=True)
def test_many_enqueued_workflows_are_claimed_in_few_statements(
    start_executor: Any, monkeypatch: pytest.MonkeyPatch, gate: Gate
) -> None:
    store = get_store()
    asked: list[int] = []
    claim = store.claim_workflows

    def note(*args: Any, **options: Any) -> Any:
        asked.append(options["limit"])
        return claim(*args, **options)

    monkeypatch.setattr(store, "claim_workflows", note)
    handles = gated.passes.start_many([(gate.path,)] * 100)
    start_executor(concurrency=100)
    eventually(lambda: len(asked) >= 3)
    gate.open()
    for handle in handles:
        handle.get_result(timeout=LIMIT)

    assert asked[:3] == [8, 32, 60]


def test_the_end_of_the_last_write_ends_the_wait_for_it() -> None:
    slots = Slots(2, lambda: None)
    slots.wait_until_settled(LIMIT)
    for _ in range(2):
        slots.await_settlement()
    waiting = threading.Thread(target=slots.wait_until_settled, args=(LIMIT,))
    waiting.start()

    slots.settle()
    slots.wait_until_settled(0.0)
    assert waiting.is_alive()
    slots.settle()

    waiting.join(LIMIT)
    assert not waiting.is_alive()
