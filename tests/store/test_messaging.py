"""Messages to workflows: their order, and all or nothing."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from django.db import transaction

import django_dbos as dbos
from django_dbos.core.records import (
    Claim,
    NewMessage,
)
from django_dbos.models import Message
from django_dbos.store.base import Store

Claims = Callable[..., Claim]


@pytest.mark.rule(28)
def test_messages_keep_the_order_of_their_sending(store: Store, claim: Claims) -> None:
    held = claim()
    messages = [
        NewMessage(workflow_id=held.workflow_id, topic="", message=str(n)) for n in range(50)
    ]

    store.send_messages(messages)

    found = Message.objects.order_by("message_id").values_list("message_text", flat=True)
    assert list(found) == [str(n) for n in range(50)]


@pytest.mark.parametrize("count", [1, 3])
def test_nothing_is_sent_if_a_receiver_is_missing(store: Store, claim: Claims, count: int) -> None:
    held = claim()
    messages = [
        NewMessage(workflow_id=receiver, topic="", message="1")
        for receiver in [held.workflow_id, "missing"][-count:] * count
    ]

    with pytest.raises(dbos.WorkflowDoesNotExist, match="missing"):
        store.send_messages(messages)

    assert not Message.objects.exists()


@pytest.mark.parametrize("count", [1, 2])
def test_a_message_with_a_known_idempotency_key_is_sent_once(
    store: Store, claim: Claims, count: int
) -> None:
    held = claim()
    message = NewMessage(
        workflow_id=held.workflow_id, topic="", message="1", idempotency_key="payment-7"
    )

    for _ in range(2):
        store.send_messages([message] * count)

    assert Message.objects.count() == 1


def test_messages_are_sent_in_the_callers_transaction(store: Store, claim: Claims) -> None:
    held = claim()

    with transaction.atomic():
        store.send_messages([NewMessage(workflow_id=held.workflow_id, topic="", message="1")])
        transaction.set_rollback(True)

    assert not Message.objects.exists()
