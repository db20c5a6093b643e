"""The pool: runs with a slot begin at once, and leave nothing behind on their threads."""

from __future__ import annotations

import asyncio
import sys
import threading
from collections.abc import Iterator

import pytest
from django.contrib.auth.models import Group
from django.db import transaction
from django.db.transaction import TransactionManagementError

import django_dbos as dbos
from django_dbos.executor.pool import Pool
from tests.executor import workflows
from tests.executors import Start
from tests.waiting import LIMIT

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def hasty_threads() -> Iterator[None]:
    """Switch threads as often as possible, to provoke races."""
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(interval)


@dbos.workflow
def meets(number: int) -> bool:
    try:
        _meetings[number].wait(LIMIT)
    except threading.BrokenBarrierError:
        return False
    return True


_meetings = [threading.Barrier(8) for _ in range(3)]


def test_a_run_with_a_slot_never_waits_for_a_thread(
    start_executor: Start, hasty_threads: None
) -> None:
    """A thread that had just taken a run counted as idle, and the next run queued for it."""
    for number in range(len(_meetings)):
        executor = start_executor(concurrency=8)
        for handle in workflows.counts.start_many([(0,)] * 2):
            handle.get_result(timeout=LIMIT)

        handles = meets.start_many([(number,)] * 8)

        assert [handle.get_result(timeout=LIMIT) for handle in handles] == [True] * 8
        executor.stop()


def test_threads_are_reused(start_executor: Start) -> None:
    start_executor(concurrency=3)

    for handle in workflows.counts.start_many([(1,)] * 100):
        handle.get_result(timeout=LIMIT)

    assert sum(thread.name == "dbos-run" for thread in threading.enumerate()) <= 3


@dbos.workflow
def leaves_transaction_open() -> None:
    transaction.atomic().__enter__()
    Group.objects.create(name="lost")


@dbos.step
def create_group() -> int:
    Group.objects.create(name="kept")
    return Group.objects.count()


@dbos.workflow
def makes_group() -> int:
    return create_group()


@pytest.mark.rule(34)
def test_a_transaction_left_open_is_rolled_back_before_the_next_run(
    start_executor: Start, caplog: pytest.LogCaptureFixture
) -> None:
    start_executor(concurrency=1)

    leaves_transaction_open.start().get_result(timeout=LIMIT)

    assert makes_group.start().get_result(timeout=LIMIT) == 1
    assert "left a transaction open" in caplog.text
    assert Group.objects.get().name == "kept"


@dbos.step
def leaves_block_open() -> None:
    transaction.atomic().__enter__()
    Group.objects.create(name="lost")


@dbos.step
def leaves_autocommit_off() -> None:
    transaction.set_autocommit(False)
    Group.objects.create(name="lost")


@dbos.workflow
def catches_open_transaction(is_block: bool) -> list[str]:
    try:
        leaves_block_open() if is_block else leaves_autocommit_off()
    except TransactionManagementError as error:
        return [str(error), str(create_group())]
    return []


@pytest.mark.parametrize("is_block", [True, False])
def test_a_step_that_leaves_a_transaction_open_fails(start_executor: Start, is_block: bool) -> None:
    start_executor(concurrency=1)

    error, count = catches_open_transaction.start(is_block).get_result(timeout=LIMIT)

    assert "left a transaction open on database 'default'" in error
    assert (count, Group.objects.get().name) == ("1", "kept")


def test_runs_wait_if_the_system_has_no_threads_left(
    start_executor: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    start, refused = threading.Thread.start, []

    def refuse_some(thread: threading.Thread) -> None:
        if thread.name == "dbos-run" and len(refused) < 3:
            refused.append(thread)
            raise RuntimeError("can't start new thread")
        start(thread)

    start_executor(concurrency=2)
    monkeypatch.setattr(threading.Thread, "start", refuse_some)

    handles = workflows.counts.start_many([(1,)] * 4)

    assert [handle.get_result(timeout=LIMIT) for handle in handles] == [1] * 4
    assert len(refused) == 3


def test_the_loop_closes_beside_a_task_that_has_just_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    """The done callback of such a task is still to be called when the loop stops."""
    errors: list[object] = []
    monkeypatch.setattr(threading, "excepthook", errors.append)
    pool = Pool(on_done=lambda run: None)

    async def end_with_the_loop(run: object) -> None:
        asyncio.get_running_loop().stop()

    monkeypatch.setattr(pool, "_arun", end_with_the_loop)
    loop = pool._running_loop()
    loop.call_soon_threadsafe(pool._start_task, object())
    assert pool._loop_thread is not None
    pool._loop_thread.join(LIMIT)

    assert loop.is_closed()
    assert errors == []
