"""The list of workflows: searches and filters, at a cost that doesn't grow with the table."""

from __future__ import annotations

import re
from html import unescape
from typing import Any

import pytest
from django.contrib import admin
from django.contrib.admin.utils import quote
from django.db import connection
from django.db.models import QuerySet
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

from django_dbos import serializers
from django_dbos.admin import base, searching, workflow_list
from django_dbos.models import Workflow
from django_dbos.store import get_store
from django_dbos.testing import run_until_idle
from tests.admin.conftest import LIST, Page, get, page_of
from tests.admin.workflows import SCRIPT, busy, failing, quick
from tests.store.conftest import register

pytestmark = pytest.mark.django_db
MODELS = sorted(
    str(model._meta.model_name)
    for model in admin.site._registry
    if model._meta.app_label == "django_dbos"
)


def listed(client: Client, **asked: Any) -> list[str]:
    """Return the ids of the rows in order."""
    return ids_of(get(client, reverse(LIST), asked))


def ids_of(page: Page) -> list[str]:
    return [unescape(found) for found in re.findall(r'data-dbos-row="([^"]*)"', page.html)]


def rows(page: Page) -> list[list[str]]:
    """Return the cells: name and id, status, queue and user, age, duration, attempts."""
    found = [row for row in page.tables.get("result_list", []) if row and row[0] == ""]
    return [row[1:] for row in found]


def quarantined(workflow_id: str) -> None:
    """Quarantine a workflow as the engine does after a change of its code."""
    QuerySet(Workflow).filter(workflow_id=workflow_id).update(
        status="ERROR", is_quarantined=True, error_text=serializers.dump_error(ValueError(SCRIPT))
    )


def start_three() -> list[str]:
    """Start three workflows that succeed, fail and wait, in this order."""
    ids = [quick.start().workflow_id, failing.start().workflow_id, busy.start().workflow_id]
    run_until_idle()
    return ids


@pytest.mark.parametrize("model", MODELS)
def test_every_list_opens(admin_client: Client, model: str) -> None:
    handle = busy.start()
    handle.send("x")
    run_until_idle()

    response = admin_client.get(reverse(f"admin:django_dbos_{model}_changelist"))

    assert response.status_code == 200


@pytest.mark.parametrize("model", MODELS)
def test_every_list_takes_any_search_term(admin_client: Client, model: str) -> None:
    url = reverse(f"admin:django_dbos_{model}_changelist")

    for term in ("x", "order=17", "\0", "%"):
        assert admin_client.get(url, {"q": term}).status_code == 200


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("view", ["change", "history"])
def test_no_row_has_an_id_with_nul(admin_client: Client, model: str, view: str) -> None:
    url = reverse(f"admin:django_dbos_{model}_{view}", args=[quote("a\0b")])

    # Django leads from ids that don't exist to the index of the admin.
    assert admin_client.get(url).status_code in (302, 404)


def test_the_newest_come_first(operator: Client) -> None:
    ids = start_three()

    assert listed(operator) == ids[::-1]
    assert listed(operator, o="4") == ids


def test_a_row_shows_status_note_and_times(operator: Client) -> None:
    start_three()
    ids = start_three()[::-1]
    page = get(operator, reverse(LIST))
    waiting, failed, done = rows(page)[:3]

    assert waiting[1].startswith("waitingWaiting for a message on topic 'paid'.")
    assert [[row[0], row[1][:7]] for row in (waiting, failed, done)] == [
        [busy.name + ids[0], "waiting"],
        [failing.name + ids[1], "failedL"],
        [quick.name + ids[2], "succeed"],
    ]
    assert all(re.fullmatch(r"\d+ s", row[3]) for row in (waiting, failed, done))
    assert waiting[4].endswith("…")
    assert all(re.fullmatch(r"(< )?[\d.]+ m?s", row[4]) for row in (failed, done))
    assert [row[5] for row in (waiting, failed, done)] == ["1"] * 3
    assert len(re.findall('<time datetime="[^"]+" title="[^"]+">', page.html)) == 6


def test_the_queue_and_the_user_are_shown(operator: Client) -> None:
    quick.using(queue_name="mail", user=7).start()
    quick.start()

    default, mail = (row[2] for row in rows(get(operator, reverse(LIST))))

    assert (default, mail) == ("default", "mailuser 7")


