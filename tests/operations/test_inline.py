"""Called workflows: run at once and durably, in web processes and in tests."""

from __future__ import annotations

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from asgiref.sync import sync_to_async
from django.core.exceptions import SynchronousOnlyOperation
from django.db import transaction

import django_dbos as dbos
from django_dbos.executor import Executor
from django_dbos.models import Checkpoint, Workflow
from django_dbos.models import Executor as ExecutorRow
from django_dbos.operations.inline import InlineHost
from django_dbos.store import get_store
from django_dbos.testing import run_until_idle
from tests.waiting import LIMIT


@dbos.step
def double(value: int) -> int:
    return value * 2


@dbos.step
async def adouble(value: int) -> int:
    return value * 2


@dbos.workflow
def doubles(value: int) -> int:
    return double(value)


@dbos.workflow
async def adoubles(value: int) -> int:
    return await adouble(value) + await double.acall(0)


@dbos.workflow
def calls_others(value: int) -> list[int]:
    return [doubles(value), doubles.start(value).get_result(), adoubles.start(1).get_result()]


@pytest.mark.django_db
@pytest.mark.rule(36)
@pytest.mark.rule(40)
def test_in_a_tests_transaction_a_call_starts_no_thread_and_no_executor() -> None:
    before = set(threading.enumerate())
    seen: list[int] = []

    @dbos.step
    def looks() -> None:
        seen.append(ExecutorRow.objects.count())

    @dbos.workflow
    def called() -> str:
        looks()
        return "done"

    assert called() == "done"
    assert seen == [0]
    # A thread of an earlier test may have ended meanwhile.
    assert set(threading.enumerate()) <= before
    assert Workflow.objects.get().status == "SUCCESS"


@pytest.mark.django_db
def test_children_of_a_called_workflow_run_here_too() -> None:
    assert calls_others(3) == [6, 6, 2]
    assert Workflow.objects.filter(status="SUCCESS").count() == 4


@pytest.mark.rule(33)
def test_a_web_process_is_an_executor_while_it_runs_a_workflow(transactional_db: None) -> None:
    seen: list[Any] = []

    @dbos.step
    def looks() -> None:
        seen.append(ExecutorRow.objects.values_list("is_inline", flat=True).get())

    @dbos.workflow(queue_name="web")
    def called() -> str:
        looks()
        return str(Workflow.objects.get().queue_name)

    assert called() == "web"
    assert seen == [True]
    assert not ExecutorRow.objects.exists()


@pytest.mark.rule(33)
def test_a_call_with_an_existing_id_waits_for_its_result(
    transactional_db: None, worker: Executor
) -> None:
    handle = doubles.using(workflow_id="same").start(4)

    assert doubles.using(workflow_id="same")(4) == 8
    assert handle.get_result() == 8
    assert Checkpoint.objects.count() == 1


@pytest.mark.rule(33)
def test_a_caller_that_lost_its_claim_returns_the_recorded_outcome(
    transactional_db: None, worker: Executor
) -> None:
    # The worker has the function, and serves its queue.
    taken: list[str] = []

    @dbos.step
    def is_taken_over(workflow_id: str) -> str:
        row = Workflow.objects.get(pk=workflow_id)
        if not taken:
            taken.append(workflow_id)
            store = get_store()
            store.recover_executor(store.session(), str(row.executor_id), is_unlocked=True)
            return "from the loser"
        return "from the winner"

    @dbos.workflow
    def called() -> str:
        current = dbos.current_workflow()
        assert current is not None
        return is_taken_over(current.workflow_id)

    assert called() == "from the winner"
    assert Checkpoint.objects.get().output == "from the winner"


@pytest.mark.rule(3)
async def test_an_abandoned_call_releases_its_workflow(async_db: None) -> None:
    began = asyncio.Event()

    @dbos.step
    async def hangs() -> None:
        began.set()
        await asyncio.sleep(60)

    @dbos.workflow
    async def called() -> None:
        await hangs()

    task = asyncio.create_task(called())
    await asyncio.wait_for(began.wait(), LIMIT)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task

    row = await sync_to_async(Workflow.objects.get)()
    assert (row.status, row.recovery_attempts) == ("ENQUEUED", 0)
    assert not await sync_to_async(ExecutorRow.objects.exists)()


