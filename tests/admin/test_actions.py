"""The actions on workflows: their permissions, effects and messages."""

from __future__ import annotations

from typing import Any

import pytest
from django.contrib.admin.models import LogEntry
from django.contrib.admin.utils import quote
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

from django_dbos.admin.acts import ACTS
from django_dbos.models import Workflow
from django_dbos.testing import run_until_idle
from tests.admin.conftest import LIST, Page, get, log_in, page_of, url_of
from tests.admin.workflows import busy, parent, quick

pytestmark = pytest.mark.django_db


def act(client: Client, action: str, *workflow_ids: str, **asked: Any) -> str:
    """Run an action of the list and confirm it; return the text of the next page."""
    data = {"action": action, "_selected_action": workflow_ids, "post": "yes", **asked}
    return client.post(reverse(LIST), data, follow=True).content.decode()


def statuses() -> dict[str, int]:
    found = list(Workflow.objects.values_list("status", flat=True))
    return {status: found.count(status) for status in found}


@pytest.mark.parametrize("action", ["cancel", "resume"])
def test_the_buttons_act_and_are_logged(operator: Client, action: str) -> None:
    handle = busy.start()
    run_until_idle()
    if action == "resume":
        handle.cancel()
    assert url_of(action, handle.workflow_id) in get(operator, page_of(handle.workflow_id)).html

    operator.post(url_of(action, handle.workflow_id))

    assert handle.get_status() == {"cancel": "CANCELLED", "resume": "ENQUEUED"}[action]
    assert LogEntry.objects.get().object_id == handle.workflow_id


def test_a_button_cancels_the_children_too(operator: Client) -> None:
    handle = parent.start()
    run_until_idle()
    assert statuses() == {"WAITING": 2}

    said = operator.post(
        url_of("cancel_with_children", handle.workflow_id), follow=True
    ).content.decode()

    assert statuses() == {"CANCELLED": 2}
    assert "1 cancelled, their children are cancelled too." in said
    assert LogEntry.objects.get().change_message == "Cancelled, with its children."


def test_cancelling_alone_leaves_the_children(operator: Client) -> None:
    handle = parent.start()
    run_until_idle()

    operator.post(url_of("cancel", handle.workflow_id))

    assert statuses() == {"CANCELLED": 1, "WAITING": 1}


def test_only_possible_actions_have_buttons(operator: Client) -> None:
    waiting, done, enqueued = busy.start(), quick.start(), quick.using(queue_name="later").start()
    run_until_idle(queues=["default"])

    assert buttons(operator, waiting.workflow_id) == [
        "cancel",
        "cancel_with_children",
        "resume_in_queue",
        "Resume",
    ]
    assert buttons(operator, enqueued.workflow_id) == ["cancel", "cancel_with_children"]
    assert buttons(operator, done.workflow_id) == []
    waiting.cancel()
    assert buttons(operator, waiting.workflow_id) == ["resume_in_queue", "Resume"]


def test_a_delayed_workflow_is_run_now(operator: Client) -> None:
    delayed = quick.using(run_after=3600).start()
    run_until_idle()
    assert buttons(operator, delayed.workflow_id)[-1] == "Run now"

    operator.post(url_of("resume", delayed.workflow_id))

    assert delayed.get_status() == "ENQUEUED"


def buttons(client: Client, workflow_id: str) -> list[str]:
    """Return the names of the actions whose page is linked, and the buttons that act at once."""
    page = get(client, page_of(workflow_id))
    asking = {url_of(name, workflow_id): name for name in ACTS}
    links = [asking[link] for link in page.links if link in asking]
    return links + [text for text in page.buttons if text in ("Resume", "Run now")]


def test_the_page_links_to_the_log_of_actions(operator: Client) -> None:
    handle = busy.start()
    operator.post(url_of("cancel", handle.workflow_id))
    history = url_of("history", handle.workflow_id)
    assert history in get(operator, page_of(handle.workflow_id)).links

    page = get(operator, history)

    assert "Cancelled." in page.text
    assert "staff" in page.text


def test_the_list_cancels_many_and_reports_the_results(operator: Client) -> None:
    active, finished = busy.start(), busy.start()
    run_until_idle()
    finished.cancel()

    said = act(operator, "cancel_selected", active.workflow_id, finished.workflow_id)

    assert active.get_status() == "CANCELLED"
    assert "1 cancelled, 1 had already finished." in said
    # Workflows that weren't changed aren't logged.
    assert LogEntry.objects.get().object_id == active.workflow_id


