"""Debounce: a burst of starts with one key is one run, with the arguments of the last one."""

from __future__ import annotations

from contextlib import nullcontext
from datetime import timedelta
from typing import Any

import pytest
from asgiref.sync import async_to_sync
from django.db import connection, transaction

import django_dbos as dbos
from django_dbos.models import Workflow
from django_dbos.testing import advance, run_until_idle
from tests.crashing import run_with_crash
from tests.flow.concurrency import open_transaction, together
from tests.flow.workflows import (
    anotes,
    astarts,
    due_in,
    notes,
    ran,
    starts,
    starts_in_step,
    starts_many,
    waits,
)
from tests.waiting import LIMIT, eventually

pytestmark = pytest.mark.django_db
HOUR = 3_600
BURST = dbos.StartOptions(debounce_key="k", delay=60)


def test_a_burst_is_one_run_of_its_last_arguments() -> None:
    burst = notes.using(**BURST)

    first, second, third = burst.start(1), burst.start(2), burst.start(3)

    assert first == second == third
    assert first.get_status() == "DELAYED"
    run_until_idle()
    assert ran == []
    advance(61)
    run_until_idle()
    assert ran == [3]
    assert first.get_result() == 3


def test_each_call_begins_the_delay_again() -> None:
    first = notes.using(**BURST).start(1)
    advance(50)
    notes.using(**BURST).start(2)
    assert 50 < due_in(first) <= 60

    advance(50)
    run_until_idle()
    assert ran == []
    advance(11)
    run_until_idle()
    assert ran == [2]


def test_the_delay_of_the_last_call_counts() -> None:
    first = notes.using(**BURST).start(1)

    notes.using(debounce_key="k", delay=timedelta(minutes=10)).start(2)
    assert 590 < due_in(first) <= 600
    notes.using(debounce_key="k", delay=5).start(3)
    assert due_in(first) <= 5


@pytest.mark.parametrize("last", [{"max_delay": 100}, {"max_delay": HOUR}, {}])
def test_the_first_call_limits_the_delay(last: Any) -> None:
    first = notes.using(**BURST, max_delay=100).start(1)
    advance(50)

    notes.using(**BURST, **last).start(2)

    assert 0 < due_in(first) <= 50
    advance(51)
    notes.using(**BURST, **last).start(3)
    run_until_idle()
    assert ran == [3]


def test_a_limit_may_come_with_a_later_call() -> None:
    first = notes.using(**BURST).start(1)
    notes.using(**BURST, max_delay=70).start(2)
    advance(50)

    notes.using(**BURST).start(3)

    assert due_in(first) <= 20


def test_a_call_after_the_burst_begins_another() -> None:
    first = notes.using(**BURST).start(1)
    advance(61)
    run_until_idle()

    second = notes.using(**BURST).start(2)

    assert second != first
    assert second.get_status() == "DELAYED"
    assert first.get_result() == 1


def test_a_run_that_has_begun_is_left_alone() -> None:
    burst = waits.using(**BURST)
    first = burst.start()
    first.run_now()
    run_until_idle()
    assert first.get_status() == "WAITING"

    assert burst.start() != first


def test_keys_and_functions_have_bursts_of_their_own() -> None:
    ids = {
        notes.using(**BURST).start(1).workflow_id,
        notes.using(debounce_key="other", delay=60).start(2).workflow_id,
        anotes.using(**BURST).start(3).workflow_id,
    }

    assert len(ids) == 3


def test_the_options_of_the_last_call_count() -> None:
    notes.using(**BURST, user="ada", priority=1, attributes={"a": 1}, timeout=5).start(1)

    later = dbos.StartOptions(
        priority=2, queue_name="other", partition_key="p", attributes={"b": 2}, user="ada"
    )
    handle = notes.using(**BURST, **later).start(2)

    row = Workflow.objects.get()
    assert (row.priority, row.queue_name, row.partition_key) == (2, "other", "p")
    assert (row.attributes, row.timeout, row.user_id) == ({"b": 2}, None, "ada")
    assert handle.describe().debounce_key == "k"


