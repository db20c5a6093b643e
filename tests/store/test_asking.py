"""Several transactions in one message to PostgreSQL: what is committed, and what is said of it."""

from __future__ import annotations

from typing import Any

import pytest
from django.db import DatabaseError, connection, transaction

from django_dbos import exceptions
from django_dbos.core.records import NewMessage
from django_dbos.models import Message, Workflow
from django_dbos.store import errors, rows
from django_dbos.store.base import Store
from tests.store.conftest import new_workflow

pytestmark = pytest.mark.skipif(connection.vendor != "postgresql", reason="PostgreSQL's own")


def start(store: Any, hints: list[str], **options: Any) -> Any:
    new = new_workflow(**options)
    params = {**rows.workflow_params(new), "mark": str(new.token)}
    return store.session().run_then(("insert_workflow", params), hints, str(new.token))


@pytest.mark.rule(15)
def test_a_hint_that_fails_does_not_fail_what_is_committed(store: Store) -> None:
    written, told = start(store, ["SELECT 1 / 0", "SELECT 2"], workflow_id="there")

    assert (bool(written), told) == (True, [])
    assert Workflow.objects.get().workflow_id == "there"
    assert not connection.connection.info.transaction_status


@pytest.mark.rule(15)
def test_a_statement_that_fails_or_writes_nothing_is_not_taken_for_committed(store: Store) -> None:
    with pytest.raises(DatabaseError):
        start(store, ["SELECT 2"], name="n" * 300)
    assert not Workflow.objects.exists()
    assert not connection.connection.info.transaction_status

    start(store, ["SELECT 2"], workflow_id="there")
    assert start(store, ["SELECT 2"], workflow_id="there") == ([], [(2,)])
    with pytest.raises(errors.StoreError):
        start(store, ["SELECT 1 / 0"], workflow_id="there")


def test_a_message_to_nobody_and_one_that_was_sent_before_are_told_apart(store: Store) -> None:
    new = new_workflow()
    store.start_workflows([new])
    message = NewMessage(
        workflow_id=new.workflow_id, topic="t", message="1", idempotency_key="once"
    )

    for _ in range(2):
        store.send_messages([message])
    with pytest.raises(exceptions.WorkflowDoesNotExist):
        store.send_messages([NewMessage(workflow_id="nobody", topic="", message="1")])
    with transaction.atomic(), pytest.raises(exceptions.WorkflowDoesNotExist):
        store.send_messages([message, NewMessage(workflow_id="nobody", topic="", message="1")])

    assert Message.objects.count() == 1


def test_without_listen_nobody_is_notified(store: Store, settings: Any) -> None:
    settings.DBOS = {**settings.DBOS, "LISTEN": False}
    session: Any = store.session()

    assert session.notifications("dbos_enqueued", ["x"]) == []
    store.start_workflows([new_workflow(workflow_id="there")])

    assert Workflow.objects.get().status == "ENQUEUED"
