"""Places that are lent: a run that can't be suspended gives its place back while it waits.

It has one again before its code goes on. In a queue with one place the steps' own log shows it.
"""

from __future__ import annotations

import asyncio
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from asgiref.sync import sync_to_async
from django.db import connections
from django.db.models import QuerySet

import django_dbos as dbos
from django_dbos.core.queues import LENT, RESERVED
from django_dbos.executor import Executor
from django_dbos.models import Executor as ExecutorRow
from django_dbos.models import Message, Workflow
from django_dbos.operations.places import MOST_LOCKED
from django_dbos.store import errors
from django_dbos.store.records import PlaceReply
from django_dbos.store.sessions import Session
from django_dbos.testing import advance, run_until_idle
from tests.capabilities import many_writers
from tests.executors import Start
from tests.flow.managed import make_queue
from tests.flow.world import World, work
from tests.waiting import LIMIT, eventually

Event = tuple[str, str, str]
"""A workflow's id, a step, and whether it begins or ends."""
events: list[Event] = []
reached, go = threading.Event(), threading.Event()


@pytest.fixture(autouse=True)
def _closed_gates() -> Iterator[None]:
    events.clear()
    reached.clear()
    go.clear()
    yield
    go.set()


@pytest.fixture(autouse=True)
def _no_hold(settings: Any) -> None:
    """Places are lent at once."""
    settings.DBOS = {**settings.DBOS, "HOLD_TIME": 0}


def note(name: str, what: str) -> None:
    own = dbos.current_workflow()
    assert own is not None
    events.append((own.workflow_id, name, what))


@dbos.step
def gated(name: str) -> None:
    note(name, "begins")
    reached.set()
    go.wait(LIMIT)
    note(name, "ends")


@dbos.step
def short(name: str) -> str:
    note(name, "begins")
    note(name, "ends")
    return name


@dbos.step
async def ashort(name: str) -> str:
    note(name, "begins")
    await asyncio.sleep(0)
    note(name, "ends")
    return name


@dbos.workflow(queue_name="mail")
def child(name: str) -> str:
    return short(name)


@dbos.workflow(queue_name="mail")
def holder() -> None:
    gated("holder")


@dbos.workflow(queue_name="mail")
async def gathers(count: int = 3) -> list[str]:
    handles = [await child.astart(str(number)) for number in range(count)]
    found = await asyncio.gather(*(handle.aget_result() for handle in handles))
    return [await ashort(f"after {name}") for name in found]


@dbos.workflow(queue_name="mail")
async def has_steps_in_branches(count: int = 3) -> list[str]:
    """Each branch takes a step before and after its wait."""

    async def branch(number: int) -> str:
        await ashort(f"before {number}")
        handle = await child.astart(str(number))
        name = await handle.aget_result()
        return await short.acall(f"after {name}")

    return list(await asyncio.gather(*map(branch, range(count))))


@dbos.workflow(queue_name="mail")
async def waits_for_two() -> list[Any]:
    """Wait on two branches for messages, and take a step after each."""

    async def branch(topic: str) -> Any:
        message = await dbos.arecv(topic, timeout=None)
        await ashort(f"got {topic}")
        return message

    short_name = await short.acall("parent")
    assert short_name == "parent"
    return list(await asyncio.gather(branch("one"), branch("two")))


@dbos.workflow(queue_name="mail")
def calls(name: str) -> str:
    short(f"before {name}")
    found = child(name)
    return short(f"after {found}")


@dbos.workflow(queue_name="mail")
async def acalls(name: str) -> str:
    await short.acall(f"before {name}")
    found = await child.acall(name)
    return await short.acall(f"after {found}")


def place_of(handle: Any) -> int:
    return int(Workflow.objects.get(pk=handle.workflow_id).place)


def most_at_once() -> int:
    """Return the largest number of workflows that were in steps at once."""
    inside: Counter[str] = Counter()
    most = 0
    for workflow_id, _, what in events:
        inside[workflow_id] += 1 if what == "begins" else -1
        most = max(most, sum(count > 0 for count in inside.values()))
    return most


def names() -> list[str]:
    return [name for _, name, what in events if what == "begins"]


in_workers = pytest.mark.django_db(transaction=True)


@pytest.mark.rule(85)
@in_workers
@pytest.mark.parametrize("parent", [gathers, has_steps_in_branches])
def test_branches_wait_for_workflows_of_their_own_full_queue(parent: Any, worker: Executor) -> None:
    make_queue(concurrency=1)

    handles = [parent.start() for _ in range(2)]

    for handle in handles:
        assert handle.get_result(timeout=LIMIT) == ["after 0", "after 1", "after 2"]
    assert most_at_once() == 1
    assert set(Workflow.objects.values_list("status", "place")) == {("SUCCESS", 0)}