@pytest.mark.rule(3)
async def test_a_call_that_is_abandoned_at_its_start_releases_its_workflow(
    async_db: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    start, is_claimed, may_return = InlineHost.start, threading.Event(), threading.Event()

    def start_slowly(self: InlineHost, new: Any) -> Any:
        run = start(self, new)
        is_claimed.set()
        may_return.wait(LIMIT)
        return run

    monkeypatch.setattr(InlineHost, "start", start_slowly)
    task = asyncio.create_task(adoubles(4))
    await asyncio.to_thread(is_claimed.wait, LIMIT)
    task.cancel()
    await asyncio.sleep(0)
    may_return.set()
    with pytest.raises(asyncio.CancelledError):
        await task

    row = await sync_to_async(Workflow.objects.get)()
    assert (row.status, row.recovery_attempts) == ("ENQUEUED", 0)
    assert not await sync_to_async(ExecutorRow.objects.exists)()


@pytest.mark.rule(3)
async def test_a_call_that_is_abandoned_while_it_claims_a_child_releases_both(
    async_db: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    claim, is_claimed, may_return = InlineHost.claim, threading.Event(), threading.Event()

    def claim_slowly(self: InlineHost, workflow_id: str) -> Any:
        run = claim(self, workflow_id)
        is_claimed.set()
        may_return.wait(LIMIT)
        return run

    @dbos.workflow
    async def parent() -> int:
        return await adoubles(4)

    monkeypatch.setattr(InlineHost, "claim", claim_slowly)
    task = asyncio.create_task(parent())
    await asyncio.to_thread(is_claimed.wait, LIMIT)
    task.cancel()
    await asyncio.sleep(0)
    may_return.set()
    with pytest.raises(asyncio.CancelledError):
        await task

    statuses = await sync_to_async(lambda: {one.status for one in Workflow.objects.all()})()
    assert statuses == {"ENQUEUED"}
    assert not await sync_to_async(ExecutorRow.objects.exists)()


@pytest.mark.rule(40)
async def test_async_workflows_run_inline_on_a_loop(async_db: None) -> None:
    assert await adoubles(4) == 8
    assert await doubles.acall(4) == 8


@pytest.mark.rule(40)
async def test_sync_forms_on_a_loop_name_their_async_forms(async_db: None) -> None:
    for call, twin in (
        (lambda: doubles(1), "acall"),
        (lambda: doubles.start(1), "astart"),
        (lambda: dbos.send("x", 1), "asend"),
        (lambda: dbos.get_event("x", "k"), "aget_event"),
        (lambda: dbos.retrieve_workflow("x"), "aretrieve_workflow"),
        (lambda: dbos.WorkflowHandle("x").get_result(), "aget_result"),
    ):
        with pytest.raises(SynchronousOnlyOperation, match=twin):
            call()


@pytest.mark.rule(26)
def test_calls_that_wait_are_refused_in_a_transaction(transactional_db: None) -> None:
    handle = doubles.start(1)
    with transaction.atomic():
        for call in (
            lambda: doubles(1),
            handle.get_result,
            lambda: handle.get_event("k"),
        ):
            with pytest.raises(dbos.NotAllowedInAtomic, match="non_atomic_requests"):
                call()
        with pytest.raises(dbos.NotAllowedInAtomic, match="non_atomic_requests"):
            list(handle.read_stream("s"))


@pytest.mark.django_db(transaction=True, databases=["default", "other"])
def test_a_wait_in_another_databases_transaction_points_to_on_commit() -> None:
    with transaction.atomic(using="other"):
        with pytest.raises(dbos.NotAllowedInAtomic, match=r"transaction.on_commit\(.*'other'"):
            doubles.start(1)
        with pytest.raises(dbos.NotAllowedInAtomic, match="on_commit"):
            dbos.send("x", 1)

    assert not Workflow.objects.exists()


@pytest.mark.django_db
def test_an_endless_wait_in_a_test_raises_at_once() -> None:
    @dbos.workflow
    def waits() -> None:
        dbos.recv(timeout=None)

    with pytest.raises(dbos.WaitInTest, match="run_until_idle"):
        waits()
    with pytest.raises(dbos.WaitInTest, match="run_until_idle"):
        doubles.start(1).get_result()


def test_a_stray_thread_causes_a_warning(transactional_db: None, worker: Executor) -> None:
    @dbos.workflow
    def uses_a_pool() -> list[str]:
        with ThreadPoolExecutor(1) as pool:
            future = pool.submit(double, 2)
            return [type(future.exception(10)).__name__]

    # Warnings are errors in tests; otherwise the step would run without being recorded.
    assert uses_a_pool.start().get_result(timeout=LIMIT) == ["RuntimeWarning"]


@pytest.mark.django_db
def test_run_until_idle_stops_endless_chains() -> None:
    @dbos.workflow
    def starts_another() -> None:
        starts_another.start()

    starts_another.start()

    with pytest.raises(dbos.DbosError, match="has run 5 times"):
        run_until_idle(max_runs=5)


@pytest.mark.django_db
def test_run_until_idle_serves_only_the_given_queues() -> None:
    mine, other = (doubles.using(queue_name=one).start(1) for one in ("mine", "other"))

    assert run_until_idle(["mine"]) == 1

    assert (mine.get_status(), other.get_status()) == ("SUCCESS", "ENQUEUED")
