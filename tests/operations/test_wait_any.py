"""wait_any(): the first of several things, recorded in one write; the others stay as they are."""

from __future__ import annotations

import asyncio
import threading
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.db import connections, transaction
from django.db.models import QuerySet

import django_dbos as dbos
from django_dbos.executor import Executor
from django_dbos.models import Checkpoint, Message, Wake, Workflow
from django_dbos.store import get_store
from django_dbos.testing import advance, run_until_idle
from tests.crashing import Crash, crash_after, recover
from tests.waiting import LIMIT, eventually

pytestmark = pytest.mark.django_db


@dbos.workflow
def publishes() -> Any:
    """Set an event, write to a stream or end, as the messages say."""
    while True:
        match dbos.recv(timeout=None):
            case "event", value:
                dbos.set_event("key", value)
            case "entry", value:
                dbos.write_stream("stream", value)
            case "close":
                dbos.close_stream("stream")
            case "fail":
                raise ValueError("it failed")
            case "end", value:
                return value


@dbos.step
def note(value: Any) -> Any:
    return value


@dbos.workflow
def waits(other: str, seconds: Any = None) -> Any:
    winner = dbos.wait_any(
        message=dbos.message("topic"),
        event=dbos.event(other, "key"),
        entry=dbos.stream_entry(other, "stream", 1, default="ended"),
        result=dbos.WorkflowHandle(other),
        time=dbos.until(600),
        timeout=seconds,
        return_exceptions=True,
    )
    return [note(winner.name), str(winner.value)]


@dbos.workflow
async def awaits(other: str, seconds: Any = None) -> Any:
    name, value = await dbos.await_any(
        message=dbos.message("topic"),
        event=dbos.event(other, "key"),
        entry=dbos.stream_entry(other, "stream", 1, default="ended"),
        result=dbos.WorkflowHandle(other),
        time=dbos.until(timedelta(minutes=10)),
        timeout=seconds,
        return_exceptions=True,
    )
    return [await note.acall(name), str(value)]


BOTH = [waits, awaits]
WINNERS: dict[str, tuple[list[Any], list[str]]] = {
    "event": ([("event", 1)], ["event", "1"]),
    "entry": ([("entry", 1), ("entry", 2)], ["entry", "2"]),
    "end of a stream": (["close"], ["entry", "ended"]),
    "result": ([("end", 7)], ["entry", "ended"]),
}


def row_of(handle: Any) -> Workflow:
    return Workflow.objects.get(pk=handle.workflow_id)


def waiting_with(workflow: Any, **options: Any) -> tuple[Any, Any]:
    other = publishes.start()
    handle = workflow.start(other.workflow_id, **options)
    run_until_idle()
    assert row_of(handle).status == "WAITING"
    return handle, other


@pytest.mark.rule(70)
@pytest.mark.parametrize("workflow", BOTH)
@pytest.mark.parametrize("what", WINNERS)
def test_whatever_comes_first_wakes_the_workflow_and_wins(what: str, workflow: Any) -> None:
    handle, other = waiting_with(workflow)
    commands, expected = WINNERS[what]
    for command in commands:
        other.send(command)
        run_until_idle()

    assert handle.get_result() == expected
    assert not Wake.objects.exists()


@pytest.mark.rule(70)
@pytest.mark.parametrize("workflow", BOTH)
def test_a_message_wins_and_is_consumed(workflow: Any) -> None:
    handle, _ = waiting_with(workflow)
    handle.send("other", topic="other")
    handle.send("first", topic="topic")
    handle.send("second", topic="topic")
    run_until_idle()

    assert handle.get_result() == ["message", "first"]
    left = Message.objects.filter(consumed_at=None)
    assert [message.message for message in left] == ["other", "second"]
    consumed = Message.objects.exclude(consumed_at=None).get()
    assert consumed.consumed_step_number == 1


