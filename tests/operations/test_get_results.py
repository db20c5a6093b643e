"""get_results(): many workflows in one wait, one look and one checkpoint."""

from __future__ import annotations

import asyncio
import random
from typing import Any

import pytest
from asgiref.sync import sync_to_async
from django.db import connection, transaction
from django.test.utils import CaptureQueriesContext

import django_dbos as dbos
from django_dbos.executor import Executor
from django_dbos.models import Checkpoint, Workflow
from django_dbos.store import get_store
from django_dbos.testing import advance, run_until_idle
from tests.crashing import run_with_crash
from tests.waiting import LIMIT, eventually

pytestmark = pytest.mark.django_db

RESULTS = "dbos.get_results"


@dbos.workflow
def doubles(number: int) -> int:
    if number < 0:
        raise ValueError(f"{number} is negative")
    return number * 2


@dbos.workflow
def receives() -> Any:
    return dbos.recv(timeout=None)


@dbos.step
def note(value: Any) -> Any:
    return value


@dbos.workflow
def adds_up(numbers: list[int], as_values: bool = False) -> Any:
    handles = doubles.start_many([(number,) for number in numbers])
    results = dbos.get_results(handles, return_exceptions=as_values)
    return [note(str(result) if isinstance(result, Exception) else result) for result in results]


@dbos.workflow
async def aadds_up(numbers: list[int], as_values: bool = False) -> Any:
    handles = await doubles.astart_many([(number,) for number in numbers])
    results = await dbos.aget_results(handles, return_exceptions=as_values)
    return [str(result) if isinstance(result, Exception) else result for result in results]


@dbos.workflow
def awaits(ids: list[str], timeout: Any = None) -> Any:
    handles: list[dbos.WorkflowHandle[Any]] = [dbos.WorkflowHandle(one) for one in ids]
    return dbos.get_results(handles, timeout)


@dbos.workflow
async def aawaits(ids: list[str], timeout: Any = None) -> Any:  # noqa: ASYNC109
    handles: list[dbos.WorkflowHandle[Any]] = [dbos.WorkflowHandle(one) for one in ids]
    return await dbos.aget_results(handles, timeout)


AWAITERS = [awaits, aawaits]


def row_of(handle: Any) -> Workflow:
    return Workflow.objects.get(pk=handle.workflow_id)


def runs_of(handle: Any) -> int:
    """The number of claims that a workflow has had: a suspension and a claim raise it by one."""
    return (row_of(handle).claim_number + 1) // 2


def receivers(count: int) -> list[Any]:
    return receives.start_many([()] * count)


def ids_of(handles: list[Any]) -> list[str]:
    return [handle.workflow_id for handle in handles]


@pytest.mark.rule(24)
@pytest.mark.parametrize("workflow", [adds_up, aadds_up])
def test_the_results_of_children_come_in_the_order_of_the_handles(workflow: Any) -> None:
    handle = workflow.start([3, 1, 2])
    run_until_idle()

    assert handle.get_result() == [6, 2, 4]
    (checkpoint,) = Checkpoint.objects.filter(workflow_id=handle.workflow_id, step_name=RESULTS)
    assert checkpoint.output["values"] == [6, 2, 4]


@pytest.mark.rule(24)
def test_each_crash_leaves_the_same_results(run_through_crashes: Any) -> None:
    def check(handle: Any) -> None:
        assert handle.get_result() == [2, 4, "-1 is negative"]

    writes = run_through_crashes(lambda: adds_up.start([1, 2, -1], as_values=True), check)

    assert writes > 6


@pytest.mark.parametrize("workflow", [adds_up, aadds_up])
def test_the_first_error_in_the_order_of_the_handles_is_raised(workflow: Any) -> None:
    handle = workflow.start([1, -2, -3])
    run_until_idle()

    with pytest.raises(ValueError, match="-2 is negative"):
        handle.get_result()


def test_errors_may_be_values() -> None:
    handle = adds_up.start([1, -2], as_values=True)
    run_until_idle()

    assert handle.get_result() == [2, "-2 is negative"]