def test_the_list_resumes_many_and_reports_the_results(operator: Client) -> None:
    cancelled, done = busy.start(), quick.start()
    run_until_idle()
    cancelled.cancel()

    said = act(operator, "resume_selected", cancelled.workflow_id, done.workflow_id)

    assert cancelled.get_status() == "ENQUEUED"
    assert "1 resumed, 1 can&#x27;t be resumed." in said
    assert LogEntry.objects.get().change_message == "Resumed."


def test_cancelling_with_children_reaches_them(operator: Client) -> None:
    handle = parent.start()
    run_until_idle()

    act(operator, "cancel_with_children", handle.workflow_id)

    assert statuses() == {"CANCELLED": 2}


def test_all_pages_can_be_selected_at_once(operator: Client) -> None:
    handles = busy.start_many([()] * 60)
    other = quick.start()

    said = act(
        operator,
        "cancel_selected",
        handles[0].workflow_id,
        select_across="1",
        index="0",
    )

    assert statuses() == {"CANCELLED": 61}
    assert other.get_status() == "CANCELLED"
    assert "61 cancelled." in said
    assert LogEntry.objects.count() == 61


def test_all_pages_means_all_filtered_rows(operator: Client) -> None:
    busy.start_many([()] * 2)
    other = quick.start()
    data = {"action": "cancel_selected", "_selected_action": [other.workflow_id], "post": "yes"}

    operator.post(f"{reverse(LIST)}?name={busy.name}", {**data, "select_across": "1"})

    assert statuses() == {"CANCELLED": 2, "ENQUEUED": 1}
    assert other.get_status() == "ENQUEUED"


