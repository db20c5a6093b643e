"""Messages: consumed once and in order, through all crashes."""

from __future__ import annotations

from typing import Any

import pytest
from django.db import transaction

import django_dbos as dbos
from django_dbos.models import Checkpoint, Message, Workflow
from django_dbos.testing import advance, run_until_idle

pytestmark = pytest.mark.django_db


@dbos.workflow
def receive(count: int, topic: str | None = None) -> list[Any]:
    return [dbos.recv(topic, timeout=900) for _ in range(count)]


@dbos.workflow
async def areceive(count: int, topic: str | None = None) -> list[Any]:
    return [await dbos.arecv(topic, timeout=900) for _ in range(count)]


@dbos.workflow
def send_to(workflow_id: str, values: list[Any]) -> None:
    for value in values:
        dbos.send(workflow_id, value)


@dbos.workflow
async def asend_to(workflow_id: str, values: list[Any]) -> None:
    for value in values:
        await dbos.asend(workflow_id, value)


@pytest.mark.rule(28)
@pytest.mark.parametrize("workflow", [receive, areceive])
def test_messages_come_in_order_and_once(workflow: Any) -> None:
    handle = workflow.start(3)
    run_until_idle()

    handle.send("first")
    run_until_idle()
    dbos.send_many([{"workflow_id": handle.workflow_id, "message": n} for n in (2, 3)])
    run_until_idle()

    assert handle.get_result() == ["first", 2, 3]
    assert not Message.objects.filter(consumed_at=None).exists()


def test_no_topic_and_a_topic_never_mix() -> None:
    handle = receive.start(1, "paid")

    handle.send("without a topic")
    run_until_idle()
    assert handle.get_status() == "WAITING"
    handle.send("with one", "paid")
    run_until_idle()

    assert handle.get_result() == ["with one"]


@pytest.mark.rule(17)
def test_a_replay_gets_the_recorded_timeout(run_through_crashes: Any) -> None:
    @dbos.workflow
    def impatient() -> str:
        try:
            dbos.recv("never", timeout=0)
        except dbos.WaitTimeout as error:
            return str(error)
        return "a message"

    run_through_crashes(impatient.start, _check_timeout)


def _check_timeout(handle: Any) -> None:
    assert "Waited 0 s for a message on topic 'never'" in handle.get_result()


def test_a_default_replaces_a_timeout() -> None:
    @dbos.workflow
    def patient() -> Any:
        return dbos.recv("late", timeout=60, default=None)

    handle = patient.start()
    run_until_idle()
    advance(61)
    run_until_idle()

    assert handle.get_result() is None


@pytest.mark.rule(17)
def test_an_available_message_wins_over_a_passed_deadline() -> None:
    handle = receive.start(1)
    run_until_idle()

    handle.send("just in time")
    advance(901)
    run_until_idle()

    assert handle.get_result() == ["just in time"]


@pytest.mark.parametrize("workflow", [send_to, asend_to])
def test_a_workflow_sends_exactly_once(workflow: Any, run_through_crashes: Any) -> None:
    receivers: list[Any] = []

    def start() -> Any:
        receivers.append(receive.start(2))
        return workflow.start(receivers[-1].workflow_id, ["a", "b"])

    run_through_crashes(start, lambda handle: None)

    assert all(receiver.get_result() == ["a", "b"] for receiver in receivers)
    assert Message.objects.count() == 2 * len(receivers)


def test_an_idempotency_key_sends_once_per_receiver() -> None:
    first, second = receive.start(1), receive.start(1)

    for handle in (first, second):
        for _ in range(2):
            handle.send("paid", idempotency_key="payment-1")

    assert Message.objects.count() == 2


def test_sending_to_a_missing_workflow_is_an_error_that_leaves_nothing() -> None:
    with pytest.raises(dbos.WorkflowDoesNotExist, match="'nobody'"):
        dbos.send_many(
            [
                {"workflow_id": receive.start(1).workflow_id, "message": 1},
                {"workflow_id": "nobody", "message": 1},
            ]
        )

    assert not Message.objects.exists()


