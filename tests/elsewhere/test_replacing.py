"""Starts by SQL that replace a workflow, or are part of a burst, beside those of Python."""

from __future__ import annotations

import json
import random
import threading
from collections.abc import Callable
from contextlib import nullcontext
from datetime import timedelta
from typing import Any

import pytest
from django.db import connection, transaction
from django.db.utils import OperationalError

import django_dbos as dbos
from django_dbos.core.records import DUE_PREFIX, Claim, Wake, cancelled_key, run_key
from django_dbos.executor.duties.sweep import Sweep
from django_dbos.models import Workflow
from django_dbos.store.base import Store
from django_dbos.store.sessions import Session
from django_dbos.testing import advance, run_until_idle
from tests.elsewhere.calling import another_session, call, listening, on_postgresql, run_on
from tests.elsewhere.test_races import waits_for_another
from tests.flow.concurrency import open_transaction, together
from tests.flow.workflows import notes, ran, waits
from tests.store.test_announcing import suspend
from tests.waiting import LIMIT, eventually

pytestmark = [on_postgresql, pytest.mark.django_db(transaction=True)]

HOUR = 3_600
LATEST = dbos.StartOptions(deduplication_id="d", on_duplicate="replace")
BURST = dbos.StartOptions(debounce_key="k", delay=HOUR)
Claims = Callable[..., Claim]
Start = Callable[[Any], str]


@dbos.workflow
def awaits(workflow_id: str) -> str:
    """Wait for the end of a workflow, and return how it ended."""
    try:
        return str(dbos.retrieve_workflow(workflow_id).get_result())
    except dbos.WorkflowCancelled:
        return "cancelled"


def by_python(value: Any) -> str:
    return notes.using(**LATEST).start(value).workflow_id


def by_sql(value: Any) -> str:
    return str(call("dbos_start_workflow", notes.name, [value], **LATEST))


def debounce_by_python(value: Any, **options: Any) -> str:
    return notes.using(**{**BURST, **options}).start(value).workflow_id


def debounce_by_sql(value: Any, **options: Any) -> str:
    given = {**BURST, **options}
    given["delay"] = timedelta(seconds=given["delay"])
    return str(call("dbos_start_workflow", notes.name, [value], **given))


STARTS = [by_python, by_sql]
DEBOUNCES = [debounce_by_python, debounce_by_sql]


@pytest.fixture(autouse=True)
def _forget() -> None:
    ran.clear()


@pytest.fixture
def no_heartbeat(settings: Any) -> None:
    """Leave everything to notifications: a heartbeat an hour would show nothing in time."""
    settings.DBOS = {**settings.DBOS, "HEARTBEAT_INTERVAL": HOUR, "LEASE": 10 * HOUR}
    settings.DBOS = {**settings.DBOS, "HOLD_TIME": 0}


def active() -> list[str]:
    found = Workflow.objects.active().filter(deduplication_id="d")
    return list(found.values_list("workflow_id", flat=True))


def status_of(workflow_id: str) -> str:
    return str(Workflow.objects.get(pk=workflow_id).status)


def arguments_of(workflow_id: str) -> Any:
    return Workflow.objects.get(pk=workflow_id).input["args"]


def in_thread(act: Callable[[], Any]) -> tuple[threading.Thread, list[Any]]:
    found: list[Any] = []

    def run() -> None:
        found.append(act())
        connection.close()

    thread = threading.Thread(target=run)
    thread.start()
    return thread, found


def waits_for_a_lock() -> bool:
    """Return whether a statement of this database waits for another transaction."""
    return bool(
        run_on(
            connection,
            "SELECT count(*) FROM pg_stat_activity "
            "WHERE wait_event_type = 'Lock' AND datname = current_database()",
        )
    )


# Replacing


@pytest.mark.rule(104)
@pytest.mark.parametrize("in_transaction", [False, True])
@pytest.mark.parametrize("starts", [[by_sql], STARTS])
def test_of_many_at_once_exactly_one_is_left(in_transaction: bool, starts: list[Start]) -> None:
    def start(number: int) -> str:
        with transaction.atomic() if in_transaction else nullcontext():
            return starts[number % len(starts)](number)

    for _ in range(3):
        ids = together(8, start)

        assert len(set(ids)) == 8
        (left,) = active()
        assert left in ids
        others = Workflow.objects.exclude(pk=left)
        assert set(others.values_list("status", flat=True)) == {"CANCELLED"}