def test_all_pages_means_the_newest_rows_that_are_counted(
    operator: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("django_dbos.admin.actions.MAX_COUNTED", 2)
    oldest = busy.start()
    busy.start_many([()] * 2)

    act(operator, "cancel_selected", oldest.workflow_id, select_across="1")

    assert statuses() == {"CANCELLED": 2, "ENQUEUED": 1}
    assert oldest.get_status() == "ENQUEUED"


def test_many_are_cancelled_with_few_queries(operator: Client) -> None:
    counts = []
    # More than a page: shorter lists aren't counted.
    busy.start_many([()] * 60)
    # The first time, Django queries the content type of the logged object.
    for count in (1, 2, 40):
        ids = [handle.workflow_id for handle in busy.start_many([()] * count)]
        data = {"action": "cancel_selected", "_selected_action": ids, "post": "yes"}
        with CaptureQueriesContext(connection) as queries:
            operator.post(reverse(LIST), data)
        counts.append(len(queries))

    assert counts[1] == counts[2] < 20


def test_a_user_who_may_only_view_cannot_act(client: Client) -> None:
    viewer = log_in(client, "view_workflow")
    handle = busy.start()
    run_until_idle()

    html = get(viewer, page_of(handle.workflow_id)).html
    listed = get(viewer, reverse(LIST)).html
    act(viewer, "cancel_selected", handle.workflow_id)

    assert url_of("cancel", handle.workflow_id) not in html
    assert "cancel_selected" not in listed
    assert viewer.post(url_of("cancel", handle.workflow_id)).status_code == 403
    assert viewer.post(url_of("resume", handle.workflow_id)).status_code == 403
    assert handle.get_status() == "WAITING"
    assert not LogEntry.objects.exists()


@pytest.mark.parametrize(("may", "may_not"), [("cancel", "resume"), ("resume", "cancel")])
def test_each_permission_allows_only_its_action(client: Client, may: str, may_not: str) -> None:
    somebody = log_in(client, "view_workflow", f"{may}_workflow")
    handle = busy.start()
    run_until_idle()

    page = get(somebody, page_of(handle.workflow_id)).html
    listed = get(somebody, reverse(LIST)).html

    assert url_of(may, handle.workflow_id) in page
    assert url_of(may_not, handle.workflow_id) not in page
    assert f"{may}_selected" in listed
    assert f"{may_not}_selected" not in listed
    assert somebody.post(url_of(may_not, handle.workflow_id)).status_code == 403
    assert somebody.post(url_of(may, handle.workflow_id)).status_code == 302


def test_a_user_who_may_cancel_but_not_view_cannot_act(client: Client) -> None:
    somebody = log_in(client, "cancel_workflow")
    handle = busy.start()

    assert somebody.post(url_of("cancel", handle.workflow_id)).status_code == 403
    assert somebody.post(url_of("cancel", "nothing")).status_code == 403
    assert handle.get_status() == "ENQUEUED"


def test_a_get_request_changes_nothing(operator: Client) -> None:
    handle = busy.start()

    assert operator.get(url_of("resume", handle.workflow_id)).status_code == 405
    assert operator.get(url_of("cancel", handle.workflow_id)).status_code == 200
    for action in ("cancel", "resume"):
        assert operator.post(url_of(action, "nobody")).status_code == 404
    assert handle.get_status() == "ENQUEUED"


def test_the_page_asks_for_confirmation_before_it_cancels(operator: Client) -> None:
    handle = parent.start()
    run_until_idle()

    alone = get(operator, url_of("cancel", handle.workflow_id))
    with_children = get(operator, url_of("cancel_with_children", handle.workflow_id))

    assert statuses() == {"WAITING": 2}
    for page in (alone, with_children):
        assert "1 active workflow will be cancelled." in page.text
        assert page_of(handle.workflow_id) in page.links
        assert "Yes, cancel" in page.buttons
    assert "Its 1 active child continues." in alone.text
    assert "Its 1 active child is cancelled too" in with_children.text


@pytest.mark.parametrize("action", ["cancel_selected", "cancel_with_children"])
def test_the_list_asks_for_confirmation_before_it_cancels(operator: Client, action: str) -> None:
    active, finished = busy.start(), quick.start()
    run_until_idle()
    data = {"action": action, "_selected_action": [active.workflow_id, finished.workflow_id]}

    response = operator.post(f"{reverse(LIST)}?queue_name=default", data)

    page = Page(response.content.decode())
    assert active.get_status() == "WAITING"
    assert "1 active workflow will be cancelled." in page.text
    assert "1 has already finished" in page.text
    assert page_of(active.workflow_id) in page.links
    assert page_of(finished.workflow_id) not in page.links
    assert f"{reverse(LIST)}?queue_name=default" in page.links

    operator.post(page.form_url, page.hidden)

    assert active.get_status() == "CANCELLED"


def test_a_confirmation_covers_only_the_listed_workflows(
    operator: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Workflows that start between the question and the answer aren't cancelled."""
    monkeypatch.setattr("django_dbos.admin.actions.MAX_LISTED", 20)
    handles = busy.start_many([()] * 60)
    data = {
        "action": "cancel_selected",
        "_selected_action": [handles[0].workflow_id],
        "select_across": "1",
        "index": "0",
    }
    page = Page(operator.post(reverse(LIST), data).content.decode())
    assert "60 active workflows will be cancelled." in page.text
    assert "… and 40 more." in page.text
    later = busy.start()

    operator.post(page.form_url, page.hidden)

    assert statuses() == {"CANCELLED": 60, "ENQUEUED": 1}
    assert later.get_status() == "ENQUEUED"


def test_a_forged_confirmation_is_refused(operator: Client) -> None:
    handle = busy.start()
    data = {"action": "cancel_selected", "_selected_action": [handle.workflow_id], "post": "yes"}

    assert operator.post(reverse(LIST), {**data, "newest": "soon"}).status_code == 400
    assert operator.post(reverse(LIST), {**data, "newest": "2026-13-01"}).status_code == 400
    assert handle.get_status() == "ENQUEUED"


def test_without_an_active_workflow_there_is_nothing_to_confirm(operator: Client) -> None:
    done = quick.start()
    run_until_idle()

    page = get(operator, url_of("cancel", done.workflow_id))

    assert "there is nothing to cancel" in page.text
    assert "Yes, cancel" not in page.buttons


def test_a_request_from_another_site_is_refused(admin_user: Any) -> None:
    forger = Client(enforce_csrf_checks=True)
    forger.force_login(admin_user)
    handle = busy.start()

    assert forger.post(url_of("cancel", handle.workflow_id)).status_code == 403
    assert handle.get_status() == "ENQUEUED"


def test_nothing_can_be_added_changed_or_deleted(admin_client: Client) -> None:
    handle = busy.start()
    base = "admin:django_dbos_workflow"

    assert admin_client.get(reverse(f"{base}_add")).status_code == 403
    delete = reverse(f"{base}_delete", args=[quote(handle.workflow_id)])
    assert admin_client.post(delete, {"post": "yes"}).status_code == 403
    admin_client.post(page_of(handle.workflow_id), {"status": "SUCCESS"})
    assert handle.get_status() == "ENQUEUED"