@dbos.workflow
def awaits_errors(ids: list[str]) -> list[str]:
    handles: list[dbos.WorkflowHandle[Any]] = [dbos.WorkflowHandle(one) for one in ids]
    results = dbos.get_results(handles, return_exceptions=True)
    dbos.sleep(60)
    return [type(result).__name__ for result in results]


def test_cancelled_and_given_up_workflows_are_errors() -> None:
    handles = receivers(3)
    handle = awaits_errors.start(ids_of(handles))
    run_until_idle()
    handles[0].cancel()
    with connection.cursor() as cursor:
        cursor.execute(
            "UPDATE dbos_workflow SET status = 'MAX_RECOVERY_ATTEMPTS_EXCEEDED', "
            "recovery_attempts = 6, finished_at = created_at WHERE workflow_id = %s",
            [handles[1].workflow_id],
        )
    handles[2].send("value")
    run_until_idle()
    advance(61)
    run_until_idle()

    assert handle.get_result() == ["WorkflowCancelled", "MaxRecoveryAttemptsExceeded", "str"]


@pytest.mark.rule(15)
@pytest.mark.rule(71)
@pytest.mark.parametrize("order", ["as started", "backwards", "at random"])
def test_children_that_end_one_by_one_wake_their_parent_rarely(order: str) -> None:
    handles = receivers(60)
    handle = awaits.start(ids_of(handles))
    run_until_idle()
    ending = list(handles)
    if order == "backwards":
        ending.reverse()
    elif order == "at random":
        random.Random(7).shuffle(ending)
    for number, one in enumerate(ending):
        one.send(number)
        run_until_idle()

    assert sorted(handle.get_result()) == list(range(60))
    # The expected number is 1 + ln 60 = 5; with 20 it is one in a million.
    assert runs_of(handle) <= 20
    if order == "as started":
        assert runs_of(handle) == 2


def test_a_parent_waits_in_a_row_for_the_last_of_them() -> None:
    handles = receivers(3)
    handle = awaits.start(ids_of(handles), timeout=600)
    run_until_idle()

    row = row_of(handle)
    assert (row.status, row.wake_kind) == ("WAITING", "result")
    assert row.wake_workflow_id == handles[-1].workflow_id
    assert row.due_at is not None


@pytest.mark.rule(17)
@pytest.mark.parametrize("workflow", AWAITERS)
def test_the_deadline_is_kept_through_wake_ups_and_recorded(workflow: Any) -> None:
    handles = receivers(2)
    handle = workflow.start(ids_of(handles), timeout=60)
    run_until_idle()
    deadline = row_of(handle).due_at

    handles[1].send("value")
    run_until_idle()
    assert row_of(handle).due_at == deadline
    advance(61)
    run_until_idle()

    with pytest.raises(dbos.WaitTimeout, match="results of 2 workflows"):
        handle.get_result()
    states = Checkpoint.objects.filter(workflow_id=handle.workflow_id)
    assert list(states.values_list("state", flat=True)) == [Checkpoint.State.TIMED_OUT]


@pytest.mark.rule(17)
@pytest.mark.parametrize("workflow", AWAITERS)
def test_results_win_over_a_deadline_that_has_passed(workflow: Any) -> None:
    handles = receives.using(queue_name="sources").start_many([(), ()])
    handle = workflow.start(ids_of(handles), timeout=60)
    run_until_idle()
    for one in handles:
        one.send("value")
    run_until_idle(["sources"])
    advance(61)
    run_until_idle()

    assert handle.get_result() == ["value", "value"]


@pytest.mark.parametrize("workflow", AWAITERS)
def test_a_timeout_of_zero_doesnt_wait(workflow: Any) -> None:
    handle = workflow.start(ids_of(receivers(2)), timeout=0)
    run_until_idle()

    with pytest.raises(dbos.WaitTimeout):
        handle.get_result()


