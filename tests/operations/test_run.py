"""Runs: suspension, end, cancellation, deadlines, and detection of changed code."""

from __future__ import annotations

import asyncio
import logging
from datetime import timedelta
from typing import Any

import pytest
from django.db import transaction

import django_dbos as dbos
from django_dbos.models import Checkpoint, Workflow
from django_dbos.testing import advance, run_until_idle
from tests.crashing import Crash, crash_after, recover

pytestmark = pytest.mark.django_db


@dbos.step
def add(one: int, other: int) -> int:
    return one + other


@dbos.workflow
def adds(count: int) -> int:
    total = 0
    for number in range(count):
        total = add(total, number)
    return total


@dbos.workflow
def waits() -> Any:
    return dbos.recv(timeout=None)


@dbos.workflow
async def awaits() -> Any:
    return await dbos.arecv(timeout=None)


@dbos.workflow
def sleeps(seconds: float) -> str:
    dbos.sleep(seconds)
    return "awake"


@dbos.workflow
async def asleeps(seconds: float) -> str:
    await dbos.asleep(timedelta(seconds=seconds))
    return "awake"


@pytest.mark.parametrize("workflow", [sleeps, asleeps])
def test_a_sleeping_workflow_costs_a_row(workflow: Any) -> None:
    handle = workflow.start(3600)
    run_until_idle()
    row = Workflow.objects.get()
    assert (row.status, row.executor_id, row.wake_kind) == ("WAITING", None, "sleep")

    advance(3599)
    assert run_until_idle() == 0
    advance(2)
    run_until_idle()

    assert handle.get_result() == "awake"


@pytest.mark.rule(17)
@pytest.mark.rule(31)
def test_a_recovered_wait_only_waits_for_the_rest() -> None:
    handle = sleeps.start(100)
    run_until_idle()
    advance(60)
    Workflow.objects.all().cancel()
    Workflow.objects.all().resume()

    run_until_idle()
    advance(39)
    assert run_until_idle() == 0
    advance(2)
    run_until_idle()

    assert handle.get_result() == "awake"


@pytest.mark.rule(18)
def test_a_bare_except_cannot_stop_a_suspension(caplog: pytest.LogCaptureFixture) -> None:
    @dbos.workflow
    def swallows() -> Any:
        try:
            return dbos.recv(timeout=None)
        except BaseException:
            return "swallowed"

    handle = swallows.start()
    run_until_idle()
    assert handle.get_status() == "WAITING"
    assert "Catch Exception instead of BaseException" in caplog.text
    handle.send("came")
    run_until_idle()

    assert handle.get_result() == "came"


@pytest.mark.rule(18)
def test_operations_during_unwinding_record_nothing() -> None:
    @dbos.workflow
    def cleans_up() -> Any:
        try:
            return dbos.recv(timeout=None)
        finally:
            dbos.set_event("cleaned", True)

    handle = cleans_up.start()
    run_until_idle()
    assert handle.events() == {}
    handle.send("came")
    run_until_idle()

    assert handle.events() == {"cleaned": True}
    assert handle.get_result() == "came"


@pytest.mark.rule(18)
def test_a_suspension_is_not_a_value_of_gather() -> None:
    @dbos.workflow
    async def gathers_exceptions() -> Any:
        (value,) = await asyncio.gather(dbos.arecv(timeout=0.01), return_exceptions=True)
        return type(value).__name__

    handle = gathers_exceptions.start()
    run_until_idle()

    assert handle.get_result() == "WaitTimeout"