@pytest.mark.rule(30)
def test_another_users_burst_is_left_alone() -> None:
    notes.using(**BURST, user="ada").start(1)

    with pytest.raises(dbos.UserConflict, match="Debounce key 'k' is taken"):
        notes.using(**BURST, user="bob").start(2)

    assert Workflow.objects.get().input["args"] == [1]
    assert notes.using(**BURST).start(3).describe().user_id is None


def test_all_ways_to_start_share_a_burst() -> None:
    handles = [
        notes.using(**BURST).start(1),
        async_to_sync(notes.using(**BURST).astart)(2),
        dbos.start_by_name(notes.name, 3, using=BURST),
        *notes.using(**BURST).start_many([(4,)]),
    ]

    assert len(set(handles)) == 1
    advance(61)
    run_until_idle()
    assert ran == [4]


def test_a_call_waits_for_the_run_of_its_burst() -> None:
    @dbos.workflow
    def calls() -> Any:
        return notes.using(**BURST)(7)

    handle = calls.start()
    run_until_idle()
    notes.using(**BURST).start(8)
    advance(61)
    run_until_idle()

    assert handle.get_result() == 8


def test_the_burst_can_be_ended_and_cancelled() -> None:
    first = notes.using(**BURST).start(1)
    assert first.run_now()
    run_until_idle()
    second = notes.using(**BURST).start(2)
    assert second.cancel()

    third = notes.using(**BURST).start(3)

    assert ran == [1]
    assert third != second
    assert second.resume()
    run_until_idle()
    assert ran == [1, 2]


@pytest.mark.rule(64)
@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("in_transaction", [False, True])
def test_many_calls_at_once_are_one_run(in_transaction: bool) -> None:
    def start(number: int) -> str:
        with transaction.atomic() if in_transaction else nullcontext():
            return notes.using(**BURST).start(number).workflow_id

    for turn in range(1, 4):
        ids = together(8, start)

        assert len(set(ids)) == 1
        advance(61)
        run_until_idle()
        assert len(ran) == turn


@pytest.mark.rule(64)
@pytest.mark.django_db(transaction=True)
def test_no_arguments_are_lost_while_bursts_are_enqueued(worker: Any) -> None:
    """A call either changes the run before it is enqueued, or begins another one."""
    burst = notes.using(debounce_key="k", delay=0.02)

    def start(number: int) -> list[tuple[str, int]]:
        values = range(number * 1_000, number * 1_000 + 40)
        return [(burst.start(value).workflow_id, value) for value in values]

    calls = [call for made in together(4, start) for call in made]
    eventually(lambda: not Workflow.objects.active().exists())

    ids = {workflow_id for workflow_id, _ in calls}
    assert len(ran) == len(ids) == Workflow.objects.count()
    for workflow_id in ids:
        result = dbos.WorkflowHandle[Any](workflow_id).get_result()
        assert result in {value for called, value in calls if called == workflow_id}
    assert calls[-1][1] // 1_000 == 3
    # The last of all calls is the last one of some thread, and its arguments ran.
    assert {made * 1_000 + 39 for made in range(4)} & set(ran)


@pytest.mark.skipif(connection.vendor == "sqlite", reason="SQLite's other writers wait for commits")
@pytest.mark.rule(64)
@pytest.mark.django_db(transaction=True)
def test_a_call_waits_for_an_open_transaction_with_the_key(worker: Any) -> None:
    """Its row isn't enqueued meanwhile; the call that commits last has the last arguments."""
    first = notes.using(debounce_key="k", delay=0.05).start(0)

    with open_transaction(lambda: notes.using(debounce_key="k", delay=0.05).start(1)):
        if first.get_status() == "DELAYED":
            # Due by now, and looked at again and again.
            for _ in range(3):
                worker.housekeeping.due.hurry()
                worker.housekeeping.loop.wake()
            assert first.get_status() == "DELAYED"

    eventually(lambda: not Workflow.objects.active().exists())
    assert ran[-1] == 1


