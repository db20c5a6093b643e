"""Actions on all workflows that match the filters of the list, as a workflow of their own."""

from __future__ import annotations

import re
from typing import Any

import pytest
from django.contrib import admin
from django.contrib.admin import AdminSite
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import User
from django.core.exceptions import PermissionDenied
from django.db import OperationalError
from django.test import Client
from django.urls import path, reverse

import django_dbos as dbos
from django_dbos.admin import WorkflowAdmin, bulk
from django_dbos.models import Message, Workflow
from django_dbos.testing import advance, run_until_idle
from tests.admin.conftest import LIST, Page, get, log_in, page_of, url_of
from tests.admin.workflows import busy, quick

pytestmark = pytest.mark.django_db

site = AdminSite(name="operations")
site.register(Workflow, WorkflowAdmin)
urlpatterns = [path("admin/", admin.site.urls), path("operations/", site.urls)]

EVERYTHING = (
    "view_workflow",
    "cancel_workflow",
    "resume_workflow",
    "reschedule_workflow",
    "send_message",
)


@pytest.fixture(autouse=True)
def _small_pages(monkeypatch: pytest.MonkeyPatch) -> None:
    """More than 4 rows are too many for one request; the workflow changes 2 at a time."""
    monkeypatch.setattr("django_dbos.admin.actions.BATCH", 4)
    monkeypatch.setattr(bulk, "PAGE", 2)


@pytest.fixture
def staff(client: Client) -> Client:
    return log_in(client, *EVERYTHING)


def ask(client: Client, action: str, url: str = "", query: str = "") -> Page:
    """Choose all workflows that match, and return the page that asks before."""
    first = str(Workflow.objects.first())
    data = {"action": action, "_selected_action": [first], "select_across": "1", "index": "0"}
    response = client.post((url or reverse(LIST)) + query, data)
    assert response.status_code == 200, response
    return Page(response.content.decode())


def answer(client: Client, asked: Page, **filled: Any) -> str:
    """Confirm; return the id of the workflow that carries it out."""
    response = client.post(asked.form_url, {**asked.hidden, **filled})
    assert response.status_code == 302, response.content.decode()
    (workflow_id,) = Workflow.objects.filter(name=bulk.NAME).values_list("pk", flat=True)
    assert response["Location"].endswith(f"/{workflow_id}/progress/")
    return str(workflow_id)


def numbers(workflow_id: str) -> tuple[int, int, int]:
    progress = dbos.get_event(workflow_id, bulk.PROGRESS, timeout=0)
    return progress["total"], progress["done"], progress["unchanged"]


def statuses() -> dict[str, int]:
    found = list(Workflow.objects.exclude(name=bulk.NAME).values_list("status", flat=True))
    return {status: found.count(status) for status in set(found)}


def test_all_that_match_are_changed_in_the_background(staff: Client) -> None:
    busy.start_many([()] * 7)
    other = quick.using(queue_name="other").start()

    asked = ask(staff, "cancel_selected", query=f"?name={busy.name}")
    assert "7 active workflows will be cancelled." in asked.text
    assert "A workflow does this in the background" in asked.text
    workflow_id = answer(staff, asked)
    assert statuses() == {"ENQUEUED": 8}
    run_until_idle(["default"])

    assert statuses() == {"CANCELLED": 7, "ENQUEUED": 1}
    assert other.get_status() == "ENQUEUED"
    assert numbers(workflow_id) == (7, 7, 0)
    assert LogEntry.objects.filter(change_message="Cancelled.").count() == 7
    assert {entry.user.get_username() for entry in LogEntry.objects.all()} == {"staff"}
    (entry,) = LogEntry.objects.filter(object_id=workflow_id)
    assert entry.change_message == f"Cancel workflows: all that match 'name={busy.name}'."


