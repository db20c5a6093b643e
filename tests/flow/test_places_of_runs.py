"""Places of runs: the next workflow starts when the function has returned.

A cancellation, a stop or another registration may have ended its claim meanwhile. A queue with one
place shows it by the order in which steps begin and end.
"""

from __future__ import annotations

import asyncio
import gc
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import timedelta
from typing import Any

import pytest
from asgiref.sync import SyncToAsync
from django.db import transaction
from django.db.models import QuerySet
from django.utils import timezone

import django_dbos as dbos
from django_dbos.core.batch.notifications import Notifications
from django_dbos.core.records import queue_key
from django_dbos.executor import Executor
from django_dbos.models import Executor as ExecutorRow
from django_dbos.models import Workflow
from django_dbos.testing import advance
from tests.capabilities import many_writers
from tests.flow.gates import IN_ORDER, events, go, reached
from tests.flow.managed import make_queue
from tests.waiting import LIMIT, eventually

pytestmark = [
    pytest.mark.django_db(transaction=True),
    pytest.mark.usefixtures("closed_gates"),
]


@pytest.fixture(autouse=True)
def _no_context_is_left() -> Iterator[None]:
    """A coroutine of an abandoned run, closed on this thread, would leave it the run's context."""
    yield
    gc.collect()
    assert SyncToAsync.thread_sensitive_context.get(None) is None


@dbos.step
def gated(name: str) -> None:
    events.append(f"{name} begins")
    reached.set()
    go.wait(LIMIT)
    events.append(f"{name} ends")


@dbos.step
async def agated(name: str) -> None:
    events.append(f"{name} begins")
    reached.set()
    try:
        while not go.is_set():  # noqa: ASYNC110
            await asyncio.sleep(0.001)
    finally:
        # Its last words, which a second cancellation must not cut off.
        time.sleep(0.05)  # noqa: ASYNC251
        events.append(f"{name} ends")


@dbos.step
def short(name: str) -> None:
    events.append(f"{name} begins")
    events.append(f"{name} ends")


@dbos.workflow(queue_name="mail")
def first() -> None:
    gated("first")


@dbos.workflow(queue_name="mail")
async def afirst() -> None:
    """The async step ends when it is cancelled."""
    await agated("first")


@dbos.workflow(queue_name="mail")
async def first_on_thread() -> None:
    await gated.acall("first")


@dbos.workflow(queue_name="mail")
async def first_beside_another() -> None:
    """The second of two sync steps has a thread of its own."""
    busy = threading.Event()

    @dbos.step
    def holds_thread() -> None:
        busy.set()

    await asyncio.gather(holds_thread.acall(), gated.acall("first"))


@dbos.workflow(queue_name="mail")
async def leaves_step_behind() -> str:
    """Return although the thread of a cancelled branch is still in its step."""
    branch = asyncio.ensure_future(gated.acall("first"))
    while not reached.is_set():  # noqa: ASYNC110
        await asyncio.sleep(0.001)
    branch.cancel()
    return "done"


@dbos.workflow(queue_name="mail")
def second() -> None:
    short("second")


@dbos.workflow(queue_name="mail")
def waits(name: str) -> Any:
    short(name)
    message = dbos.recv("go")
    short(f"{name} again")
    return message


RUNS = [first, afirst, first_on_thread, first_beside_another]


def place_of(handle: Any) -> int:
    return int(Workflow.objects.get(pk=handle.workflow_id).place)


def let_it_claim(executor: Executor) -> None:
    """Have the executor look twice for something to claim."""
    for _ in range(2):
        polls = executor.dispatcher.polls
        executor.dispatcher.poll()
        eventually(lambda before=polls: executor.dispatcher.polls > before)


@pytest.mark.rule(58)
@pytest.mark.parametrize("workflow", RUNS)
def test_after_a_cancellation_the_next_one_starts_when_the_step_has_returned(
    workflow: Any, worker: Executor
) -> None:
    make_queue(concurrency=1)
    handle, following = workflow.start(), second.start()
    assert reached.wait(LIMIT)

    assert handle.cancel()
    if workflow is not afirst:
        assert place_of(handle) == 1
        let_it_claim(worker)
    go.set()

    following.get_result(timeout=LIMIT)
    assert events == IN_ORDER
    assert place_of(handle) == 0


