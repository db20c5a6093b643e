"""The searches, the saved views and the times of the list."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from django.db import connection
from django.db.models import QuerySet
from django.test import Client
from django.urls import reverse
from django.utils import timezone

import django_dbos as dbos
from django_dbos.admin import base, searching, workflow_list
from django_dbos.models import Inquiry, Workflow
from django_dbos.store import get_store
from django_dbos.testing import run_until_idle
from tests.admin.conftest import LIST, get, log_in
from tests.admin.test_list import ids_of, listed, quarantined
from tests.admin.workflows import busy, failing, quick
from tests.people.forms import approve
from tests.people.test_callbacks import pay
from tests.store.conftest import register

pytestmark = pytest.mark.django_db


@dbos.workflow
def either() -> Any:
    return dbos.recv(topics=["yes", "no"], timeout=None)


def change(workflow_id: str, **columns: Any) -> None:
    QuerySet(Workflow).filter(workflow_id=workflow_id).update(**columns)


# Searches


@pytest.mark.parametrize("asked", ["workflows.quick", "QUICK", quick.name, " quick "])
def test_a_part_of_a_name_finds_its_workflows(operator: Client, asked: str) -> None:
    handle = quick.start()
    busy.start()

    assert listed(operator, q=asked) == [handle.workflow_id]


def test_a_name_that_no_process_knows_is_found_as_a_whole(operator: Client) -> None:
    handle = quick.start()
    change(handle.workflow_id, name="shop.old")

    assert listed(operator, q="shop.old") == [handle.workflow_id]
    assert listed(operator, q="shop") == []


@pytest.mark.parametrize(
    ("asked", "found"),
    [
        ("order=17", ["number"]),
        ("order=18", ["text"]),
        ("order = 17", ["number"]),
        ("customer.city=Bonn", ["nested"]),
        ("customer.city=Rome", []),
        ("customer=Bonn", []),
        ("paid=true", ["truth"]),
        ("paid=True", []),
        ("a'b=1", ["quotes"]),
        ("order=", []),
        ("=17", []),
        ("order=NaN", []),
        ("order=" + "[" * 2_000, []),
    ],
)
def test_attributes_are_found_by_value(operator: Client, asked: str, found: list[str]) -> None:
    attributes: dict[str, dict[str, Any]] = {
        "number": {"order": 17},
        "text": {"order": "18"},
        "nested": {"customer": {"city": "Bonn"}},
        "truth": {"paid": True},
        "quotes": {"a'b": 1},
    }
    for workflow_id, given in attributes.items():
        quick.using(workflow_id=workflow_id, attributes=given).start()
    quick.start()

    assert listed(operator, q=asked) == found


def test_an_id_comes_before_an_attribute(operator: Client) -> None:
    quick.using(workflow_id="order=17").start()
    quick.using(attributes={"order": 17}).start()

    assert listed(operator, q="order=17") == ["order=17"]


def test_a_search_by_attribute_tells_that_it_was_cut(
    operator: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    """PostgreSQL's index finds a number of them; SQLite looks through the newest workflows."""
    monkeypatch.setattr(searching, "MAX_FOUND", 2)
    monkeypatch.setattr(workflow_list, "MAX_SEARCHED", 2)
    ids = [quick.using(attributes={"order": 1}).start().workflow_id for _ in range(3)]

    page = get(operator, reverse(LIST), {"q": "order=1"})

    assert [found for found in ids if found in page.text] == ids[1:]
    is_postgresql = connection.vendor == "postgresql"
    assert ("More than 2 workflows match" in page.text) is is_postgresql
    assert ("only covers the newest" in page.text) is not is_postgresql


def test_the_newest_come_first_in_a_search(operator: Client) -> None:
    ids = [quick.using(attributes={"order": 1}).start().workflow_id for _ in range(3)]

    assert listed(operator, q="order=1") == ids[::-1]
    assert listed(operator, q="order=1", o="4") == ids


def test_a_user_is_found(operator: Client) -> None:
    handle = quick.using(user=7).start()
    quick.using(user=8).start()

    assert listed(operator, q="user=7") == [handle.workflow_id]


def test_attributes_cannot_be_guessed_without_the_permission(client: Client) -> None:
    viewer = log_in(client, "view_workflow")
    quick.using(attributes={"salary": 17}).start()

    assert listed(viewer, q="salary=17") == []


# Saved views


def test_a_view_is_a_tab(operator: Client) -> None:
    page = get(operator, reverse(LIST), {"view": "stuck"})

    assert {"?", "?view=running", "?view=people", "?view=stuck", "?view=failed"} <= {*page.links}
    assert page.html.count('aria-current="page">Stuck') == 1
    # Not among the filters, too.
    assert "By view" not in page.text


def test_waiting_for_people(operator: Client) -> None:
    for_message, for_any = busy.start(), either.start()
    quick.start()
    run_until_idle()

    assert listed(operator, view="people") == [for_any.workflow_id, for_message.workflow_id]


