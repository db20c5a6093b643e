"""Why a workflow doesn't run, on its page and in the list."""

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
from django_dbos.core import registry
from django_dbos.executor import Executor
from django_dbos.models import Executor as ExecutorRow
from django_dbos.models import Workflow
from django_dbos.store import get_store
from django_dbos.testing import run_until_idle
from tests.admin.conftest import LIST, get, page_of
from tests.admin.workflows import SCRIPT, busy, parent, quick
from tests.store.conftest import register
from tests.store.test_executors import age, declare_dead

pytestmark = pytest.mark.django_db

NO_EXECUTOR = "No live worker serves queue 'default': run manage.py dbos_worker."


def note_of(client: Client, workflow_id: str) -> str:
    """What is said on its page, which the list says as well."""
    said = get(client, page_of(workflow_id)).note
    status = Workflow.objects.get(pk=workflow_id).get_status_display()
    rows = get(client, reverse(LIST), {"q": workflow_id}).tables["result_list"]
    assert [row[3] for row in rows if row[1] == workflow_id] == [f"{status}{said}"]
    return said


def change(workflow_id: str, **columns: Any) -> None:
    QuerySet(Workflow).filter(workflow_id=workflow_id).update(**columns)


def test_the_page_says_that_nobody_serves_its_queue(operator: Client) -> None:
    handle = busy.start()

    assert note_of(operator, handle.workflow_id) == NO_EXECUTOR


@pytest.mark.rule(9)
def test_a_function_is_known_if_a_worker_of_the_queue_knows_it(operator: Client) -> None:
    """It was judged by what the web process knows, which isn't who runs it."""
    handle = busy.start()
    register(get_store(), workflow_names='["shop.old"]')
    register(get_store(), workflow_names=f'["{busy.name}"]', queue_names='["mail"]')
    register(get_store(), workflow_names=f'["{busy.name}"]', is_inline=True)

    said = note_of(operator, handle.workflow_id)
    assert said.startswith("No live worker of queue 'default' knows its function: deploy the code")

    # One that doesn't say, as before it was upgraded, may know it.
    register(get_store())
    assert note_of(operator, handle.workflow_id) == ""


@pytest.mark.rule(9)
def test_a_function_that_only_workers_know_is_known(operator: Client) -> None:
    """A web process needn't import what workers run."""
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


def test_a_worker_publishes_what_it_knows(monkeypatch: pytest.MonkeyPatch) -> None:
    known = json.loads(Executor().identity.info.workflow_names or "null")
    assert busy.name in known

    monkeypatch.setattr("django_dbos.executor.identity.MAX_NAMES_LENGTH", 100)
    assert Executor().identity.info.workflow_names is None


@pytest.mark.django_db(transaction=True)
def test_the_row_of_a_real_worker_holds_the_names() -> None:
    with Executor() as executor:
        row = ExecutorRow.objects.get(pk=executor.executor_id)

    assert row.workflow_names == sorted(registry.workflows)


def test_a_live_executor_of_its_queue_is_enough(operator: Client) -> None:
    handle = busy.start()
    register(get_store(), queue_names='["mail"]')
    register(get_store(), is_inline=True)
    assert note_of(operator, handle.workflow_id) == NO_EXECUTOR

    register(get_store(), queue_names='["mail", "default"]')

    assert note_of(operator, handle.workflow_id) == ""


def test_a_killed_executor_is_not_live(operator: Client) -> None:
    """It counted as live until another one declared it dead."""
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


def test_a_silent_executor_is_told_of(operator: Client) -> None:
    handle = busy.start()
    executor_id = register(get_store(), lease=20.0)
    change(handle.workflow_id, status="PENDING", executor_id=executor_id)
    assert note_of(operator, handle.workflow_id) == ""

    age(executor_id, timedelta(seconds=21))

    said = "Its worker has stopped sending heartbeats; another one will take over."
    assert note_of(operator, handle.workflow_id) == said


