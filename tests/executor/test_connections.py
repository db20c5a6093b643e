"""Django's connections in a worker: threads without a run have none."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from asgiref.sync import async_to_sync, sync_to_async
from django.contrib.auth.models import Group
from django.db import connections

import django_dbos as dbos
from django_dbos import signals
from django_dbos.executor import pool
from tests.executors import Start
from tests.waiting import LIMIT, eventually

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.rule(34)]


used: list[Any] = []


@pytest.fixture(autouse=True)
def _persistent_connections(monkeypatch: pytest.MonkeyPatch) -> None:
    used.clear()
    for alias in connections:
        monkeypatch.setitem(connections.settings[alias], "CONN_MAX_AGE", None)
    monkeypatch.setattr(pool, "IDLE_TIME", 0.05)


def use_connection() -> int:
    used.append(connections["default"])
    return Group.objects.count()


def are_all_closed(count: int) -> bool:
    return len(used) >= count and all(one.connection is None for one in used)


@dbos.step
def asks() -> int:
    return use_connection()


@dbos.step
async def asks_in_a_step() -> int:
    return await asks.acall()


@dbos.workflow
def asking() -> int:
    return asks()


@dbos.workflow
async def aasking() -> int:
    return await asks.acall() + await asks_in_a_step()


@dbos.workflow
async def asking_side_by_side() -> int:
    return sum(await asyncio.gather(*(asks.acall() for _ in range(5))))


@dbos.workflow
async def quiet() -> None:
    """Do nothing."""


@pytest.mark.parametrize("workflow", [asking, aasking, asking_side_by_side])
def test_a_finished_run_keeps_no_connection(workflow: Any, start_executor: Start) -> None:
    start_executor(concurrency=4)

    for handle in workflow.start_many([()] * 12):
        assert handle.get_result(timeout=LIMIT) == 0

    eventually(lambda: are_all_closed(12))


@pytest.fixture
def connect() -> Iterator[Callable[..., None]]:
    """Connect a receiver that uses the ORM to a signal."""

    def receive(**_: Any) -> None:
        use_connection()

    def to(signal: Any) -> None:
        signal.connect(receive, weak=False, dispatch_uid="tests")

    yield to
    for signal in (signals.workflow_started, signals.workflow_finished, signals.keys_changed):
        signal.disconnect(dispatch_uid="tests")


@pytest.mark.parametrize("workflow", [asking, quiet])
@pytest.mark.parametrize("signal", [signals.workflow_started, signals.workflow_finished])
def test_receivers_leave_no_connection_and_no_thread(
    workflow: Any, signal: Any, start_executor: Start, connect: Any
) -> None:
    connect(signal)
    start_executor(concurrency=4)
    for handle in workflow.start_many([()] * 4):
        handle.get_result(timeout=LIMIT)
    threads = threading.active_count()

    for handle in workflow.start_many([()] * 40):
        handle.get_result(timeout=LIMIT)

    eventually(lambda: are_all_closed(44))
    eventually(lambda: threading.active_count() <= threads + 4)


def test_receivers_on_the_engines_own_threads_leave_no_connection(
    start_executor: Start, connect: Any
) -> None:
    start_executor()
    connect(signals.keys_changed)
    thread = threading.current_thread()

    @dbos.workflow
    def publishes() -> None:
        dbos.set_event("key", threading.current_thread() is thread)

    publishes.start().get_result(timeout=LIMIT)

    own = connections["default"]
    eventually(lambda: bool(used) and all(one is own or one.connection is None for one in used))


@pytest.mark.rule(39)
@pytest.mark.parametrize("host", ["worker", "inline"])
def test_concurrent_sync_steps_run_in_parallel(host: str, start_executor: Start) -> None:
    together = threading.Barrier(3)

    @dbos.step
    def meets(number: int) -> int:
        together.wait(LIMIT)
        Group.objects.create(name=f"group {number}")
        return number

    @dbos.workflow
    async def meeting() -> list[int]:
        return await asyncio.gather(*(meets.acall(n) for n in range(3)))

    if host == "worker":
        start_executor()
        assert meeting.start().get_result(timeout=LIMIT) == [0, 1, 2]
    else:
        assert asyncio.run(_called_and_closed(meeting)) == [0, 1, 2]
    assert Group.objects.count() == 3


@pytest.mark.rule(39)
@pytest.mark.parametrize("host", ["worker", "inline"])
def test_concurrent_sync_steps_leave_the_loop_its_own_threads(
    host: str, start_executor: Start
) -> None:
    """Each step has the loop run a call on a thread of the loop, while the others run."""
    together = threading.Barrier(4)

    @dbos.step
    def looks_up(number: int) -> int:
        together.wait(LIMIT)
        return async_to_sync(asyncio.to_thread)(int, number)

    @dbos.workflow
    async def meeting() -> list[int]:
        asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(1))
        return await asyncio.gather(*(looks_up.acall(n) for n in range(4)))

    if host == "worker":
        start_executor()
        assert meeting.start().get_result(timeout=LIMIT) == [0, 1, 2, 3]
    else:
        assert asyncio.run(_called_and_closed(meeting)) == [0, 1, 2, 3]


async def _called_and_closed(workflow: Any) -> Any:
    try:
        return await workflow()
    finally:
        await sync_to_async(connections.close_all)()


@pytest.mark.rule(39)
def test_a_sync_step_called_by_sync_code_of_an_async_workflow(start_executor: Start) -> None:
    """Its thread waits for the step, which runs on the same thread."""

    @dbos.workflow
    async def delegates() -> int:
        return await sync_to_async(lambda: asks() + asks())()

    start_executor()

    assert delegates.start().get_result(timeout=LIMIT) == 0
    assert used[0] is used[1]


@pytest.mark.rule(36)
@pytest.mark.django_db(transaction=False)
def test_in_a_tests_transaction_sync_steps_take_turns(db: None) -> None:
    from django_dbos.testing import run_until_idle

    Group.objects.create(name="seen by this connection only")
    handle = asking_side_by_side.start()

    run_until_idle()

    assert handle.get_result() == 5
    assert {id(one) for one in used} == {id(connections["default"])}