@pytest.mark.rule(104)
@pytest.mark.parametrize("commits", [True, False])
@pytest.mark.parametrize("second", STARTS)
@pytest.mark.parametrize("first", STARTS)
def test_a_replacement_waits_for_another_one(first: Start, second: Start, commits: bool) -> None:
    holder = by_python(0)

    def start() -> str:
        return second(2)

    def begin() -> None:
        first(1)
        transaction.set_rollback(not commits)

    with open_transaction(begin):
        other, found = in_thread(start)
        eventually(waits_for_a_lock)
    other.join(LIMIT)

    assert active() == found
    assert arguments_of(found[0]) == [2]
    assert status_of(holder) == "CANCELLED"
    assert Workflow.objects.count() == (3 if commits else 2)


@pytest.mark.rule(104)
def test_an_aborted_transaction_replaces_nothing_and_notifies_nobody() -> None:
    holder = by_sql(1)

    with listening("dbos_changed") as changes, listening("dbos_enqueued") as lanes:
        with another_session() as client:
            run_on(client, START_LATEST, notes.name)
            client.rollback()
        assert active() == [holder]
        assert (changes(), lanes()) == ([], [])
        with another_session() as client:
            run_on(client, START_LATEST, notes.name)
            assert (changes(), lanes()) == ([], [])
            client.commit()
        assert status_of(holder) == "CANCELLED"
        assert changes() == [
            [Wake.of_result(holder).key, run_key(holder), cancelled_key(holder)],
        ]
        assert lanes() == [["default", 0]]


START_LATEST = "SELECT dbos_start_workflow(%s, deduplication_id => 'd', on_duplicate => 'replace')"


@pytest.mark.rule(104)
def test_a_start_whose_id_is_taken_meanwhile_replaces_nothing() -> None:
    holder = by_sql(1)
    options = {**LATEST, "workflow_id": "w"}

    with listening("dbos_changed") as changes:
        with open_transaction(lambda: Workflow.objects.select_for_update().get(pk=holder)):
            other, found = in_thread(lambda: call("dbos_start_workflow", notes.name, **options))
            # It has found the holder, and waits for its row.
            eventually(waits_for_another)
            notes.using(workflow_id="w").start(7)
        other.join(LIMIT)

        assert found == ["w"]
        assert changes() == []
    assert active() == [holder]
    assert arguments_of("w") == [7]


@pytest.mark.rule(104)
def test_a_holder_that_ends_meanwhile_is_left_as_it_ended() -> None:
    holder = by_sql(1)

    with open_transaction(lambda: run_on(connection, END, holder)):
        other, found = in_thread(lambda: by_sql(2))
        eventually(waits_for_another)
    other.join(LIMIT)

    assert status_of(holder) == "SUCCESS"
    assert active() == found


END = "UPDATE dbos_workflow SET status = 'SUCCESS', finished_at = now() WHERE workflow_id = %s"


@pytest.mark.rule(104)
@pytest.mark.parametrize("isolation", ["REPEATABLE READ", "SERIALIZABLE"])
def test_a_holder_that_was_replaced_since_the_snapshot_is_a_serialization_failure(
    isolation: str,
) -> None:
    by_sql(1)
    with another_session(isolation) as client:
        second = by_sql(2)
        with pytest.raises(OperationalError) as caught:
            run_on(client, START_LATEST, notes.name)
        client.rollback()
        # The repeat, which such transactions need anyway, finds the new holder.
        third = run_on(client, START_LATEST, notes.name)
        client.commit()

    assert getattr(caught.value.__cause__, "sqlstate", None) == "40001"
    assert active() == [third]
    assert status_of(second) == "CANCELLED"


@pytest.mark.rule(104)
@pytest.mark.usefixtures("worker")
def test_replacements_beside_the_ends_of_what_they_replace() -> None:
    """Each workflow is cancelled or runs once, and the last start of all runs."""

    def start(number: int) -> list[str]:
        return [STARTS[number % 2](number * 1_000 + value) for value in range(25)]

    started = {one for made in together(4, start) for one in made}
    eventually(lambda: not Workflow.objects.active().exists())

    ends = dict(Workflow.objects.values_list("workflow_id", "status"))
    assert ends.keys() == started
    assert set(ends.values()) <= {"SUCCESS", "CANCELLED"}
    assert len(set(ran)) == len(ran)
    done = {arguments_of(one)[0] for one in started if ends[one] == "SUCCESS"}
    assert done <= set(ran)
    assert {number * 1_000 + 24 for number in range(4)} & done


