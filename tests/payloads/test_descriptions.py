"""A description in words says what a workflow is, why it is there, and what comes next."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

import django_dbos as dbos
from django_dbos.models import Workflow
from django_dbos.testing import run_until_idle
from tests.payloads.workflows import SECRET, fail, pay, wait_for_note

pytestmark = pytest.mark.django_db(transaction=True)


@dbos.step(max_attempts=3, interval=3_600)
def fails_for_now() -> None:
    raise ConnectionError("away")


@dbos.workflow
def retries() -> None:
    fails_for_now()


@dbos.workflow
def starts_two() -> None:
    fail.start(SECRET)
    wait_for_note.start(SECRET)
    dbos.recv(timeout=None)


def words(handle: dbos.WorkflowHandle[Any]) -> str:
    return str(handle.describe())


def test_a_workflow_that_waits() -> None:
    handle = wait_for_note.using(workflow_id="w", user="7", priority=5, timeout=3_600).start("x")
    assert "is in queue 'default'" in words(handle)
    assert "Next: a worker of its queue claims it, and it begins." in words(handle)
    run_until_idle()
    lines = words(handle).splitlines()
    assert lines[0] == f"Workflow 'w' ({wait_for_note.name}) waits for message 'note'."
    assert "for user '7', in queue 'default' with priority 5, and first began at" in lines[1]
    assert lines[2] == "2 steps are recorded, the last one is 'dbos.recv(note)' (2)."
    assert lines[-1].startswith(
        "Next: it goes on when that has come; there is no other limit. It is"
    )
    handle.send("x", topic="note")
    assert "claims it, and it goes on after its recorded steps." in words(handle)


def test_a_step_that_is_tried_again() -> None:
    handle = retries.start()
    run_until_idle()
    assert "waits for retry, until" in words(handle)
    assert (
        f"the last one is {fails_for_now.name!r} (1). It has failed in 1 attempt so far."
        in words(handle)
    )


def test_a_parent_and_its_children() -> None:
    handle = starts_two.start()
    run_until_idle()
    assert "It has started 2 workflows: 1 ERROR, 1 WAITING." in words(handle)
    child = Workflow.objects.get(parent_id=handle.workflow_id, status="ERROR").handle
    text = str(child.describe())
    assert f"by workflow {handle.workflow_id!r}" in text
    assert "Its error is" in text
    assert text.endswith("Next: nothing; it has ended.")


def test_ends_and_delays() -> None:
    handle = pay.using(run_after=3_600).start(SECRET)
    assert "is delayed until" in words(handle)
    assert "run_now() starts it at once" in words(handle)
    handle.cancel()
    assert "was cancelled at" in words(handle)
    assert words(handle).endswith("Next: nothing; resume() lets it go on from its recorded steps.")
    handle.resume()
    assert "claims it, and it begins." in words(handle)
    handle.send("x", topic="note")
    run_until_idle()
    assert "succeeded at" in words(handle)


@pytest.mark.parametrize(
    ("attempts", "sentence"),
    [
        (1, "A worker died while running it."),
        (3, "3 workers in a row died while running it."),
    ],
)
def test_dead_workers_are_counted(attempts: int, sentence: str) -> None:
    about = replace(pay.using(run_after=3_600).start(SECRET).describe(), recovery_attempts=attempts)

    assert sentence in str(about).splitlines()


def test_a_missing_key_is_named(use_keys: Callable[..., None]) -> None:
    use_keys("2025")
    handle = wait_for_note.start(SECRET)
    use_keys("2026")
    run_until_idle()
    assert handle.describe().missing_key == "2025"
    assert "waits for a worker with encryption key '2025'" in words(handle)
    assert words(handle).endswith("has key '2025' in DBOS['ENCRYPTION']['KEYS'].")


@dbos.workflow
def reads_text(workflow_id: str) -> str:
    return str(dbos.retrieve_workflow(workflow_id).describe())


def test_workflow_code_may_ask_too() -> None:
    handle = fail.start(SECRET)
    run_until_idle()
    reader = reads_text.start(handle.workflow_id)
    run_until_idle()
    assert reader.get_result(0) == words(handle)