@pytest.mark.rule(32)
def test_a_waiting_parent_can_be_cancelled_and_resumed() -> None:
    handles = receivers(2)
    handle = awaits.start(ids_of(handles))
    run_until_idle()
    assert handle.cancel()
    for one in handles:
        one.send("value")
    run_until_idle()
    assert handle.get_status() == "CANCELLED"

    handle.resume()
    run_until_idle()
    assert handle.get_result() == ["value", "value"]


@pytest.mark.rule(16)
def test_a_lost_wake_up_is_found_by_the_sweep() -> None:
    handles = receivers(2)
    handle = awaits.start(ids_of(handles))
    run_until_idle()
    for one in handles:
        one.send("value")
    store: Any = get_store()
    store._wake_waiting = lambda *args: []
    store._notify_and_wake = lambda *args: []
    try:
        run_until_idle()
    finally:
        del store._wake_waiting, store._notify_and_wake
    run_until_idle()

    assert handle.get_result() == ["value", "value"]


@pytest.mark.parametrize("workflow", AWAITERS)
def test_an_unknown_workflow_is_an_error_that_is_recorded(workflow: Any) -> None:
    handle = workflow.start([*ids_of(receivers(1)), "nobody"])
    run_until_idle()

    with pytest.raises(dbos.WorkflowDoesNotExist, match="nobody"):
        handle.get_result()
    checkpoint = Checkpoint.objects.get(workflow_id=handle.workflow_id)
    assert checkpoint.error_text is not None


def test_no_handles_have_no_results() -> None:
    handle = awaits.start([])
    run_until_idle()

    assert handle.get_result() == dbos.get_results([]) == []


def test_a_handle_may_come_twice() -> None:
    child = doubles.start(4)
    handle = awaits.start([child.workflow_id] * 2)
    run_until_idle()

    assert handle.get_result() == dbos.get_results([child, child]) == [8, 8]


def test_values_of_any_type_come_back() -> None:
    values = [{1, 2}, ("a", b"b"), {"values": {"$model": 1}}, None, [None], "!json:"]
    handles = receivers(len(values))
    handle = awaits.start(ids_of(handles))
    for one, value in zip(handles, values, strict=True):
        one.send(value)
    run_until_idle()

    assert handle.get_result() == dbos.get_results(handles) == values


def test_values_of_another_serializer_come_back(settings: Any) -> None:
    settings.DBOS = {**settings.DBOS, "SERIALIZER": "pickle"}
    handles = receivers(2)
    handle = awaits.start(ids_of(handles))
    for one in handles:
        one.send(complex(1, 2))
    run_until_idle()

    assert handle.get_result() == [complex(1, 2)] * 2


def test_results_beyond_the_limit_of_a_step_are_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("django_dbos.operations.outcomes.MAX_SIZE", 100)
    handles = receivers(2)
    handle = awaits.start(ids_of(handles))
    for one in handles:
        one.send("x" * 100)
    run_until_idle()

    with pytest.raises(dbos.DbosError, match="in several parts"):
        handle.get_result()


@pytest.mark.rule(23)
def test_a_replay_with_other_handles_is_quarantined() -> None:
    counts = iter([2, 1])
    handles = receivers(2)

    @dbos.workflow
    def changes() -> Any:
        return dbos.get_results(handles[: next(counts)]), dbos.sleep(60)

    for one in handles:
        one.send("value")
    handle = changes.start()
    run_until_idle()
    advance(61)
    run_until_idle()

    with pytest.raises(dbos.NondeterminismError, match="2 results"):
        handle.get_result()


# In a test, inline, and outside


@pytest.mark.rule(36)
def test_an_inline_call_runs_the_children() -> None:
    assert adds_up([1, 2, 3]) == [2, 4, 6]


@pytest.mark.rule(36)
def test_an_inline_call_in_a_test_refuses_a_wait_for_others() -> None:
    handles = receivers(1)
    run_until_idle()

    with pytest.raises(dbos.WaitInTest, match="get_results"):
        awaits(ids_of(handles))
    with pytest.raises(dbos.WaitInTest, match="get_results"):
        dbos.get_results(handles)


