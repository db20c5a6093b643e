"""The fence of a batch: its statements write many rows, and compare the claim of each."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from django_dbos.core.records import (
    Claim,
    Finish,
    NewMessage,
    RecordEvent,
    RecordWait,
    Verdict,
    Wake,
    Write,
)
from django_dbos.core.status import Status
from django_dbos.models import Checkpoint, EventVersion, Message, StreamEntry, Workflow
from django_dbos.store.base import Store
from tests.store.conftest import checkpoint, entry, step

Make = Callable[[Claim], Write]


def event(held: Claim) -> Write:
    return RecordEvent(checkpoint=None, key="k", value="1", step_number=1, **_fence(held))


def receive(held: Claim) -> Write:
    wake = Wake.of_message(held.workflow_id, "")
    values: dict[str, Any] = {"checkpoint": checkpoint(held), "wake": wake, "timeout": None}
    return RecordWait(is_expected=True, **values, **_fence(held))


def end(held: Claim) -> Write:
    return Finish(status=Status.SUCCESS, output="1", **_fence(held))


def _fence(held: Claim) -> dict[str, Any]:
    return {"workflow_id": held.workflow_id, "claim_number": held.claim_number}


@pytest.mark.rule(7)
@pytest.mark.parametrize(
    ("make", "verdict"),
    [
        (step, Verdict.DONE),
        (lambda held: entry(held, "1"), Verdict.DONE),
        (event, Verdict.DONE),
        (receive, Verdict.FOUND),
        (end, Verdict.DONE),
    ],
    ids=["step", "entry", "event", "receive", "end"],
)
def test_a_lost_claim_writes_nothing_in_a_batch_with_one_that_is_held(
    store: Store,
    session: Any,
    executor_id: str,
    claim: Callable[..., Claim],
    make: Make,
    verdict: Verdict,
) -> None:
    held, other = claim(), claim()
    for one in (held, other):
        store.send_messages([NewMessage(workflow_id=one.workflow_id, topic="", message="1")])
    # The row is locked as one of this executor's, whose later claim it is.
    zombie = replace(held, claim_number=held.claim_number - 1)

    plan = store.apply(session, executor_id, [make(zombie), make(other)], is_repeat=False)

    assert [answer.verdict for answer in plan.answers] == [Verdict.CLAIM_LOST, verdict]
    for rows in (Checkpoint, EventVersion, StreamEntry):
        assert not rows.objects.filter(workflow_id=held.workflow_id).exists()
    assert Message.objects.get(workflow_id=held.workflow_id).consumed_at is None
    assert Workflow.objects.get(pk=held.workflow_id).status == "PENDING"
