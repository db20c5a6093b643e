"""The reason why a workflow doesn't run, on its page and in the list."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any

import pytest
from django.db.models import QuerySet
from django.test import Client
from django.urls import reverse

import django_dbos as dbos
from django_dbos import serializers
from django_dbos.admin.base import status_label
from django_dbos.core import registry
from django_dbos.executor import Executor
from django_dbos.models import Executor as ExecutorRow
from django_dbos.models import Workflow
from django_dbos.store import get_store
from django_dbos.testing import run_until_idle
from tests.admin.conftest import LIST, get, page_of
from tests.admin.workflows import SCRIPT, busy, parent, quick
from tests.store.conftest import age, declare_dead, register

pytestmark = pytest.mark.django_db

NO_EXECUTOR = "No live worker serves queue 'default': run manage.py dbos_worker."


def note_of(client: Client, workflow_id: str) -> str:
    """Return the note on its page; check that the list has the same."""
    said = get(client, page_of(workflow_id)).note
    status = status_label(Workflow.objects.get(pk=workflow_id))
    rows = get(client, reverse(LIST), {"q": workflow_id}).tables["result_list"]
    assert [row[2] for row in rows if row[1].endswith(workflow_id)] == [f"{status}{said}"]
    return said


def change(workflow_id: str, **columns: Any) -> None:
    QuerySet(Workflow).filter(workflow_id=workflow_id).update(**columns)


def test_the_note_names_a_queue_without_workers(operator: Client) -> None:
    handle = busy.start()

    assert note_of(operator, handle.workflow_id) == NO_EXECUTOR


@pytest.mark.rule(9)
def test_a_function_is_registered_if_a_worker_of_the_queue_has_it(operator: Client) -> None:
    """The functions of the web process used to decide, but it doesn't run workflows."""
    handle = busy.start()
    register(get_store(), workflow_names='["shop.old"]')
    register(get_store(), workflow_names=f'["{busy.name}"]', queue_names='["mail"]')
    register(get_store(), workflow_names=f'["{busy.name}"]', is_inline=True)

    said = note_of(operator, handle.workflow_id)
    assert said.startswith("No live worker of queue 'default' has its function: deploy the code")
    assert said.endswith("Workers of other queues have it: mail.")

    # A worker that doesn't list its functions, as before its upgrade, may have this one.
    register(get_store())
    assert note_of(operator, handle.workflow_id) == ""


def test_the_note_of_a_misspelt_function_names_the_one_that_a_worker_has(operator: Client) -> None:
    handle = dbos.start_by_name("shop.workflows.chekout")
    register(get_store(), workflow_names='["shop.workflows.checkout", "shop.workflows.refund"]')

    said = note_of(operator, handle.workflow_id)

    assert said.startswith("No live worker of queue 'default' has its function")
    assert said.endswith("A worker has one that is named 'shop.workflows.checkout'.")
    assert "but one knows 'shop.workflows.checkout'" in str(handle.describe())


@pytest.mark.rule(9)
def test_a_function_that_only_workers_have_is_registered(operator: Client) -> None:
    """A web process needn't import the workflows of workers."""
    handle = busy.start()
    register(get_store(), workflow_names=f'["{busy.name}"]')

    definition = registry.workflows.pop(busy.name)
    try:
        note = note_of(operator, handle.workflow_id)
        links = get(operator, reverse(LIST)).links
    finally:
        registry.workflows[busy.name] = definition

    assert note == ""
    assert f"?name={busy.name}" in links


LIMIT_OF_NAMES = "django_dbos.executor.identity.MAX_NAMES_LENGTH"


def test_a_worker_publishes_its_functions(monkeypatch: pytest.MonkeyPatch) -> None:
    # The other tests of this process have registered hundreds.
    monkeypatch.setattr(LIMIT_OF_NAMES, 1_000_000)
    known = json.loads(Executor().identity.info.workflow_names or "null")
    assert busy.name in known

    monkeypatch.setattr(LIMIT_OF_NAMES, 100)
    assert Executor().identity.info.workflow_names is None


