"""Executors on managed queues: what they wait for, and who goes on after whom."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from django.db import connection, transaction

import django_dbos as dbos
from django_dbos.core.records import Lane
from django_dbos.executor import Executor, dispatcher
from django_dbos.fields import DatabaseNow
from django_dbos.models import Queue, QueueStart, Workflow
from django_dbos.store import errors, get_store
from django_dbos.testing import advance, run_until_idle
from tests.capabilities import many_writers
from tests.executors import Start, register_dead
from tests.flow.managed import make_queue, rows_of
from tests.waiting import LIMIT, eventually

pytestmark = pytest.mark.django_db(transaction=True)


class Door:
    """Counts the workflows inside, and holds them until it is open."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.reset()

    def reset(self) -> None:
        self.is_open = threading.Event()
        self.inside: list[str] = []
        self.entered: list[str] = []
        self.most: dict[str, int] = {}

    @contextmanager
    def passing(self, name: str) -> Iterator[None]:
        with self._lock:
            self.inside.append(name)
            self.entered.append(name)
            self.most[name] = max(self.most.get(name, 0), self.inside.count(name))
        try:
            yield
        finally:
            with self._lock:
                self.inside.remove(name)


door = Door()


@dbos.step
def pass_door(name: str) -> str:
    with door.passing(name):
        door.is_open.wait(LIMIT)
    return name


@dbos.workflow
def passes(name: str = "") -> str:
    return pass_door(name)


@dbos.workflow
def listens(name: str = "") -> str:
    pass_door(name)
    dbos.recv("go", timeout=None)
    return pass_door(name)


@pytest.fixture(autouse=True)
def _closed_door(start_executor: Start) -> Iterator[None]:
    """Close the door, and open it before the executors stop."""
    door.reset()
    yield
    door.is_open.set()


def started(workflow: Any, count: int, name: str = "", **options: Any) -> list[Any]:
    return [workflow.using(queue_name="mail", **options).start(name) for _ in range(count)]


def results(handles: list[Any]) -> list[Any]:
    return [handle.get_result(timeout=LIMIT) for handle in handles]


def look_again(executor: Executor) -> None:
    """Have an executor look for workflows that it can claim, and wait until it has found none."""
    polls = executor.dispatcher.polls
    executor.dispatcher.poll()
    eventually(lambda: executor.dispatcher.polls > polls)
    polls = executor.dispatcher.polls
    executor.dispatcher.poll()
    eventually(lambda: executor.dispatcher.polls > polls)


@pytest.mark.rule(54)
def test_the_limit_holds_over_several_executors(start_executor: Start) -> None:
    make_queue(concurrency=3)
    handles = started(passes, 30)
    door.is_open.set()
    for _ in range(3):
        start_executor(concurrency=4)

    assert len(results(handles)) == 30
    assert door.most[""] <= 3


@pytest.mark.rule(54)
def test_a_freed_place_is_taken_by_another_executor(start_executor: Start, settings: Any) -> None:
    # No heartbeat comes to its help.
    settings.DBOS = {**settings.DBOS, "HEARTBEAT_INTERVAL": 600, "LEASE": 3600}
    make_queue(concurrency=1)
    first = start_executor(["mail"], concurrency=1)
    (one,) = started(passes, 1)
    eventually(lambda: door.inside)
    second = start_executor(["mail"], concurrency=1)
    first.dispatcher.is_paused = True
    (other,) = started(passes, 1)
    look_again(second)
    assert other.get_status() == "ENQUEUED"

    door.is_open.set()

    assert results([one, other]) == ["", ""]


@pytest.mark.rule(56)
def test_a_rate_limit_is_waited_for_and_not_polled(start_executor: Start, settings: Any) -> None:
    settings.DBOS = {**settings.DBOS, "HEARTBEAT_INTERVAL": 600, "LEASE": 3600}
    make_queue(rate_count=2, rate_period=0.4)
    executor = start_executor()
    door.is_open.set()
    claims: list[Any] = []
    claim = executor.store.claim_in_turn

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(
            executor.store,
            "claim_in_turn",
            lambda *args, **options: claims.append(args) or claim(*args, **options),
        )
        handles = started(passes, 6)
        results(handles)

    times = sorted(Workflow.objects.values_list("started_at", flat=True))
    gaps = [
        (after - before).total_seconds() for before, after in zip(times, times[2:], strict=False)
    ]
    assert min(gaps) >= 0.399
    # For each start one, one that finds when the next may be, and a few for the notifications.
    assert len(claims) < 40