def test_it_comes_before_what_it_cancels(staff: Client) -> None:
    """The workflows that wait for a worker are those that it is to cancel."""
    busy.start_many([()] * 6)

    workflow_id = answer(staff, ask(staff, "cancel_selected"))
    run_until_idle()

    assert Workflow.objects.get(pk=workflow_id).status == "SUCCESS"
    assert statuses() == {"CANCELLED": 6}
    assert not Workflow.objects.filter(name=busy.name, started_at__isnull=False).exists()


def test_what_started_after_the_question_and_what_has_ended_stay(staff: Client) -> None:
    quick.start_many([()] * 3)
    run_until_idle()
    busy.start_many([()] * 5)

    asked = ask(staff, "cancel_selected")
    later = busy.start()
    workflow_id = answer(staff, asked)
    run_until_idle()

    assert numbers(workflow_id) == (5, 5, 0)
    assert later.get_status() == "WAITING"


def test_a_form_is_filled_in_for_all(staff: Client) -> None:
    busy.start_many([()] * 5)
    run_until_idle()

    asked = ask(staff, "send_message", query="?status=WAITING")
    wrong = Page(
        staff.post(asked.form_url, {**asked.hidden, "message": "no JSON"}).content.decode()
    )
    assert "This isn't JSON" in wrong.text
    answer(staff, wrong, message='{"paid": true}', topic="paid")
    run_until_idle()

    assert {str(message.message) for message in Message.objects.all()} == {"{'paid': True}"}
    assert Message.objects.count() == 5
    assert statuses() == {"SUCCESS": 5}


def test_resuming_is_confirmed_if_it_is_for_all(staff: Client) -> None:
    for handle in busy.start_many([()] * 5):
        handle.cancel()

    asked = ask(staff, "resume_selected")
    assert statuses() == {"CANCELLED": 5}
    workflow_id = answer(staff, asked)
    run_until_idle()

    assert numbers(workflow_id) == (5, 5, 0)
    assert statuses() == {"WAITING": 5}


def test_a_form_that_is_sent_twice_starts_it_once(staff: Client) -> None:
    busy.start_many([()] * 5)
    asked = ask(staff, "cancel_selected")

    answer(staff, asked)
    answer(staff, asked)

    assert Workflow.objects.filter(name=bulk.NAME).count() == 1


def test_few_are_changed_at_once(staff: Client) -> None:
    busy.start_many([()] * 4)

    asked = ask(staff, "cancel_selected")
    said = staff.post(asked.form_url, asked.hidden, follow=True).content.decode()

    assert "4 cancelled." in said
    assert not Workflow.objects.filter(name=bulk.NAME).exists()


def test_the_page_shows_the_progress(staff: Client) -> None:
    busy.start_many([()] * 5)
    workflow_id = answer(staff, ask(staff, "cancel_selected"))

    before = get(staff, url_of("progress", workflow_id))
    run_until_idle()
    after = get(staff, url_of("progress", workflow_id))

    assert "The workflows that match are counted first." in before.text
    assert url_of("cancel", workflow_id) in before.links
    assert "5 of 5 workflows" in after.text
    assert "5 cancelled." in after.text
    assert re.search(r'<progress [^>]*max="5" value="5"', after.html)
    assert url_of("cancel", workflow_id) not in after.links
    assert page_of(workflow_id) in after.links


def test_the_page_names_what_was_not_changed(staff: Client, monkeypatch: Any) -> None:
    busy.start_many([()] * 5)
    workflow_id = answer(staff, ask(staff, "cancel_selected"))
    refused = {**dict.fromkeys(Workflow.objects.values_list("pk", flat=True), "<i>busy</i>")}
    monkeypatch.setattr("django_dbos.admin.act.carry_out", lambda act, ids, options: refused)
    run_until_idle()

    page = get(staff, url_of("progress", workflow_id))

    assert "0 cancelled, 5 had already finished." in page.text
    assert len(page.body("unchanged")) == 5
    assert page.body("unchanged")[0][1] == "<i>busy</i>"
    assert "<i>busy" not in page.html


