"""Held claims: listed, released uncounted, quarantined."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from django_dbos.core.records import Claim
from django_dbos.core.status import Status
from django_dbos.models import Workflow
from django_dbos.store.base import Store
from django_dbos.store.sessions import Session
from tests.store.conftest import new_workflow, register

Claims = Callable[..., Claim]


def test_an_executor_holds_the_workflows_that_it_has_claimed(
    store: Store, session: Session, executor_id: str, claim: Claims
) -> None:
    held = [claim(), claim()]
    store.start_workflows([new_workflow()])

    assert store.list_held(session, executor_id).claims == {
        claim.workflow_id: claim.claim_number for claim in held
    }
    assert store.list_held(session, register(store)).claims == {}


@pytest.mark.rule(1)
@pytest.mark.rule(3)
def test_a_released_workflow_is_enqueued_and_not_counted(
    store: Store, session: Session, executor_id: str, claim: Claims
) -> None:
    held = claim(queue_name="a", priority=7)

    assert store.release_workflows(session, executor_id, [held.workflow_id]) == [("a", 7)]

    row = Workflow.objects.get()
    assert (row.status, row.recovery_attempts) == ("ENQUEUED", 0)
    assert row.claim_number > held.claim_number
    assert store.release_workflows(session, executor_id, [held.workflow_id]) == []


@pytest.mark.rule(1)
def test_another_executors_claim_is_not_released(
    store: Store, session: Session, executor_id: str, claim: Claims
) -> None:
    held = claim()

    assert store.release_workflows(session, register(store), [held.workflow_id]) == []

    assert store.list_held(session, executor_id).claims == {held.workflow_id: held.claim_number}


def test_statuses_are_read_without_workflows_that_are_gone(
    store: Store, session: Session, claim: Claims
) -> None:
    held, new = claim(), new_workflow()
    store.start_workflows([new])

    assert store.read_statuses(session, [held.workflow_id, new.workflow_id, "gone"]) == {
        held.workflow_id: Status.PENDING,
        new.workflow_id: Status.ENQUEUED,
    }


def test_a_held_workflow_is_quarantined(
    store: Store, session: Session, executor_id: str, claim: Claims
) -> None:
    held = claim()

    assert store.quarantine(session, register(store), held.workflow_id, "{}") is None
    assert store.quarantine(session, executor_id, held.workflow_id, "{}") == []

    row = Workflow.objects.get()
    assert (row.status, row.is_quarantined) == ("ERROR", True)