@many_writers
@pytest.mark.rule(2)
def test_other_queues_go_on_while_an_operator_holds_the_lock(start_executor: Start) -> None:
    make_queue(concurrency=1)
    start_executor()
    door.is_open.set()
    with transaction.atomic():
        Queue.objects.select_for_update().get(name="mail")
        handle = in_thread(lambda: started(passes, 1)[0])
        free = in_thread(lambda: passes.using(queue_name="free").start("free"))
        eventually(lambda: "free" in door.entered)
        assert "" not in door.entered

    assert results([handle, free]) == ["", "free"]


def in_thread(act: Callable[[], Any]) -> Any:
    """Call a function on a thread of its own, outside of this one's transaction."""
    found: list[Any] = []

    def run() -> None:
        found.append(act())
        connection.close()

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    return found[0]


@pytest.mark.rule(54)
def test_a_queue_that_becomes_managed_without_a_word_is_claimed_as_such(
    start_executor: Start,
) -> None:
    start_executor(concurrency=8)
    door.is_open.set()
    results(started(passes, 3))
    door.is_open.clear()
    make_queue(concurrency=1)

    handles = started(passes, 5)
    eventually(lambda: door.inside)
    door.is_open.set()

    assert results(handles) == [""] * 5
    assert door.entered.count("") == 8
    assert set(rows_of([one.workflow_id for one in handles]).values_list("place", flat=True)) == {0}


def test_a_queue_that_is_managed_no_more_is_claimed_by_lanes(start_executor: Start) -> None:
    make_queue(concurrency=1)
    start_executor(concurrency=8)
    (first,) = started(passes, 1)
    eventually(lambda: door.inside)
    make_queue(concurrency=None, is_managed=False)

    handles = started(passes, 4)

    eventually(lambda: len(door.inside) == 5)
    door.is_open.set()
    assert results([first, *handles]) == [""] * 5