def test_other_workflows_have_no_progress(staff: Client) -> None:
    handle = quick.start()

    assert staff.get(url_of("progress", handle.workflow_id)).status_code == 404
    assert staff.get(url_of("progress", "nobody")).status_code == 404


def test_a_cancelled_one_stops(staff: Client) -> None:
    busy.start_many([()] * 5)
    workflow_id = answer(staff, ask(staff, "cancel_selected"))

    dbos.retrieve_workflow(workflow_id).cancel()
    run_until_idle()

    assert statuses() == {"WAITING": 5}


@pytest.mark.parametrize("change", ["permission", "account", "deleted"])
def test_a_user_who_may_no_longer_stops_it(staff: Client, change: str) -> None:
    busy.using(queue_name="other").start_many([()] * 5)
    workflow_id = answer(staff, ask(staff, "cancel_selected"))
    user = User.objects.get()
    match change:
        case "permission":
            user.user_permissions.set([])
        case "account":
            User.objects.update(is_active=False)
        case "deleted":
            LogEntry.objects.all().delete()
            user.delete()

    run_until_idle(["default"])

    assert statuses() == {"ENQUEUED": 5}
    workflow = Workflow.objects.get(pk=workflow_id)
    assert workflow.status == "ERROR"
    assert "may no longer cancel workflows" in str(workflow.error)


def test_a_fork_changes_nothing_in_the_name_of_somebody_else(staff: Client) -> None:
    busy.start_many([()] * 5)
    workflow_id = answer(staff, ask(staff, "cancel_selected"))
    run_until_idle()
    for row in Workflow.objects.filter(name=busy.name):
        dbos.retrieve_workflow(str(row.pk)).resume()
    User.objects.filter(username="staff").update(username="first")
    before = LogEntry.objects.count()
    forker = log_in(Client(), "view_workflow", "fork_workflow")

    forker.post(url_of("fork", workflow_id), {"step": "1"})
    run_until_idle()

    fork = Workflow.objects.get(forked_from=workflow_id)
    with pytest.raises(PermissionDenied, match="a fork of an action changes nothing"):
        dbos.retrieve_workflow(str(fork.pk)).get_result()
    assert statuses() == {"WAITING": 5}
    # That of the fork itself.
    assert LogEntry.objects.count() == before + 1


