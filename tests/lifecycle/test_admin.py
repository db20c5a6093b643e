"""Retry, fork, rewind and delete in the admin: buttons, steps of the timeline, and the list."""

from __future__ import annotations

from typing import Any

import pytest
from django.contrib.admin.models import DELETION, LogEntry
from django.test import Client
from django.urls import reverse

from django_dbos.models import Workflow
from django_dbos.testing import run_until_idle
from tests.admin.conftest import LIST, get, log_in, page_of, url_of
from tests.admin.test_acts import fill, fill_many
from tests.lifecycle.workflows import broken, child, done, fails, parent

pytestmark = pytest.mark.django_db
CHANGES = ("retry_workflow", "fork_workflow", "rewind_workflow", "delete_workflow")


@pytest.fixture
def staff(client: Client) -> Client:
    return log_in(client, "view_workflow", *CHANGES)


@pytest.fixture
def failed() -> Any:
    broken.add("b")
    handle = fails.start()
    run_until_idle()
    broken.clear()
    return handle


def logged() -> list[str]:
    return list(LogEntry.objects.order_by("pk").values_list("change_message", flat=True))


def test_a_failed_workflow_is_retried(staff: Client, failed: Any) -> None:
    asked = get(staff, url_of("retry", failed.workflow_id))
    assert "1 workflow will be retried." in asked.text

    page = fill(staff, "retry", failed.workflow_id)

    assert "1 retried." in page.text
    assert logged() == ["Retried."]
    run_until_idle()
    assert failed.get_result() == "done"


def test_each_step_offers_to_go_on_from_it(staff: Client, failed: Any) -> None:
    page = get(staff, page_of(failed.workflow_id))
    for name in ("fork", "rewind"):
        for step in (1, 2, 3):
            assert f'href="{url_of(name, failed.workflow_id)}?step={step}"' in page.html
    asked = get(staff, f"{url_of('rewind', failed.workflow_id)}?step=2")
    assert 'value="2"' in asked.html

    page = fill(staff, "rewind", failed.workflow_id, step="2")
    assert "1 rewound." in page.text
    run_until_idle()
    assert done == {"a": 1, "b": 2, "c": 1}

    fill(staff, "fork", failed.workflow_id, step="3", queue_name="repairs")
    (fork,) = Workflow.objects.filter(forked_from=failed.workflow_id)
    assert (fork.forked_at_step, fork.queue_name) == (3, "repairs")
    assert logged() == ["Rewound to step 2.", "Forked from step 3."]
    page = get(staff, page_of(str(fork.workflow_id)))
    assert "Forked from" in page.text
    assert failed.workflow_id in page.text
    assert str(fork.workflow_id) in get(staff, page_of(failed.workflow_id)).text


def test_a_refusal_names_its_reason(staff: Client) -> None:
    handle = parent.start("x")
    run_until_idle()

    page = fill(staff, "rewind", handle.workflow_id, step="2")
    assert "0 rewound, 1 can't be rewound." in page.text
    assert "have started 1 workflow(s)" in page.text
    assert handle.get_status() == "SUCCESS"
    for wrong in ("0", "x", ""):
        fill(staff, "rewind", handle.workflow_id, step=wrong)
    assert LogEntry.objects.count() == 0

    fill(staff, "rewind", handle.workflow_id, step="2", children="on")
    assert handle.get_status() == "ENQUEUED"


def test_a_deleted_workflow_leads_back_to_the_list(staff: Client, failed: Any) -> None:
    page = fill(staff, "delete_workflow", failed.workflow_id)

    assert "1 deleted." in page.text
    assert not Workflow.objects.exists()
    entry = LogEntry.objects.get()
    assert (entry.object_id, entry.action_flag) == (failed.workflow_id, DELETION)


def test_many_of_the_list_are_changed(staff: Client, failed: Any) -> None:
    healthy = child.start("x")
    run_until_idle()
    ids = (failed.workflow_id, healthy.workflow_id)

    page = fill_many(staff, "fork_selected", *ids)
    assert "1 forked, 1 can't be forked." in page.text
    assert "its status is SUCCESS)." in page.text
    page = fill_many(staff, "retry_selected", *ids)
    assert "1 retried" in page.text
    run_until_idle()
    page = fill_many(staff, "delete_finished", *ids)
    assert "2 deleted." in page.text
    assert Workflow.objects.count() == 1


@pytest.mark.parametrize("missing", CHANGES)
def test_each_needs_its_permission(client: Client, failed: Any, missing: str) -> None:
    log_in(client, "view_workflow", *(name for name in CHANGES if name != missing))
    name = "delete_workflow" if missing.startswith("delete") else missing.split("_")[0]

    page, listed = get(client, page_of(failed.workflow_id)), get(client, reverse(LIST))

    assert url_of(name, failed.workflow_id) not in page.html
    assert f'value="{name.split("_")[0]}_' not in listed.html
    assert client.post(url_of(name, failed.workflow_id)).status_code == 403
