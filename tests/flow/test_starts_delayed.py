"""Delayed workflows that are moved, and workflows that are resumed in another queue."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import pytest
from asgiref.sync import async_to_sync
from django.conf import settings as django_settings
from django.db import connection, transaction
from django.utils import timezone

import django_dbos as dbos
from django_dbos.executor import Executor
from django_dbos.models import Workflow
from django_dbos.testing import advance, run_until_idle
from tests.flow.workflows import due_in, notes, ran, waits
from tests.waiting import LIMIT, eventually

pytestmark = pytest.mark.django_db
HOUR = 3_600


@pytest.mark.parametrize("seconds", [60, 10 * HOUR])
def test_a_delayed_workflow_is_moved_to_earlier_or_later(seconds: int) -> None:
    handle = notes.using(run_after=HOUR).start(1)

    assert handle.set_run_after(seconds)
    assert seconds - 30 < due_in(handle) <= seconds
    assert handle.set_run_after(timedelta(seconds=seconds))
    assert seconds - 30 < due_in(handle) <= seconds
    instant = timezone.now() + timedelta(seconds=seconds)
    assert async_to_sync(handle.aset_run_after)(instant)
    assert handle.describe().due_at == instant

    advance(seconds - 30)
    run_until_idle()
    assert ran == []
    advance(31)
    run_until_idle()
    assert ran == [1]


def test_the_past_is_at_once() -> None:
    handle = notes.using(run_after=HOUR).start(1)

    assert handle.set_run_after(timezone.now() - timedelta(days=1))
    run_until_idle()

    assert ran == [1]


def test_only_delayed_workflows_are_moved() -> None:
    enqueued = notes.start(1)
    assert not enqueued.set_run_after(60)
    waiting = waits.start()
    run_until_idle()

    assert not waiting.set_run_after(60)
    assert not enqueued.set_run_after(60)
    assert ran == [1]
    with pytest.raises(dbos.WorkflowDoesNotExist):
        dbos.WorkflowHandle("unknown").set_run_after(60)


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (None, "not None"),
        (-1, "can't be negative"),
        (float("nan"), "finite"),
        ("tomorrow", "not str 'tomorrow'"),
        (datetime(1, 1, 1), "after the year 1"),
    ],
)
def test_wrong_times_are_refused(value: Any, message: str) -> None:
    handle = notes.using(run_after=HOUR).start(1)

    with pytest.raises((TypeError, ValueError), match=message):
        handle.set_run_after(value)

    assert due_in(handle) > HOUR - 30


@pytest.mark.skipif(not django_settings.USE_TZ, reason="Naive times are local then.")
def test_a_naive_time_is_refused() -> None:
    handle = notes.using(run_after=HOUR).start(1)

    with pytest.raises(ValueError, match="aware of its time zone"):
        handle.set_run_after(datetime(2030, 1, 1))


def test_a_workflow_moves_another_one_once() -> None:
    @dbos.workflow
    def moves(workflow_id: str) -> bool:
        moved = dbos.WorkflowHandle[Any](workflow_id).set_run_after(60)
        dbos.sleep(HOUR)
        return moved

    handle = notes.using(run_after=10 * HOUR).start(1)
    mover = moves.start(handle.workflow_id)
    run_until_idle()
    assert handle.set_run_after(10 * HOUR)
    advance(HOUR)
    run_until_idle()

    assert mover.get_result() is True
    assert due_in(handle) > 8 * HOUR


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("in_transaction", [False, True])
def test_workers_learn_of_a_due_time_at_once(settings: Any, in_transaction: bool) -> None:
    """A heartbeat an hour would tell nobody in time."""
    settings.DBOS = {**settings.DBOS, "HEARTBEAT_INTERVAL": HOUR, "LEASE": 10 * HOUR}
    handle = notes.using(run_after=10 * HOUR).start(1)
    with Executor(concurrency=1):
        if in_transaction:
            with transaction.atomic():
                handle.set_run_after(0.1)
        else:
            handle.set_run_after(0.1)
        assert handle.get_result(timeout=LIMIT) == 1

        # Later, then earlier: the timer of the first time finds nothing, and the next one is known.
        other = notes.using(run_after=0.3).start(2)
        other.set_run_after(0.5)
        assert other.get_result(timeout=LIMIT) == 2
        assert notes.using(run_after=0.2).start(3).get_result(timeout=LIMIT) == 3


@pytest.mark.django_db(transaction=True)
@pytest.mark.skipif(django_settings.VENDOR != "postgresql", reason="There any change is looked at")
@pytest.mark.rule(16)
def test_a_due_time_that_was_missed_is_read_when_the_process_listens_again(settings: Any) -> None:
    settings.DBOS = {**settings.DBOS, "HEARTBEAT_INTERVAL": HOUR, "LEASE": 10 * HOUR}
    handle = notes.using(run_after=HOUR).start(1)
    with Executor() as executor:
        executor.wait_until_idle()
        # As a start does whose notification comes before the process listens.
        with connection.cursor() as cursor:
            cursor.execute("UPDATE dbos_workflow SET due_at = clock_timestamp()")
        executor.store.wakeups.notify_everything()

        assert handle.get_result(timeout=LIMIT) == 1


@pytest.mark.skipif(connection.vendor == "sqlite", reason="SQLite has one writer at a time")
@pytest.mark.django_db(transaction=True)
def test_a_due_workflow_whose_row_is_locked_is_looked_at_again(settings: Any) -> None:
    """Its timer has found nothing, and the next heartbeat is an hour away."""
    settings.DBOS = {**settings.DBOS, "HEARTBEAT_INTERVAL": HOUR, "LEASE": 10 * HOUR}
    with Executor(concurrency=1):
        handle = notes.using(run_after=0.3).start(1)
        with transaction.atomic():
            Workflow.objects.select_for_update().get(pk=handle.workflow_id)
            eventually(lambda: due_in(handle) < -0.1)
            assert handle.get_status() == "DELAYED"
        assert handle.get_result(timeout=LIMIT) == 1


@pytest.mark.django_db(transaction=True)
def test_a_move_and_the_enqueueing_meet_in_the_row(worker: Any) -> None:
    """A move that reports success has moved it: it doesn't run before its new time."""
    for _ in range(20):
        ran.clear()
        handle = notes.using(run_after=0.01).start(1)
        if not handle.set_run_after(HOUR):
            assert handle.get_result(timeout=LIMIT) == 1
            continue
        worker.wait_until_idle()
        assert handle.get_status() == "DELAYED"
        assert ran == []
        handle.cancel()