def test_somebody_is_waited_for_until_the_form_is_answered(operator: Client) -> None:
    """A workflow whose branch runs is pending, not waiting."""
    asking, paying = approve.start(), pay.start()
    run_until_idle()
    change(asking.workflow_id, status="PENDING", executor_id="x")
    change(paying.workflow_id, status="PENDING", executor_id="x")

    assert listed(operator, view="people") == [asking.workflow_id]

    QuerySet(Inquiry).filter(workflow_id=asking.workflow_id).update(answered_at=timezone.now())
    assert listed(operator, view="people") == []


def test_running(operator: Client) -> None:
    handle = quick.start()
    quick.start()
    change(handle.workflow_id, status="PENDING", executor_id="x")

    assert listed(operator, view="running") == [handle.workflow_id]


def test_failed_today(operator: Client) -> None:
    today, before = failing.start(), failing.start()
    run_until_idle()
    quick.start()
    change(before.workflow_id, finished_at=timezone.now() - timedelta(days=1))

    assert listed(operator, view="failed") == [today.workflow_id]


def test_stuck_ones_are_found_for_each_reason(operator: Client) -> None:
    now = timezone.now()
    executor = register(get_store(), queue_names='["default"]')
    fine = [quick.start().workflow_id for _ in range(3)]
    change(fine[1], status="PENDING", executor_id=executor)
    change(fine[2], status="WAITING", due_at=now + timedelta(hours=1))
    stuck = {
        reason: quick.using(queue_name="nobody" if reason == "unserved" else "default").start()
        for reason in ("quarantined", "given up", "lost", "suspect", "unserved", "overdue")
    }
    quarantined(stuck["quarantined"].workflow_id)
    change(stuck["given up"].workflow_id, status="MAX_RECOVERY_ATTEMPTS_EXCEEDED")
    change(stuck["lost"].workflow_id, status="PENDING", executor_id="dead")
    change(stuck["suspect"].workflow_id, recovery_attempts=3)
    change(stuck["overdue"].workflow_id, status="DELAYED", due_at=now - timedelta(hours=1))

    found = listed(operator, view="stuck")

    assert found == [handle.workflow_id for handle in stuck.values()][::-1]


@pytest.mark.parametrize("asked", [{"view": "x"}, {"since": "x"}, {"view": "a\0b"}])
def test_an_unknown_choice_is_refused(operator: Client, asked: dict[str, str]) -> None:
    response = operator.get(reverse(LIST), asked)

    assert (response.status_code, response["Location"][-4:]) == (302, "?e=1")


# Times


def test_rows_are_filtered_by_age(operator: Client) -> None:
    new, old = quick.start(), quick.start()
    change(old.workflow_id, created_at=timezone.now() - timedelta(hours=2))

    assert listed(operator, since="1h") == [new.workflow_id]
    assert listed(operator, since="24h") == [new.workflow_id, old.workflow_id]


def test_rows_before_a_day(operator: Client) -> None:
    new, old = quick.start(), quick.start()
    change(old.workflow_id, created_at=timezone.now() - timedelta(days=40))
    day = (timezone.now() - timedelta(days=30)).date().isoformat()

    page = get(operator, reverse(LIST), {"before": day, "status": "ENQUEUED"})

    assert ids_of(page) == [old.workflow_id]
    assert f'value="{day}"' in page.html
    assert '<input type="hidden" name="status" value="ENQUEUED">' in page.html
    assert new.workflow_id in listed(operator, before="")


@pytest.mark.parametrize(
    "before", ["x", "2026-13-01", "0001-01-01", "9999-12-31T23:59:59-23:59", ",", "a\0b", "1,x"]
)
def test_an_invalid_time_is_refused(operator: Client, before: str) -> None:
    quick.start()

    response = operator.get(reverse(LIST), {"before": before})

    assert (response.status_code, response["Location"][-4:]) == (302, "?e=1")


def test_the_last_page_leads_to_older_rows(
    operator: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Rows of one instant, as start_many() makes them, are neither left out nor repeated."""
    monkeypatch.setattr(base, "MAX_COUNTED", 60)
    ids = sorted(handle.workflow_id for handle in quick.start_many([()] * 70))
    QuerySet(Workflow).update(created_at=timezone.now())

    first = get(operator, reverse(LIST))
    last = get(operator, reverse(LIST), {"p": 2})
    (older,) = [link for link in last.links if "before=" in link]
    rest = get(operator, reverse(LIST) + older)

    assert not [link for link in first.links if "before=" in link]
    assert (ids_of(first) + ids_of(last) + ids_of(rest))[::-1] == ids
    assert "data-dbos-live" in first.html
    assert "data-dbos-live" not in last.html + rest.html


def test_an_empty_list_says_what_to_do(operator: Client) -> None:
    assert "Each one that starts appears here." in get(operator, reverse(LIST)).text
    assert "No workflow matches." in get(operator, reverse(LIST), {"q": "x"}).text


def test_the_time_zone_is_told(operator: Client, settings: Any) -> None:
    settings.TIME_ZONE = "Europe/Berlin"
    quick.start()

    html = get(operator, reverse(LIST)).html

    assert (" CET" in html or " CEST" in html) == settings.USE_TZ