@pytest.mark.usefixtures("no_heartbeat")
@pytest.mark.parametrize("hold_time", [0, HOUR])
def test_a_worker_stops_the_replaced_one_and_runs_the_other(
    settings: Any, request: Any, hold_time: int
) -> None:
    """In a queue with room for one: the place is handed on."""
    settings.DBOS = {**settings.DBOS, "HOLD_TIME": hold_time}
    dbos.queues.set("single", concurrency=1, hold_while_waiting=True)
    request.getfixturevalue("worker")
    held = {"deduplication_id": "d", "queue_name": "single"}
    holder = waits.using(**held).start()
    eventually(lambda: holder.get_status() == ("PENDING" if hold_time else "WAITING"))

    latest = call("dbos_start_workflow", notes.name, [2], **held, on_duplicate="replace")

    assert dbos.WorkflowHandle[Any](latest).get_result(timeout=LIMIT) == 2
    assert holder.get_status() == "CANCELLED"


# Those that wait for the replaced one


@pytest.mark.rule(105)
@pytest.mark.usefixtures("no_heartbeat")
def test_the_commit_wakes_those_that_wait_for_the_replaced_one(request: Any) -> None:
    request.getfixturevalue("worker")
    holder = notes.using(**LATEST, run_after=HOUR).start(1)
    waiting = awaits.start(holder.workflow_id)
    eventually(lambda: waiting.get_status() == "WAITING")

    by_sql(2)

    assert waiting.get_result(timeout=LIMIT) == "cancelled"


@pytest.mark.rule(105)
@pytest.mark.usefixtures("no_heartbeat")
def test_no_wake_up_of_many_is_left_to_the_sweep(
    monkeypatch: pytest.MonkeyPatch, request: Any
) -> None:
    """Replacements that meet the suspensions of those that wait at any moment."""
    monkeypatch.setattr(Sweep, "on_heartbeat", lambda *args: None)
    request.getfixturevalue("worker")
    dice = random.Random(7)
    keys = [f"d{number}" for number in range(30)]
    waiting = []
    for key in keys:
        holder = notes.using(deduplication_id=key, run_after=HOUR).start(1)
        waiting.append(awaits.start(holder.workflow_id))
    shuffled = dice.sample(keys, len(keys))

    def replace(number: int) -> None:
        for key in shuffled[number::3]:
            options = {"deduplication_id": key, "on_duplicate": "replace"}
            call("dbos_start_workflow", notes.name, [2], **options)

    together(3, replace)

    assert dbos.get_results(waiting, timeout=LIMIT) == ["cancelled"] * 30


@pytest.mark.rule(105)
def test_a_suspension_during_the_transaction_is_found_after_it(
    store: Store, session: Session, executor_id: str, claim: Claims
) -> None:
    holder = by_sql(1)
    held = claim()
    with another_session() as client:
        run_on(client, START_LATEST, notes.name)
        # The end can't be seen yet: who suspends now finds nothing after its commit, either.
        suspend(store, session, executor_id, held, wake=Wake.of_result(holder))
        assert status_of(held.workflow_id) == "WAITING"
        client.commit()

    store.wake_after_cancels(session, [holder])

    assert status_of(held.workflow_id) == "ENQUEUED"


@pytest.mark.rule(105)
@pytest.mark.parametrize("target", ["active", "missing"])
def test_a_false_notification_wakes_nobody(
    store: Store, session: Session, executor_id: str, claim: Claims, target: str
) -> None:
    """Any role of the database can send one."""
    awaited = by_sql(1)
    held = claim()
    suspend(store, session, executor_id, held, wake=Wake.of_result(awaited))

    store.wake_after_cancels(session, [awaited if target == "active" else target])

    assert status_of(held.workflow_id) == "WAITING"


