"""Between two attempts, a workflow occupies no needed slot, and loses nothing in a stop."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

import django_dbos as dbos
from django_dbos.models import Checkpoint, Workflow
from django_dbos.testing import advance
from tests.executor import workflows
from tests.executors import Start
from tests.waiting import LIMIT, eventually

pytestmark = pytest.mark.django_db(transaction=True)


attempts: list[int] = []
HOUR = 3_600
OPTIONS: dict[str, Any] = {"max_attempts": 5, "backoff": 1}


@pytest.fixture(autouse=True)
def _forget_attempts() -> None:
    attempts.clear()


def fail_at_first() -> int:
    current = dbos.current_workflow()
    assert current is not None
    attempts.append(current.attempt)
    if current.attempt == 1:
        raise ConnectionError
    return current.attempt


hourly = dbos.step(name="hourly", interval=HOUR, **OPTIONS)(fail_at_first)
atomic = dbos.step(name="atomic", interval=HOUR, atomic=True, **OPTIONS)(fail_at_first)


@dbos.step(interval=HOUR, **OPTIONS)
async def ahourly() -> int:
    return fail_at_first()


@dbos.workflow
def sync_one() -> int:
    return hourly()


@dbos.workflow
def atomic_one() -> int:
    return atomic()


@dbos.workflow
async def async_one() -> int:
    return await ahourly()


@dbos.workflow
async def async_of_atomic() -> int:
    return await atomic.acall()


@dbos.workflow
async def branches() -> list[int]:
    return list(await asyncio.gather(ahourly(), hourly.acall(), atomic.acall()))


KINDS = [sync_one, atomic_one, async_one, async_of_atomic, branches]


def have_failed(count: int) -> Callable[[], bool]:
    return lambda: Checkpoint.objects.filter(state=1, attempts=1).count() == count


@pytest.mark.rule(19)
@pytest.mark.parametrize("workflow", KINDS)
def test_other_workflows_run_between_two_attempts(workflow: Any, start_executor: Start) -> None:
    executor = start_executor(concurrency=2)
    handles = workflow.start_many([()] * 4)
    eventually(have_failed(12 if workflow is branches else 4))
    eventually(lambda: executor.runs.slots.free == 2)

    assert workflows.counts.start(3).get_result(timeout=LIMIT) == 3
    assert workflows.acounts.start(3).get_result(timeout=LIMIT) == 3
    is_resident = workflow is branches
    assert {handle.get_status() for handle in handles} == {"PENDING" if is_resident else "WAITING"}
    # However many of its branches wait, a run has a single slot to lend.
    eventually(lambda: executor.runs.slots.free == 2)


@pytest.mark.parametrize("workflow", [one for one in KINDS if one is not branches])
def test_the_next_attempt_begins_at_its_due_time(workflow: Any, start_executor: Start) -> None:
    start_executor(concurrency=2)
    handle = workflow.start()
    eventually(lambda: handle.get_status() == "WAITING")

    advance(HOUR)

    assert handle.get_result(timeout=LIMIT) == 2
    assert attempts == [1, 2]


@dbos.step(interval=60, **OPTIONS)
def shortly() -> int:
    return fail_at_first()


@dbos.workflow
def tries_shortly() -> int:
    return shortly()


def test_a_short_delay_keeps_its_slot_only_while_there_are_free_ones(
    start_executor: Start, settings: Any
) -> None:
    settings.DBOS = {**settings.DBOS, "HOLD_TIME": 600}
    start_executor(concurrency=1)

    handle = tries_shortly.start()

    eventually(lambda: handle.get_status() == "WAITING")
    assert workflows.counts.start(3).get_result(timeout=LIMIT) == 3


@pytest.mark.rule(37)
@pytest.mark.rule(52)
def test_a_stop_between_two_attempts_loses_no_attempt(start_executor: Start, settings: Any) -> None:
    settings.DBOS = {**settings.DBOS, "HOLD_TIME": 600}
    executor = start_executor(concurrency=2)
    handle = tries_shortly.start()
    eventually(have_failed(1))
    assert handle.get_status() == "PENDING"

    executor.stop()
    # Released from its slot, or suspended if the stop came before the wait in the slot began.
    assert handle.get_status() in ("ENQUEUED", "WAITING")
    advance(60)  # before the next run has read its due time
    start_executor(concurrency=2)

    eventually(lambda: len(attempts) == 2)
    assert handle.get_result(timeout=LIMIT) == 2
    assert attempts == [1, 2]
    assert Workflow.objects.get().recovery_attempts == 0