@pytest.mark.rule(70)
def test_a_message_that_doesnt_win_stays() -> None:
    @dbos.workflow
    def waits_then_receives(other: str) -> Any:
        first = dbos.wait_any(dbos.event(other, "key"), dbos.message("topic"))
        return [list(first), dbos.recv("topic", timeout=0)]

    other = publishes.start()
    other.send(("event", "value"))
    run_until_idle()
    handle = waits_then_receives.start(other.workflow_id)
    handle.send("message", topic="topic")
    run_until_idle()

    assert handle.get_result() == [[0, "value"], "message"]


@pytest.mark.rule(70)
@pytest.mark.parametrize("workflow", BOTH)
def test_two_that_come_at_once_are_one_winner(workflow: Any) -> None:
    handle, other = waiting_with(workflow)
    store: Any = get_store()
    other.send(("event", 1))
    handle.send("message", topic="topic")
    run_until_idle()

    # The first in the order of the arguments, however the two have raced.
    name, _ = handle.get_result()
    assert name in ("event", "message")
    assert Message.objects.filter(topic="topic", consumed_at=None).count() == (name == "event")
    assert store.wake_satisfied(store.session()) == []


@pytest.mark.parametrize("workflow", BOTH)
def test_of_things_that_are_there_the_first_argument_wins(workflow: Any) -> None:
    other = publishes.start()
    for command in (("event", 1), ("entry", 1), ("entry", 2), ("end", 3)):
        other.send(command)
    run_until_idle()
    handle = workflow.start(other.workflow_id)
    run_until_idle()

    assert handle.get_result() == ["event", "1"]


@pytest.mark.rule(17)
@pytest.mark.parametrize("workflow", BOTH)
def test_a_time_may_win(workflow: Any) -> None:
    handle, _ = waiting_with(workflow)
    deadline = row_of(handle).due_at
    handle.resume()
    run_until_idle()
    assert row_of(handle).due_at == deadline
    advance(601)
    run_until_idle()

    assert handle.get_result() == ["time", "None"]


@pytest.mark.rule(17)
@pytest.mark.parametrize("workflow", BOTH)
def test_a_timeout_before_the_time_is_an_error(workflow: Any) -> None:
    handle, _ = waiting_with(workflow, seconds=60)
    advance(61)
    run_until_idle()

    with pytest.raises(dbos.WaitTimeout, match="message 'topic', event 'key'"):
        handle.get_result()


@pytest.mark.rule(17)
@pytest.mark.parametrize("workflow", BOTH)
def test_a_thing_that_has_come_wins_over_a_time_that_has_passed(workflow: Any) -> None:
    other = publishes.using(queue_name="others").start()
    handle = workflow.start(other.workflow_id)
    run_until_idle()
    other.send(("event", 1))
    run_until_idle(["others"])
    advance(601)
    run_until_idle()

    assert handle.get_result() == ["event", "1"]


def test_a_time_may_be_an_instant() -> None:
    @dbos.workflow
    def until_past() -> Any:
        past, future = datetime(2020, 1, 1, tzinfo=UTC), datetime(2100, 1, 1, tzinfo=UTC)
        return list(dbos.wait_any(dbos.until(future), past=dbos.until(past)))

    assert until_past() == ["past", None]


def test_a_default_is_returned_after_the_timeout() -> None:
    @dbos.workflow
    def has_default() -> Any:
        return dbos.wait_any(dbos.message(), timeout=0, default="nothing")

    assert has_default() == "nothing"


@pytest.mark.parametrize("workflow", BOTH)
def test_the_failure_of_a_workflow_is_a_winner(workflow: Any) -> None:
    @dbos.workflow
    def fails() -> None:
        raise ValueError("it failed")

    @dbos.workflow
    def waits_for(raises: bool) -> Any:
        return [
            str(part) for part in dbos.wait_any(child=fails.start(), return_exceptions=not raises)
        ]

    handles = [waits_for.start(False), waits_for.start(True)]
    run_until_idle()

    assert handles[0].get_result() == ["child", "it failed"]
    with pytest.raises(ValueError, match="it failed"):
        handles[1].get_result()