@pytest.mark.rule(3)
def test_a_claim_whose_answer_was_lost_keeps_no_place(
    start_executor: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_queue(concurrency=1)
    door.is_open.set()
    executor = start_executor()
    claim, lost = executor.store.claim_in_turn, []

    def lose_first(*args: Any, **options: Any) -> Any:
        claims, part = claim(*args, **options)
        if claims and not lost:
            lost.extend(claims)
            raise errors.Unavailable("lost", is_outcome_unknown=True)
        return claims, part

    monkeypatch.setattr(executor.store, "claim_in_turn", lose_first)

    assert results(started(passes, 3)) == [""] * 3
    assert len(lost) == 1


@pytest.mark.rule(54)
def test_a_dead_executor_keeps_its_places_until_it_is_recovered(start_executor: Start) -> None:
    make_queue(concurrency=1)
    store, dead = get_store(), register_dead(has_lock=False)
    first, second = started(passes, 2)
    # It dies between the claim and the start of the run.
    assert store.claim_workflow(store.session(), dead, first.workflow_id) is not None
    executor = start_executor()
    look_again(executor)
    assert door.entered == []

    recovered = store.recover_executor(store.session(), dead, is_unlocked=True)
    executor.dispatcher.note_lanes(recovered.lanes)

    eventually(lambda: door.inside)
    door.is_open.set()
    assert results([first, second]) == ["", ""]
    assert door.most[""] == 1


def test_a_poison_row_of_a_managed_queue_is_quarantined(start_executor: Start) -> None:
    make_queue(concurrency=2)
    door.is_open.set()
    handles = started(passes, 4)
    rows_of([handles[1].workflow_id]).update(claim_number=2**31 - 1)
    if connection.vendor == "sqlite":
        with connection.cursor() as cursor:
            cursor.execute(
                "UPDATE dbos_workflow SET token = 'text' WHERE workflow_id = %s",
                [handles[1].workflow_id],
            )

    start_executor()

    assert results([*handles[:1], *handles[2:]]) == [""] * 3
    poison = Workflow.objects.filter(pk=handles[1].workflow_id, is_quarantined=True)
    eventually(poison.exists)


@pytest.mark.rule(8)
def test_suspects_of_a_managed_queue_run_one_at_a_time(start_executor: Start) -> None:
    make_queue(concurrency=5)
    handles = started(passes, 3)
    rows_of([one.workflow_id for one in handles]).update(recovery_attempts=3)
    executor = start_executor()

    eventually(lambda: door.inside)
    look_again(executor)
    door.is_open.set()

    assert results(handles) == [""] * 3
    assert door.most[""] == 1


@pytest.mark.rule(9)
def test_an_unknown_function_in_a_managed_queue_is_named(
    start_executor: Start, caplog: pytest.LogCaptureFixture
) -> None:
    make_queue(concurrency=5)
    (handle,) = started(passes, 1)
    rows_of([handle.workflow_id]).update(name="old.name")

    start_executor()

    eventually(lambda: "'old.name'" in caplog.text)


@pytest.mark.rule(9)
def test_nobody_looks_for_unknown_functions_in_a_queue_that_is_full(
    start_executor: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_queue(partition_concurrency=1)
    handles = started(passes, 3)
    rows_of([one.workflow_id for one in handles]).update(partition_key="a")
    executor = start_executor()
    eventually(lambda: door.inside)
    looks: list[str] = []
    monkeypatch.setattr(executor.store, "find_unknown", lambda name, _: looks.append(name))

    look_again(executor)

    assert looks == []
    door.is_open.set()
    assert results(handles) == [""] * 3


@pytest.mark.rule(57)
def test_a_key_with_many_delays_no_other(start_executor: Start) -> None:
    make_queue(concurrency=2, partition_concurrency=1)
    many = started(passes, 20, "many")
    rows_of([one.workflow_id for one in many]).update(partition_key="many")
    start_executor()
    eventually(lambda: door.inside)
    with transaction.atomic():
        (one,) = started(passes, 1, "one")
        rows_of([one.workflow_id]).update(partition_key="one")

    eventually(lambda: "one" in door.inside)
    assert door.most == {"many": 1, "one": 1}
    door.is_open.set()
    results([*many, one])
    assert door.most == {"many": 1, "one": 1}


@pytest.mark.rule(55)
def test_a_waiting_workflow_gives_its_place_back(start_executor: Start) -> None:
    make_queue(concurrency=1)
    door.is_open.set()
    start_executor()
    (waiting,) = started(listens, 1)
    eventually(lambda: waiting.get_status() == "WAITING")

    assert results(started(passes, 2)) == ["", ""]
    waiting.send("", topic="go")
    assert waiting.get_result(timeout=LIMIT) == ""


@pytest.mark.rule(55)
def test_a_place_may_be_held_while_waiting(start_executor: Start) -> None:
    make_queue(concurrency=1, hold_while_waiting=True)
    door.is_open.set()
    executor = start_executor()
    (waiting,) = started(listens, 1)
    eventually(lambda: waiting.get_status() == "WAITING")
    (other,) = started(passes, 1)
    look_again(executor)
    assert other.get_status() == "ENQUEUED"

    waiting.send("", topic="go")

    assert results([waiting, other]) == ["", ""]


def test_run_until_idle_obeys_limits() -> None:
    make_queue(rate_count=2, rate_period=60.0, concurrency=1)
    door.is_open.set()
    handles = started(passes, 5)

    assert [run_until_idle(), run_until_idle()] == [2, 0]
    advance(60)
    assert run_until_idle() == 2
    make_queue(paused_at=DatabaseNow())
    advance(60)
    assert run_until_idle() == 0
    make_queue(is_managed=False)
    assert run_until_idle() == 1
    assert results(handles) == [""] * 5
    assert QueueStart.objects.count() >= 1


def test_run_until_idle_serves_keys_in_turn() -> None:
    make_queue(partition_concurrency=1)
    door.is_open.set()
    for key in "ab":
        handles = started(passes, 3, key)
        rows_of([one.workflow_id for one in handles]).update(partition_key=key)

    assert run_until_idle() == 6
    assert "".join(door.entered) == "ababab"


@pytest.mark.rule(29)
def test_an_executor_that_runs_once_does_not_wait_for_a_rate(start_executor: Start) -> None:
    make_queue(rate_count=1, rate_period=600.0)
    door.is_open.set()
    handles = started(passes, 2)

    with Executor() as executor:
        executor.wait_until_idle()

    assert [one.get_status() for one in handles] == ["SUCCESS", "ENQUEUED"]
    assert executor.dispatcher.lanes.pause is not None
    assert Lane("mail", None) not in executor.dispatcher.lanes.in_order()


def test_ends_that_are_being_written_free_their_places_before_a_full_queue_is_claimed_from(
    start_executor: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dispatcher, "GATHERING", LIMIT)
    make_queue(concurrency=1)
    executor = start_executor(["mail"])
    # The end leaves the claim to the dispatcher.
    monkeypatch.setattr(executor.dispatcher.lanes, "full_turn", lambda queue_name: None)
    slots, is_writing, waits = executor.runs.slots, threading.Event(), threading.Event()
    wait_until_settled = slots.wait_until_settled

    def note(timeout: float) -> None:
        if is_writing.is_set():
            waits.set()
        wait_until_settled(timeout)

    monkeypatch.setattr(slots, "wait_until_settled", note)
    one, other = started(passes, 2)
    eventually(lambda: door.inside)
    # As the end of a run does.
    slots.await_settlement()
    is_writing.set()

    door.is_open.set()

    assert results([one]) == [""]
    assert waits.wait(LIMIT)
    assert len(door.entered) == 1
    slots.settle()
    assert results([other]) == [""]
