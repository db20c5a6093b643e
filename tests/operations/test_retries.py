"""Attempts at a step: recorded one by one, delayed without a slot, and logged."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from typing import Any

import pytest
from django.contrib.auth.models import Group

import django_dbos as dbos
from django_dbos.models import Checkpoint, Workflow
from django_dbos.testing import advance, run_until_idle
from tests.crashing import Crash, crash_after, recover

pytestmark = pytest.mark.django_db

calls: list[Any] = []
HOUR = 3_600


@pytest.fixture(autouse=True)
def _forget_calls() -> None:
    calls.clear()


def fail_until(last: int) -> int:
    current = dbos.current_workflow()
    assert current is not None
    calls.append((current.attempt, current.max_attempts))
    if current.attempt < last:
        raise ConnectionError(f"down, {current.attempt}")
    return current.attempt


@dbos.step(max_attempts=5, interval=HOUR, backoff=1)
def hourly(last: int) -> int:
    return fail_until(last)


@dbos.step(max_attempts=5, interval=HOUR, backoff=1)
async def ahourly(last: int) -> int:
    return fail_until(last)


@dbos.step(max_attempts=5, interval=HOUR, backoff=1, atomic=True)
def hourly_and_atomic(last: int) -> int:
    Group.objects.create(name=f"attempt {len(calls)}")
    return fail_until(last)


@dbos.workflow
def sync_one(last: int) -> int:
    return hourly(last)


@dbos.workflow
def atomic_one(last: int) -> int:
    return hourly_and_atomic(last)


@dbos.workflow
async def async_one(last: int) -> int:
    return await ahourly(last)


@dbos.workflow
async def async_of_sync(last: int) -> int:
    return await hourly.acall(last)


@dbos.workflow
async def async_of_atomic(last: int) -> int:
    return await hourly_and_atomic.acall(last)


KINDS = [sync_one, atomic_one, async_one, async_of_sync, async_of_atomic]


@pytest.mark.rule(17)
@pytest.mark.parametrize("workflow", KINDS)
def test_a_long_delay_suspends_the_workflow(workflow: Any) -> None:
    handle = workflow.start(3)

    run_until_idle()
    assert handle.get_status() == "WAITING"
    assert handle.describe().waits_for == "retry"
    (step,) = handle.steps()
    assert (step.attempts, step.state) == (1, Checkpoint.State.WAITING)
    began = step.started_at

    # It isn't retried early, even if workflows are run.
    assert handle.resume()
    run_until_idle()
    assert calls == [(1, 5)]

    for _ in range(2):
        advance(HOUR)
        run_until_idle()

    assert handle.get_result() == 3
    assert calls == [(1, 5), (2, 5), (3, 5)]
    (step,) = handle.steps()
    assert (step.attempts, step.output, step.started_at) == (3, 3, began)
    kept = [(failed["attempt"], failed["error"], failed["delay"]) for failed in step.attempt_errors]
    assert kept == [
        (1, "ConnectionError: down, 1", HOUR),
        (2, "ConnectionError: down, 2", HOUR),
    ]
    for failed in step.attempt_errors:
        assert datetime.fromisoformat(failed["at"]) <= datetime.now(UTC)
        assert failed["seconds"] >= 0
    assert Group.objects.count() == (1 if "atomic" in workflow.name else 0)


@pytest.mark.parametrize("workflow", KINDS)
def test_the_errors_of_all_attempts_are_kept_when_the_last_attempt_fails(workflow: Any) -> None:
    handle = workflow.start(9)

    for _ in range(5):
        run_until_idle()
        advance(HOUR)

    with pytest.raises(ConnectionError, match="down, 5"):
        handle.get_result()
    (step,) = handle.steps()
    assert (step.attempts, step.state) == (5, Checkpoint.State.RECORDED)
    assert [attempt_error["attempt"] for attempt_error in step.attempt_errors] == [1, 2, 3, 4, 5]


@pytest.mark.rule(17)
@pytest.mark.rule(52)
@pytest.mark.parametrize("workflow", KINDS)
def test_a_crash_loses_no_failed_attempt(workflow: Any) -> None:
    handle = workflow.start(3)

    # The failure of the first attempt is recorded, the suspension isn't.
    with crash_after(1), pytest.raises(Crash):
        run_until_idle()
    recover()
    run_until_idle()
    assert calls == [(1, 5)]
    advance(HOUR)
    run_until_idle()
    advance(HOUR)
    run_until_idle()

    assert handle.get_result() == 3
    assert calls == [(1, 5), (2, 5), (3, 5)]


def test_a_retried_step_is_replayed() -> None:
    @dbos.workflow
    def goes_on() -> int:
        number = hourly(2)
        dbos.sleep(HOUR)
        return number

    handle = goes_on.start()
    for _ in range(3):
        run_until_idle()
        advance(HOUR)

    assert handle.get_result() == 2
    assert calls == [(1, 5), (2, 5)]


@pytest.mark.rule(19)
@pytest.mark.rule(21)
def test_concurrent_branches_wait_in_the_run() -> None:
    """A workflow with other operations in flight isn't suspended, but its failures are recorded."""

    @dbos.step(max_attempts=3, interval=0.05, backoff=1)
    async def shortly(name: str) -> str:
        fail_until(3)
        return name

    @dbos.workflow
    async def branches() -> list[str]:
        return list(await asyncio.gather(shortly("a"), shortly("b"), shortly("c")))

    handle = branches.start()
    with crash_after(1), pytest.raises(Crash):
        run_until_idle()
    recover()
    run_until_idle()

    assert handle.get_result() == ["a", "b", "c"]
    assert [one.attempts for one in handle.steps()] == [3, 3, 3]