def test_a_cancelled_workflow_is_a_winner_with_an_error() -> None:
    @dbos.workflow
    def waits_for(other: str) -> Any:
        handle: dbos.WorkflowHandle[Any] = dbos.WorkflowHandle(other)
        return dbos.wait_any(handle, dbos.message())

    other = publishes.start()
    handle = waits_for.start(other.workflow_id)
    run_until_idle()
    other.cancel()
    run_until_idle()

    with pytest.raises(dbos.WorkflowCancelled, match=other.workflow_id):
        handle.get_result()


@pytest.mark.rule(70)
@pytest.mark.parametrize("workflow", BOTH)
def test_each_crash_leaves_one_winner(workflow: Any) -> None:
    for writes in range(1, 30):
        other = publishes.start()
        handle = workflow.start(other.workflow_id)
        try:
            with crash_after(writes):
                run_until_idle()
                handle.send("value", topic="topic")
                run_until_idle()
        except Crash:
            recover()
            if not Message.objects.filter(workflow_id=handle.workflow_id).exists():
                handle.send("value", topic="topic")
            run_until_idle()
        else:
            break
        assert handle.get_result() == ["message", "value"]
        assert not Wake.objects.filter(workflow_id=handle.workflow_id).exists()
    assert writes > 4


@pytest.mark.rule(16)
@pytest.mark.rule(70)
@pytest.mark.parametrize("what", WINNERS)
def test_the_sweep_finds_a_lost_wake_up(what: str) -> None:
    handle, other = waiting_with(waits)
    store: Any = get_store()
    store._wake_waiting = lambda *args: []
    store._notify_and_wake = lambda *args: []
    try:
        for command in WINNERS[what][0]:
            other.send(command)
            run_until_idle()
    finally:
        del store._wake_waiting, store._notify_and_wake
    run_until_idle()

    assert handle.get_result() == WINNERS[what][1]


@pytest.mark.rule(32)
def test_a_waiting_workflow_can_be_cancelled_and_resumed() -> None:
    handle, _ = waiting_with(waits)
    assert handle.cancel()
    handle.send("value", topic="topic")
    run_until_idle()
    assert handle.get_status() == "CANCELLED"

    handle.resume()
    run_until_idle()
    assert handle.get_result() == ["message", "value"]
    assert not Wake.objects.exists()


@pytest.mark.rule(70)
def test_rows_of_an_earlier_suspension_wake_nothing() -> None:
    handle, other = waiting_with(waits)
    handle.cancel()
    assert Wake.objects.count() == 4
    handle.resume()
    run_until_idle()

    rows = Wake.objects.filter(workflow_id=handle.workflow_id)
    assert {row.claim_number for row in rows} == {row_of(handle).claim_number}
    assert len(rows) == 4
    other.send(("event", 1))
    run_until_idle()
    assert handle.get_result() == ["event", "1"]


@pytest.mark.rule(70)
@pytest.mark.django_db(transaction=True)
def test_a_row_that_an_earlier_suspension_has_left_wakes_nothing() -> None:
    handle, _ = waiting_with(waits)
    number = row_of(handle).claim_number
    Wake(
        workflow_id=handle.workflow_id,
        part=99,
        claim_number=number - 1,
        wake_kind="message",
        wake_workflow_id=handle.workflow_id,
        wake_name="earlier",
    ).save_base(force_insert=True)

    handle.send("too late", topic="earlier")
    with transaction.atomic():
        # Another statement wakes receivers after a commit.
        handle.send("too late", topic="earlier")
    run_until_idle()

    # It wasn't even claimed, to find out that it still waits.
    assert row_of(handle).claim_number == number


@pytest.mark.rule(50)
def test_what_a_cancelled_workflow_waited_for_is_deleted_with_it() -> None:
    handle, _ = waiting_with(waits)
    handle.cancel()
    store = get_store()
    session = store.session()

    assert store.delete_dependents(session, "wakes", [handle.workflow_id], 10) == 4
    assert not Wake.objects.exists()


def test_its_description_names_what_it_waits_for() -> None:
    other = publishes.using(workflow_id="other").start()
    handle = waits.start(other.workflow_id)
    run_until_idle()

    assert handle.describe().waits_for == (
        "message 'topic', event 'key' of 'other', entry 1 of stream 'stream' of 'other' or 2 more"
    )