@pytest.mark.rule(58)
def test_past_its_deadline_a_workflow_keeps_its_place_until_its_step_has_returned(
    worker: Executor,
) -> None:
    make_queue(concurrency=1)
    handle, following = first.using(timeout=3_600).start(), second.start()
    assert reached.wait(LIMIT)

    advance(3_601)
    worker.housekeeping.heartbeat.hurry()
    worker.housekeeping.loop.wake()
    eventually(lambda: handle.get_status() == "CANCELLED")
    let_it_claim(worker)
    go.set()

    following.get_result(timeout=LIMIT)
    assert events == IN_ORDER


@pytest.mark.rule(58)
def test_a_workflow_that_ends_keeps_its_place_until_its_threads_have_returned(
    worker: Executor,
) -> None:
    make_queue(concurrency=1)
    handle, following = leaves_step_behind.start(), second.start()
    assert reached.wait(LIMIT)

    let_it_claim(worker)
    go.set()

    assert handle.get_result(timeout=LIMIT) == "done"
    following.get_result(timeout=LIMIT)
    assert events == IN_ORDER


@pytest.mark.rule(58)
@pytest.mark.parametrize("workflow", [first, first_on_thread])
def test_a_resumed_workflow_waits_for_its_own_lingering_place(
    workflow: Any, worker: Executor
) -> None:
    make_queue(concurrency=1)
    handle = workflow.start()
    assert reached.wait(LIMIT)
    handle.cancel()

    assert handle.resume()
    let_it_claim(worker)
    assert handle.get_status() == "ENQUEUED"
    go.set()

    handle.get_result(timeout=LIMIT)
    assert events == ["first begins", "first ends"] * 2


@pytest.mark.rule(60)
def test_a_waiting_workflow_gives_its_place_back_and_comes_before_those_that_never_ran(
    worker: Executor,
) -> None:
    make_queue(concurrency=1)
    waiting = waits.start("first")
    eventually(lambda: waiting.get_status() == "WAITING")
    running, following = first.start(), second.start()
    assert reached.wait(LIMIT)

    waiting.send("message", "go")
    eventually(lambda: waiting.get_status() == "ENQUEUED")
    go.set()

    assert waiting.get_result(timeout=LIMIT) == "message"
    running.get_result(timeout=LIMIT)
    following.get_result(timeout=LIMIT)
    assert events[-4:] == [
        "first again begins", "first again ends", "second begins", "second ends",
    ]  # fmt: skip


@pytest.mark.rule(60)
def test_a_mutex_is_held_across_a_suspension(worker: Executor) -> None:
    make_queue(concurrency=1, hold_while_waiting=True)
    waiting = waits.start("first")
    eventually(lambda: waiting.get_status() == "WAITING")
    following = second.start()

    let_it_claim(worker)
    waiting.send("message", "go")

    following.get_result(timeout=LIMIT)
    assert events == [
        "first begins", "first ends", "first again begins", "first again ends",
        "second begins", "second ends",
    ]  # fmt: skip


@pytest.mark.rule(60)
def test_a_parent_that_keeps_the_place_that_its_child_needs_is_named(
    worker: Executor, caplog: pytest.LogCaptureFixture
) -> None:
    @dbos.workflow(queue_name="mail")
    def child() -> int:
        return 7

    @dbos.workflow(queue_name="mail")
    def parent() -> str:
        handle = child.using(workflow_id="child").start()
        for _ in range(2):
            with suppress(dbos.WaitTimeout):
                handle.get_result(timeout=0.1)
        dbos.recv("go", timeout=None)
        return "gave up"

    make_queue(concurrency=1, hold_while_waiting=True)
    waiting = parent.start()
    eventually(lambda: (waiting.describe().waits_for or "").startswith("message"))

    reason = dbos.retrieve_workflow("child").describe().why_not_running
    said = "Queue 'mail' is at 1 of 1. Its parent holds one of these places."
    assert (reason or "").startswith(said)
    (warned,) = [line for line in caplog.messages if "of the same queue" in line]
    assert warned.startswith(f"Workflow '{waiting.workflow_id}'")
    assert "waits for its child 'child'" in warned
    waiting.send("on", "go")
    assert waiting.get_result(timeout=LIMIT) == "gave up"
    assert dbos.retrieve_workflow("child").get_result(timeout=LIMIT) == 7


