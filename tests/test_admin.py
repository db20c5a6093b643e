"""The admin: shows what an operator needs, escaped and in bounded pages, and lets nobody meddle."""

from __future__ import annotations

from typing import Any
from uuid import uuid4

import pytest
from django.contrib.admin.models import LogEntry
from django.contrib.admin.utils import quote
from django.contrib.auth.models import Permission, User
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

import django_dbos as dbos
from django_dbos.core import registry
from django_dbos.models import Event, Message, Workflow
from django_dbos.testing import run_until_idle

pytestmark = pytest.mark.django_db

SCRIPT = "<script>alert(1)</script>"


@dbos.step
def fails() -> None:
    raise ValueError(SCRIPT)


@dbos.workflow
def busy(entries: int = 3) -> Any:
    dbos.set_event("status", {"tagged": (1, 2), "html": SCRIPT})
    for number in range(entries):
        dbos.write_stream("progress", number)
    try:
        fails()
    except ValueError:
        dbos.set_event("status", "caught")
    return dbos.recv("paid", timeout=None)


@pytest.fixture
def operator(client: Client) -> Client:
    """Somebody who may look and act."""
    return log_in(client, "view_workflow", "cancel_workflow", "resume_workflow")


def log_in(client: Client, *permissions: str) -> Client:
    user = User.objects.create_user("staff", is_staff=True)
    user.user_permissions.set(Permission.objects.filter(codename__in=permissions))
    client.force_login(user)
    return client


def page_of(workflow_id: str) -> str:
    return reverse("admin:django_dbos_workflow_change", args=[quote(workflow_id)])


def url_of(name: str, workflow_id: str, *args: str) -> str:
    return reverse(f"admin:django_dbos_workflow_{name}", args=[quote(workflow_id), *args])


def test_the_page_shows_everything_about_a_workflow(operator: Client) -> None:
    handle = busy.using(user=7, attributes={"order": 1}).start()
    handle.send("early", "other topic")
    run_until_idle()

    html = operator.get(page_of(handle.workflow_id)).content.decode()

    for text in (
        "dbos.set_event(status)",
        "ValueError",
        "Traceback",
        "waits for a message &#x27;paid&#x27;",
        "other topic",
        "not consumed",
        "caught",
        "&quot;order&quot;: 1",
        "progress",
    ):
        assert text in html, text
    # Plain values, never the tags of the serializer.
    assert "$tuple" not in html


def test_everything_is_escaped(operator: Client) -> None:
    workflow_id = f"a/b {SCRIPT} ü"
    handle = busy.using(workflow_id=workflow_id, queue_name=SCRIPT).start()
    handle.send(SCRIPT, SCRIPT)
    run_until_idle()

    page = operator.get(page_of(workflow_id))
    listed = operator.get(reverse("admin:django_dbos_workflow_changelist"))

    for response in (page, listed):
        assert response.status_code == 200
        assert SCRIPT not in response.content.decode()
        assert "&lt;script&gt;" in response.content.decode()


def test_ten_thousand_entries_cost_no_more_queries(operator: Client) -> None:
    few, many = busy.start(3), busy.start(3)
    run_until_idle()
    add_entries(many.workflow_id, 10_000)

    counts, sizes = [], []
    for handle in (few, many):
        with CaptureQueriesContext(connection) as queries:
            response = operator.get(page_of(handle.workflow_id))
        counts.append(len(queries))
        sizes.append(len(response.content))

    assert counts[0] == counts[1] < 20
    assert sizes[1] < 200_000


def add_entries(workflow_id: str, count: int) -> None:
    """As if the workflow had written so many more."""
    columns = "workflow_id, key, value, is_end, step_number, write_id, created_at"
    rows = [
        (workflow_id, "many", str(n), False, 1, uuid4().hex, "2026-01-01 00:00:00", n)
        for n in range(count)
    ]
    with connection.cursor() as cursor:
        cursor.executemany(
            f'INSERT INTO dbos_stream_entry ({columns}, "offset") '
            "VALUES (%s, %s, %s, %s, %s, %s, %s, %s)",
            rows,
        )


def test_more_rows_are_on_pages_of_their_own(operator: Client) -> None:
    handle = busy.start(120)
    run_until_idle()
    url = url_of("rows", handle.workflow_id, "streams")
    assert f"{url}?p=1" in operator.get(page_of(handle.workflow_id)).content.decode()

    last = operator.get(url, {"p": "2"}).content.decode()

    assert "<td>119</td>" in last
    assert "?p=1" in last
    assert "?p=3" not in last


def test_a_long_value_is_cut_and_can_be_seen_whole(operator: Client) -> None:
    @dbos.workflow
    def long() -> None:
        dbos.write_stream("s", "x" * 5_000)

    handle = long.start()
    run_until_idle()
    assert "x" * 5_000 not in operator.get(page_of(handle.workflow_id)).content.decode()

    whole = operator.get(url_of("rows", handle.workflow_id, "streams"), {"p": 0, "whole": ""})

    assert "x" * 5_000 in whole.content.decode()