@pytest.mark.rule(23)
def test_a_replay_with_other_alternatives_is_quarantined() -> None:
    names = iter(["first", "second"])

    @dbos.workflow
    def changes() -> Any:
        dbos.wait_any(**{next(names): dbos.until(0)})
        dbos.sleep(60)

    handle = changes.start()
    run_until_idle()
    advance(61)
    run_until_idle()

    with pytest.raises(dbos.NondeterminismError, match="other arguments"):
        handle.get_result()


def test_values_of_another_serializer_come_back(settings: Any) -> None:
    settings.DBOS = {**settings.DBOS, "SERIALIZER": "pickle"}

    @dbos.workflow
    def receives() -> Any:
        first = dbos.wait_any(dbos.message("a"))
        second = dbos.wait_any(dbos.message("a", "b"))
        return [first.value, second.value.message, second.value.topic]

    handle = receives.start()
    handle.send(complex(1), topic="a")
    handle.send(complex(2), topic="b")
    run_until_idle()

    assert handle.get_result() == [complex(1), complex(2), "b"]


@pytest.mark.parametrize(
    ("wait", "error", "text"),
    [
        (lambda: dbos.wait_any(), TypeError, "at least one thing"),
        (lambda: dbos.wait_any(a="topic"), TypeError, r"can't wait for str 'topic' \('a'\)"),
        (lambda: dbos.message("a", "a"), ValueError, "twice"),
        (lambda: dbos.message(""), ValueError, "A topic can't be empty"),
        (lambda: dbos.event("", "key"), ValueError, "A workflow id can't be empty"),
        (lambda: dbos.event("a", ""), ValueError, "A key can't be empty"),
        (lambda: dbos.stream_entry("a", "k", -1), ValueError, "offset must be an int"),
        (lambda: dbos.until(None), TypeError, "not None"),  # type: ignore[arg-type]
        (lambda: dbos.until(-1), ValueError, "can't be negative"),
        (lambda: dbos.wait_any(dbos.until(1)), dbos.NotInWorkflow, "wait_any"),
    ],
)
def test_bad_arguments_are_refused_at_the_caller(
    wait: Any, error: type[Exception], text: str
) -> None:
    with pytest.raises(error, match=text):
        wait()

    assert not Workflow.objects.exists()


# Inline, in branches, and with a worker


@pytest.mark.rule(36)
def test_an_inline_call_runs_the_children() -> None:
    @dbos.workflow
    def returns(value: str) -> str:
        return value

    @dbos.workflow
    def waits_for_children() -> Any:
        return list(dbos.wait_any(*returns.start_many([("a",), ("b",)])))

    assert waits_for_children() == [0, "a"]


@pytest.mark.rule(36)
def test_an_inline_call_in_a_test_refuses_a_wait_for_others() -> None:
    other = publishes.start()
    run_until_idle()

    with pytest.raises(dbos.WaitInTest, match="wait_any"):
        waits(other.workflow_id)


@dbos.workflow
async def branches(other: str) -> Any:
    async def wait(topic: str) -> Any:
        return list(await dbos.await_any(dbos.message(topic), dbos.event(other, "key")))

    return await asyncio.gather(wait("a"), wait("b"), wait("a"))


@pytest.mark.rule(19)
@pytest.mark.rule(21)
async def test_branches_wait_side_by_side(async_db: None, worker: Executor) -> None:
    other = await publishes.astart()
    handle = await branches.astart(other.workflow_id)
    for value, topic in ((1, "b"), (2, "a"), (3, "a")):
        await handle.asend(value, topic=topic)

    first, second, third = await handle.aget_result(timeout=LIMIT)
    assert second == [0, 1]
    assert sorted([first, third]) == [[0, 2], [0, 3]]