@pytest.mark.rule(23)
def test_another_step_at_a_position_quarantines_the_workflow() -> None:
    versions = [0]

    @dbos.step
    def other(one: int, two: int) -> int:
        return 0

    @dbos.workflow
    def changes() -> int:
        first = add(1, 1) if versions[0] == 0 else other(1, 1)
        return first + add(first, 1)

    handle = changes.start()
    with crash_after(1), pytest.raises(Crash):
        run_until_idle()
    recover()
    versions[0] = 1
    run_until_idle()

    with pytest.raises(dbos.NondeterminismError, match=r"'add'.*other"):
        handle.get_result()
    row = Workflow.objects.get()
    assert (row.status, row.is_quarantined) == ("ERROR", True)
    assert Checkpoint.objects.count() == 1

    # After a fix, it continues from its history.
    versions[0] = 0
    assert handle.resume()
    run_until_idle()
    assert handle.get_result() == 5


@pytest.mark.rule(23)
def test_a_function_that_ends_before_its_history_is_quarantined() -> None:
    counts = [2]

    @dbos.workflow
    def shrinks() -> int:
        return sum(add(0, number) for number in range(counts[0]))

    handle = shrinks.start()
    with crash_after(2), pytest.raises(Crash):
        run_until_idle()
    recover()
    counts[0] = 1
    run_until_idle()

    with pytest.raises(dbos.NondeterminismError, match="its end"):
        handle.get_result()


@pytest.mark.rule(32)
@pytest.mark.parametrize("workflow", [waits, awaits])
def test_cancel_takes_a_waiting_workflow_at_once(workflow: Any) -> None:
    handle = workflow.start()
    run_until_idle()

    assert handle.cancel()
    assert not handle.cancel()
    handle.send("too late")

    assert run_until_idle() == 0
    with pytest.raises(dbos.WorkflowCancelled, match=handle.workflow_id):
        handle.get_result()


@pytest.mark.rule(32)
def test_a_step_that_is_running_at_a_cancel_ends_the_run() -> None:
    @dbos.step
    def cancels(workflow_id: str) -> None:
        dbos.retrieve_workflow(workflow_id).cancel()

    @dbos.workflow
    def is_cancelled() -> None:
        current = dbos.current_workflow()
        assert current is not None
        cancels(current.workflow_id)
        add(1, 1)

    handle = is_cancelled.start()
    run_until_idle()

    assert handle.get_status() == "CANCELLED"
    assert not Checkpoint.objects.exists()


@pytest.mark.rule(1)
def test_resume_continues_after_the_last_step() -> None:
    @dbos.workflow
    def steps_then_waits() -> Any:
        return [add(1, 2), dbos.recv(timeout=None)]

    handle = steps_then_waits.start()
    run_until_idle()
    handle.cancel()

    assert handle.resume()
    handle.send("go")
    run_until_idle()

    assert handle.get_result() == [3, "go"]
    assert Checkpoint.objects.filter(step_name="add").count() == 1


def test_a_finished_workflow_can_be_neither_cancelled_nor_resumed() -> None:
    handle = adds.start(1)
    run_until_idle()

    assert not handle.cancel()
    assert not handle.resume()


@pytest.mark.rule(32)
def test_a_timeout_begins_with_the_first_run() -> None:
    handle = waits.using(timeout=100).start()
    advance(1000)
    run_until_idle()
    assert handle.get_status() == "WAITING"

    advance(101)
    run_until_idle()

    assert handle.get_status() == "CANCELLED"


@pytest.mark.rule(32)
def test_past_the_deadline_only_the_cancellation_is_recorded() -> None:
    @dbos.step
    def takes_long() -> None:
        advance(1000)

    @dbos.workflow(timeout=60)
    def late() -> None:
        takes_long()

    handle = late.start()
    run_until_idle()

    assert handle.get_status() == "CANCELLED"
    assert not Checkpoint.objects.exists()


@pytest.mark.rule(32)
def test_resume_restarts_the_timeout() -> None:
    handle = waits.using(timeout=100).start()
    run_until_idle()
    advance(101)
    run_until_idle()

    assert handle.resume()
    run_until_idle()
    advance(99)
    run_until_idle()
    assert handle.get_status() == "WAITING"
    advance(2)
    run_until_idle()

    assert handle.get_status() == "CANCELLED"