def test_an_inline_call_waits_on_its_thread() -> None:
    @dbos.step(max_attempts=3, interval=0.01)
    def shortly() -> int:
        return fail_until(3)

    @dbos.workflow
    def inline() -> int:
        return shortly()

    assert inline() == 3
    assert calls == [(1, 3), (2, 3), (3, 3)]


def test_an_interval_of_zero_never_waits() -> None:
    """Zero times a power of two is zero, even if the power overflows."""

    @dbos.step(max_attempts=2_000, interval=0)
    def at_once() -> int:
        return fail_until(1_040)

    @dbos.workflow
    def many() -> int:
        return at_once()

    handle = many.start()
    run_until_idle()

    assert handle.get_result() == 1_040
    assert len(handle.steps()[0].attempt_errors) == 100


@pytest.mark.parametrize("workflow", KINDS)
def test_a_workflow_that_waits_for_a_retry_can_be_cancelled(workflow: Any) -> None:
    handle = workflow.start(3)
    run_until_idle()

    assert handle.cancel()
    advance(HOUR)
    run_until_idle()

    assert calls == [(1, 5)]
    assert Workflow.objects.get().status == "CANCELLED"


class Rejected(Exception):
    def __init__(self, code: int) -> None:
        super().__init__(code)
        self.code = code


@dbos.step(max_attempts=3, interval=0, retry_on=lambda error: error.code >= 500)
def rejected(code: int) -> None:
    calls.append(code)
    raise Rejected(code)


@dbos.workflow
def asks(code: int) -> None:
    rejected(code)


@pytest.mark.parametrize(("code", "attempts"), [(404, 1), (503, 3)])
def test_a_function_may_decide_which_errors_are_retried(code: int, attempts: int) -> None:
    with pytest.raises(Rejected):
        asks(code)

    assert calls == [code] * attempts


def test_a_retry_function_that_raises_ends_the_step() -> None:
    @dbos.step(max_attempts=3, interval=0, retry_on=lambda error: error.code >= 500)
    def other() -> None:
        calls.append(1)
        raise ValueError

    @dbos.workflow
    def asks_in_vain() -> None:
        other()

    with pytest.raises(AttributeError, match="code"):
        asks_in_vain()

    assert calls == [1]


async def asynchronous(error: Exception) -> bool:
    return True


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"max_attempts": 32_768}, "at most 32,767"),
        ({"retry_on": asynchronous}, "sync function"),
        ({"retry_on": "ConnectionError"}, "a function that takes the error"),
        ({"retry_on": (ValueError, len)}, "tuple of them"),
        ({"retry_on": KeyboardInterrupt}, "an exception class"),
    ],
)
def test_invalid_options_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises((TypeError, ValueError), match=message):
        dbos.step(**options)(len)


async def test_the_error_of_a_timeout_has_its_own_class(async_db: None) -> None:
    @dbos.step(timeout=0.01)
    async def slow() -> None:
        await asyncio.sleep(60)

    @dbos.workflow
    async def impatient() -> None:
        await slow()

    with pytest.raises(dbos.StepTimeout) as caught:
        await impatient()

    assert isinstance(caught.value, TimeoutError)
    assert isinstance(caught.value, dbos.DbosError)
    assert caught.value.timeout == 0.01
    recorded = (await Checkpoint.objects.aget()).error
    assert isinstance(recorded, dbos.StepTimeout)
    assert str(recorded) == str(caught.value)


def test_code_can_read_whether_it_is_in_a_step() -> None:
    seen: list[Any] = []

    def look() -> None:
        current = dbos.current_workflow()
        assert current is not None
        seen.append((current.is_in_step, current.step_name, current.attempt, current.max_attempts))

    @dbos.step(name="looks", max_attempts=4)
    def looks() -> None:
        look()

    @dbos.workflow
    def looking() -> None:
        look()
        looks()

    looking()

    assert seen == [(False, None, 1, None), (True, "looks", 1, 4)]


def test_every_operation_records_its_start() -> None:
    @dbos.workflow
    def does_everything() -> None:
        hourly(1)
        hourly_and_atomic(1)
        dbos.set_event("key", 1)
        dbos.write_stream("stream", 1)
        dbos.recv(timeout=0, default=None)
        dbos.recv(timeout=0, default=None)
        dbos.sleep(0.01)
        dbos.current_workflow()
        sync_one.start(1).get_result()

    handle = does_everything.start()
    handle.send("hello")
    run_until_idle()
    advance(1)
    run_until_idle()

    assert handle.get_status() == "SUCCESS"
    assert len(handle.steps()) == 9
    assert all(one.started_at is not None for one in handle.steps())
    assert all(one.started_at <= one.recorded_at for one in handle.steps())