def test_many_are_read_in_two_statements() -> None:
    handles = doubles.start_many([(number,) for number in range(50)])
    run_until_idle()

    with CaptureQueriesContext(connection) as queries:
        assert dbos.get_results(handles) == [number * 2 for number in range(50)]

    assert len(queries) == 2


def test_a_caller_gets_errors_and_timeouts() -> None:
    handles = doubles.start_many([(1,), (-1,)])
    with pytest.raises(dbos.WaitTimeout, match="results of 2 workflows"):
        dbos.get_results(handles, timeout=0)
    run_until_idle()

    with pytest.raises(ValueError, match="-1 is negative"):
        dbos.get_results(handles)
    value, error = dbos.get_results(handles, return_exceptions=True)
    assert (value, str(error)) == (2, "-1 is negative")
    with pytest.raises(dbos.WorkflowDoesNotExist, match="nobody"):
        dbos.get_results([*handles, dbos.WorkflowHandle("nobody")])


def test_bad_arguments_are_refused_at_the_caller() -> None:
    with pytest.raises(TypeError, match=r"takes handles.*str 'x'"):
        dbos.get_results(["x"])  # type: ignore[list-item]
    with pytest.raises(TypeError, match=r"a list of handles, not WorkflowHandle\('x'\) alone"):
        dbos.get_results(dbos.WorkflowHandle("x"))  # type: ignore[call-overload]
    with pytest.raises(ValueError, match="timeout can't be negative"):
        dbos.get_results([], timeout=-1)


def test_a_step_may_not_wait() -> None:
    @dbos.workflow
    def wrong() -> None:
        dbos.run_step(lambda: dbos.get_results([]))

    with pytest.raises(dbos.NotAllowedInStep, match="get_results"):
        wrong()


@pytest.mark.django_db(transaction=True)
def test_a_caller_in_a_transaction_is_refused() -> None:
    handle = doubles.start(1)

    with transaction.atomic(), pytest.raises(dbos.NotAllowedInAtomic, match="get_results"):
        dbos.get_results([handle])


# With a worker


@pytest.mark.django_db(transaction=True)
def test_a_caller_waits_for_all(worker: Executor) -> None:
    handles = doubles.start_many([(number,) for number in range(300)])

    assert dbos.get_results(handles, timeout=LIMIT) == [number * 2 for number in range(300)]


@pytest.mark.rule(19)
async def test_branches_wait_side_by_side(async_db: None, worker: Executor) -> None:
    groups = [await receives.astart_many([(), ()]) for _ in range(2)]
    handle = await awaits_side_by_side.astart([ids_of(group) for group in groups])
    waits = Checkpoint.objects.filter(workflow_id=handle.workflow_id, deadline_at__isnull=False)
    await sync_to_async(eventually)(lambda: waits.count() == 2)

    for number, one in enumerate(one for group in reversed(groups) for one in group):
        await one.asend(number)

    assert await handle.aget_result(timeout=LIMIT) == [[2, 3], [0, 1]]
    flat = [one for group in groups for one in group]
    assert await dbos.aget_results(flat, timeout=LIMIT) == [2, 3, 0, 1]


@dbos.workflow
async def awaits_side_by_side(groups: list[list[str]]) -> Any:
    async def wait(ids: list[str]) -> Any:
        handles: list[dbos.WorkflowHandle[Any]] = [dbos.WorkflowHandle(one) for one in ids]
        return await dbos.aget_results(handles, timeout=600)

    return await asyncio.gather(*map(wait, groups))


@pytest.mark.django_db(transaction=True)
def test_a_worker_wakes_a_parent_of_many(worker: Executor) -> None:
    handle = adds_up.start(list(range(300)))

    assert handle.get_result(timeout=LIMIT) == [number * 2 for number in range(300)]


def test_a_crash_after_each_write_of_a_woken_parent(db: None) -> None:
    for writes in range(1, 20):
        handles = receivers(2)
        handle = awaits.start(ids_of(handles), timeout=600)
        run_until_idle()
        for one in handles:
            one.send("value")
        if not run_with_crash(writes):
            break
        assert handle.get_result() == ["value", "value"]
    assert writes > 3
