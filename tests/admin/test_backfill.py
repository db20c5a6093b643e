"""The backfill of a schedule in the admin: the range, what it would start, and the start."""

from __future__ import annotations

from datetime import datetime, timedelta

import pytest
from django.contrib.admin.models import LogEntry
from django.contrib.admin.utils import quote
from django.contrib.auth.models import Permission, User
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django.utils import timezone

import django_dbos as dbos
from django_dbos.models import Workflow
from tests.admin.conftest import Page, get, log_in
from tests.flow.scheduled import report, started, utc

pytestmark = pytest.mark.django_db(transaction=True)
HOUR = timedelta(hours=1)
# In the past, near no change of a clock.
NOON = datetime(2026, 3, 2, 12)
RANGE = {"first": "2026-03-02T12:00:00", "last": "2026-03-02T14:00:00"}


def url(view: str = "backfill", schedule: str = "hourly") -> str:
    return reverse(f"admin:django_dbos_schedule_{view}", args=[quote(schedule)])


def at(hours: int) -> datetime:
    """An instant of the range."""
    return timezone.make_aware(NOON + hours * HOUR)


def send(client: Client, **data: str) -> Page:
    response = client.post(url(), data)
    assert response.status_code == 200, response
    return Page(response.content.decode())


@pytest.fixture
def client(client: Client) -> Client:
    zone = timezone.get_current_timezone_name()
    dbos.schedules.create("hourly", report, "0 * * * *", timezone=zone)
    return log_in(client, "view_schedule", "trigger_schedule")


def test_the_page_of_a_schedule_leads_to_the_form(client: Client) -> None:
    assert url() in get(client, url("change")).links

    page = get(client, url())

    assert "Show the instants" in page.buttons
    assert "the overlap rule isn't applied" in page.text
    assert page.html.count('type="datetime-local"') == 2


def test_the_preview_counts_what_would_start_and_starts_nothing(client: Client) -> None:
    dbos.schedules.backfill("hourly", at(0), at(0))

    page = send(client, **RANGE)

    assert "2 workflows will be started." in page.text
    assert "1 instant has started its workflow already." in page.text
    assert "2026-03-02 13:00:00.000" in page.text
    assert "2026-03-02 12:00:00.000" not in page.text
    assert page.hidden["first"] == [RANGE["first"]]
    assert len(started("hourly")) == 1
    assert not LogEntry.objects.exists()


def test_once_it_is_confirmed_the_workflows_start_and_it_is_logged(client: Client) -> None:
    hidden = send(client, **RANGE).hidden

    response = client.post(url(), {name: values[0] for name, values in hidden.items()}, follow=True)

    assert response.redirect_chain == [(url("change"), 302)]
    assert "3 workflows were started." in response.content.decode()
    assert [utc(found.scheduled_at) for found in started("hourly")] == [at(0), at(1), at(2)]
    (entry,) = LogEntry.objects.all()
    assert entry.object_id == "hourly"
    assert entry.change_message == (
        "Backfilled from 2026-03-02 12:00:00.000 to 2026-03-02 14:00:00.000; workflows started: 3."
    )


def test_a_backfill_that_is_sent_twice_starts_nothing_twice(client: Client) -> None:
    for said in ("3 workflows were started.", "0 workflows were started."):
        response = client.post(url(), {**RANGE, "post": "yes"}, follow=True)
        assert said in response.content.decode()

    assert len(started("hourly")) == 3
    assert LogEntry.objects.count() == 1
    page = send(client, **RANGE)
    assert "There is nothing to start." in page.text
    assert "3 instants have started their workflows already." in page.text
    assert "Yes, start them" not in page.buttons


def test_a_long_list_is_cut_and_its_cost_bounded(client: Client) -> None:
    with CaptureQueriesContext(connection) as few:
        send(client, **RANGE)

    with CaptureQueriesContext(connection) as queries:
        page = send(client, first="2026-02-01T00:00:00", last="2026-02-10T23:00:00")

    assert "240 workflows will be started." in page.text
    assert "… and 220 more." in page.text
    assert len(queries) == len(few)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"first": "2026-03-02T15:00:00"}, "before the beginning"),
        ({"last": "2400-01-01T00:00:00"}, "in the future"),
        ({"first": ""}, "This field is required."),
        ({"first": "soon"}, "Enter a valid date/time."),
        ({"first": "2020-01-01T00:00:00"}, "more than 10,000 instants"),
        ({"first": "0001-01-01T00:00:00"}, "first must be after the year 1"),
    ],
)
@pytest.mark.parametrize("confirmed", [{}, {"post": "yes"}])
def test_an_impossible_range_is_refused(
    client: Client, changes: dict[str, str], message: str, confirmed: dict[str, str]
) -> None:
    page = send(client, **{**RANGE, **changes, **confirmed})

    assert message in page.text
    assert "Show the instants" in page.buttons
    assert not Workflow.objects.exists()
    assert not LogEntry.objects.exists()


def test_a_range_without_instants_says_so(client: Client) -> None:
    page = send(client, first="2026-03-02T12:00:01", last="2026-03-02T12:30:00")

    assert "The schedule has no instant in this range." in page.text
    assert page.buttons.count("Yes, start them") == 0


@pytest.mark.parametrize("missing", ["view_schedule", "trigger_schedule"])
def test_both_permissions_are_needed(client: Client, missing: str) -> None:
    user = User.objects.get(username="staff")
    user.user_permissions.remove(Permission.objects.get(codename=missing))

    assert client.get(url()).status_code == 403
    assert client.post(url(), {**RANGE, "post": "yes"}).status_code == 403
    assert not Workflow.objects.exists()
    if missing == "trigger_schedule":
        assert url() not in get(client, url("change")).links


def test_a_schedule_that_is_gone_is_not_found(client: Client) -> None:
    dbos.schedules.delete("hourly")

    assert client.post(url(), {**RANGE, "post": "yes"}).status_code == 404
