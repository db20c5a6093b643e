"""Handles: reading, messaging and controlling a workflow by its id."""

from __future__ import annotations

from typing import Any

import pytest

import django_dbos as dbos
from django_dbos.models import Message, Workflow
from django_dbos.testing import advance, run_until_idle

pytestmark = pytest.mark.django_db

Status = Workflow.Status


@dbos.workflow
def plain(value: Any = None) -> Any:
    return value


@dbos.workflow
def sleeper(seconds: float) -> str:
    dbos.sleep(seconds)
    return "slept"


@pytest.mark.parametrize("method", ["cancel", "resume", "run_now", "get_status", "steps"])
def test_an_unknown_id_is_an_error(method: str) -> None:
    with pytest.raises(dbos.WorkflowDoesNotExist, match="'nobody'"):
        getattr(dbos.WorkflowHandle[Any]("nobody"), method)()


@dbos.workflow
def canceller(workflow_id: str) -> str:
    try:
        dbos.WorkflowHandle[Any](workflow_id).cancel()
    except dbos.WorkflowDoesNotExist as error:
        dbos.sleep(60)
        return f"no {error.workflow_id}"
    return "cancelled"


@pytest.mark.rule(24)
def test_a_replay_gets_the_error_for_an_unknown_id() -> None:
    handle = canceller.start("later")
    run_until_idle()
    later = plain.using(workflow_id="later", run_after=3600).start()
    advance(60)
    run_until_idle()

    assert handle.get_result() == "no later"
    assert later.get_status() == Status.DELAYED


@pytest.mark.rule(32)
@pytest.mark.parametrize("method", ["run_now", "resume"])
def test_a_delayed_workflow_can_be_started_early(method: str) -> None:
    handle = plain.using(run_after=3600, timeout=600).start("early")
    run_until_idle()
    assert handle.get_status() == Status.DELAYED

    assert getattr(handle, method)() is True
    assert handle.get_status() == Status.ENQUEUED
    run_until_idle()

    assert handle.get_result() == "early"
    advance(7200)
    assert run_until_idle() == 0


def test_only_a_delayed_workflow_can_be_started_early() -> None:
    done, waiting = plain.start(), sleeper.start(60)
    run_until_idle()
    enqueued = plain.start()

    assert [handle.run_now() for handle in (done, waiting, enqueued)] == [False] * 3
    assert waiting.get_status() == Status.WAITING


@dbos.workflow
def family(**options: Any) -> None:
    plain.using(workflow_id="child", run_after=60, **options).start()
    sleeper.using(workflow_id="sleeping child", **options).start(60)
    dbos.sleep(3600)


@pytest.mark.rule(32)
@pytest.mark.parametrize("method", ["run_now", "resume", None])
def test_a_child_that_is_started_early_has_its_parents_deadline(method: str | None) -> None:
    parent = family.using(timeout=30).start()
    run_until_idle()
    child = dbos.WorkflowHandle[Any]("child")
    deadline = Workflow.objects.get(pk=parent.workflow_id).deadline_at
    if method is not None:
        getattr(child, method)()

    assert deadline is not None
    assert Workflow.objects.get(pk="child").deadline_at == deadline
    assert Workflow.objects.get(pk="sleeping child").deadline_at == deadline
    advance(31)
    run_until_idle()
    assert {workflow.status for workflow in Workflow.objects.all()} == {Status.CANCELLED}


@pytest.mark.rule(32)
def test_a_child_with_timeout_none_ignores_its_parents_deadline() -> None:
    parent = family.using(timeout=30).start(timeout=None)
    run_until_idle()
    advance(31)
    run_until_idle()
    assert parent.get_status() == Status.CANCELLED

    advance(60)
    run_until_idle()

    assert dbos.WorkflowHandle[Any]("child").get_status() == Status.SUCCESS
    assert dbos.WorkflowHandle[Any]("sleeping child").get_result() == "slept"


@dbos.workflow
def starter(workflow_id: str, deduplication_id: str, **options: Any) -> str:
    workflow: Any = plain.using(workflow_id=workflow_id, deduplication_id=deduplication_id)
    return str(workflow.using(**options).start().workflow_id)


def start_outside(workflow_id: str, deduplication_id: str, **options: Any) -> str:
    return str(starter._definition.function(workflow_id, deduplication_id, **options))