@pytest.mark.django_db(transaction=True)
def test_the_row_of_a_real_worker_lists_its_functions(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(LIMIT_OF_NAMES, 1_000_000)
    with Executor() as executor:
        row = ExecutorRow.objects.get(pk=executor.executor_id)

    assert row.workflow_names == sorted(registry.claimable())


def test_a_live_executor_of_its_queue_is_enough(operator: Client) -> None:
    handle = busy.start()
    register(get_store(), queue_names='["mail"]')
    register(get_store(), is_inline=True)
    assert note_of(operator, handle.workflow_id) == NO_EXECUTOR

    register(get_store(), queue_names='["mail", "default"]')

    assert note_of(operator, handle.workflow_id) == ""


def test_a_killed_executor_is_not_live(operator: Client) -> None:
    """It used to count as live until another executor declared it dead."""
    handle = busy.start()
    executor_id = register(get_store(), lease=20.0)
    assert note_of(operator, handle.workflow_id) == ""

    age(executor_id, timedelta(seconds=21))

    assert note_of(operator, handle.workflow_id) == NO_EXECUTOR


def test_an_executor_that_was_declared_dead_is_not_live(operator: Client) -> None:
    handle = busy.start()
    executor_id = register(get_store())
    declare_dead(get_store(), executor_id)

    assert note_of(operator, handle.workflow_id) == NO_EXECUTOR


def test_the_note_mentions_an_executor_without_heartbeats(operator: Client) -> None:
    handle = busy.start()
    executor_id = register(get_store(), lease=20.0)
    change(handle.workflow_id, status="PENDING", executor_id=executor_id)
    assert note_of(operator, handle.workflow_id) == ""

    age(executor_id, timedelta(seconds=21))

    said = "Its worker has stopped sending heartbeats; another worker will recover it."
    assert note_of(operator, handle.workflow_id) == said


def test_the_note_names_the_awaited_and_the_deadline(operator: Client) -> None:
    @dbos.workflow
    def waits(kind: str, other: str) -> Any:
        match kind:
            case "sleep":
                dbos.sleep(3_600)
            case "event":
                dbos.get_event(other, "paid", timeout=None)
            case "message":
                dbos.recv(timeout=3_600)
            case "result":
                dbos.retrieve_workflow(other).get_result()
            case "stream":
                list(dbos.read_stream(other, "progress"))
            case "any":
                dbos.wait_any(dbos.message("paid"), dbos.event(other, "late"), timeout=3_600)

    register(get_store())
    ids = {kind: waits.start(kind, "x").workflow_id for kind in ("sleep", "message")}
    other = busy.start().workflow_id
    on_others = ("any", "event", "result", "stream")
    ids |= {kind: waits.start(kind, other).workflow_id for kind in on_others}
    run_until_idle()

    notes = {kind: note_of(operator, workflow_id) for kind, workflow_id in ids.items()}

    due = Workflow.objects.get(pk=ids["sleep"]).due_at
    assert due is not None
    assert notes["sleep"].startswith("Sleeping until ")
    assert notes["message"].startswith("Waiting for a message without a topic, until ")
    assert notes["message"].endswith(" at the latest.")
    assert notes["event"] == f"Waiting for event 'paid' of workflow '{other}'."
    assert notes["result"] == f"Waiting for the result of workflow '{other}'."
    several = f"Waiting for message 'paid' or event 'late' of '{other}', until "
    assert notes["any"].startswith(several)
    assert notes["stream"] == f"Waiting for an entry of stream 'progress' of workflow '{other}'."


def test_a_parent_waits_for_its_child(operator: Client) -> None:
    register(get_store())
    handle = parent.start()
    run_until_idle()
    child = Workflow.objects.get(parent_id=handle.workflow_id)

    said = f"Waiting for the result of workflow '{child.workflow_id}'."
    assert note_of(operator, handle.workflow_id) == said


def test_a_held_child_of_a_map_waits_for_its_turn(operator: Client) -> None:
    @dbos.workflow
    def maps() -> Any:
        return busy.map([1, 2], concurrency=1)

    register(get_store())
    handle = maps.start()
    run_until_idle()
    first = f"{handle.workflow_id}-1-0"

    said = f"Waiting for its turn, after workflow '{first}'."
    assert note_of(operator, f"{handle.workflow_id}-1-1") == said
    held: dbos.WorkflowHandle[Any] = dbos.WorkflowHandle(f"{handle.workflow_id}-1-1")
    assert held.describe().waits_for == f"its turn after '{first}'"


def test_the_note_of_a_delayed_workflow_has_its_start(operator: Client) -> None:
    register(get_store())
    handle = quick.using(run_after=3_600).start()

    assert note_of(operator, handle.workflow_id).startswith("Starts at 2")


@pytest.mark.parametrize(
    ("dead", "said"),
    [
        (1, "1 worker died while running it."),
        (2, "2 workers died while running it."),
        (3, "3 workers died while running it. It is a suspect; only one suspect runs at a time."),
    ],
)
def test_the_note_counts_the_workers_that_died(operator: Client, dead: int, said: str) -> None:
    register(get_store())
    handle = quick.start()
    change(handle.workflow_id, recovery_attempts=dead)

    assert note_of(operator, handle.workflow_id) == said


def test_a_workflow_that_was_given_up_can_be_resumed(operator: Client) -> None:
    handle = quick.start()
    change(handle.workflow_id, status="MAX_RECOVERY_ATTEMPTS_EXCEEDED")

    assert note_of(operator, handle.workflow_id).startswith("Given up: ")
    assert "Resume" in get(operator, page_of(handle.workflow_id)).buttons


def test_the_note_of_a_quarantined_workflow_has_the_reason(operator: Client) -> None:
    handle = quick.start()
    error = serializers.dump_error(ValueError(f"{SCRIPT}{'x' * 5_000}"))
    change(handle.workflow_id, status="ERROR", is_quarantined=True, error_text=error)

    page = get(operator, page_of(handle.workflow_id))
    (row,) = get(operator, reverse(LIST)).tables["result_list"][1:]

    assert page.note == "Quarantined by the engine; resume it after fixing the cause."
    assert f"ValueError: {SCRIPT}" in page.text
    assert "Resume" in page.buttons
    # The list has no outcome to read it from.
    assert row[2].startswith(f"quarantined{page.note} ValueError: {SCRIPT}")
    assert len(row[2]) < 400


def test_a_successful_workflow_has_no_note(operator: Client) -> None:
    handle = quick.start()
    run_until_idle()

    assert note_of(operator, handle.workflow_id) == ""


def test_the_list_shows_the_first_line_of_an_error(operator: Client) -> None:
    @dbos.workflow
    def fails() -> None:
        raise LookupError("no stock\nof KETTLE-1")

    handle = fails.start()
    run_until_idle()

    (row,) = get(operator, reverse(LIST)).tables["result_list"][1:]

    assert row[2] == "failedLookupError: no stock…"
    # The page shows the error as the outcome, and its note has advice.
    said = (
        "It doesn't run again by itself. Once the cause is fixed, Retry runs it from the step that "
        "failed."
    )
    assert get(operator, page_of(handle.workflow_id)).note == said


def test_a_huge_error_is_not_read_for_the_list(operator: Client) -> None:
    @dbos.workflow
    def fails() -> None:
        raise LookupError("x" * 100_000)

    fails.start()
    run_until_idle()

    (row,) = get(operator, reverse(LIST)).tables["result_list"][1:]

    assert row[2] == "failed"
