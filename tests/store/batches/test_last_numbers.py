"""Columns at their maximum: such a row doesn't fail operations on many rows."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from django.db import connection

from django_dbos.models import Workflow
from django_dbos.store.base import Store
from django_dbos.store.sessions import Session
from tests.store.conftest import new_workflow, register

LAST = 2**31 - 1
Act = Callable[[Store, Session, str, list[str]], object]


def recover(store: Store, session: Session, executor_id: str, ids: list[str]) -> object:
    return store.recover_executor(store.session(), executor_id, is_unlocked=True)


ON_CLAIMED: dict[str, Act] = {
    "release": lambda store, session, executor_id, ids: store.release_workflows(
        session, executor_id, ids
    ),
    "cancel": lambda store, session, executor_id, ids: store.cancel_workflows(ids),
    "recover": recover,
    "expire": lambda store, session, executor_id, ids: store.expire_deadlines(session, 10),
}


@pytest.fixture
def claimed(store: Store, executor_id: str) -> list[str]:
    """Claim workflows past their deadlines; the first one's numbers are at their maximum."""
    new = [new_workflow() for _ in range(3)]
    store.start_workflows(new)
    ids = [one.workflow_id for one in new]
    for one in ids:
        assert store.claim_workflow(store.session(), executor_id, one)
    _set("deadline_at = '2020-01-01 00:00:00'", ids)
    _set(f"claim_number = {LAST}, recovery_attempts = {LAST}", ids[:1])
    return ids


def _set(columns: str, ids: list[str]) -> None:
    with connection.cursor() as cursor:
        for one in ids:
            cursor.execute(f"UPDATE dbos_workflow SET {columns} WHERE workflow_id = %s", [one])


@pytest.mark.rule(46)
@pytest.mark.parametrize("what", ON_CLAIMED)
def test_an_operation_on_many_rows_covers_all(
    what: str, store: Store, session: Session, executor_id: str, claimed: list[str]
) -> None:
    session.close()  # else recovery ends it
    ON_CLAIMED[what](store, session, executor_id, claimed)

    assert not Workflow.objects.filter(status="PENDING").exists()
    assert not Workflow.objects.exclude(executor_id=None).exists()


@pytest.mark.rule(46)
def test_all_of_a_batch_are_resumed(store: Store, claimed: list[str]) -> None:
    store.cancel_workflows(claimed)
    _set(f"claim_number = {LAST}", claimed[:1])

    assert all(store.resume_workflows(claimed).values())


@pytest.mark.rule(46)
def test_due_workflows_are_enqueued_beside_a_row_without_a_time(
    store: Store, session: Session
) -> None:
    new = [new_workflow(delay=3_600.0) for _ in range(3)]
    store.start_workflows(new)
    ids = [one.workflow_id for one in new]
    bad: Any = "'never'" if connection.vendor == "sqlite" else "'infinity'"
    _set(f"due_at = {bad}, claim_number = {LAST}", ids[:1])
    _set("due_at = '2020-01-01 00:00:00'", ids[1:])

    look = store.heartbeat(session, register(store), None)
    assert look.next_due is not None
    assert look.next_due < 0
    store.enqueue_due(session, 10)

    enqueued = Workflow.objects.filter(status="ENQUEUED").values_list("workflow_id", flat=True)
    assert set(enqueued) == set(ids[1:])