@pytest.mark.rule(85)
@in_workers
@pytest.mark.parametrize("workflow", [calls, acalls])
def test_a_called_workflow_waits_for_a_child_of_its_own_full_queue(
    workflow: Any, transactional_db: None
) -> None:
    make_queue(concurrency=1)

    if workflow is calls:
        assert workflow("x") == "after x"
    else:
        asyncio.run(closing(workflow.acall("x"), expected="after x"))

    assert most_at_once() == 1
    assert names() == ["before x", "x", "after x"]
    assert set(Workflow.objects.values_list("status", "place")) == {("SUCCESS", 0)}


@in_workers
@pytest.mark.rule(85)
def test_branches_of_a_called_workflow_run_what_they_await(transactional_db: None) -> None:
    make_queue(concurrency=1)

    asyncio.run(closing(gathers.acall(2), expected=["after 0", "after 1"]))

    assert most_at_once() == 1
    assert set(Workflow.objects.values_list("status", "place")) == {("SUCCESS", 0)}


@dbos.workflow(queue_name="mail")
def publishes() -> str:
    short("child")
    dbos.set_event("event", "value")
    dbos.write_stream("stream", "value")
    return "value"


WAITS: dict[str, Callable[[Any], Any]] = {
    "get_result": lambda handle: handle.get_result(),
    "get_results": lambda handle: dbos.get_results([handle])[0],
    "get_event": lambda handle: handle.get_event("event", timeout=None),
    "read_stream": lambda handle: next(iter(handle.read_stream("stream"))),
    "wait_any": lambda handle: dbos.wait_any(handle).value,
}


@dbos.workflow(queue_name="mail")
def waits_somehow(how: str) -> str:
    value = WAITS[how](publishes.start())
    assert value == "value"
    return short("after")


@in_workers
@pytest.mark.rule(86)
@pytest.mark.parametrize("how", WAITS)
def test_whatever_a_called_workflow_waits_for_it_lends_its_place(
    how: str, worker: Executor
) -> None:
    make_queue(concurrency=1)

    assert waits_somehow(how) == "after"

    assert names() == ["child", "after"]
    assert most_at_once() == 1


async def closing(call: Any, expected: Any) -> None:
    """Await a call, and close the connection of asgiref's thread."""
    try:
        assert await call == expected
    finally:
        await sync_to_async(connections.close_all)()


# What may happen while a place is lent, or wanted back


@pytest.fixture
def lent(worker: Executor) -> dbos.WorkflowHandle[list[Any]]:
    """Return a run whose branches wait for messages, and that has lent the only place."""
    dbos.queues.set("mail", concurrency=1)
    handle = waits_for_two.start()
    eventually(lambda: place_of(handle) == LENT)
    return handle


@pytest.fixture
def returning(lent: dbos.WorkflowHandle[list[Any]]) -> dbos.WorkflowHandle[list[Any]]:
    """Return the same once one branch has its message, and another workflow has the place."""
    holder.start()
    assert reached.wait(LIMIT)
    lent.send("hello", "one")
    eventually(lambda: place_of(lent) == RESERVED)
    return lent


def rest_of(handle: dbos.WorkflowHandle[list[Any]]) -> list[Any]:
    """Let a run have what it waits for; return its result."""
    go.set()
    handle.send("there", "two")
    return handle.get_result(timeout=LIMIT)


ALL = ["parent", "holder", "got one", "got two"]


@pytest.mark.rule(85)
@in_workers
def test_a_lent_place_is_free_for_others(lent: Any) -> None:
    assert child.start("other").get_result(timeout=LIMIT) == "other"

    assert (lent.get_status(), place_of(lent)) == ("PENDING", LENT)
    assert dbos.queues.depth("mail").places == 0


@pytest.mark.rule(86)
@in_workers
def test_no_branch_goes_on_without_a_place(returning: Any) -> None:
    assert names() == ["parent", "holder"]
    assert dbos.queues.depth("mail").places == 1
    said = "It has waited, and goes on once queue 'mail' has a place for it."
    assert returning.describe().why_not_running == said

    assert rest_of(returning) == ["hello", "there"]
    assert names() == ALL
    assert most_at_once() == 1