@pytest.mark.rule(61)
def test_a_child_waits_for_a_place_and_its_waiting_parent_has_none(worker: Executor) -> None:
    @dbos.workflow(queue_name="mail")
    def child(number: int) -> int:
        short(f"child {number}")
        return number

    @dbos.workflow(queue_name="mail")
    def parent() -> list[int]:
        handles = [child.start(number) for number in range(3)]
        short("parent")
        return [handle.get_result() for handle in handles]

    make_queue(concurrency=1)

    assert parent.start().get_result(timeout=LIMIT) == [0, 1, 2]
    # Not one of the children before its parent waits.
    assert events[:2] == ["parent begins", "parent ends"]


@pytest.mark.rule(75)
@many_writers
def test_a_claim_that_was_under_way_when_its_queue_got_a_limit_has_a_place_long_after(
    worker: Executor,
) -> None:
    handle = first.start()
    assert reached.wait(LIMIT)
    # As if the change hadn't seen the claim; for a minute other claims would give it its place.
    make_queue(concurrency=1, updated_at=timezone.now() - timedelta(hours=1))
    session = worker.store.session()
    worker.store.announce(session, Notifications(keys=[queue_key("mail")]))

    eventually(lambda: place_of(handle) == 1)
    eventually(lambda: worker.runs[handle.workflow_id].claim.place == 1)
    following = second.start()
    let_it_claim(worker)
    go.set()

    following.get_result(timeout=LIMIT)
    assert events == IN_ORDER


@pytest.mark.rule(75)
@many_writers
def test_an_executor_gives_places_to_its_own_claims_only(worker: Executor) -> None:
    handle = first.start()
    assert reached.wait(LIMIT)
    # Its own audit would give the place first.
    worker.dispatcher.loop.stop(timeout=LIMIT)
    make_queue(concurrency=1, hold_while_waiting=True)
    session = worker.store.session()

    worker.store.give_places(session, "another")
    assert place_of(handle) == 0
    with transaction.atomic():
        list(Workflow.objects.select_for_update().filter(pk=handle.workflow_id))
        own = worker.store.connect(worker.executor_id, "test")
        worker.store.give_places(own, worker.executor_id)
        own.close()
    assert place_of(handle) == 0
    worker.store.give_places(session, worker.executor_id)
    assert place_of(handle) == 2
    # Otherwise its worker's end would wait for it in vain, for the whole grace period.
    go.set()


# Executors that leave runs behind


@pytest.mark.rule(59)
@pytest.mark.parametrize("workflow", [first, first_on_thread])
def test_after_a_stop_a_place_is_freed_when_the_abandoned_step_has_returned(
    workflow: Any, start_executor: Callable[..., Executor]
) -> None:
    make_queue(concurrency=1)
    left = start_executor()
    handle, following = workflow.start(), second.start()
    assert reached.wait(LIMIT)

    left.stop(grace=0.0)
    assert (handle.get_status(), place_of(handle)) == ("ENQUEUED", 1)
    other = start_executor()
    let_it_claim(other)
    go.set()

    following.get_result(timeout=LIMIT)
    handle.get_result(timeout=LIMIT)
    assert events[:2] == ["first begins", "first ends"]
    assert ExecutorRow.objects.get().executor_id == other.executor_id


@pytest.mark.rule(59)
def test_an_executor_that_registers_again_keeps_the_places_of_its_running_steps(
    worker: Executor,
) -> None:
    make_queue(concurrency=1)
    handle, following = first.start(), second.start()
    assert reached.wait(LIMIT)
    old_id = worker.executor_id

    # Declared dead, it registers again under another id.
    QuerySet(ExecutorRow).all().delete()
    worker.housekeeping.heartbeat.hurry()
    worker.housekeeping.loop.wake()
    eventually(lambda: worker.executor_id != old_id and place_of(handle))
    eventually(lambda: handle.get_status() == "ENQUEUED")
    let_it_claim(worker)
    go.set()

    handle.get_result(timeout=LIMIT)
    following.get_result(timeout=LIMIT)
    assert events[:2] == ["first begins", "first ends"]
    assert sorted(events[2:]) == sorted(["first begins", "first ends", *IN_ORDER[2:]])