def test_sending_to_a_missing_workflow_from_a_workflow_is_recorded(
    run_through_crashes: Any,
) -> None:
    @dbos.workflow
    def sends() -> str:
        try:
            dbos.send("nobody", 1)
        except dbos.WorkflowDoesNotExist as error:
            return str(error.workflow_id)
        return "sent"

    run_through_crashes(sends.start, lambda handle: _assert_result(handle, "nobody"))


def _assert_result(handle: Any, expected: Any) -> None:
    assert handle.get_result() == expected


def test_a_late_message_is_stored_unconsumed() -> None:
    handle = receive.start(0)
    run_until_idle()

    handle.send("too late")

    assert Message.objects.get().consumed_at is None


def test_a_rolled_back_send_never_existed() -> None:
    handle = receive.start(1)

    def fail() -> None:
        with transaction.atomic():
            handle.send("rolled back")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()

    assert not Message.objects.exists()


def test_a_message_is_consumed_with_the_checkpoint(run_through_crashes: Any) -> None:
    def start() -> Any:
        handle = receive.start(2, "t")
        handle.send(1, "t")
        handle.send(2, "t")
        return handle

    run_through_crashes(start, lambda handle: _assert_result(handle, [1, 2]))


def test_recv_outside_a_workflow_is_an_error() -> None:
    with pytest.raises(dbos.NotInWorkflow, match=r"recv\(\)"):
        dbos.recv()


@pytest.mark.rule(26)
def test_recv_in_a_step_is_an_error_with_its_name() -> None:
    @dbos.step
    def waits() -> None:
        dbos.recv()

    @dbos.workflow
    def wrong() -> None:
        waits()

    with pytest.raises(dbos.NotAllowedInStep, match="waits"):
        wrong()


@pytest.mark.rule(26)
def test_a_send_in_an_atomic_step_is_part_of_its_transaction() -> None:
    @dbos.step(atomic=True)
    def send_and_fail(workflow_id: str) -> None:
        dbos.send(workflow_id, "rolled back")
        raise ValueError("no")

    @dbos.workflow
    def sender(workflow_id: str) -> None:
        send_and_fail(workflow_id)

    receiver = receive.start(1)
    with pytest.raises(ValueError, match="no"):
        sender(receiver.workflow_id)

    assert not Message.objects.exists()


@pytest.mark.parametrize(
    "values",
    [
        {"workflow_id": ""},
        {"workflow_id": "x" * 256},
        {"workflow_id": "nul\0"},
        {"topic": ""},
        {"topic": "t" * 256},
        {"idempotency_key": ""},
        {"message": object()},
        {"message": float("nan")},
        {"message": "x" * (4 * 1024 * 1024 + 1)},
    ],
)
def test_a_bad_message_is_refused_and_leaves_nothing(values: dict[str, Any]) -> None:
    known = receive.start(1).workflow_id

    with pytest.raises((ValueError, dbos.DbosError)):
        dbos.send(**{"workflow_id": known, "message": 1, **values})

    assert not Message.objects.exists()


def test_a_bad_message_in_a_workflow_is_refused_before_it_is_recorded() -> None:
    handle = send_to.start("anybody", [1])

    @dbos.workflow
    def sends_object() -> None:
        dbos.send(handle.workflow_id, object())

    with pytest.raises(dbos.SerializationError, match=handle.workflow_id):
        sends_object()

    assert not Checkpoint.objects.exists()
    assert Workflow.objects.get(name=sends_object.name).status == "ERROR"


def test_the_error_names_an_unknown_field_of_a_message() -> None:
    with pytest.raises(TypeError, match=r"'topik'.*'topic'"):
        dbos.send_many([{"workflow_id": "a", "message": 1, "topik": "x"}])