@pytest.mark.django_db(transaction=True)
def test_a_rolled_back_call_changes_nothing() -> None:
    first = notes.using(**BURST).start(1)

    with transaction.atomic():
        notes.using(debounce_key="k", delay=HOUR).start(2)
        transaction.set_rollback(True)

    assert due_in(first) <= 60
    advance(61)
    run_until_idle()
    assert ran == [1]


PARENTS = [starts, astarts, starts_many, starts_in_step]


@pytest.mark.rule(64)
@pytest.mark.parametrize("parent", PARENTS)
def test_children_are_part_of_the_burst(parent: Any) -> None:
    first = notes.using(**BURST).start(0)
    handles = [parent.start(BURST, number) for number in (1, 2, 3)]

    run_until_idle()
    assert [handle.get_result() for handle in handles] == [first.workflow_id] * 3
    advance(61)
    run_until_idle()

    assert ran == [3]


@pytest.mark.parametrize("parent", PARENTS)
def test_a_child_may_begin_the_burst(parent: Any) -> None:
    handle = parent.start(BURST, 1)
    run_until_idle()
    (row,) = Workflow.objects.filter(name=notes.name)

    assert handle.get_result() == row.workflow_id
    assert row.status == "DELAYED"
    assert row.parent_id == (None if parent is starts_in_step else handle.workflow_id)
    assert notes.using(**BURST).start(2).workflow_id == row.workflow_id


@pytest.mark.rule(30)
@pytest.mark.parametrize("parent", [starts, astarts])
def test_a_child_of_another_user_is_refused(parent: Any) -> None:
    notes.using(**BURST, user="ada").start(1)
    handle = parent.using(user="bob").start(BURST, 2)
    run_until_idle()

    with pytest.raises(dbos.UserConflict, match="Debounce key 'k' is taken"):
        handle.get_result()
    assert Workflow.objects.get(name=notes.name).input["args"] == [1]


@pytest.mark.rule(64)
@pytest.mark.parametrize("has_begun", [False, True])
@pytest.mark.parametrize("parent", [starts, astarts])
def test_a_child_changes_the_burst_once_whatever_crashes(parent: Any, has_begun: bool) -> None:
    for writes in range(1, 10):
        ran.clear()
        if has_begun:
            notes.using(**BURST).start(-1)
        handle = parent.start(BURST, writes)
        has_crashed = run_with_crash(writes)
        advance(61)
        run_until_idle()
        assert set(ran) == {writes}
        assert dbos.WorkflowHandle[Any](handle.get_result()).get_result() == writes
        if not has_crashed:
            return
    raise AssertionError("It never ran without a crash.")


@pytest.mark.rule(64)
@pytest.mark.django_db(transaction=True)
def test_children_and_calls_at_once_are_one_run(worker: Any) -> None:
    burst = dbos.StartOptions(debounce_key="k", delay=HOUR)

    def start(number: int) -> str:
        if number % 2:
            return notes.using(**burst).start(number).workflow_id
        return str(starts.start(burst, number).get_result(timeout=LIMIT))

    ids = together(8, start)

    assert len(set(ids)) == 1
    assert Workflow.objects.filter(name=notes.name).count() == 1


@pytest.mark.django_db(transaction=True)
def test_a_worker_runs_a_short_burst_without_waiting_for_a_heartbeat(
    settings: Any, request: Any
) -> None:
    """A heartbeat an hour would show nothing in time."""
    settings.DBOS = {**settings.DBOS, "HEARTBEAT_INTERVAL": HOUR, "LEASE": 10 * HOUR}
    request.getfixturevalue("worker")
    burst = notes.using(debounce_key="k", delay=0.2)

    for number in range(3):
        handle = burst.start(number)

    assert handle.get_result(timeout=LIMIT) == ran[-1]