@pytest.mark.rule(105)
@pytest.mark.usefixtures("no_heartbeat")
def test_notifications_of_impossible_ids_disturb_nothing(
    request: Any, caplog: pytest.LogCaptureFixture
) -> None:
    request.getfixturevalue("worker")
    bad = [cancelled_key(one) for one in ("", "\0", "\ud800", "x" * 256)]
    run_on(connection, "SELECT pg_notify('dbos_changed', %s)", json.dumps(bad))

    holder = notes.using(**LATEST, run_after=HOUR).start(1)
    waiting = awaits.start(holder.workflow_id)
    eventually(lambda: waiting.get_status() == "WAITING")
    by_sql(2)

    assert waiting.get_result(timeout=LIMIT) == "cancelled"
    assert "dbos-notifier" not in caplog.text


# Bursts


@pytest.mark.rule(106)
@pytest.mark.parametrize("in_transaction", [False, True])
@pytest.mark.parametrize("starts", [[debounce_by_sql], DEBOUNCES])
def test_many_starts_at_once_are_one_run(in_transaction: bool, starts: list[Start]) -> None:
    def start(number: int) -> str:
        with transaction.atomic() if in_transaction else nullcontext():
            return starts[number % len(starts)](number)

    for turn in range(1, 4):
        ids = together(8, start)

        assert len(set(ids)) == 1
        advance(HOUR + 1)
        run_until_idle()
        assert len(ran) == turn


@pytest.mark.rule(106)
@pytest.mark.parametrize("commits", [True, False])
@pytest.mark.parametrize("second", DEBOUNCES)
@pytest.mark.parametrize("first", DEBOUNCES)
def test_a_start_waits_for_another_one_of_its_burst(
    first: Start, second: Start, commits: bool
) -> None:
    burst = debounce_by_python(0)

    def begin() -> None:
        assert first(1) == burst
        transaction.set_rollback(not commits)

    with open_transaction(begin):
        other, found = in_thread(lambda: second(2))
        eventually(waits_for_a_lock)
        assert arguments_of(burst) == [0]
    other.join(LIMIT)

    assert found == [burst]
    assert arguments_of(burst) == [2]


@pytest.mark.rule(106)
def test_no_arguments_are_lost_while_bursts_are_enqueued(worker: Any) -> None:
    """A start either changes the run before it is enqueued, or begins another one."""

    def start(number: int) -> list[tuple[str, int]]:
        values = range(number * 1_000, number * 1_000 + 40)
        debounce: Any = DEBOUNCES[number % 2]
        return [(debounce(value, delay=0.02), value) for value in values]

    calls = [call for made in together(4, start) for call in made]
    eventually(lambda: not Workflow.objects.active().exists())

    ids = {workflow_id for workflow_id, _ in calls}
    assert len(ran) == len(ids) == Workflow.objects.count()
    for workflow_id in ids:
        result = dbos.WorkflowHandle[Any](workflow_id).get_result()
        assert result in {value for called, value in calls if called == workflow_id}
    # The last of all starts is the last one of some thread, and its arguments ran.
    assert {made * 1_000 + 39 for made in range(4)} & set(ran)


@pytest.mark.rule(106)
@pytest.mark.parametrize("isolation", ["REPEATABLE READ", "SERIALIZABLE"])
def test_a_burst_that_has_begun_since_the_snapshot_is_a_serialization_failure(
    isolation: str,
) -> None:
    start = f"SELECT dbos_start_workflow('{notes.name}', debounce_key => 'k', delay => '1 hour')"
    with another_session(isolation) as client:
        burst = debounce_by_sql(1)
        with pytest.raises(OperationalError) as caught:
            run_on(client, start)
        client.rollback()
        assert run_on(client, start) == burst

    assert getattr(caught.value.__cause__, "sqlstate", None) == "40001"


@pytest.mark.parametrize("debounce", DEBOUNCES)
def test_a_due_time_that_is_near_is_notified(debounce: Any) -> None:
    with listening("dbos_changed") as changes:
        debounce(1, delay=0.5)
        debounce(2, delay=HOUR)
        ((key,),) = changes()

    assert key.startswith(DUE_PREFIX)
    assert 0.0 < float(key.removeprefix(DUE_PREFIX)) <= 0.5


@pytest.mark.usefixtures("no_heartbeat")
def test_a_worker_runs_a_short_burst_without_waiting_for_a_heartbeat(request: Any) -> None:
    request.getfixturevalue("worker")

    for number in range(3):
        burst = debounce_by_sql(number, delay=0.2)

    assert dbos.WorkflowHandle[Any](burst).get_result(timeout=LIMIT) == ran[-1]