def start_inside(workflow_id: str, deduplication_id: str, **options: Any) -> str:
    handle = starter.start(workflow_id, deduplication_id, **options)
    run_until_idle(["default"])
    return handle.get_result()


@pytest.mark.rule(30)
@pytest.mark.parametrize("start", [start_outside, start_inside])
def test_on_existing_and_on_duplicate_are_independent(start: Any) -> None:
    options = {"queue_name": "never run"}
    start("w", "d", **options)

    for existing in ("return", "reject"):
        for duplicate in ("return", "reject"):
            asked = {**options, "on_existing": existing, "on_duplicate": duplicate}
            if existing == "return":
                assert start("w", "d", **asked) == "w"
            else:
                with pytest.raises(dbos.DuplicateWorkflow, match='on_existing="return"'):
                    start("w", "d", **asked)
            if duplicate == "return":
                assert start("another", "d", **asked) == "w"
            else:
                with pytest.raises(dbos.DuplicateWorkflow, match='Use on_duplicate="return"'):
                    start("another", "d", **asked)
    assert Workflow.objects.filter(name=plain.name).count() == 1


@dbos.workflow
def sender(messages: list[dict[str, Any]]) -> None:
    dbos.send_many(messages)


def test_two_messages_with_one_idempotency_key_are_refused() -> None:
    one, other = plain.start(), plain.start()
    twice = [
        {"workflow_id": one.workflow_id, "message": n, "idempotency_key": "k"} for n in range(2)
    ]

    for send in (dbos.send_many, sender):
        with pytest.raises(ValueError, match=r"'k' for workflow .* twice, as messages 0 and 1"):
            send(twice)
    dbos.send_many([{**twice[0], "workflow_id": other.workflow_id}, twice[0]])
    dbos.send_many([{"workflow_id": one.workflow_id, "message": n} for n in range(2)])
    dbos.send_many(twice[:1])  # sent before, now in another call

    assert [message.message for message in Message.objects.order_by("message_id")] == [0, 0, 0, 1]


def test_one_id_for_many_workflows_is_refused() -> None:
    for options in ({"workflow_id": "w"}, {"deduplication_id": "d"}):
        workflow: Any = plain.using(**options)
        with pytest.raises(ValueError, match="can't give 2 workflows the same"):
            workflow.start_many([(1,), (2,)])
        assert len(workflow.start_many([(1,)])) == 1


@dbos.workflow
def whose() -> tuple[str | None, str]:
    workflow = dbos.current_workflow()
    assert workflow is not None
    return workflow.user_id, str(workflow.user)


@pytest.mark.parametrize("user", ["system", "7b0e8c1e-0000-4000-8000-000000000000", 999, "9" * 40])
def test_a_user_id_that_is_no_users_pk_gives_no_user(user: Any) -> None:
    handle = whose.using(user=user).start()
    run_until_idle()

    assert handle.get_result() == (str(user), "None")


class OutOfStock(Exception): ...


@dbos.workflow
def asks(kind: str, other: str) -> None:
    match kind:
        case "message":
            dbos.recv("paid", timeout=3600)
        case "bare message":
            dbos.recv(timeout=3600)
        case "event":
            dbos.get_event(other, "ready", timeout=3600)
        case "result":
            dbos.WorkflowHandle[Any](other).get_result(timeout=3600)
        case "sleep":
            dbos.sleep(3600)
        case "error":
            raise OutOfStock("of pans")


WAITS = {
    "message": "message 'paid'",
    "bare message": "message without a topic",
    "event": "event 'ready' of 'other'",
    "result": "result of 'other'",
    "sleep": "sleep",
}


def test_a_description_is_read_in_three_queries_without_values(
    django_assert_num_queries: Any,
) -> None:
    plain.using(workflow_id="other", run_after=7200).start()
    handle = plain.using(
        workflow_id="w",
        queue_name="q",
        priority=3,
        deduplication_id="d",
        user=7,
        attributes={"sku": "pan"},
        timeout=60,
    ).start("x" * 100_000)
    before = handle.describe()
    run_until_idle()

    # The row, its last step, and the numbers of steps and children.
    with django_assert_num_queries(3) as queries:
        after = handle.describe()

    assert not [query for query in queries if "input" in query["sql"]]
    assert (before.status, after.status) == (Status.ENQUEUED, Status.SUCCESS)
    assert (after.workflow_id, after.name, after.queue_name) == ("w", plain.name, "q")
    assert (after.priority, after.deduplication_id, after.user_id) == (3, "d", "7")
    assert after.attributes == {"sku": "pan"}
    assert (before.started_at, before.finished_at, after.error) == (None, None, None)
    assert after.created_at <= after.started_at <= after.finished_at <= after.deadline_at
    assert (after.parent_id, after.recovery_attempts, after.waits_for) == (None, 0, None)
    assert dbos.WorkflowHandle[Any]("other").describe().due_at is not None