@pytest.mark.django_db(transaction=True)
@pytest.mark.rule(70)
@pytest.mark.parametrize("workflow", BOTH)
@pytest.mark.parametrize("what", [*WINNERS, "message"])
def test_a_worker_is_woken_by_whatever_comes_first(
    worker: Executor, what: str, workflow: Any
) -> None:
    other = publishes.start()
    handle = workflow.start(other.workflow_id)
    eventually(lambda: row_of(handle).status == "WAITING")
    if what == "message":
        handle.send("value", topic="topic")
        expected = ["message", "value"]
    else:
        commands, expected = WINNERS[what]
        for command in commands:
            other.send(command)

    assert handle.get_result(timeout=LIMIT) == expected
    assert not Wake.objects.exists()
    assert Checkpoint.objects.filter(workflow_id=handle.workflow_id).count() == 2


def race(*acts: Any) -> None:
    """Do several things at once, each on a thread."""
    barrier = threading.Barrier(len(acts))

    def act(do: Any, arguments: Any) -> None:
        barrier.wait(LIMIT)
        do(*arguments)
        connections.close_all()

    threads = [threading.Thread(target=act, args=one) for one in acts]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(LIMIT)


@pytest.mark.django_db(transaction=True)
@pytest.mark.rule(15)
@pytest.mark.rule(70)
@pytest.mark.parametrize("_", range(10))
def test_of_two_that_race_one_wins_and_the_other_stays(worker: Executor, _: int) -> None:
    other = publishes.start()
    handle = waits.start(other.workflow_id)
    eventually(lambda: row_of(handle).status == "WAITING")

    race((handle.send, ("m", "topic")), (other.send, (("event", 1),)))

    name, value = handle.get_result(timeout=LIMIT)
    assert (name, value) in (("message", "m"), ("event", "1"))
    left = Message.objects.filter(workflow_id=handle.workflow_id, consumed_at=None)
    assert left.count() == (name == "event")


@dbos.workflow
def names_nobody(kind: str) -> Any:
    alternatives: dict[str, Any] = {
        "event": dbos.event("nobody", "key"),
        "result": dbos.WorkflowHandle("nobody"),
        "entry": dbos.stream_entry("nobody", "stream", 0),
    }
    try:
        if kind == "get_event":
            return dbos.get_event("nobody", "key", timeout=None)
        if kind == "get_result":
            return dbos.WorkflowHandle[Any]("nobody").get_result()
        if kind == "get_results":
            return dbos.get_results([dbos.WorkflowHandle("nobody")])
        return dbos.wait_any(dbos.message("topic"), alternatives[kind])
    except dbos.WorkflowDoesNotExist as error:
        caught = error.workflow_id
    return [caught, dbos.recv("go", timeout=None)]


@dbos.workflow
async def anames_nobody() -> Any:
    try:
        return await dbos.await_any(dbos.event("nobody", "key"))
    except dbos.WorkflowDoesNotExist as error:
        return [error.workflow_id, await dbos.arecv("go", timeout=None)]


@pytest.mark.parametrize(
    "kind", ["event", "result", "entry", "get_event", "get_result", "get_results", "async"]
)
def test_an_unknown_workflow_is_an_error_that_a_replay_raises_too(kind: str) -> None:
    handle = anames_nobody.start() if kind == "async" else names_nobody.start(kind)
    run_until_idle()
    assert handle.describe().waits_for == "message 'go'"

    publishes.using(workflow_id="nobody").start()
    handle.send("on", "go")
    run_until_idle()

    assert handle.get_result() == ["nobody", "on"]
    assert not Wake.objects.exists()


@dbos.workflow
def waits_for_one(other: str) -> Any:
    return dbos.get_event(other, "key", timeout=600)


def delete(workflow_id: str) -> None:
    QuerySet(Workflow).filter(pk=workflow_id).delete()


def test_a_workflow_that_is_deleted_while_it_alone_is_awaited_is_an_error() -> None:
    other = publishes.start()
    handle = waits_for_one.start(other.workflow_id)
    run_until_idle()
    delete(other.workflow_id)

    advance(600)
    run_until_idle()

    with pytest.raises(dbos.WorkflowDoesNotExist):
        handle.get_result()


def test_the_others_are_awaited_though_the_workflow_of_one_is_deleted() -> None:
    other = publishes.start()
    handle = waits.start(other.workflow_id)
    run_until_idle()
    delete(other.workflow_id)

    advance(600)
    run_until_idle()

    assert handle.get_result() == ["entry", "ended"]
