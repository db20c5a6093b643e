"""Executors: claims, waits, recovery, and a stop that leaves nothing behind."""

from __future__ import annotations

import asyncio
import threading
import time
from typing import Any

import pytest
from asgiref.sync import sync_to_async
from django.contrib.auth.models import Group
from django.db import connection, transaction

import django_dbos as dbos
from django_dbos import signals
from django_dbos.core import registry
from django_dbos.core.batch.notifications import Notifications
from django_dbos.executor import Executor
from django_dbos.executor.duties import sweep
from django_dbos.executor.runs import Runs
from django_dbos.models import Checkpoint, Workflow
from django_dbos.models import Executor as ExecutorRow
from django_dbos.operations.messages import new_message
from django_dbos.store import announcing, errors, get_store, statements
from tests.executor import workflows
from tests.executors import Clock, Start, cancel_silently, claim_for, register_dead
from tests.process import workflows as gated
from tests.process.workflows import Gate
from tests.waiting import LIMIT, eventually

# Step databases too, where the sessions of a dead executor are also terminated.
pytestmark = pytest.mark.django_db(transaction=True, databases=["default", "other"])


@pytest.mark.parametrize("workflow", [workflows.counts, workflows.acounts])
def test_many_workflows_run_at_once(workflow: Any, start_executor: Start) -> None:
    handles = workflow.start_many([(5,) for _ in range(50)])

    start_executor(concurrency=8)

    assert [handle.get_result(timeout=LIMIT) for handle in handles] == [5] * 50
    assert Checkpoint.objects.count() == 250


def test_a_rolled_back_start_runs_nothing(start_executor: Start) -> None:
    start_executor()
    with transaction.atomic():
        workflows.counts.start(1)
        transaction.set_rollback(True)
    with transaction.atomic():
        handle = workflows.counts.start(2)
        assert handle.get_status() == "ENQUEUED"

    assert handle.get_result(timeout=LIMIT) == 2
    assert Workflow.objects.count() == 1


@pytest.mark.rule(20)
@pytest.mark.parametrize("workflow", [workflows.nested, workflows.anested])
def test_children_five_deep_need_one_slot(workflow: Any, start_executor: Start) -> None:
    start_executor(concurrency=1)

    assert workflow.start(5).get_result(timeout=LIMIT) == 5


@pytest.mark.rule(19)
def test_waiting_workflows_hold_no_slot_and_no_thread(start_executor: Start) -> None:
    executor = start_executor(concurrency=2)
    handles = workflows.waits.start_many([()] * 100)
    eventually(lambda: Workflow.objects.filter(status="WAITING").count() == 100)

    eventually(lambda: not executor.runs and executor.runs.slots.free == 2)
    # There are as many threads for runs as slots, however many workflows wait.
    assert _own_threads().count("dbos-run") <= 2
    dbos.send_many(
        [{"workflow_id": one.workflow_id, "message": n} for n, one in enumerate(handles)]
    )

    assert [handle.get_result(timeout=LIMIT) for handle in handles] == list(range(100))


def test_short_waits_stay_in_their_slot(start_executor: Start, settings: Any) -> None:
    settings.DBOS = {**settings.DBOS, "HOLD_TIME": 600}
    start_executor(concurrency=2)
    handle = workflows.waits.start()
    eventually(lambda: Checkpoint.objects.exists())

    handle.send("quick")

    assert handle.get_result(timeout=LIMIT) == "quick"
    # After a suspension and another claim it would be 3.
    assert Workflow.objects.get().claim_number == 2


def test_a_due_workflow_runs_on_time(start_executor: Start, settings: Any) -> None:
    # The next heartbeat would be too late to find the due workflow.
    settings.DBOS = {**settings.DBOS, "LEASE": 7200, "HEARTBEAT_INTERVAL": 3000}
    start_executor()
    began = time.monotonic()

    delayed = workflows.counts.using(run_after=0.3).start(1)
    nap = workflows.naps.start(0.7)

    assert delayed.get_result(timeout=LIMIT) == 1
    assert nap.get_result(timeout=LIMIT) == "awake"
    assert time.monotonic() - began >= 0.7


def test_a_deadline_ends_a_running_async_workflow(start_executor: Start) -> None:
    start_executor()

    handle = workflows.awaits.using(timeout=0.3).start()

    with pytest.raises(dbos.WorkflowCancelled):
        handle.get_result(timeout=LIMIT)