@pytest.mark.rule(87)
@in_workers
def test_a_place_that_is_wanted_back_comes_before_workflows_that_never_ran(returning: Any) -> None:
    following = child.using(priority=100).start("following")
    go.set()

    assert following.get_result(timeout=LIMIT) == "following"
    order = names()
    assert order.index("got one") < order.index("following")
    assert rest_of(returning) == ["hello", "there"]
    assert most_at_once() == 1


@pytest.mark.rule(87)
@in_workers
def test_a_pause_keeps_a_run_that_wants_its_place_back(returning: Any) -> None:
    dbos.queues.pause("mail")
    go.set()
    eventually(lambda: not Workflow.objects.exclude(place=RESERVED).exclude(place=0).exists())
    returning.send("there", "two")
    eventually(lambda: Message.objects.filter(consumed_at=None).count() == 0)
    assert names() == ["parent", "holder"]

    dbos.queues.resume("mail")
    assert returning.get_result(timeout=LIMIT) == ["hello", "there"]


@pytest.mark.rule(86)
@in_workers
@many_writers
def test_the_lock_of_a_queue_keeps_a_run_and_costs_no_connections(
    lent: Any, worker: Executor, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked, connected = [], []
    ask, connect = worker.store.take_place_again, worker.store.connect

    def asks(*args: Any) -> PlaceReply:
        asked.append(ask(*args))
        return asked[-1]

    def connects(executor_id: str, purpose: str) -> Session:
        connected.append(purpose)
        return connect(executor_id, purpose)

    monkeypatch.setattr(worker.store, "take_place_again", asks)
    monkeypatch.setattr(worker.store, "connect", connects)
    session = connect(worker.executor_id, "test")
    with session.transaction():
        session.run("lock_queue", {"queue_name": "mail"})
        lent.send("hello", "one")
        eventually(lambda: len(asked) > MOST_LOCKED + 2)
        assert all(reply.is_locked for reply in asked[:MOST_LOCKED])
        assert names() == ["parent"]
    session.close()

    assert rest_of(lent) == ["hello", "there"]
    assert connected.count("places") <= 1


@pytest.mark.rule(86)
@in_workers
def test_a_lower_limit_holds_for_places_that_are_wanted_back(worker: Executor) -> None:
    dbos.queues.set("mail", concurrency=3)
    handle = waits_for_two.start()
    eventually(lambda: place_of(handle) == LENT)
    others = [holder.start() for _ in range(2)]
    eventually(lambda: names().count("holder") == 2)

    dbos.queues.set("mail", concurrency=2)
    handle.send("hello", "one")
    eventually(lambda: place_of(handle) == RESERVED)
    go.set()

    assert rest_of(handle) == ["hello", "there"]
    for other in others:
        other.get_result(timeout=LIMIT)
    assert most_at_once() == 2


@pytest.mark.rule(85)
@in_workers
@pytest.mark.parametrize("change", [{"hold_while_waiting": True}, {"concurrency": None}])
def test_changed_options_concern_a_place_that_is_lent(change: Any, returning: Any) -> None:
    """It counts again if waiting ones do, and isn't needed where nothing is counted."""
    dbos.queues.set("mail", **change)

    eventually(lambda: "got one" in names())
    assert place_of(returning) == (2 if "hold_while_waiting" in change else 0)
    assert rest_of(returning) == ["hello", "there"]


@pytest.mark.rule(85)
@in_workers
@pytest.mark.parametrize("state", ["lent", "returning"])
def test_a_cancelled_run_without_its_place_frees_nothing_and_ends(
    state: str, request: pytest.FixtureRequest
) -> None:
    handle = request.getfixturevalue(state)

    assert handle.cancel()

    assert (handle.get_status(), place_of(handle)) == ("CANCELLED", 0)
    go.set()
    assert child.start("next").get_result(timeout=LIMIT) == "next"
    assert "got one" not in names()
    assert most_at_once() == 1
    # Resumed, it waits for a place as any other.
    assert handle.resume()
    if state == "lent":
        handle.send("hello", "one")
    assert rest_of(handle) == ["hello", "there"]


@pytest.mark.rule(87)
@in_workers
def test_a_deadline_ends_a_run_that_wants_its_place_back(worker: Executor) -> None:
    dbos.queues.set("mail", concurrency=1)
    handle = waits_for_two.using(timeout=3_600).start()
    eventually(lambda: place_of(handle) == LENT)
    other = holder.start()
    assert reached.wait(LIMIT)
    handle.send("hello", "one")
    eventually(lambda: place_of(handle) == RESERVED)

    advance(3_601)
    worker.housekeeping.heartbeat.hurry()
    worker.housekeeping.loop.wake()
    eventually(lambda: handle.get_status() == "CANCELLED")

    assert place_of(handle) == 0
    go.set()
    other.get_result(timeout=LIMIT)
    assert names() == ["parent", "holder"]


@pytest.mark.rule(85)
@in_workers
@pytest.mark.parametrize("state", ["lent", "returning"])
def test_an_executor_that_stops_hands_a_run_without_its_place_over(
    state: str, request: pytest.FixtureRequest, worker: Executor, start_executor: Start
) -> None:
    handle = request.getfixturevalue(state)

    go.set()
    worker.stop()
    assert place_of(handle) == 0
    start_executor()

    if state == "lent":
        handle.send("hello", "one")
    assert rest_of(handle) == ["hello", "there"]
    assert most_at_once() == 1


@pytest.mark.rule(85)
@in_workers
@pytest.mark.parametrize("state", ["lent", "returning"])
def test_an_executor_that_lost_its_claims_takes_no_place(
    state: str, request: pytest.FixtureRequest, worker: Executor
) -> None:
    handle = request.getfixturevalue(state)
    old_id = worker.executor_id

    # Declared dead, it registers again under another id, and runs the workflow anew.
    QuerySet(ExecutorRow).all().delete()
    worker.housekeeping.heartbeat.hurry()
    worker.housekeeping.loop.wake()
    eventually(lambda: worker.executor_id != old_id)

    if state == "lent":
        handle.send("hello", "one")
    assert rest_of(handle) == ["hello", "there"]
    assert most_at_once() == 1


@pytest.mark.rule(86)
@in_workers
def test_an_answer_that_was_lost_lends_and_takes_a_place_once(
    worker: Executor, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The database has committed, and its answer doesn't come: the run asks again."""
    lost: list[str] = []

    def lose_first(name: str) -> None:
        method = getattr(worker.store, name)

        def ask(*args: Any) -> Any:
            answer = method(*args)
            if name not in lost:
                lost.append(name)
                raise errors.Unavailable("lost")
            return answer

        monkeypatch.setattr(worker.store, name, ask)

    lose_first("lend_place")
    lose_first("take_place_again")
    dbos.queues.set("mail", concurrency=1)

    assert gathers.start(2).get_result(timeout=LIMIT) == ["after 0", "after 1"]
    assert sorted(lost) == ["lend_place", "take_place_again"]
    assert most_at_once() == 1


@pytest.mark.rule(86)
@in_workers
def test_a_branch_that_is_cancelled_while_it_wants_the_place_leaves_none_taken(
    worker: Executor,
) -> None:
    @dbos.workflow(queue_name="mail")
    async def gives_up() -> Any:
        branches = [
            asyncio.ensure_future(dbos.arecv(topic, timeout=None)) for topic in ("one", "two")
        ]
        stop = asyncio.ensure_future(dbos.arecv("stop", timeout=None))
        waiters.append((asyncio.get_running_loop(), branches[0]))
        await stop
        return await branches[1]

    waiters: list[tuple[Any, Any]] = []
    dbos.queues.set("mail", concurrency=1)
    handle = gives_up.start()
    eventually(lambda: place_of(handle) == LENT)
    other = holder.start()
    assert reached.wait(LIMIT)
    handle.send("hello", "one")
    eventually(lambda: place_of(handle) == RESERVED)

    loop, branch = waiters[0]
    loop.call_soon_threadsafe(branch.cancel)
    eventually(lambda: place_of(handle) == LENT)
    go.set()

    other.get_result(timeout=LIMIT)
    assert child.start("next").get_result(timeout=LIMIT) == "next"
    handle.send(None, "stop")
    handle.send("there", "two")
    assert handle.get_result(timeout=LIMIT) == "there"


# In a test's transaction


@pytest.mark.django_db
@pytest.mark.rule(36)
@pytest.mark.parametrize("parent", [gathers, has_steps_in_branches])
def test_in_a_tests_transaction_branches_run_in_turn(parent: Any) -> None:
    dbos.queues.set("mail", concurrency=1)
    handle = parent.start()

    run_until_idle()

    assert handle.get_result() == ["after 0", "after 1", "after 2"]
    assert most_at_once() == 1


# The rows


@pytest.fixture
def world(db: None) -> World:
    return World()


def places_of(*workflow_ids: str) -> list[int]:
    rows = dict(Workflow.objects.values_list("workflow_id", "place"))
    return [rows[workflow_id] for workflow_id in workflow_ids]


def running(world: World, executor_id: str, count: int, **options: Any) -> list[str]:
    """Start workflows, and have an executor claim them."""
    starting = work.using(queue_name="mail", **options)
    ids = [starting.start(0).workflow_id for _ in range(count)]
    assert sorted(world.claim(executor_id, "mail", count)) == sorted(ids)
    return ids


@pytest.mark.rule(85)
@pytest.mark.parametrize("is_reserved", [False, True])
@pytest.mark.parametrize(
    "change", [{"concurrency": 2}, {"rate_limit": "9/s"}, {"worker_concurrency": 1}]
)
def test_a_change_of_a_queue_gives_nobody_a_place_that_is_lent(
    is_reserved: bool, change: Any, world: World
) -> None:
    dbos.queues.set("mail", concurrency=1)
    executor_id = world.new_executor()
    (lent,) = running(world, executor_id, 1)
    assert world.lend(lent)
    running(world, executor_id, 1)
    if is_reserved:
        assert not world.take_place_again(lent)

    dbos.queues.set("mail", **change)
    work.using(queue_name="mail").start(0)
    world.claim(executor_id, "mail", 5)

    assert places_of(lent) == [RESERVED if is_reserved else LENT]


@pytest.mark.rule(87)
def test_runs_that_want_places_back_keep_none_from_each_other(world: World) -> None:
    dbos.queues.set("mail", concurrency=2)
    executor_id = world.new_executor()
    first, second = running(world, executor_id, 2)
    assert world.lend(first)
    assert world.lend(second)
    others = running(world, executor_id, 2)
    new = work.using(queue_name="mail", priority=100).start(0).workflow_id

    for wanted in (first, second, first):
        assert not world.take_place_again(wanted)
    world.finish(others[0])
    assert world.claim(executor_id, "mail", 5) == []
    assert world.take_place_again(second)
    assert not world.take_place_again(first)
    world.finish(second)
    assert world.claim(executor_id, "mail", 5) == []
    assert world.take_place_again(first)
    world.finish(others[1])
    assert world.claim(executor_id, "mail", 5) == [new]


@pytest.mark.rule(86)
def test_a_place_is_wanted_back_within_the_limits_of_worker_and_partition(world: World) -> None:
    dbos.queues.set("mail", worker_concurrency=2, partition_concurrency=1)
    here, there = world.new_executor(), world.new_executor()
    (lent,) = running(world, here, 1, partition_key="a")
    assert world.lend(lent)
    (of_key,) = running(world, there, 1, partition_key="a")

    assert not world.take_place_again(lent)
    (other,) = running(world, here, 1, partition_key="b")
    world.finish(of_key)
    dbos.queues.set("mail", worker_concurrency=1)
    assert not world.take_place_again(lent)
    world.finish(other)
    assert world.take_place_again(lent)


@pytest.mark.rule(85)
@pytest.mark.parametrize("is_reserved", [False, True])
@pytest.mark.parametrize("end", ["release", "suspend", "finish", "die", "cancel"])
def test_a_run_that_ends_without_its_place_leaves_none(
    end: str, is_reserved: bool, world: World
) -> None:
    dbos.queues.set("mail", concurrency=1)
    here, there = world.new_executor(), world.new_executor()
    (lent,) = running(world, here, 1)
    assert world.lend(lent)
    (other,) = running(world, there, 1)
    if is_reserved:
        assert not world.take_place_again(lent)

    match end:
        case "die":
            world.die(here)
        case "cancel":
            dbos.WorkflowHandle[int](lent).cancel()
        case _:
            getattr(world, end)(lent)

    assert places_of(lent, other) == [0, 1]
    assert not Workflow.objects.filter(pk=lent, executor_id__isnull=False).exists()
    if end == "cancel":
        assert dbos.WorkflowHandle[int](lent).resume()
    world.finish(other)
    expected = [lent] if end in ("release", "die", "cancel") else []
    assert world.claim(there, "mail", 5) == expected


@pytest.mark.rule(85)
def test_a_run_whose_claim_is_gone_lends_and_takes_nothing(world: World) -> None:
    dbos.queues.set("mail", concurrency=1)
    executor_id = world.new_executor()
    (lost,) = running(world, executor_id, 1)
    fence = {"workflow_id": lost, "claim_number": 1, "executor_id": executor_id}
    dbos.WorkflowHandle[int](lost).cancel()

    assert not world.store.lend_place(world.session, fence)
    assert not world.store.take_place_again(world.session, fence).is_held
    # It lingers: the function may still run.
    assert places_of(lost) == [1]