@pytest.mark.parametrize("action", ["cancel", "resume"])
def test_the_buttons_act_and_are_logged(operator: Client, action: str) -> None:
    handle = busy.start()
    run_until_idle()
    if action == "resume":
        handle.cancel()
    assert (
        url_of(action, handle.workflow_id)
        in operator.get(page_of(handle.workflow_id)).content.decode()
    )

    operator.post(url_of(action, handle.workflow_id))

    assert handle.get_status() == {"cancel": "CANCELLED", "resume": "ENQUEUED"}[action]
    assert LogEntry.objects.get().object_id == handle.workflow_id


def test_the_list_cancels_many_and_says_what_came_of_it(operator: Client) -> None:
    active, finished = busy.start(), busy.start()
    run_until_idle()
    finished.cancel()

    response = operator.post(
        reverse("admin:django_dbos_workflow_changelist"),
        {
            "action": "cancel_selected",
            "_selected_action": [active.workflow_id, finished.workflow_id],
        },
        follow=True,
    )

    assert active.get_status() == "CANCELLED"
    assert "1 workflow is cancelled. 1: not active any more." in response.content.decode()


def test_cancelling_with_children_reaches_them(operator: Client) -> None:
    @dbos.workflow
    def parent() -> Any:
        return busy()

    handle = parent.start()
    run_until_idle()

    operator.post(
        reverse("admin:django_dbos_workflow_changelist"),
        {"action": "cancel_with_children", "_selected_action": [handle.workflow_id]},
    )

    assert set(Workflow.objects.values_list("status", flat=True)) == {"CANCELLED"}


def test_who_may_only_look_can_do_nothing(client: Client) -> None:
    viewer = log_in(client, "view_workflow")
    handle = busy.start()
    run_until_idle()

    html = viewer.get(page_of(handle.workflow_id)).content.decode()
    listed = viewer.get(reverse("admin:django_dbos_workflow_changelist")).content.decode()
    viewer.post(
        reverse("admin:django_dbos_workflow_changelist"),
        {"action": "cancel_selected", "_selected_action": [handle.workflow_id]},
    )

    assert url_of("cancel", handle.workflow_id) not in html
    assert "cancel_selected" not in listed
    assert viewer.post(url_of("cancel", handle.workflow_id)).status_code == 403
    assert viewer.post(url_of("resume", handle.workflow_id)).status_code == 403
    assert handle.get_status() == "WAITING"


def test_who_may_not_look_sees_nothing(client: Client) -> None:
    nobody = log_in(client)
    handle = busy.start()

    assert nobody.get(page_of(handle.workflow_id)).status_code == 403
    assert nobody.get(url_of("rows", handle.workflow_id, "steps")).status_code == 403


def test_nothing_can_be_added_changed_or_deleted(admin_client: Client) -> None:
    handle = busy.start()
    base = "admin:django_dbos_workflow"

    assert admin_client.get(reverse(f"{base}_add")).status_code == 403
    delete = reverse(f"{base}_delete", args=[quote(handle.workflow_id)])
    assert admin_client.post(delete, {"post": "yes"}).status_code == 403
    admin_client.post(page_of(handle.workflow_id), {"status": "SUCCESS"})
    assert handle.get_status() == "ENQUEUED"


@pytest.mark.rule(9)
def test_the_page_says_why_a_workflow_does_not_run(operator: Client) -> None:
    handle = busy.start()
    assert "Run manage.py dbos_worker" in operator.get(page_of(handle.workflow_id)).content.decode()

    definition = registry.workflows.pop(busy.name)
    try:
        html = operator.get(page_of(handle.workflow_id)).content.decode()
        listed = operator.get(reverse("admin:django_dbos_workflow_changelist")).content.decode()
    finally:
        registry.workflows[busy.name] = definition

    assert "isn&#x27;t known in this process" in html
    assert "isn&#x27;t known here" in listed


def test_the_list_finds_by_the_beginning_of_an_id(operator: Client) -> None:
    busy.using(workflow_id="order-1").start()
    busy.using(workflow_id="import-1").start()

    url = reverse("admin:django_dbos_workflow_changelist")
    html = operator.get(url, {"q": "order"}).content.decode()

    assert "order-1" in html
    assert "import-1" not in html


@pytest.mark.parametrize("model", ["workflow", "message", "event", "executor"])
def test_every_list_opens(admin_client: Client, model: str) -> None:
    handle = busy.start()
    handle.send("x")
    run_until_idle()

    response = admin_client.get(reverse(f"admin:django_dbos_{model}_changelist"))

    assert response.status_code == 200


def test_a_message_and_an_event_have_pages(admin_client: Client) -> None:
    handle = busy.start()
    handle.send({"paid": SCRIPT}, "later")
    run_until_idle()
    for row in (Message.objects.get(), Event.objects.get()):
        name = f"admin:django_dbos_{row._meta.model_name}_change"
        html = admin_client.get(reverse(name, args=[row.pk])).content.decode()
        assert handle.workflow_id in html
        assert SCRIPT not in html


@pytest.mark.parametrize("path", ["nobody", "a/b", "%00"])
def test_an_unknown_workflow_is_not_found(operator: Client, path: str) -> None:
    assert operator.get(page_of(path)).status_code == 404