@pytest.mark.rule(32)
def test_cancel_stops_an_async_workflow_at_once(start_executor: Start) -> None:
    begun, stopped = threading.Event(), threading.Event()

    @dbos.step
    async def hangs() -> None:
        begun.set()
        try:
            await asyncio.sleep(600)
        finally:
            stopped.set()

    @dbos.workflow
    async def hanging() -> None:
        await hangs()

    executor = start_executor()
    handle = hanging.start()
    assert begun.wait(LIMIT)

    handle.cancel()

    assert stopped.wait(LIMIT)
    eventually(lambda: not executor.runs)


def test_higher_priorities_run_first(start_executor: Start) -> None:
    order: list[str] = []

    @dbos.workflow
    def notes(name: str) -> None:
        order.append(name)

    for name, priority in (("low", -1), ("middle", 0), ("high", 5)):
        notes.using(priority=priority).start(name)
    start_executor(concurrency=1)

    eventually(lambda: len(order) == 3)
    assert order == ["high", "middle", "low"]


def test_an_executor_serves_its_queues_only(start_executor: Start) -> None:
    mine = workflows.counts.using(queue_name="mine").start(1)
    other = workflows.counts.using(queue_name="other").start(1)

    start_executor(["mine"])

    assert mine.get_result(timeout=LIMIT) == 1
    assert other.get_status() == "ENQUEUED"


@pytest.mark.rule(9)
def test_a_workflow_waits_for_a_worker_with_its_function(
    start_executor: Start,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
    settings: Any,
) -> None:
    settings.DBOS = {**settings.DBOS, "HEARTBEAT_INTERVAL": 0.2}
    ran: list[str] = []
    load = statements.load

    def note(vendor: str, name: str) -> str:
        ran.append(name)
        return load(vendor, name)

    unknown = workflows.waits.start()
    definition = registry.workflows.pop(workflows.waits.name)
    try:
        executor = start_executor()
        assert workflows.counts.start(1).get_result(timeout=LIMIT) == 1
        executor.dispatcher.poll()
        eventually(lambda: "isn't known here" in caplog.text)
        # It isn't polled constantly, but a few times per heartbeat at most.
        monkeypatch.setattr(statements, "load", note)
        eventually(lambda: ran.count("heartbeat") >= 5)
        assert ran.count("claim_workflows") <= 20
    finally:
        registry.workflows[workflows.waits.name] = definition

    assert unknown.get_status() == "ENQUEUED"
    assert caplog.text.count("isn't known here") == 1


@pytest.mark.rule(3)
def test_a_claim_without_a_run_is_released(start_executor: Start) -> None:
    executor = start_executor(["mine"])
    handle = workflows.counts.using(queue_name="aside").start(1)
    store = get_store()

    # The answer to the claim is lost: in the table, this executor runs the workflow.
    store.claim_workflow(store.session(), executor.executor_id, handle.workflow_id)
    assert handle.get_status() == "PENDING"

    def is_released() -> bool:
        # The second audit that finds the claim, a moment later, releases it.
        executor.dispatcher.audit()
        return handle.get_status() == "ENQUEUED"

    eventually(is_released, every=0.1)
    assert Workflow.objects.get().recovery_attempts == 0


@pytest.mark.rule(37)
def test_stop_releases_workflows_without_counting_an_attempt(
    start_executor: Start, gate: Gate
) -> None:
    first = start_executor()
    handle = gated.works.start(2, gate.path, 7)
    eventually(lambda: gate.is_reached)

    stopping = threading.Thread(target=first.stop)
    stopping.start()
    eventually(lambda: all(run.interruption for run in first.runs))
    gate.open()
    stopping.join(LIMIT)

    row = Workflow.objects.get()
    assert (row.status, row.recovery_attempts, row.executor_id) == ("ENQUEUED", 0, None)
    assert not ExecutorRow.objects.exists()
    assert Checkpoint.objects.count() == 3
    start_executor()
    assert len(handle.get_result(timeout=LIMIT)) == 10
    assert Checkpoint.objects.count() == 10


@pytest.mark.rule(37)
def test_a_workflow_whose_step_outlasts_the_grace_period_is_released(
    start_executor: Start, gate: Gate
) -> None:
    executor = start_executor()
    handle = gated.passes.start(gate.path)
    eventually(lambda: gate.is_reached)

    executor.stop(grace=0.05)

    assert handle.get_status() == "ENQUEUED"
    assert Workflow.objects.get().recovery_attempts == 0
    # The step ends on its thread, and may write nothing.
    assert "dbos-run" in _own_threads()
    gate.open()
    eventually(lambda: "dbos-run" not in _own_threads())
    assert not Checkpoint.objects.exists()


