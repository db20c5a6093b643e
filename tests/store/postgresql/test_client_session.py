"""Several transactions in one message to PostgreSQL: what is committed, and what is said of it."""

from __future__ import annotations

from typing import Any

import pytest
from django.db import DatabaseError, connection, transaction

from django_dbos import exceptions
from django_dbos.core.records import NewMessage
from django_dbos.models import Message, Workflow
from django_dbos.store import errors
from django_dbos.store.base import Store
from django_dbos.store.columns import NEW_WORKFLOW
from tests.store.conftest import new_workflow

pytestmark = pytest.mark.skipif(connection.vendor != "postgresql", reason="PostgreSQL's own")


def start(store: Any, notifications: list[str], **options: Any) -> Any:
    new = new_workflow(**options)
    statement = ("insert_workflow", NEW_WORKFLOW.params(new))
    return store.session().run_then(statement, notifications, str(new.token))


@pytest.mark.rule(15)
def test_a_notification_that_fails_does_not_fail_what_is_committed(store: Store) -> None:
    assert start(store, ["SELECT 2"], workflow_id="first") == (1, [(2,)])

    # How much was written isn't known.
    failed = start(store, ["SELECT 1 / 0", "SELECT 2"], workflow_id="there")

    assert failed == (None, [])
    assert Workflow.objects.filter(workflow_id="there").exists()
    assert not connection.connection.info.transaction_status


@pytest.mark.rule(15)
def test_a_start_whose_notification_fails_is_told_from_one_that_was_there(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    failing = (["SELECT 1 / 0"], {})
    monkeypatch.setattr(
        "django_dbos.store.postgresql.starting.notify_statements", lambda *_: failing
    )
    new = new_workflow(workflow_id="there")

    (started,) = store.start_workflows([new])

    assert started.is_new
    with pytest.raises(exceptions.DuplicateWorkflow):
        store.start_workflows([new_workflow(workflow_id="there", on_existing="reject")])


@pytest.mark.rule(15)
def test_a_statement_that_fails_or_writes_nothing_is_not_taken_for_committed(store: Store) -> None:
    with pytest.raises(DatabaseError):
        start(store, ["SELECT 2"], name="n" * 300)
    assert not Workflow.objects.exists()
    assert not connection.connection.info.transaction_status

    start(store, ["SELECT 2"], workflow_id="there")
    assert start(store, ["SELECT 2"], workflow_id="there") == (0, [(2,)])
    with pytest.raises(errors.StoreError):
        start(store, ["SELECT 1 / 0"], name="n" * 300)


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


@pytest.mark.rule(15)
@pytest.mark.rule(16)
@pytest.mark.parametrize("wake", ["SELECT 1 / 0", "SELECT dbos_without_a_right()"])
def test_a_message_whose_receiver_cannot_be_woken_is_sent_all_the_same(
    store: Store, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, wake: str
) -> None:
    """A second attempt of the caller would send it twice."""
    store.start_workflows([new_workflow(workflow_id="there")])
    with connection.cursor() as cursor:
        cursor.execute(
            "UPDATE dbos_workflow SET status = 'WAITING', wake_kind = 'message', "
            "wake_workflow_id = workflow_id, wake_name = 't'"
        )
    monkeypatch.setattr(type(store), "_wake", lambda _: wake)

    store.send_messages([NewMessage(workflow_id="there", topic="t", message="1")])

    assert Message.objects.count() == 1
    assert "its notification failed" in caplog.text
    assert Workflow.objects.get().status == "WAITING"
    store.wake_satisfied(store.session())
    assert Workflow.objects.get().status == "ENQUEUED"


def test_a_value_that_the_driver_refuses_is_an_error_of_djangos(store: Store) -> None:
    with pytest.raises(DatabaseError):
        store.start_workflows([new_workflow(workflow_id="a\x00b")])
    with pytest.raises(DatabaseError):
        store.send_messages([NewMessage(workflow_id="there", topic="\x00", message="1")])


@pytest.mark.parametrize(
    "options",
    [{"prepare_threshold": 0}, {"server_side_binding": True}, {"client_encoding": "LATIN1"}],
)
def test_whatever_the_connection_is_set_to_values_arrive_as_they_are(
    store: Store, options: dict[str, Any]
) -> None:
    connection.close()
    before = connection.settings_dict["OPTIONS"]
    connection.settings_dict["OPTIONS"] = {**before, **options}
    try:
        for name in ("100%", "%s \\ '"):
            store.start_workflows([new_workflow(workflow_id=name, input=f'"{name}"')])
            store.send_messages([NewMessage(workflow_id=name, topic="%t", message=name)])
    finally:
        connection.close()
        connection.settings_dict["OPTIONS"] = before

    assert sorted(message.message_text for message in Message.objects.all()) == ["%s \\ '", "100%"]


def test_without_listen_nobody_is_notified(store: Store, settings: Any) -> None:
    from django_dbos.store.postgresql.multi_statements import notify_statements

    settings.DBOS = {**settings.DBOS, "LISTEN": False}

    assert notify_statements("dbos_enqueued", ["x"]) == ([], {})
    store.start_workflows([new_workflow(workflow_id="there")])

    assert Workflow.objects.get().status == "ENQUEUED"