def test_what_is_awaited_and_until_when(operator: Client) -> None:
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

    register(get_store())
    ids = {kind: waits.start(kind, "x").workflow_id for kind in ("sleep", "message")}
    other = busy.start().workflow_id
    ids |= {kind: waits.start(kind, other).workflow_id for kind in ("event", "result")}
    run_until_idle()

    notes = {kind: note_of(operator, workflow_id) for kind, workflow_id in ids.items()}

    due = Workflow.objects.get(pk=ids["sleep"]).due_at
    assert due is not None
    assert notes["sleep"].startswith("Sleeping until ")
    assert notes["message"].startswith("Waiting for a message without a topic, until ")
    assert notes["message"].endswith(" at the latest.")
    assert notes["event"] == f"Waiting for event 'paid' of workflow '{other}'."
    assert notes["result"] == f"Waiting for the result of workflow '{other}'."


def test_a_parent_waits_for_its_child(operator: Client) -> None:
    register(get_store())
    handle = parent.start()
    run_until_idle()
    child = Workflow.objects.get(parent_id=handle.workflow_id)

    said = f"Waiting for the result of workflow '{child.workflow_id}'."
    assert note_of(operator, handle.workflow_id) == said


def test_a_delayed_one_tells_when_it_starts(operator: Client) -> None:
    register(get_store())
    handle = quick.using(run_after=3_600).start()

    assert note_of(operator, handle.workflow_id).startswith("Starts at 2")


@pytest.mark.parametrize(
    ("dead", "said"),
    [
        (1, "1 worker died running it."),
        (2, "2 workers died running it."),
        (3, "3 workers died running it. It is a suspect: of those, one runs at a time."),
    ],
)
def test_those_that_died_with_it_are_told(operator: Client, dead: int, said: str) -> None:
    register(get_store())
    handle = quick.start()
    change(handle.workflow_id, recovery_attempts=dead)

    assert note_of(operator, handle.workflow_id) == said


def test_one_that_was_given_up_can_be_resumed(operator: Client) -> None:
    handle = quick.start()
    change(handle.workflow_id, status="MAX_RECOVERY_ATTEMPTS_EXCEEDED")

    assert note_of(operator, handle.workflow_id).startswith("Given up: ")
    assert "Resume" in get(operator, page_of(handle.workflow_id)).buttons


def test_one_that_is_quarantined_says_why(operator: Client) -> None:
    handle = quick.start()
    error = serializers.dump_error(ValueError(f"{SCRIPT}{'x' * 5_000}"))
    change(handle.workflow_id, status="ERROR", is_quarantined=True, error_text=error)

    page = get(operator, page_of(handle.workflow_id))
    (row,) = get(operator, reverse(LIST)).tables["result_list"][1:]

    assert page.note == "Quarantined by the engine; resume it after a fix."
    assert f"ValueError: {SCRIPT}" in page.sections["outcome"][0][0]
    assert "Resume" in page.buttons
    # The list has no outcome beside it.
    assert row[3].startswith(f"error{page.note} ValueError: {SCRIPT}")
    assert len(row[3]) < 400


def test_of_the_finished_nothing_is_said(operator: Client) -> None:
    handle = quick.start()
    run_until_idle()

    assert note_of(operator, handle.workflow_id) == ""


def test_a_failed_one_shows_its_first_line_in_the_list(operator: Client) -> None:
    @dbos.workflow
    def fails() -> None:
        raise LookupError("no stock\nof KETTLE-1")

    handle = fails.start()
    run_until_idle()

    (row,) = get(operator, reverse(LIST)).tables["result_list"][1:]

    assert row[3] == "errorLookupError: no stock…"
    # The page has the error among the outcomes, and says what can be done.
    said = "It has failed, which is final. To do it again start one under another id."
    assert get(operator, page_of(handle.workflow_id)).note == said


def test_a_huge_error_is_not_read_for_the_list(operator: Client) -> None:
    @dbos.workflow
    def fails() -> None:
        raise LookupError("x" * 100_000)

    fails.start()
    run_until_idle()

    (row,) = get(operator, reverse(LIST)).tables["result_list"][1:]

    assert row[3] == "error"