@pytest.mark.rule(4)
def test_an_executor_that_was_declared_dead_registers_again(
    start_executor: Start, settings: Any, gate: Gate
) -> None:
    settings.DBOS = {**settings.DBOS, "HEARTBEAT_INTERVAL": 0.2}
    executor = start_executor()
    handle = gated.works.start(2, gate.path, 7)
    eventually(lambda: gate.is_reached)
    store, old_id = get_store(), executor.executor_id

    recovered = store.recover_executor(store.session(), old_id, is_unlocked=True)

    assert recovered is not None
    assert recovered.enqueued == [handle.workflow_id]
    eventually(lambda: executor.executor_id != old_id)
    gate.open()
    assert len(handle.get_result(timeout=LIMIT)) == 10
    assert Checkpoint.objects.count() == 10


@pytest.mark.rule(4)
def test_an_executor_that_was_silent_for_a_lease_registers_again(
    start_executor: Start, gate: Gate
) -> None:
    clock = Clock()
    executor = start_executor(clock=clock)
    handle = gated.works.start(2, gate.path, 7)
    eventually(lambda: gate.is_reached)
    old_id = executor.executor_id

    # As after a long pause of the whole machine, when no other executor could judge it.
    clock.advance(3600, executor)

    eventually(lambda: executor.executor_id != old_id)
    gate.open()
    assert len(handle.get_result(timeout=LIMIT)) == 10
    assert Workflow.objects.get().recovery_attempts == 0
    assert [one.executor_id for one in ExecutorRow.objects.all()] == [executor.executor_id]


