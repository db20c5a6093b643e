"""What the admin shows about a workflow's start, and about a step that was told to wait."""

from __future__ import annotations

import pytest
from django.test import Client

import django_dbos as dbos
from django_dbos.admin.ages import with_zone
from django_dbos.admin.values import instant
from django_dbos.models import Workflow
from django_dbos.testing import run_until_idle
from tests.admin.conftest import get, page_of
from tests.admin.workflows import quick

pytestmark = pytest.mark.django_db


@dbos.step
def refuses() -> None:
    raise dbos.RetryAfter(30)


@dbos.workflow
def patient() -> None:
    refuses()


def facts_of(client: Client, workflow_id: str) -> dict[str, str]:
    return dict(get(client, page_of(workflow_id)).sections["facts"])  # type: ignore[arg-type]


def test_a_partition_key_and_a_kept_id_are_shown(operator: Client) -> None:
    options = dbos.StartOptions(partition_key="customer-7", deduplication_id="d", unique_for=60)
    handle = quick.using(**options).start()
    workflow = Workflow.objects.get()

    facts = facts_of(operator, handle.workflow_id)

    assert facts["Partition key"] == "customer-7"
    assert facts["Deduplication id"] == "d"
    assert facts["Keeps that id until"] == with_zone(workflow.unique_until)
    assert "Debounce key" not in facts


def test_a_debounced_start_is_shown(operator: Client) -> None:
    handle = quick.using(debounce_key="k", delay=60, max_delay=3600).start()
    workflow = Workflow.objects.get()

    facts = facts_of(operator, handle.workflow_id)

    assert facts["Debounce key"] == "k"
    assert facts["Due"] == with_zone(workflow.due_at)
    assert facts["Debounced until, at the latest"] == with_zone(workflow.debounce_until)
    note = get(operator, page_of(handle.workflow_id)).note
    assert f"Starts at {instant(workflow.due_at)}." in note


def test_a_step_that_was_told_to_wait_is_shown(operator: Client) -> None:
    handle = patient.start()
    run_until_idle()
    workflow = Workflow.objects.get()

    page = get(operator, page_of(handle.workflow_id))

    told = f"A step was told to try again in 30 s, at {instant(workflow.due_at)}."
    assert page.note.startswith(told)
    assert "1. told to try again in 30 s" in page.text
