"""Draining: an executor that is asked to claims nothing more, and ends when its runs have."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from django.db import transaction

import django_dbos as dbos
from django_dbos.executor import Executor
from django_dbos.models import Executor as ExecutorRow
from django_dbos.models import Workflow
from django_dbos.store import get_store
from tests.process.conftest import Worker
from tests.process.workflows import Gate, passes
from tests.store.conftest import register
from tests.waiting import LIMIT, eventually

pytestmark = pytest.mark.django_db(transaction=True)

reached, go = threading.Event(), threading.Event()


@pytest.fixture(autouse=True)
def _closed_gates() -> Iterator[None]:
    reached.clear()
    go.clear()
    yield
    go.set()


@dbos.step
def gated() -> None:
    reached.set()
    go.wait(LIMIT)


@dbos.workflow
def works() -> str:
    gated()
    return "done"


@dbos.workflow
def waits() -> Any:
    reached.set()
    return dbos.recv()


@dbos.workflow
async def waits_in_branches() -> list[Any]:
    """Wait in two branches, which can't be suspended."""
    reached.set()
    return await asyncio.gather(dbos.arecv("a"), dbos.arecv("b"))


begun: list[str] = []


@dbos.step
def gated_on_thread() -> str:
    begun.append("on a thread")
    go.wait(LIMIT)
    return "on a thread"


@dbos.step
async def gated_on_loop() -> str:
    begun.append("on the loop")
    await asyncio.to_thread(go.wait, LIMIT)
    return "on the loop"


@dbos.workflow
async def waits_beside_steps() -> list[Any]:
    return await asyncio.gather(dbos.arecv(), gated_on_thread.acall(), gated_on_loop())


@dbos.workflow
async def waits_in_group() -> list[Any]:
    async with asyncio.TaskGroup() as group:
        received = group.create_task(dbos.arecv())
        steps = [group.create_task(one) for one in (gated_on_thread.acall(), gated_on_loop())]
    return [received.result(), *(step.result() for step in steps)]


def drained(executor: Executor) -> bool:
    """Return whether an executor has ended, and has left no row."""
    return not ExecutorRow.objects.filter(pk=executor.executor_id).exists()


def test_a_drained_executor_claims_nothing_more_and_ends_after_its_runs(
    start_executor: Callable[..., Executor],
) -> None:
    executor = start_executor()
    handle = works.start()
    assert reached.wait(LIMIT)

    assert ExecutorRow.objects.all().drain() == {executor.executor_id: True}
    eventually(lambda: executor.runs.is_draining)
    later = works.start()
    assert ExecutorRow.objects.get().drain_requested_at is not None
    go.set()

    eventually(lambda: drained(executor))
    assert (handle.get_status(), later.get_status()) == ("SUCCESS", "ENQUEUED")
    start_executor()
    assert later.get_result(timeout=LIMIT) == "done"


def test_a_workflow_that_waits_is_suspended_at_once(
    start_executor: Callable[..., Executor], settings: Any
) -> None:
    settings.DBOS = {**settings.DBOS, "HOLD_TIME": 0.2}
    executor = start_executor()
    handle = waits.start()
    assert reached.wait(LIMIT)

    ExecutorRow.objects.all().drain()

    eventually(lambda: drained(executor))
    assert handle.get_status() == "WAITING"


def test_a_workflow_whose_branches_wait_is_handed_over_uncounted(
    start_executor: Callable[..., Executor],
) -> None:
    executor = start_executor()
    handle = waits_in_branches.start()
    eventually(lambda: any(run.waiting_branches == 2 for run in executor.runs))

    ExecutorRow.objects.all().drain()

    eventually(lambda: drained(executor))
    row = Workflow.objects.get()
    assert (row.status, row.recovery_attempts) == ("ENQUEUED", 0)
    start_executor()
    handle.send(1, "a")
    handle.send(2, "b")
    assert handle.get_result(timeout=LIMIT) == [1, 2]