@pytest.mark.rule(4)
@pytest.mark.rule(12)
def test_a_registration_succeeds_though_its_answer_was_lost(
    start_executor: Start, settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings.DBOS = {**settings.DBOS, "HEARTBEAT_INTERVAL": 0.2}
    executor = start_executor()
    old_id, register = executor.executor_id, executor.store.register_executor
    lost: list[str] = []

    def register_and_lose_answer(session: Any, info: Any, *, has_lock: bool) -> None:
        register(session, info, has_lock=has_lock)
        if not lost:
            lost.append(info.executor_id)
            raise errors.Unavailable("no answer", is_outcome_unknown=True)

    monkeypatch.setattr(executor.store, "register_executor", register_and_lose_answer)
    with connection.cursor() as cursor:
        cursor.execute("DELETE FROM dbos_executor WHERE executor_id = %s", [old_id])
    eventually(lambda: lost)

    assert workflows.counts.start(3).get_result(timeout=LIMIT) == 3
    assert executor.executor_id != old_id


@pytest.mark.rule(5)
def test_a_process_whose_lock_is_free_is_dead(start_executor: Start, settings: Any) -> None:
    settings.DBOS = {**settings.DBOS, "HEARTBEAT_INTERVAL": 0.2, "LEASE": 3600}
    handle = workflows.counts.start(3)
    dead = register_dead(has_lock=True)
    claim_for(dead, handle.workflow_id)

    executor = start_executor()
    now = time.monotonic()
    executor.housekeeping.recovery.attendance.add(now - 3600, now)

    assert handle.get_result(timeout=LIMIT) == 3
    assert Workflow.objects.get().recovery_attempts == 1
    assert not ExecutorRow.objects.filter(executor_id=dead).exists()


@pytest.mark.rule(4)
def test_an_executor_judges_no_other_before_its_own_heartbeats_are_on_time(
    start_executor: Start, settings: Any
) -> None:
    settings.DBOS = {**settings.DBOS, "HEARTBEAT_INTERVAL": 0.1, "LEASE": 3.0}
    handle = workflows.counts.start(3)
    dead = register_dead(has_lock=False)
    claim_for(dead, handle.workflow_id)
    with connection.cursor() as cursor:
        cursor.execute("UPDATE dbos_executor SET heartbeat_at = '2020-01-01 00:00:00'")
    began = time.monotonic()

    start_executor()

    assert handle.get_result(timeout=LIMIT) == 3
    assert time.monotonic() - began >= 3.0


@pytest.mark.rule(16)
def test_a_wake_up_whose_sender_died_is_found(start_executor: Start, settings: Any) -> None:
    settings.DBOS = {**settings.DBOS, "HEARTBEAT_INTERVAL": 0.2, "LEASE": 3600}
    clock = Clock()
    executor = start_executor(clock=clock)
    handle = workflows.waits.start()
    eventually(lambda: handle.get_status() == "WAITING")

    # The sender dies between its commit and the wake-up.
    store = get_store()
    with transaction.atomic():
        store._insert_messages([_message(handle.workflow_id)], Notifications())
    clock.advance(sweep.PERIOD, executor)

    assert handle.get_result(timeout=LIMIT) == "unheard"


def _message(workflow_id: str) -> Any:
    return new_message(workflow_id, "unheard", None, None)


@pytest.mark.rule(16)
def test_more_lost_wake_ups_than_one_statement_takes_are_found(
    start_executor: Start, settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings.DBOS = {**settings.DBOS, "HEARTBEAT_INTERVAL": 0.2, "LEASE": 7200}
    monkeypatch.setattr(announcing, "WAKE_LIMIT", 2)
    # The next sweep comes after the end of the test.
    monkeypatch.setattr(sweep, "PERIOD", 3600.0)
    clock = Clock()
    executor = start_executor(clock=clock)
    handles = workflows.waits.start_many([()] * 5)
    eventually(lambda: Workflow.objects.filter(status="WAITING").count() == 5)

    store = get_store()
    with transaction.atomic():
        messages = [_message(handle.workflow_id) for handle in handles]
        store._insert_messages(messages, Notifications())
    clock.advance(sweep.PERIOD, executor)

    assert [handle.get_result(timeout=LIMIT) for handle in handles] == ["unheard"] * 5


@pytest.mark.rule(34)
def test_a_step_that_breaks_its_connection_breaks_nothing_else(start_executor: Start) -> None:
    start_executor()

    handle = workflows.breaks_connection.start()

    assert handle.get_result(timeout=LIMIT) == "0"
    assert workflows.counts.start(1).get_result(timeout=LIMIT) == 1


@pytest.mark.rule(39)
def test_async_runs_do_not_share_a_transaction(start_executor: Start) -> None:
    both = threading.Barrier(2)

    def create(name: str, *, rolls_back: bool) -> None:
        with transaction.atomic():
            if connection.vendor != "sqlite":
                both.wait(LIMIT)
            Group.objects.create(name=name)
            transaction.set_rollback(rolls_back)

    @dbos.step
    async def acreate(name: str, rolls_back: bool) -> None:
        await sync_to_async(create)(name, rolls_back=rolls_back)

    @dbos.workflow
    async def creates_group(name: str, rolls_back: bool) -> None:
        await acreate(name, rolls_back)

    start_executor()
    handles = creates_group.start_many([("kept", False), ("dropped", True)])
    for handle in handles:
        handle.get_result(timeout=LIMIT)

    assert list(Group.objects.values_list("name", flat=True)) == ["kept"]


def test_signals_are_sent_for_executors_and_workflows(start_executor: Start) -> None:
    told: list[tuple[str, Any]] = []

    def note(sender: Any, signal: Any, **values: Any) -> None:
        told.append((values.get("status") or "", values.get("workflow_id")))

    for signal in (signals.workflow_started, signals.workflow_finished):
        signal.connect(note)
    try:
        start_executor()
        handle = workflows.counts.start(1)
        handle.get_result(timeout=LIMIT)
        eventually(lambda: len(told) == 2)
    finally:
        for signal in (signals.workflow_started, signals.workflow_finished):
            signal.disconnect(note)

    assert told == [("", handle.workflow_id), ("SUCCESS", handle.workflow_id)]


@dbos.workflow
def starts_when_cancelled(depth: int) -> int:
    cancel_silently()
    return workflows.nested(depth)


@dbos.workflow
async def astarts_when_cancelled(depth: int) -> int:
    await sync_to_async(cancel_silently)()
    return await workflows.anested(depth)


@pytest.mark.rule(20)
@pytest.mark.parametrize("workflow", [starts_when_cancelled, astarts_when_cancelled])
def test_the_slot_of_a_child_that_is_refused_is_free_again(
    workflow: Any, start_executor: Start
) -> None:
    executor = start_executor(concurrency=3)
    for _ in range(4):
        with pytest.raises(dbos.WorkflowCancelled):
            workflow.start(1).get_result(timeout=LIMIT)
        eventually(lambda: not executor.runs)

    eventually(lambda: executor.runs.slots.free == 3)
    assert workflows.counts.start(2).get_result(timeout=LIMIT) == 2


@pytest.mark.parametrize("workflow", [workflows.counts, workflows.acounts])
def test_a_receiver_that_connects_while_a_run_ends_is_called(
    workflow: Any,
    start_executor: Start,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    told: list[str] = []

    def note(sender: Any, status: str, **_: Any) -> None:
        told.append(status)

    def may_end_later(runs: Runs) -> bool:
        # No receiver is connected yet, so the end is left to the writer.
        answer = asked(runs)
        signals.workflow_finished.connect(note)
        return answer

    caplog.set_level("INFO", "django_dbos")
    asked = Runs.may_end_later
    monkeypatch.setattr(Runs, "may_end_later", may_end_later)
    try:
        start_executor()
        workflow.start(1).get_result(timeout=LIMIT)
        eventually(lambda: told == ["SUCCESS"])
    finally:
        signals.workflow_finished.disconnect(note)


@pytest.mark.rule(35)
def test_stopping_leaves_no_thread_and_no_row(start_executor: Start) -> None:
    executor = start_executor(concurrency=4)
    for workflow in (workflows.counts, workflows.acounts, workflows.adds_side_by_side):
        assert workflow.start(2).get_result(timeout=LIMIT) == 2

    executor.stop()

    eventually(lambda: not _own_threads())
    assert not ExecutorRow.objects.exists()


@pytest.mark.skipif(connection.vendor != "postgresql", reason="SQLite has no round trips")
def test_a_step_is_one_statement_and_no_read(start_executor: Start, monkeypatch: Any) -> None:
    ran: list[str] = []
    load = statements.load

    def note(vendor: str, name: str) -> str:
        ran.append(name)
        return load(vendor, name)

    start_executor()
    monkeypatch.setattr(statements, "load", note)
    handle = workflows.counts.start(10)
    assert handle.get_result(timeout=LIMIT) == 10
    monkeypatch.undo()

    assert ran.count("record_checkpoint") == 10
    assert ran.count("end_workflow") == 1
    # A fresh run needs no separate read or lock.
    reads = {"lock_claims", "load_checkpoints", "find_checkpoints", "load_ended_streams"}
    assert not reads & set(ran)


def test_no_statement_is_read_from_its_file_after_the_start(start_executor: Start) -> None:
    statements.load.cache_clear()
    start_executor()
    at_start = statements.load.cache_info().misses

    assert workflows.counts.start(10).get_result(timeout=LIMIT) == 10

    assert statements.load.cache_info().misses == at_start


def test_an_idle_executor_is_quiet(
    start_executor: Start, monkeypatch: pytest.MonkeyPatch, settings: Any
) -> None:
    settings.DBOS = {**settings.DBOS, "HEARTBEAT_INTERVAL": 0.2}
    ran: list[str] = []
    load = statements.load

    def note(vendor: str, name: str) -> str:
        ran.append(name)
        return load(vendor, name)

    start_executor()
    assert workflows.counts.start(1).get_result(timeout=LIMIT) == 1
    monkeypatch.setattr(statements, "load", note)

    def is_quiet() -> bool:
        """Five heartbeats in a row; on SQLite, whose file they change, a poll follows each."""
        beats = [n for n, name in enumerate(ran) if name == "heartbeat"]
        if len(beats) < 6:
            return False
        between = [name for name in ran[beats[-6] : beats[-1]] if name != "heartbeat"]
        return set(between) <= {"list_lanes"} and len(between) <= 5

    eventually(is_quiet)


def _own_threads() -> list[str]:
    """Disconnect the sender over the channel layer, which isn't part of an executor."""
    names = [one.name for one in threading.enumerate()]
    return [name for name in names if name.startswith("dbos") and name != "dbos-notifications"]


def test_an_executor_has_only_public_methods_for_users() -> None:
    public = {
        name
        for name, member in vars(Executor).items()
        if callable(member) and not name.startswith("_")
    }

    assert public == {"start", "stop", "run", "drain", "wait_until_idle"}


@pytest.mark.parametrize(
    ("options", "message"),
    [({"queues": "one"}, "list of names"), ({"concurrency": 0}, "at least 1")],
)
def test_invalid_arguments_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises((TypeError, ValueError), match=message):
        Executor(**options)
