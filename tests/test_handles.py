"""What may be asked of a workflow, and told to it, by its id."""

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
def test_an_unknown_id_is_unknown_to_a_replay_too() -> None:
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


def test_only_what_is_delayed_can_be_started_early() -> None:
    done, waiting = plain.start(), sleeper.start(60)
    run_until_idle()
    enqueued = plain.start()

    assert [one.run_now() for one in (done, waiting, enqueued)] == [False] * 3
    assert waiting.get_status() == Status.WAITING


@dbos.workflow
def family(**options: Any) -> None:
    plain.using(workflow_id="child", run_after=60, **options).start()
    sleeper.using(workflow_id="sleeping child", **options).start(60)
    dbos.sleep(3600)


@pytest.mark.rule(32)
@pytest.mark.parametrize("method", ["run_now", "resume", None])
def test_a_child_has_its_parents_deadline_also_when_it_is_started_early(method: str | None) -> None:
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
    assert {one.status for one in Workflow.objects.all()} == {Status.CANCELLED}


@pytest.mark.rule(32)
def test_a_child_without_a_timeout_is_free_of_its_parents_deadline() -> None:
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
def test_a_used_id_and_a_used_deduplication_id_are_two_questions(start: Any) -> None:
    options = {"queue_name": "never run"}
    start("w", "d", **options)

    for existing in ("return", "reject"):
        for duplicate in ("return", "reject"):
            asked = {**options, "on_existing": existing, "on_duplicate": duplicate}
            if existing == "return":
                assert start("w", "d", **asked) == "w"
            else:
                with pytest.raises(dbos.DuplicateWorkflow, match='Use on_existing="return"'):
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
    dbos.send_many(twice[:1])  # again, in another call: it was sent before

    assert [one.message for one in Message.objects.order_by("message_id")] == [0, 0, 0, 1]


def test_one_id_for_many_workflows_is_refused() -> None:
    for options in ({"workflow_id": "w"}, {"deduplication_id": "d"}):
        workflow: Any = plain.using(**options)
        with pytest.raises(ValueError, match="can't give 2 workflows the one"):
            workflow.start_many([(1,), (2,)])
        assert len(workflow.start_many([(1,)])) == 1


@dbos.workflow
def whose() -> tuple[str | None, str]:
    workflow = dbos.current_workflow()
    assert workflow is not None
    return workflow.user_id, str(workflow.user)


@pytest.mark.parametrize("user", ["system", "7b0e8c1e-0000-4000-8000-000000000000", 999, "9" * 40])
def test_a_user_who_is_nobody_is_none(user: Any) -> None:
    handle = whose.using(user=user).start()
    run_until_idle()

    assert handle.get_result() == (str(user), "None")