@pytest.mark.parametrize("action", ["rewind", "retry"])
def test_a_rewind_changes_nothing_in_the_name_of_somebody_else(
    staff: Client, action: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nor does a retry of one that has failed."""
    busy.start_many([()] * 5)
    workflow_id = answer(staff, ask(staff, "cancel_selected"))
    if action == "retry":
        with monkeypatch.context() as patch:
            patch.setattr(bulk, "change_batch", lambda *args: 1 / 0)
            run_until_idle()
        assert dbos.retrieve_workflow(workflow_id).get_status() == "ERROR"
        assert statuses() == {"WAITING": 5}
    else:
        run_until_idle()
        for row in Workflow.objects.filter(name=busy.name):
            dbos.retrieve_workflow(str(row.pk)).resume()
        run_until_idle()
    User.objects.filter(username="staff").update(username="first")
    other = log_in(Client(), "view_workflow", f"{action}_workflow")
    before = LogEntry.objects.count()

    other.post(url_of(action, workflow_id), {"step": "1", "confirmed": "yes"})
    assert dbos.retrieve_workflow(workflow_id).get_status() == "ENQUEUED"
    run_until_idle()

    with pytest.raises(PermissionDenied, match="was rewound or retried"):
        dbos.retrieve_workflow(workflow_id).get_result()
    assert statuses() == {"WAITING": 5}
    # That of the rewind itself, in the name of who has ordered it.
    assert LogEntry.objects.count() == before + 1
    assert LogEntry.objects.latest("pk").user.username == "staff"


def test_the_note_of_an_order_can_not_be_made_by_changing_attributes(staff: Client) -> None:
    busy.start_many([()] * 5)
    workflow_id = answer(staff, ask(staff, "cancel_selected"))
    handle = dbos.retrieve_workflow(workflow_id)
    handle.set_attributes({bulk.SIGNED: "forged"}, merge=True)
    run_until_idle()

    with pytest.raises(PermissionDenied, match="changes nothing more"):
        handle.get_result()
    assert statuses() == {"WAITING": 5}


def test_an_order_needs_the_permission_and_a_valid_id(client: Client) -> None:
    busy.start_many([()] * 5)
    log_in(client, "view_workflow", "resume_workflow")
    data = {
        "action": "cancel_selected",
        "_selected_action": [str(Workflow.objects.first())],
        "select_across": "1",
        "post": "yes",
        "order": "0f8fad5b-d9cb-469f-a165-70867728950e",
    }

    client.post(reverse(LIST), data)
    assert not Workflow.objects.filter(name=bulk.NAME).exists()
    user = User.objects.create_superuser("root")
    client.force_login(user)

    assert client.post(reverse(LIST), {**data, "order": "../x"}).status_code == 400
    assert client.post(reverse(LIST), data).status_code == 302


def test_a_search_without_an_index_keeps_its_bound(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The newest that are searched would be others at the end than at the beginning."""
    monkeypatch.setattr("django_dbos.admin.workflow_list.MAX_SEARCHED", 6)
    log_in(client, *EVERYTHING, "view_payload")
    user = User.objects.get()
    first, *_ = busy.using(user=user, queue_name="q").start_many([()] * 7)
    real, pages = bulk.change_batch, []

    def and_start(*args: Any) -> None:
        real(*args)
        pages.append(quick.using(user=user, queue_name="q").start())

    asked = ask(client, "cancel_selected", query=f"?q=user%3D{user.pk}")
    workflow_id = answer(client, asked)
    monkeypatch.setattr(bulk, "change_batch", and_start)
    run_until_idle(["default"])

    # The workflow itself is one of the newest six.
    assert numbers(workflow_id) == (5, 5, 0)
    assert len(pages) == 3
    assert first.get_status() == "ENQUEUED"


def test_a_page_that_fails_at_its_end_is_repeated_as_a_whole(
    staff: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its changes and its entries in the history are taken back with it."""
    busy.start_many([()] * 5)
    real, failures = bulk.change_batch, [OperationalError("deadlock detected")]

    def fail_once(*args: Any) -> None:
        real(*args)
        if failures:
            raise failures.pop()

    monkeypatch.setattr(bulk, "change_batch", fail_once)
    workflow_id = answer(staff, ask(staff, "cancel_selected"))
    run_until_idle()
    advance(60)
    run_until_idle()

    assert numbers(workflow_id) == (5, 5, 0)
    assert LogEntry.objects.filter(change_message="Cancelled.").count() == 5
    assert statuses() == {"CANCELLED": 5}


def test_a_long_one_continues_as_new(staff: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bulk, "PAGES", 2)
    busy.start_many([()] * 9)

    workflow_id = answer(staff, ask(staff, "cancel_selected"))
    run_until_idle()

    assert numbers(workflow_id) == (9, 9, 0)
    assert Workflow.objects.get(pk=workflow_id).run_number == 3


@pytest.mark.urls("tests.admin.test_bulk")
def test_a_site_of_the_project_is_found(admin_client: Client) -> None:
    busy.start_many([()] * 5)

    asked = ask(admin_client, "cancel_selected", url="/operations/django_dbos/workflow/")
    answer(admin_client, asked)
    run_until_idle()

    assert statuses() == {"CANCELLED": 5}


def test_the_workflow_of_the_package_is_known_to_workers() -> None:
    from django_dbos.core import registry

    assert bulk.NAME in registry.workflows
    assert bulk.NAME not in registry.of_project()
