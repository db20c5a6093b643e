"""Retry, fork, rewind and delete in the admin: buttons, steps of the timeline, and the list."""

from __future__ import annotations

from typing import Any

import pytest
from django.contrib.admin.models import DELETION, LogEntry
from django.test import Client
from django.urls import reverse

import django_dbos as dbos
from django_dbos.models import Workflow
from django_dbos.testing import run_until_idle
from tests.admin.conftest import LIST, Page, get, log_in, page_of, url_of
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


def send(client: Client, name: str, workflow_id: str, **fields: Any) -> Page:
    response = client.post(url_of(name, workflow_id), fields, follow=True)
    return Page(response.content.decode())


def test_a_form_that_is_sent_twice_forks_once(staff: Client, failed: Any) -> None:
    asked = get(staff, url_of("fork", failed.workflow_id)).hidden

    send(staff, "fork", failed.workflow_id, **asked, step="2")
    again = send(staff, "fork", failed.workflow_id, **asked, step="2")

    assert Workflow.objects.filter(forked_from=failed.workflow_id).count() == 1
    assert "0 forked, 1 can't be forked." in again.text
    assert "This form was sent before" in again.text
    assert logged() == ["Forked from step 2."]
    fill(staff, "fork", failed.workflow_id, step="2")
    assert Workflow.objects.filter(forked_from=failed.workflow_id).count() == 2


@pytest.mark.rule(92)
@pytest.mark.parametrize(
    ("name", "fields"), [("retry", {}), ("rewind", {"step": "1"}), ("delete_workflow", {})]
)
def test_a_workflow_that_has_changed_since_the_page_was_shown_stays(
    staff: Client, failed: Any, name: str, fields: dict[str, str]
) -> None:
    """Another operator, or the first click of a double one, has retried it; it has failed again."""
    asked = get(staff, url_of(name, failed.workflow_id)).hidden
    broken.add("c")
    failed.retry()
    run_until_idle()
    assert failed.get_status() == "ERROR"
    before = dict(done)

    page = send(staff, name, failed.workflow_id, **asked, **fields)

    assert "it has changed since the page was shown" in page.text
    assert failed.get_status() == "ERROR"
    run_until_idle()
    assert (done, logged()) == (before, [])
    fill(staff, name, failed.workflow_id, **fields)
    assert len(logged()) == 1


def test_a_later_workflow_with_the_same_id_is_not_deleted(staff: Client) -> None:
    child.using(workflow_id="w").start("x")
    run_until_idle()
    asked = get(staff, url_of("delete_workflow", "w")).hidden
    handle = dbos.retrieve_workflow("w")
    handle.delete()
    child.using(workflow_id="w").start("x")
    run_until_idle()

    page = send(staff, "delete_workflow", "w", **asked)

    assert "it has changed since the page was shown" in page.text
    assert handle.get_status() == "SUCCESS"


def test_of_many_those_that_have_changed_stay(staff: Client, failed: Any) -> None:
    healthy = child.start("x")
    run_until_idle()
    ids = [failed.workflow_id, healthy.workflow_id]
    data = {"action": "rewind_selected", "_selected_action": ids}
    asked = Page(staff.post(reverse(LIST), data).content.decode()).hidden
    # A mistake in the form shows it again, with what was seen first.
    failed.rewind(1)
    wrong = staff.post(reverse(LIST), {**asked, "step": "0"})
    asked = Page(wrong.content.decode()).hidden

    page = Page(staff.post(reverse(LIST), {**asked, "step": "1"}, follow=True).content.decode())

    assert "1 rewound, 1 can't be rewound." in page.text
    assert healthy.get_status() == "ENQUEUED"
    for nonsense in ("[]", "{", '{"a": 1}', '{"a": [1, "x"]}', "[" * 100_000):
        response = staff.post(reverse(LIST), {**asked, "step": "1", "seen": nonsense})
        assert response.status_code == 400


@pytest.mark.parametrize("missing", CHANGES)
def test_each_needs_its_permission(client: Client, failed: Any, missing: str) -> None:
    log_in(client, "view_workflow", *(name for name in CHANGES if name != missing))
    name = "delete_workflow" if missing.startswith("delete") else missing.split("_")[0]

    page, listed = get(client, page_of(failed.workflow_id)), get(client, reverse(LIST))

    assert url_of(name, failed.workflow_id) not in page.html
    assert f'value="{name.split("_")[0]}_' not in listed.html
    assert client.post(url_of(name, failed.workflow_id)).status_code == 403
