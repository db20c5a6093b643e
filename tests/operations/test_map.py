"""map(): a child for each item, some at once, and an early end when too many have failed."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

import pytest

import django_dbos as dbos
from django_dbos import queues
from django_dbos.executor import Executor
from django_dbos.models import Checkpoint, Wake, Workflow
from django_dbos.operations import mapping
from django_dbos.store import get_store
from django_dbos.testing import run_until_idle
from tests.waiting import LIMIT, eventually

pytestmark = pytest.mark.django_db


@dbos.workflow
def doubles(number: int, plus: int = 0) -> int:
    if number < 0:
        raise ValueError(f"{number} is negative")
    return number * 2 + plus


@dbos.workflow
def receives(number: int) -> Any:
    value = dbos.recv(timeout=None)
    if value == "fail":
        raise ValueError(f"{number} failed")
    return value


@dbos.step
def note(value: Any) -> Any:
    return value


@dbos.workflow
def maps(items: list[Any], concurrency: int | None = None, tolerate: float = 0) -> Any:
    results = doubles.map(items, concurrency=concurrency, tolerate=tolerate)
    return [note(str(one) if isinstance(one, Exception) else one) for one in results]


@dbos.workflow
async def amaps(items: list[Any], concurrency: int | None = None, tolerate: float = 0) -> Any:
    results = await doubles.amap(items, concurrency=concurrency, tolerate=tolerate)
    return [str(one) if isinstance(one, Exception) else one for one in results]


@dbos.workflow
def maps_receivers(count: int, concurrency: int | None = None, tolerate: float = 0) -> Any:
    return receives.map(range(count), concurrency=concurrency, tolerate=tolerate)


@dbos.workflow
async def amaps_receivers(count: int, concurrency: int | None = None, tolerate: float = 0) -> Any:
    return await receives.amap(range(count), concurrency=concurrency, tolerate=tolerate)


MAPS = [maps, amaps]
RECEIVERS = [maps_receivers, amaps_receivers]


def position_of(workflow_id: str) -> int:
    return int(workflow_id.rpartition("-")[2])


def children_of(handle: Any) -> list[Workflow]:
    """The children in the order of the items."""
    rows = Workflow.objects.filter(parent_id=handle.workflow_id)
    return sorted(rows, key=lambda row: position_of(str(row.workflow_id)))


def ids_of_children(handle: Any) -> list[str]:
    rows = Workflow.objects.filter(parent_id=handle.workflow_id)
    return sorted(rows.values_list("workflow_id", flat=True), key=position_of)


def started(handle: Any) -> list[int]:
    """The positions of the children that wait for a message."""
    rows = enumerate(children_of(handle))
    return [number for number, row in rows if (row.status, row.wake_kind) == ("WAITING", "message")]


def send(handle: Any, position: int, value: Any) -> None:
    dbos.send(ids_of_children(handle)[position], value)
    run_until_idle()


@pytest.mark.rule(72)
@pytest.mark.parametrize("concurrency", [None, 1, 2, 7])
@pytest.mark.parametrize("workflow", MAPS)
def test_results_come_in_the_order_of_the_items(workflow: Any, concurrency: int | None) -> None:
    handle = workflow.start([3, 1, 2, 5, 4], concurrency)
    run_until_idle()

    assert handle.get_result() == [6, 2, 4, 10, 8]


def test_a_tuple_or_a_dict_stands_for_several_arguments() -> None:
    handle = maps.start([(1, 100), {"number": 2, "plus": 200}, 3])
    run_until_idle()

    assert handle.get_result() == [102, 204, 6]


@pytest.mark.rule(72)
@pytest.mark.parametrize("workflow", RECEIVERS)
def test_no_more_children_are_started_than_the_limit_allows(workflow: Any) -> None:
    handle = workflow.start(7, concurrency=3)
    run_until_idle()
    assert started(handle) == [0, 1, 2]

    values = dict(enumerate("abcdefg"))
    send(handle, 1, values.pop(1))
    assert started(handle) == [0, 2, 4]
    while values:
        # The next ones take the room, in whichever chain they were.
        position = started(handle)[-1]
        send(handle, position, values.pop(position))
        assert len(started(handle)) == min(3, len(values))

    assert handle.get_result() == list("abcdefg")
    assert not Wake.objects.exists()


@pytest.mark.rule(72)
def test_each_crash_leaves_the_same_results(
    run_through_crashes: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mapping, "CHUNK", 2)

    def check(handle: Any) -> None:
        assert handle.get_result() == [2, 4, "-3 is negative", 8, 10]
        assert len(children_of(handle)) == 5

    def start() -> Any:
        return maps.start([1, 2, -3, 4, 5], concurrency=2, tolerate=1)

    assert run_through_crashes(start, check) > 10


@pytest.mark.rule(72)
def test_children_of_a_later_chunk_follow_those_that_have_ended(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(mapping, "CHUNK", 2)
    handle = maps_receivers.start(5, concurrency=1)
    run_until_idle()
    assert started(handle) == [0]
    for position in range(5):
        send(handle, position, position)

    assert handle.get_result() == list(range(5))
    names = Checkpoint.objects.filter(workflow_id=handle.workflow_id).values_list("step_name")
    # A checkpoint a chunk, and one for all results.
    assert len(names) == 4


@pytest.mark.rule(72)
@pytest.mark.parametrize("workflow", RECEIVERS)
def test_a_failure_that_isnt_tolerated_cancels_the_others(workflow: Any) -> None:
    handle = workflow.start(6, concurrency=3)
    run_until_idle()
    send(handle, 1, "fail")

    failed = children_of(handle)[1].workflow_id
    with pytest.raises(dbos.MapFailed, match=f"1 of 6 .*{failed}.*ValueError: 1 failed") as caught:
        handle.get_result()
    assert (caught.value.failed, caught.value.total, caught.value.tolerated) == (1, 6, 0)
    assert not Wake.objects.exists()
    assert [row.status for row in children_of(handle)] == [
        "CANCELLED", "ERROR", "CANCELLED", "CANCELLED", "CANCELLED", "CANCELLED",
    ]  # fmt: skip


@pytest.mark.rule(72)
@pytest.mark.parametrize("workflow", RECEIVERS)
def test_a_child_that_takes_long_delays_no_other(workflow: Any) -> None:
    handle = workflow.start(20, concurrency=4)
    run_until_idle()
    seen: list[int] = []
    while others := [position for position in started(handle) if position != 0]:
        assert len(others) == min(3, 19 - len(seen))
        seen.append(others[0])
        send(handle, others[0], others[0])

    assert sorted(seen) == list(range(1, 20))
    send(handle, 0, 0)
    assert handle.get_result() == list(range(20))


@pytest.mark.rule(72)
def test_a_run_that_has_lost_its_claim_releases_nothing() -> None:
    handle = maps_receivers.start(4, concurrency=2)
    run_until_idle()
    store = get_store()
    held = [str(row.workflow_id) for row in children_of(handle)[2:]]

    store.release_children(handle.workflow_id, 1, held)
    run_until_idle()

    assert started(handle) == [0, 1]


@pytest.mark.rule(72)
@pytest.mark.parametrize("tolerate", [2, 0.4])
def test_some_failures_are_tolerated(tolerate: float) -> None:
    handle = maps_receivers.start(5, concurrency=2, tolerate=tolerate)
    run_until_idle()
    for position in (0, 1):
        send(handle, position, "fail")
        assert handle.get_status() == "WAITING"
    for position in (2, 3, 4):
        send(handle, position, position)

    first, second, *others = handle.get_result()
    assert [str(first), str(second)] == ["0 failed", "1 failed"]
    assert others == [2, 3, 4]


@pytest.mark.rule(72)
def test_one_failure_too_many_ends_it() -> None:
    handle = maps_receivers.start(9, concurrency=3, tolerate=1)
    run_until_idle()
    send(handle, 0, "fail")
    assert handle.get_status() == "WAITING"
    send(handle, 2, "fail")

    with pytest.raises(dbos.MapFailed, match="2 of 9"):
        handle.get_result()


@pytest.mark.rule(60)
@pytest.mark.rule(72)
def test_children_that_are_held_get_no_place_of_a_queue_that_holds_while_waiting() -> None:
    handle = maps_receivers.using(queue_name="mapping").start(5, concurrency=2)
    run_until_idle()

    queues.set("default", concurrency=1, hold_while_waiting=True)
    places = [row.place for row in children_of(handle)]
    assert places == [2, 2, 0, 0, 0]

    send(handle, 0, 0)
    send(handle, 1, 1)
    assert started(handle) == [2]


@pytest.mark.rule(32)
@pytest.mark.rule(72)
def test_a_cancelled_child_has_failed() -> None:
    handle = maps_receivers.start(3)
    run_until_idle()
    children_of(handle)[1].handle.cancel()
    run_until_idle()

    with pytest.raises(dbos.MapFailed, match="cancelled or given up"):
        handle.get_result()


@pytest.mark.rule(16)
@pytest.mark.rule(72)
@pytest.mark.parametrize("last", ["fail", "value"])
def test_the_sweep_finds_lost_wake_ups(last: str) -> None:
    handle = maps_receivers.start(4, concurrency=2)
    run_until_idle()
    store: Any = get_store()
    store._wake_waiting = lambda *args: []
    store._notify_and_wake = lambda *args: []
    try:
        for position, value in enumerate(["a", "b", "c", last]):
            send(handle, position, value)
    finally:
        del store._wake_waiting, store._notify_and_wake
    run_until_idle()

    if last == "fail":
        with pytest.raises(dbos.MapFailed, match="1 of 4"):
            handle.get_result()
    else:
        assert handle.get_result() == ["a", "b", "c", "value"]


@pytest.mark.rule(32)
def test_a_cancelled_parent_leaves_no_child_waiting() -> None:
    handle = maps_receivers.start(4, concurrency=2)
    run_until_idle()

    handle.cancel(children=True)
    run_until_idle()

    assert {row.status for row in children_of(handle)} == {"CANCELLED"}


@pytest.mark.rule(72)
def test_a_parent_of_many_has_a_short_history_and_runs_rarely(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(mapping, "CHUNK", 100)
    handle = maps_receivers.start(250, concurrency=5)
    run_until_idle()
    for position in range(250):
        dbos.send(ids_of_children(handle)[position], position)
    run_until_idle(max_runs=2_000)

    assert handle.get_result() == list(range(250))
    assert Checkpoint.objects.filter(workflow_id=handle.workflow_id).count() == 4
    assert Workflow.objects.get(pk=handle.workflow_id).claim_number <= 41


def test_its_description_names_the_children() -> None:
    handle = maps_receivers.start(2)
    run_until_idle()

    assert handle.describe().waits_for == f"children of map({receives.name})"


def test_no_items_have_no_results() -> None:
    handle = maps.start([])
    run_until_idle()

    assert handle.get_result() == []


@pytest.mark.rule(30)
def test_an_id_that_is_taken_is_an_error_and_starts_nothing() -> None:
    doubles.using(workflow_id="parent-1-1").start(1)
    run_until_idle()
    handle = maps_receivers.using(workflow_id="parent").start(3)
    run_until_idle()

    with pytest.raises(dbos.WorkflowIdConflict, match="parent-1-1"):
        handle.get_result()
    assert not children_of(handle)


@pytest.mark.parametrize(
    ("options", "error", "text"),
    [
        ({"concurrency": 0}, ValueError, "concurrency must be at least 1"),
        ({"concurrency": True}, TypeError, "concurrency must be an int"),
        ({"concurrency": 1.5}, TypeError, "concurrency must be an int"),
        ({"tolerate": -1}, ValueError, "tolerate must be"),
        ({"tolerate": 1.5}, ValueError, "tolerate must be"),
        ({"tolerate": float("nan")}, ValueError, "tolerate must be"),
        ({"tolerate": None}, TypeError, "tolerate must be"),
        ({"items": [{"x": 1}]}, TypeError, "missing a required argument: 'number'"),
        ({"items": "ab"}, TypeError, "a list of items, not str 'ab'"),
        ({"items": 3}, TypeError, "a list of items, not int 3"),
        ({"items": [object()]}, dbos.SerializationError, "object"),
        ({}, dbos.NotInWorkflow, r"map\(\)"),
    ],
)
def test_bad_arguments_are_refused_at_the_caller(
    options: dict[str, Any], error: type[Exception], text: str
) -> None:
    with pytest.raises(error, match=text):
        doubles.map(**{"items": [1, 2], **options})

    assert not Workflow.objects.exists()


def test_one_id_cant_be_that_of_all_children() -> None:
    given: list[dbos.StartOptions] = [
        {"workflow_id": "one"},
        {"deduplication_id": "one"},
        {"debounce_key": "one", "delay": 60},
    ]
    for options in given:
        with pytest.raises(ValueError, match=r"map\(\) can't give its children the same .* 'one'"):
            doubles.using(**options).map([1])


@pytest.mark.rule(36)
@pytest.mark.parametrize("concurrency", [None, 1, 2])
def test_an_inline_call_runs_the_children(concurrency: int | None) -> None:
    assert maps([1, 2, 3, 4, 5], concurrency) == [2, 4, 6, 8, 10]


@pytest.mark.rule(36)
def test_an_inline_call_in_a_test_refuses_a_wait_for_others() -> None:
    with pytest.raises(dbos.WaitInTest):
        maps_receivers(2)


# With a worker

running: list[int] = []
most: list[int] = []
lock = threading.Lock()
together = threading.Barrier(1)
"""Where the first children wait for one another: as many as may run at once."""


@dbos.step
def counts_itself(number: int) -> int:
    with lock:
        running.append(number)
        most.append(len(running))
        is_among_the_first = len(most) <= together.parties
    if is_among_the_first:
        together.wait(LIMIT)
    time.sleep(0.005)
    with lock:
        running.remove(number)
    return number


@pytest.fixture
def at_once(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    """Return a function that has so many children run at once, before they go on."""

    def expect(count: int) -> None:
        most.clear()
        monkeypatch.setattr(f"{__name__}.together", threading.Barrier(count))

    return expect


@dbos.workflow
def counts(number: int) -> int:
    return counts_itself(number)


@dbos.workflow
def maps_counts(count: int, concurrency: int, queue_name: str | None = None) -> Any:
    return counts.using(queue_name=queue_name).map(range(count), concurrency=concurrency)


@pytest.mark.django_db(transaction=True)
@pytest.mark.rule(72)
def test_a_worker_runs_no_more_than_the_limit_at_once(
    worker: Executor, at_once: Callable[[int], None]
) -> None:
    at_once(3)
    handle = maps_counts.start(60, concurrency=3)

    assert handle.get_result(timeout=LIMIT) == list(range(60))
    assert max(most) == 3


@pytest.mark.django_db(transaction=True)
@pytest.mark.rule(72)
@pytest.mark.parametrize("workflow", RECEIVERS)
def test_a_worker_ends_it_early(worker: Executor, workflow: Any) -> None:
    handle = workflow.start(20, concurrency=5)
    eventually(lambda: started(handle) == list(range(5)))
    eventually(lambda: handle.get_status() == "WAITING")
    dbos.send(ids_of_children(handle)[3], "fail")

    with pytest.raises(dbos.MapFailed, match="1 of 20"):
        handle.get_result(timeout=LIMIT)
    eventually(lambda: not Workflow.objects.filter(parent_id=handle.workflow_id).active().exists())


@pytest.mark.django_db(transaction=True)
@pytest.mark.rule(72)
@pytest.mark.parametrize(("limit", "concurrency"), [(2, 4), (4, 2)])
def test_children_obey_the_limit_of_their_queue_too(
    transactional_db: None, limit: int, concurrency: int, at_once: Callable[[int], None]
) -> None:
    queues.set("counted", concurrency=limit)
    at_once(2)
    with Executor(concurrency=8):
        handle = maps_counts.start(30, concurrency=concurrency, queue_name="counted")

        assert handle.get_result(timeout=LIMIT) == list(range(30))
    assert max(most) == 2


@pytest.mark.django_db(transaction=True)
@pytest.mark.rule(60)
@pytest.mark.rule(72)
@pytest.mark.parametrize("hold_while_waiting", [False, True])
def test_too_many_failures_wake_a_workflow_of_a_queue_with_limits(
    worker: Executor, hold_while_waiting: bool
) -> None:
    queues.set("mapping", concurrency=1, hold_while_waiting=hold_while_waiting)
    handle = maps_receivers.using(queue_name="mapping").start(5, concurrency=3)
    eventually(lambda: started(handle) == [0, 1, 2] and handle.get_status() == "WAITING")

    dbos.send(ids_of_children(handle)[0], "fail")

    with pytest.raises(dbos.MapFailed, match="1 of 5"):
        handle.get_result(timeout=LIMIT)


@pytest.mark.django_db(transaction=True)
@pytest.mark.rule(72)
def test_a_worker_starts_others_beside_a_child_that_takes_long(worker: Executor) -> None:
    handle = maps_receivers.start(12, concurrency=3)
    seen: set[int] = set()
    while len(seen) < 11:
        eventually(lambda: [one for one in started(handle) if one and one not in seen])
        for position in started(handle):
            if position and position not in seen:
                seen.add(position)
                dbos.send(ids_of_children(handle)[position], position)
    dbos.send(ids_of_children(handle)[0], 0)

    assert handle.get_result(timeout=LIMIT) == list(range(12))