@pytest.mark.parametrize("kind", WAITS)
def test_a_description_has_the_reason_of_a_wait(kind: str) -> None:
    plain.using(workflow_id="other", run_after=7200).start()
    handle = asks.start(kind, "other")
    run_until_idle()

    description = handle.describe()

    assert description.status == Status.WAITING
    assert description.waits_for == WAITS[kind]
    assert description.due_at is not None


def test_a_description_has_the_error() -> None:
    handle = asks.start("error", "")
    run_until_idle()

    description = handle.describe()

    assert description.error == f"{__name__}.OutOfStock: of pans"
    assert description.status == Status.ERROR
    assert not description.is_quarantined
    with pytest.raises(dbos.WorkflowDoesNotExist):
        dbos.WorkflowHandle[Any]("nobody").describe()


@dbos.workflow
def describes(workflow_id: str) -> list[Any]:
    handle = dbos.WorkflowHandle[Any](workflow_id)
    seen = [handle.describe()]
    dbos.sleep(60)
    return [*seen, handle.describe()]


@pytest.mark.rule(24)
def test_a_description_in_a_workflow_is_recorded() -> None:
    other = plain.using(run_after=30).start()
    handle = describes.start(other.workflow_id)
    run_until_idle()
    first = other.describe()
    # The other one ends first.
    for seconds in (30, 30):
        advance(seconds)
        run_until_idle()

    before, after = handle.get_result()

    # advance() moves due times closer.
    assert (before.status, before.created_at) == (Status.DELAYED, first.created_at)
    assert after == other.describe()


@dbos.workflow
def starts_by_name(name: str) -> Any:
    return dbos.start_by_name(name, "child", using={"workflow_id": "the child"}).get_result()


def test_a_workflow_is_started_by_its_name() -> None:
    handle = dbos.start_by_name(plain.name, value=3, using={"priority": 4, "queue_name": "q"})
    parent = starts_by_name.start(plain.name)
    run_until_idle()

    assert handle.get_result() == 3
    assert (handle.describe().priority, handle.describe().queue_name) == (4, "q")
    assert parent.get_result() == "child"
    assert dbos.WorkflowHandle[Any]("the child").describe().parent_id == parent.workflow_id


def test_a_name_that_only_workers_have_is_enqueued() -> None:
    handle = dbos.start_by_name("elsewhere.checkout", 1, sku="pan", using={"timeout": 60})

    assert run_until_idle() == 0
    row = Workflow.objects.get(pk=handle.workflow_id)
    assert (row.name, row.status) == ("elsewhere.checkout", Status.ENQUEUED)
    assert row.input == {"args": [1], "kwargs": {"sku": "pan"}}
    assert row.timeout is not None


def test_options_of_a_registered_name_are_checked() -> None:
    with pytest.raises(TypeError, match="too many positional arguments"):
        dbos.start_by_name(plain.name, 1, 2)
    with pytest.raises(TypeError, match="Did you mean 'queue_name'"):
        dbos.start_by_name(plain.name, using={"queue": "x"})  # type: ignore[typeddict-unknown-key]
    with pytest.raises((TypeError, ValueError)):
        dbos.start_by_name("")
    assert not Workflow.objects.exists()


@dbos.workflow
async def acts() -> list[Any]:
    later = plain.using(workflow_id="later", run_after=3600)
    started = await later.astart("early")
    seen = [(await started.adescribe()).status, await started.arun_now()]
    named = await dbos.astart_by_name(plain.name, 2)
    try:
        await dbos.WorkflowHandle[Any]("nobody").acancel()
    except dbos.WorkflowDoesNotExist as error:
        seen.append(error.workflow_id)
    await dbos.asleep(60)
    return [*seen, await started.aget_result(), await named.aget_result()]


@pytest.mark.rule(24)
def test_operations_of_async_workflows_take_effect_once() -> None:
    handle = acts.start()
    run_until_idle()
    advance(60)
    run_until_idle()

    assert handle.get_result() == [Status.DELAYED, True, "nobody", "early", 2]