# Resuming in another queue


def test_a_workflow_is_resumed_in_another_queue() -> None:
    handle = notes.start(1)
    handle.cancel()

    assert handle.resume(queue_name="other")
    assert handle.describe().queue_name == "other"
    run_until_idle(queues=["default"])
    assert ran == []
    run_until_idle(queues=["other"])
    assert ran == [1]


def test_the_queue_stays_without_a_name() -> None:
    handle = notes.using(queue_name="mail").start(1)
    handle.cancel()

    assert async_to_sync(handle.aresume)()
    assert handle.describe().queue_name == "mail"


def test_many_are_resumed_in_another_queue() -> None:
    handles = notes.start_many([(1,), (2,), (3,)])
    Workflow.objects.filter(name=notes.name).cancel()

    answers = Workflow.objects.filter(name=notes.name).resume(queue_name="other")

    assert answers == {handle.workflow_id: True for handle in handles}
    assert set(Workflow.objects.values_list("queue_name", flat=True)) == {"other"}
    run_until_idle()
    assert sorted(ran) == [1, 2, 3]


def test_a_delayed_and_a_waiting_one_move_as_well() -> None:
    delayed, waiting = notes.using(run_after=HOUR).start(1), waits.start()
    run_until_idle()

    assert delayed.resume(queue_name="other")
    assert async_to_sync(waiting.aresume)(queue_name="other")

    run_until_idle(queues=["other"])
    assert ran == [1]
    assert waiting.describe().queue_name == "other"


@pytest.mark.django_db(transaction=True)
def test_a_move_frees_the_place_that_was_held_in_the_queue(settings: Any) -> None:
    """And its workers are told at once: a heartbeat an hour would tell them too late."""
    settings.DBOS = {**settings.DBOS, "HEARTBEAT_INTERVAL": HOUR, "LEASE": 10 * HOUR}
    dbos.queues.set("one", concurrency=1, hold_while_waiting=True)
    with Executor(concurrency=4):
        first = waits.using(queue_name="one").start()
        eventually(lambda: first.get_status() == "WAITING")
        second = notes.using(queue_name="one").start(2)

        assert first.resume(queue_name="other")

        assert second.get_result(timeout=LIMIT) == 2
        first.send(1)
        assert first.get_result(timeout=LIMIT) == 1


def test_a_taken_deduplication_id_of_the_other_queue_counts() -> None:
    moved = notes.using(deduplication_id="d").start(1)
    moved.cancel()
    other = waits.using(deduplication_id="d", queue_name="other").start()

    assert not moved.resume(queue_name="other")
    assert moved.describe().queue_name == "default"
    other.cancel()
    assert moved.resume(queue_name="other")


def test_of_two_with_one_id_the_first_moves() -> None:
    queues = ["a", "b"]
    for queue in queues:
        notes.using(deduplication_id="d", queue_name=queue).start(queue).cancel()

    answers = Workflow.objects.filter(deduplication_id="d").resume(queue_name="other")

    assert sorted(answers.values()) == [False, True]


@pytest.mark.parametrize(
    ("name", "error"), [("", ValueError), (7, TypeError), ("q" * 256, ValueError)]
)
def test_wrong_names_are_refused(name: Any, error: type[Exception]) -> None:
    handle = notes.start(1)
    handle.cancel()

    with pytest.raises(error, match="queue name"):
        handle.resume(queue_name=name)
    with pytest.raises(error, match="queue name"):
        Workflow.objects.all().resume(queue_name=name)

    assert handle.get_status() == "CANCELLED"


def test_a_queue_that_limits_each_key_takes_no_workflow_without_one(settings: Any) -> None:
    settings.DBOS = {**settings.DBOS, "QUEUES": {"imports": {"partition_concurrency": 1}}}
    with_key, without = notes.using(partition_key="k").start(1), notes.start(2)
    with_key.cancel()
    without.cancel()

    with pytest.raises(ValueError, match=f"'{without.workflow_id}' has no partition key"):
        without.resume(queue_name="imports")
    with pytest.raises(ValueError, match="which queue 'imports' needs, since it has partition_c"):
        Workflow.objects.all().resume(queue_name="imports")

    assert with_key.resume(queue_name="imports")
    assert without.get_status() == "CANCELLED"