def test_children_of_a_draining_executors_runs_go_to_their_queue(
    start_executor: Callable[..., Executor],
) -> None:
    @dbos.workflow
    def child() -> str:
        return "child"

    @dbos.workflow
    def parent() -> str:
        gated()
        return child.start().workflow_id

    executor = start_executor()
    handle = parent.start()
    assert reached.wait(LIMIT)
    ExecutorRow.objects.all().drain()
    eventually(lambda: executor.runs.is_draining)
    go.set()

    eventually(lambda: drained(executor))
    assert dbos.WorkflowHandle(handle.get_result()).get_status() == "ENQUEUED"


def test_inline_and_unknown_executors_are_not_asked() -> None:
    store = get_store()
    inline = register(store, is_inline=True)

    assert store.drain_executors([inline, "unknown"]) == {inline: False, "unknown": False}

    assert ExecutorRow.objects.get().drain_requested_at is None


def test_a_request_in_a_transaction_that_is_rolled_back_has_no_effect(
    start_executor: Callable[..., Executor],
) -> None:
    executor = start_executor()
    with transaction.atomic():
        ExecutorRow.objects.all().drain()
        transaction.set_rollback(True)

    handle = works.start()
    assert reached.wait(LIMIT)
    assert not executor.runs.is_draining
    go.set()
    assert handle.get_result(timeout=LIMIT) == "done"


@pytest.mark.process
@pytest.mark.parametrize("processes", [1, 2])
def test_a_drained_worker_exits_with_0(
    start_worker: Callable[..., Worker], gate: Gate, processes: int
) -> None:
    worker = start_worker("--processes", str(processes), "--concurrency", "1")
    eventually(lambda: ExecutorRow.objects.count() == processes)
    handle = passes.start(gate.path)
    eventually(lambda: gate.is_reached)

    assert all(ExecutorRow.objects.all().drain().values())
    worker.wait_for("drains", times=processes)
    assert not worker.has_ended
    gate.open()

    assert worker.wait() == 0
    assert handle.get_status() == "SUCCESS"
    assert not ExecutorRow.objects.exists()


@pytest.mark.process
def test_the_other_processes_of_a_worker_go_on(
    start_worker: Callable[..., Worker], gate: Gate
) -> None:
    worker = start_worker("--processes", "2")
    eventually(lambda: ExecutorRow.objects.count() == 2)
    ids = set(ExecutorRow.objects.values_list("executor_id", flat=True))
    drained_id = min(ids)

    ExecutorRow.objects.filter(pk=drained_id).drain()
    eventually(lambda: not ExecutorRow.objects.filter(pk=drained_id).exists())

    gate.open()
    assert passes.start(gate.path).get_result(timeout=LIMIT)
    assert not worker.has_ended
    # It has been started again by nobody.
    assert set(ExecutorRow.objects.values_list("executor_id", flat=True)) == ids - {drained_id}


@pytest.mark.rule(37)
@pytest.mark.parametrize("is_stopped", [False, True], ids=["drained", "stopped"])
@pytest.mark.parametrize("workflow", [waits_beside_steps, waits_in_group], ids=["gather", "group"])
def test_steps_beside_a_wait_end_and_are_recorded_before_the_hand_over(
    start_executor: Callable[..., Executor], workflow: Any, is_stopped: bool
) -> None:
    begun.clear()
    executor = start_executor()
    handle = workflow.start()
    eventually(lambda: len(begun) == 2)
    (run,) = executor.runs
    eventually(lambda: run.waiting_branches)

    ending = threading.Thread(target=executor.stop if is_stopped else executor.drain)
    ending.start()
    eventually(lambda: run.interruption)
    # Whatever ends the function early, or cancels its branches, has time to do so.
    time.sleep(0.3)
    go.set()
    ending.join(LIMIT)
    eventually(lambda: drained(executor))
    start_executor()
    handle.send("come")

    assert handle.get_result(timeout=LIMIT) == ["come", "on a thread", "on the loop"]
    assert sorted(begun) == ["on a thread", "on the loop"]