def test_dead_workers_count_as_attempts(operator: Client) -> None:
    quick.start()
    QuerySet(Workflow).update(claim_number=3, recovery_attempts=2)

    page = get(operator, reverse(LIST))

    assert rows(page)[0][5] == "3"
    assert "2 workers died while running it." in page.html


def test_the_list_searches_by_the_beginning_of_an_id(operator: Client) -> None:
    busy.using(workflow_id="order-1").start()
    busy.using(workflow_id="import-1").start()

    assert listed(operator, q="order") == ["order-1"]


@pytest.mark.parametrize("asked", ["order 1", "order 1 of ada", "order"])
def test_an_id_with_blanks_is_found(operator: Client, asked: str) -> None:
    """Django splits a search term into words and searches for each."""
    quick.using(workflow_id="order 1 of ada").start()
    quick.using(workflow_id="1").start()

    assert listed(operator, q=asked) == ["order 1 of ada"]


@pytest.mark.parametrize("asked", ["%", "_", "rder", "ORDER", "'"])
def test_a_search_term_has_no_wildcards(operator: Client, asked: str) -> None:
    quick.using(workflow_id="order").start()

    assert listed(operator, q=asked) == []


def test_the_results_of_a_search_are_limited(
    operator: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(searching, "MAX_FOUND", 2)
    quick.start_many([()] * 3)

    page = get(operator, reverse(LIST), {"q": "0"})
    assert len(ids_of(page)) == 2
    assert "More than 2 workflows match" in page.text
    QuerySet(Workflow).filter(pk=ids_of(page)[0]).delete()
    page = get(operator, reverse(LIST), {"q": "0"})
    assert len(ids_of(page)) == 2
    assert "workflows match, and only" not in page.text


def test_statuses_are_shown_in_plain_words(operator: Client) -> None:
    quick.using(workflow_id="queued").start()
    quick.using(workflow_id="running").start()
    quarantined(quick.using(workflow_id="quarantined").start().workflow_id)
    QuerySet(Workflow).filter(pk="running").update(status="PENDING", executor_id="gone")

    page = get(operator, reverse(LIST))
    shown = dict(zip(ids_of(page), (row[1] for row in rows(page)), strict=True))

    assert shown.keys() == {"queued", "running", "quarantined"}
    assert all(text.startswith(workflow_id) for workflow_id, text in shown.items())


def test_rows_are_filtered_by_status(operator: Client) -> None:
    done, failed, waiting = start_three()

    assert listed(operator, status="SUCCESS") == [done]
    assert listed(operator, status="ERROR") == [failed]
    assert listed(operator, status="WAITING") == [waiting]
    assert listed(operator, status="DELAYED") == []


def test_delayed_workflows_are_found(operator: Client) -> None:
    handle = quick.using(run_after=60).start()

    assert listed(operator, status="DELAYED") == [handle.workflow_id]


def test_quarantined_workflows_are_found_with_the_reason(operator: Client) -> None:
    start_three()
    workflow_id = quick.start().workflow_id
    quarantined(workflow_id)

    page = get(operator, reverse(LIST), {"status": "QUARANTINED"})

    ((_, status, *_),) = rows(page)
    assert ids_of(page) == [workflow_id]
    assert status.startswith("quarantinedQuarantined by the engine")
    assert f"ValueError: {SCRIPT}" in status
    assert SCRIPT not in page.html


def test_rows_are_filtered_by_name_and_queue(operator: Client) -> None:
    handle = quick.using(queue_name="mail").start()
    quick.start()
    busy.using(queue_name="mail").start()

    assert listed(operator, name=quick.name, queue_name="mail") == [handle.workflow_id]
    assert listed(operator, name="nothing") == []
    assert listed(operator, queue_name=SCRIPT) == []


def test_the_filter_offers_the_served_queues(operator: Client) -> None:
    register(get_store(), queue_names='["mail"]')

    links = get(operator, reverse(LIST)).links

    assert {"?queue_name=default", "?queue_name=mail"} <= set(links)


def test_a_filter_with_nul_is_refused(operator: Client) -> None:
    """PostgreSQL's driver raised an error for it."""
    response = operator.get(reverse(LIST), {"name": "a\0b"})

    assert response.status_code == 302
    assert response["Location"].endswith("?e=1")


def test_a_search_without_an_index_covers_only_the_newest(
    operator: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(workflow_list, "MAX_SEARCHED", 2)
    ids = [quick.using(user=7).start().workflow_id for _ in range(3)]

    page = get(operator, reverse(LIST), {"q": "user=7"})

    assert ids_of(page) == ids[:0:-1]
    assert "only covers the newest" in page.text


@pytest.mark.parametrize(
    "asked",
    [
        {"status": "ERROR", "name": failing.name},
        {"name": failing.name},
        {"queue_name": "default"},
        {"q": "0"},
        {"q": "workflows.failing"},
    ],
)
def test_other_searches_and_filters_cover_all(
    operator: Client, monkeypatch: pytest.MonkeyPatch, asked: dict[str, str]
) -> None:
    monkeypatch.setattr(workflow_list, "MAX_SEARCHED", 2)
    for _ in range(3):
        failing.start()
    run_until_idle()

    page = get(operator, reverse(LIST), asked)

    assert len(rows(page)) == 3
    assert "only covers the newest" not in page.text


def test_the_list_reads_only_the_errors_of_its_rows(operator: Client) -> None:
    start_three()

    with CaptureQueriesContext(connection) as queries:
        get(operator, reverse(LIST))

    read = " ".join(query["sql"] for query in queries if "dbos_workflow" in query["sql"])
    assert read.count('"error_text_loaded"') == 1
    read = " ".join(query for query in read.split("SELECT") if "error_text_loaded" not in query)
    assert '"dbos_workflow"."status"' in read
    read = read.replace('"dbos_workflow"."attributes" IS NOT NULL', "")
    for column in ("input", "output", "error", "attributes"):
        assert f'"{column}"' not in read


def test_many_rows_cost_no_more_queries(operator: Client) -> None:
    counts = []
    for count in (1, 59):
        for handle in quick.start_many([()] * count):
            quarantined(handle.workflow_id)
        with CaptureQueriesContext(connection) as queries:
            page = get(operator, reverse(LIST))
        counts.append(len(queries))

    assert len(rows(page)) == 50
    # Fewer than a page aren't counted.
    assert counts[0] + 1 == counts[1] <= 9


def test_the_count_of_a_list_is_bounded(operator: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(base, "MAX_COUNTED", 55)
    quick.start_many([()] * 60)

    with CaptureQueriesContext(connection) as queries:
        page = get(operator, reverse(LIST))

    assert "Select all 55 workflows" in page.text
    counts = [query["sql"] for query in queries if "COUNT(" in query["sql"]]
    assert counts
    assert all("LIMIT 55" in sql for sql in counts)


def test_nothing_is_sorted_by_a_column_without_an_index(operator: Client) -> None:
    """Django hides such links, but obeyed an address with such a column."""
    start_three()
    page = get(operator, reverse(LIST))

    with CaptureQueriesContext(connection) as queries:
        by_name = get(operator, reverse(LIST), {"o": "2"})

    assert rows(by_name) == rows(page)
    assert not any('ORDER BY "dbos_workflow"."name"' in query["sql"] for query in queries)
    assert {link for link in page.links if "o=" in link} <= {"?o=4", "?o=-4", "?o="}


def test_there_are_no_facets(operator: Client) -> None:
    start_three()
    assert not any("_facets" in link for link in get(operator, reverse(LIST)).links)

    with CaptureQueriesContext(connection) as queries:
        get(operator, reverse(LIST), {"_facets": "True"})

    assert not any("COUNT(" in query["sql"] for query in queries)


@pytest.mark.parametrize("lookup", ["input__contains", "attributes__x", "name__regex", "user_id"])
def test_no_other_column_can_be_filtered(operator: Client, lookup: str) -> None:
    assert operator.get(reverse(LIST), {lookup: "x"}).status_code == 400


def test_rows_link_to_their_pages(operator: Client) -> None:
    (handle,) = quick.start_many([()])

    links = [link.partition("?")[0] for link in get(operator, reverse(LIST)).links]

    assert page_of(handle.workflow_id) in links
