"""Receiving a message that was expected (one statement) or that is looked up."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from django_dbos.core.records import (
    Answer,
    Claim,
    NewMessage,
    RecordWait,
    Verdict,
    Wake,
)
from django_dbos.models import Checkpoint, Message
from django_dbos.store.base import Store
from tests.store.conftest import checkpoint, step

Claims = Callable[..., Claim]
Receive = Callable[..., Answer]


@pytest.fixture(params=[True, False], ids=["expected", "looked for"])
def receive(store: Store, session: Any, executor_id: str, request: Any) -> Receive:
    def receive(held: Claim, number: int = 1, **options: Any) -> Answer:
        write = wait(held, number, is_expected=request.param, **options)
        (answer,) = store.apply(session, executor_id, [write], is_repeat=False).answers
        return answer

    return receive


def wait(held: Claim, number: int = 1, **options: Any) -> RecordWait:
    values: dict[str, Any] = {
        "workflow_id": held.workflow_id,
        "claim_number": held.claim_number,
        "checkpoint": checkpoint(held, number),
        "wake": Wake.of_message(held.workflow_id, ""),
        "timeout": None,
    }
    return RecordWait(**values | options)


def send(store: Store, held: Claim, *texts: str, topic: str = "") -> None:
    for text in texts:
        store.send_messages([NewMessage(workflow_id=held.workflow_id, topic=topic, message=text)])


def recorded() -> list[tuple[int, str | None, int]]:
    found = Checkpoint.objects.order_by("step_number")
    return list(found.values_list("step_number", "output_text", "state"))


def test_messages_are_received_once_and_in_order(
    store: Store, claim: Claims, receive: Receive
) -> None:
    held = claim()
    send(store, held, "1", "2")
    send(store, held, "other", topic="t")

    outputs = [receive(held, number).checkpoint for number in (1, 2)]

    assert [one and one.output for one in outputs] == ["1", "2"]
    assert recorded() == [(1, "1", 0), (2, "2", 0)]
    left = Message.objects.filter(consumed_at=None)
    assert [one.message_text for one in left] == ["other"]
    taken = Message.objects.exclude(consumed_at=None).order_by("message_id")
    assert [one.consumed_step_number for one in taken] == [1, 2]


@pytest.mark.rule(17)
def test_the_deadline_of_the_wait_is_replaced(
    store: Store, claim: Claims, receive: Receive
) -> None:
    held = claim()
    assert receive(held, timeout=60.0).verdict is Verdict.WAITING
    deadline = Checkpoint.objects.get().deadline_at
    send(store, held, "1")

    assert receive(held, timeout=60.0).verdict is Verdict.FOUND

    assert recorded() == [(1, "1", 0)]
    assert Checkpoint.objects.get().deadline_at == deadline


def test_a_recorded_message_is_found_and_nothing_consumed(
    store: Store, session: Any, executor_id: str, claim: Claims, receive: Receive
) -> None:
    held = claim()
    store.apply(session, executor_id, [step(held)], is_repeat=False)
    send(store, held, "1")

    answer = receive(held)

    assert answer.verdict is Verdict.FOUND
    assert answer.checkpoint
    assert answer.checkpoint.output != "1"
    assert Message.objects.get().consumed_at is None


@pytest.mark.rule(7)
def test_without_the_claim_nothing_is_consumed(
    store: Store, claim: Claims, receive: Receive
) -> None:
    held = claim()
    send(store, held, "1")

    answer = receive(replace(held, claim_number=held.claim_number - 1))

    assert answer.verdict is Verdict.CLAIM_LOST
    assert Message.objects.get().consumed_at is None
    assert recorded() == []


@pytest.mark.rule(13)
def test_two_receivers_of_one_batch_get_different_messages(
    store: Store, session: Any, executor_id: str, claim: Claims
) -> None:
    held, other = claim(), claim()
    send(store, held, "1", "2")
    send(store, other, "3")
    waits = [wait(one, number, is_expected=True) for one, number in
             ((held, 1), (held, 2), (other, 1))]  # fmt: skip

    plan = store.apply(session, executor_id, waits, is_repeat=False)

    assert [one.checkpoint and one.checkpoint.output for one in plan.answers] == ["1", "2", "3"]
