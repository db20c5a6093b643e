"""Called workflows in queues with limits: they wait for a place, as all others do."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import pytest
from asgiref.sync import sync_to_async
from django.db import connections
from django.utils import timezone

import django_dbos as dbos
from django_dbos.models import Executor as ExecutorRow
from django_dbos.models import Workflow
from django_dbos.testing import run_until_idle
from tests.flow.gates import IN_ORDER, events, go, reached
from tests.flow.managed import make_queue
from tests.waiting import LIMIT, eventually

pytestmark = [pytest.mark.rule(61), pytest.mark.usefixtures("closed_gates")]


@dbos.step
def gated(name: str) -> None:
    events.append(f"{name} begins")
    if name == "first":
        reached.set()
        go.wait(LIMIT)
    events.append(f"{name} ends")


@dbos.workflow(queue_name="mail")
def works(name: str) -> str:
    gated(name)
    return name


@dbos.workflow(queue_name="mail")
async def aworks(name: str) -> str:
    await gated.acall(name)
    return name


@dbos.workflow(queue_name="mail")
def calls_another() -> str:
    return works("second")


def in_thread(function: Any, *args: Any) -> threading.Thread:
    """Call a function on another thread, as another request would."""

    def call() -> None:
        try:
            function(*args)
        except dbos.WorkflowCancelled:
            events.append("cancelled")
        finally:
            connections.close_all()

    thread = threading.Thread(target=call)
    thread.start()
    return thread


async def closing(call: Any) -> None:
    """Await a call, and close the connection of asgiref's thread."""
    try:
        await call
    finally:
        await sync_to_async(connections.close_all)()


@pytest.mark.parametrize("workflow", [works, aworks])
def test_a_call_waits_for_a_place(workflow: Any, transactional_db: None) -> None:
    make_queue(concurrency=1)
    first = in_thread(works, "first")
    assert reached.wait(LIMIT)

    second = in_thread(lambda: asyncio.run(closing(workflow.acall("second"))))
    eventually(lambda: Workflow.objects.filter(status="ENQUEUED").exists())
    go.set()
    first.join()
    second.join()

    assert events == IN_ORDER
    assert set(Workflow.objects.values_list("status", "place")) == {("SUCCESS", 0)}
    assert not ExecutorRow.objects.exists()


@pytest.mark.rule(58)
def test_a_cancelled_call_frees_its_place_when_the_step_has_returned(
    transactional_db: None,
) -> None:
    make_queue(concurrency=1)
    first = in_thread(works, "first")
    assert reached.wait(LIMIT)
    second = in_thread(works, "second")
    eventually(lambda: Workflow.objects.filter(status="ENQUEUED").exists())

    Workflow.objects.filter(status="PENDING").cancel()
    go.set()
    first.join()
    second.join()

    events.remove("cancelled")
    assert events == IN_ORDER


async def test_a_call_that_is_aborted_while_it_waits_stays_in_its_queue(async_db: None) -> None:
    await sync_to_async(make_queue)(paused_at=timezone.now())

    call = asyncio.ensure_future(aworks.acall("second"))
    enqueued = Workflow.objects.filter(status="ENQUEUED")
    while not await enqueued.aexists():  # noqa: ASYNC110
        await asyncio.sleep(0.01)
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call

    assert await enqueued.aexists()
    assert events == []


@pytest.mark.django_db
@pytest.mark.rule(36)
def test_in_a_tests_transaction_a_call_without_a_place_raises_and_leaves_nothing() -> None:
    make_queue(paused_at=timezone.now())

    with pytest.raises(dbos.WaitInTest, match="a place in queue 'mail'"):
        works("second")

    assert not Workflow.objects.exists()


@pytest.mark.django_db
@pytest.mark.rule(36)
def test_in_a_tests_transaction_a_call_with_a_place_runs() -> None:
    make_queue(concurrency=1)

    assert works("second") == "second"
    assert list(Workflow.objects.values_list("status", "place")) == [("SUCCESS", 0)]


@pytest.mark.django_db
@pytest.mark.rule(36)
def test_in_a_tests_transaction_a_child_runs_in_the_place_of_its_parent() -> None:
    make_queue(concurrency=1)

    assert calls_another() == "second"


@pytest.mark.django_db
@pytest.mark.rule(36)
def test_in_a_tests_transaction_a_child_whose_parent_keeps_the_only_place_raises() -> None:
    make_queue(concurrency=1, hold_while_waiting=True)

    with pytest.raises(dbos.WaitInTest):
        calls_another()


@pytest.mark.django_db
def test_run_until_idle_obeys_limits() -> None:
    make_queue(concurrency=1)
    handle = calls_another.start()

    assert run_until_idle() == 3

    assert handle.get_result() == "second"