@pytest.mark.rule(26)
def test_a_durable_call_in_an_open_transaction_is_refused(transactional_db: None) -> None:
    @dbos.workflow
    def holds_open() -> None:
        with transaction.atomic():
            add(1, 1)

    handle = holds_open.start()
    run_until_idle()

    with pytest.raises(dbos.NotAllowedInAtomic, match="add"):
        handle.get_result()


def test_the_logger_is_silent_while_a_workflow_replays(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "django_dbos.workflow")

    @dbos.workflow
    def talks() -> None:
        dbos.logger.info("first")
        dbos.sleep(60)
        dbos.logger.info("second")

    talks.start()
    run_until_idle()
    advance(61)
    run_until_idle()

    assert [one.message for one in caplog.records if one.name == "django_dbos.workflow"] == [
        "first",
        "second",
    ]


def test_code_can_read_its_workflow_and_step() -> None:
    @dbos.step(max_attempts=2, interval=0)
    def looks() -> list[Any]:
        current = dbos.current_workflow()
        assert current is not None
        if current.attempt == 1:
            raise ValueError("again")
        return [current.step_number, current.attempt, current.user_id]

    @dbos.workflow
    def knows() -> list[Any]:
        current = dbos.current_workflow()
        assert current is not None
        add(1, 1)
        return [current.workflow_id, current.is_replaying, looks()]

    assert dbos.current_workflow() is None
    assert knows.using(workflow_id="me", user=7)() == ["me", False, [2, 2, "7"]]


@pytest.mark.rule(24)
def test_reads_of_other_workflows_are_recorded(run_through_crashes: Any) -> None:
    other = waits.start()

    @dbos.workflow
    def reads() -> list[Any]:
        handle = dbos.retrieve_workflow(other.workflow_id)
        return [str(handle.get_status()), handle.events(), handle.cancel(), handle.resume()]

    run_through_crashes(reads.start, lambda handle: _assert_first(handle.get_result()))


def _assert_first(result: list[Any]) -> None:
    # After a crash between a cancel and its record, the cancelled workflow is cancelled again.
    assert result[0] in ("ENQUEUED", "WAITING")
    assert result[1] == {}
    assert [type(one) for one in result[2:]] == [bool, bool]


@pytest.mark.rule(37)
def test_an_interruption_of_the_program_releases_the_workflow() -> None:
    stops = [True]

    @dbos.workflow
    def interrupted() -> str:
        if stops.pop() if stops else False:
            raise KeyboardInterrupt
        return "went on"

    handle = interrupted.start()
    with pytest.raises(KeyboardInterrupt):
        run_until_idle()
    row = Workflow.objects.get()
    assert (row.status, row.recovery_attempts) == ("ENQUEUED", 0)
    run_until_idle()

    assert handle.get_result() == "went on"


def test_a_workflow_that_cancels_itself_has_failed() -> None:
    @dbos.workflow
    async def cancels_itself() -> None:
        task = asyncio.ensure_future(asyncio.sleep(60))
        task.cancel()
        await task

    handle = cancels_itself.start()
    assert run_until_idle() == 1

    with pytest.raises(RuntimeError, match="was cancelled"):
        handle.get_result()


@pytest.mark.parametrize("error", [SystemExit(3), KeyboardInterrupt("now")])
def test_a_recorded_system_exit_is_raised_as_a_stand_in(error: Any) -> None:
    @dbos.step
    def parses_arguments() -> None:
        raise error

    @dbos.workflow
    def exits() -> None:
        try:
            parses_arguments()
        except BaseException as raised:
            raise SystemExit(*raised.args) from None

    handle = exits.start()
    run_until_idle()

    assert handle.get_status() == "ERROR"
    with pytest.raises(dbos.RecordedError, match=r"builtins.SystemExit"):
        handle.get_result()
