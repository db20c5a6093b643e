"""Deletion of old workflows: marked, emptied, deleted."""

from __future__ import annotations

import uuid
from collections.abc import Callable

import pytest
from django.db import connection, transaction
from django.db.models import QuerySet

from django_dbos.core.records import Claim, Finish, NewMessage
from django_dbos.core.retention import OldWorkflow
from django_dbos.core.status import Status
from django_dbos.models import Checkpoint, Message, StreamEntry, Workflow
from django_dbos.store.base import Store
from django_dbos.store.retention import DEPENDENTS
from django_dbos.store.sessions import Session
from tests.keeping.marking import mark
from tests.store.conftest import entry, step

Claims = Callable[..., Claim]
in_one_statement = pytest.mark.skipif(
    connection.vendor == "sqlite", reason="A statement deletes from one table there."
)


@pytest.fixture
def finished(store: Store, session: Session, executor_id: str, claim: Claims) -> str:
    """A finished workflow with steps, stream entries and a message."""
    held = claim()
    store.send_messages([NewMessage(workflow_id=held.workflow_id, topic="", message="1")])
    end = Finish(
        workflow_id=held.workflow_id,
        claim_number=held.claim_number,
        status=Status.ERROR,
        error="{}",
    )
    writes = [*(step(held, number) for number in range(1, 4)), entry(held, "1"), end]
    store.apply(session, executor_id, writes, is_repeat=False)
    return held.workflow_id


@pytest.mark.rule(50)
def test_a_marked_workflow_cannot_be_resumed(store: Store, session: Session, finished: str) -> None:
    assert mark(store, session, 3600.0) == []
    assert mark(store, session, 0.0) == [finished]

    assert store.resume_workflows([finished]) == {finished: False}


@pytest.mark.rule(50)
def test_the_rows_of_a_marked_workflow_are_deleted_a_few_at_a_time(
    store: Store, session: Session, finished: str
) -> None:
    mark(store, session, 0.0)

    assert store.delete_dependents(session, "checkpoints", [finished], 2) == 2
    assert Checkpoint.objects.count() == 1
    for table in DEPENDENTS:
        store.delete_dependents(session, table, [finished], 10)

    assert not Checkpoint.objects.exists()
    assert not Message.objects.exists()
    assert not StreamEntry.objects.exists()
    assert Workflow.objects.exists()


@pytest.mark.rule(50)
def test_a_marked_workflow_is_deleted_with_the_rows_that_are_left(
    store: Store, session: Session, finished: str
) -> None:
    mark(store, session, 0.0)

    assert store.delete_marked(session, [finished]) == [finished]

    assert not Workflow.objects.exists()
    assert not Checkpoint.objects.exists()
    assert not Message.objects.exists()
    assert not StreamEntry.objects.exists()


def chosen(store: Store, session: Session) -> list[OldWorkflow]:
    return store.list_finished(session, 0.0, store.first_place, 100)[0]


@in_one_statement
@pytest.mark.rule(50)
def test_a_workflow_with_few_rows_is_deleted_at_once(
    store: Store, session: Session, finished: str
) -> None:
    found = chosen(store, session)

    assert store.delete_few(session, found, 2) == []
    assert Checkpoint.objects.count() == 3
    assert store.delete_few(session, found, 3) == [finished]

    assert not Workflow.objects.exists()
    assert not Checkpoint.objects.exists()
    assert not Message.objects.exists()
    assert not StreamEntry.objects.exists()


@in_one_statement
@pytest.mark.rule(50)
@pytest.mark.parametrize("change", ["claim_number", "token"])
def test_a_workflow_that_has_changed_since_is_not_deleted_at_once(
    store: Store, session: Session, finished: str, change: str
) -> None:
    found = chosen(store, session)
    values = {"claim_number": found[0].claim_number + 1, "token": uuid.uuid4()}
    QuerySet(Workflow).filter(workflow_id=finished).update(**{change: values[change]})

    assert store.delete_few(session, found, 100) == []
    assert Workflow.objects.get().workflow_id == finished


@in_one_statement
@pytest.mark.rule(50)
def test_a_workflow_that_is_resumed_meanwhile_is_not_deleted_at_once(
    store: Store, session: Session, finished: str
) -> None:
    found = chosen(store, session)
    QuerySet(Workflow).filter(workflow_id=finished).update(status="CANCELLED")

    with transaction.atomic():
        assert store.resume_workflows([finished]) == {finished: True}
        # The row is locked.
        assert store.delete_few(session, found, 100) == []
    assert store.delete_few(session, found, 100) == []

    assert Checkpoint.objects.count() == 3
