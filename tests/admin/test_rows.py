"""The lists and pages of messages and events."""

from __future__ import annotations

import re
from html import unescape
from typing import Any
from uuid import uuid4

import pytest
from django.contrib.admin.utils import quote
from django.db import connection
from django.db.models import QuerySet
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django.utils import timezone

import django_dbos as dbos
from django_dbos.admin import base
from django_dbos.models import Event, Inquiry, Message
from django_dbos.store import get_store
from django_dbos.testing import run_until_idle
from tests.admin.conftest import get, page_of
from tests.admin.workflows import SCRIPT, busy, quick
from tests.store.conftest import register

pytestmark = pytest.mark.django_db


def list_of(model: str) -> str:
    return reverse(f"admin:django_dbos_{model}_changelist")


def change_of(row: Any) -> str:
    name = f"admin:django_dbos_{row._meta.model_name}_change"
    return reverse(name, args=[quote(str(row.pk))])


def test_a_message_and_an_event_have_pages(admin_client: Client) -> None:
    handle = busy.start()
    handle.send({"paid": SCRIPT}, "later")
    run_until_idle()
    for row in (Message.objects.get(), Event.objects.get()):
        page = get(admin_client, change_of(row))

        assert handle.workflow_id in page.text
        assert page_of(handle.workflow_id) in page.links
        assert SCRIPT not in page.html


@pytest.mark.parametrize(("model", "column"), [("message", "message"), ("event", "value")])
def test_lists_read_no_values(admin_client: Client, model: str, column: str) -> None:
    busy.start().send("x")
    run_until_idle()

    with CaptureQueriesContext(connection) as queries:
        get(admin_client, list_of(model))

    read = " ".join(query["sql"] for query in queries)
    assert f'"dbos_{model}"."workflow_id"' in read
    assert f'"dbos_{model}"."{column}"' not in read


@pytest.mark.parametrize("model", ["message", "event"])
def test_rows_are_found_by_their_workflow(admin_client: Client, model: str) -> None:
    for workflow_id in ("order 1", "1 order", "order 12"):
        busy.using(workflow_id=workflow_id).start()
        dbos.send(workflow_id, "x")
    run_until_idle()

    page = get(admin_client, list_of(model), {"q": "order 1"})

    links = [link.partition("?")[0] for link in page.links]
    assert page_of("order 1") in links
    assert page_of("1 order") not in links
    assert page_of("order 12") not in links


@pytest.mark.parametrize("model", ["message", "event", "executor"])
def test_no_other_order_and_no_other_filter(admin_client: Client, model: str) -> None:
    busy.start().send("x")
    run_until_idle()
    register(get_store())

    with CaptureQueriesContext(connection) as queries:
        page = get(admin_client, list_of(model), {"o": "3"})

    order = {"message": "message_id", "event": "event_id", "executor": "started_at"}[model]
    (read,) = [sql for query in queries if "ORDER BY" in (sql := query["sql"]) and "dbos_" in sql]
    assert f'ORDER BY "dbos_{model}"."{order}" DESC' in read
    assert len(page.tables["result_list"]) == 2
    assert not any("o=" in link for link in page.links)
    assert admin_client.get(list_of(model), {"pk__gt": "0"}).status_code == 400


def numbers_of(page: Any, model: str) -> list[int]:
    found = re.findall(rf"/{model}/(\d+)/change/", page.html)
    return list(map(int, dict.fromkeys(found)))


def older_than(page: Any) -> str:
    """The address of the rows behind a page, or nothing."""
    found = re.search(r'class="dbos-older"><a href="([^"]+)"', page.html)
    return unescape(found[1]) if found else ""


@pytest.mark.parametrize(
    ("model", "query"),
    [
        (Message, {}),
        (Message, {"q": "order 1"}),
        (Event, {}),
        (Event, {"q": "order 1"}),
        (Inquiry, {"state": "all"}),
        (Inquiry, {"state": "all", "q": "order 1"}),
    ],
)
def test_the_last_page_leads_to_older_rows_by_key(
    admin_client: Client, monkeypatch: pytest.MonkeyPatch, model: Any, query: dict[str, str]
) -> None:
    monkeypatch.setattr(base, "MAX_COUNTED", 60)
    fill("order 1", 170)
    name = model._meta.model_name
    numbers = list(model.objects.order_by("-pk").values_list("pk", flat=True))

    pages = [get(admin_client, list_of(name), {**query, **more}) for more in ({}, {"p": 2})]
    while url := older_than(pages[-1]):
        with CaptureQueriesContext(connection) as queries:
            pages.append(get(admin_client, list_of(name) + url))
        assert "OFFSET" not in "".join(query["sql"] for query in queries)
        if "p=2" in " ".join(pages[-1].links):
            pages.append(get(admin_client, list_of(name) + url + "&p=2"))

    assert [len(numbers_of(page, name)) for page in pages] == [50, 10, 50, 10, 50]
    assert [number for page in pages for number in numbers_of(page, name)] == numbers
    assert not older_than(pages[0])


def fill(workflow_id: str, count: int) -> None:
    """Make messages, events and forms of one workflow, and nothing else."""
    busy.using(workflow_id=workflow_id).start()
    now = timezone.now()
    QuerySet(Message).bulk_create(
        Message(workflow_id=workflow_id, message_text="1", created_at=now) for _ in range(count)
    )
    QuerySet(Event).bulk_create(
        Event(workflow_id=workflow_id, key=f"k{number}", value_text="1", version=1, updated_at=now)
        for number in range(count)
    )
    QuerySet(Inquiry).bulk_create(
        Inquiry(
            kind="form",
            workflow_id=workflow_id,
            token=uuid4(),
            step_number=1,
            secret=uuid4(),
            topic="t",
            title=f"Form {number}",
            created_at=now,
        )
        for number in range(count)
    )


@pytest.mark.parametrize("text", ["x", "-1", "1.5", "²", str(2**63), ""])
def test_a_number_that_no_row_has_is_no_fault(admin_client: Client, text: str) -> None:
    response = admin_client.get(list_of("message"), {"before": text})

    assert (response.status_code, response["Location"][-4:]) == (302, "?e=1")


def test_a_message_shows_its_sender(admin_client: Client) -> None:
    @dbos.workflow
    def sender(receiver: str) -> None:
        dbos.send(receiver, "x")

    receiver = quick.start()
    handle = sender.start(receiver.workflow_id)
    run_until_idle()

    page = get(admin_client, change_of(Message.objects.get()))

    assert {page_of(receiver.workflow_id), page_of(handle.workflow_id)} <= set(page.links)
