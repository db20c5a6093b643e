"""The overview: its figures, its charts, and what it costs."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import Any
from xml.etree import ElementTree as ET

import pytest
from django.db import connection
from django.db.models import QuerySet
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django.utils import timezone

from django_dbos import queues
from django_dbos.admin.charts import bars, ceiling, steps
from django_dbos.models import Workflow
from django_dbos.store import get_store
from django_dbos.store.statistics import Statistics
from django_dbos.testing import run_until_idle
from tests.admin.conftest import LIST, Page, get, log_in, page_of
from tests.admin.workflows import SCRIPT, busy, failing, quick
from tests.keeping.marking import mark
from tests.store.conftest import register

pytestmark = pytest.mark.django_db

OVERVIEW = reverse("admin:django_dbos_workflow_overview")
EVERYTHING = ("view_workflow", "view_queue", "view_executor")
MINUTE = timedelta(minutes=1)


@pytest.fixture
def viewer(client: Client) -> Client:
    return log_in(client, *EVERYTHING)


def tiles(page: Page) -> dict[str, str]:
    found = re.findall(r'class="dbos-tile-number"[^>]*>([^<]*)</span> <span>([^<]*)<', page.html)
    return {label: number for number, label in found}


def chart(page: Page, name: str) -> ET.Element:
    html = page.html.partition(f'id="{name}"')[2].partition("<svg")[2].partition("</svg>")[0]
    return ET.fromstring(f"<svg{html}</svg>")


def set_times(workflow_id: str, created: timedelta, waited: float, ran: float | None) -> None:
    """Move a workflow into the past."""
    at = timezone.now() - created
    begun = at + timedelta(seconds=waited)
    ended = None if ran is None else begun + timedelta(seconds=ran)
    found = QuerySet(Workflow).filter(pk=workflow_id)
    found.update(created_at=at, started_at=begun, finished_at=ended)


def test_tiles_count_workflows_by_status(viewer: Client) -> None:
    quick.start(), busy.start(), failing.start()
    run_until_idle()
    quick.using(run_after=3600).start()
    quick.using(queue_name="later").start_many([()] * 3)
    busy.start().cancel()

    page = get(viewer, OVERVIEW)

    assert tiles(page) == {
        "queued": "3",
        "running": "0",
        "waiting": "1",
        "delayed": "1",
        "failed": "1",
        "given up": "0",
        "cancelled": "1",
    }
    assert f"{reverse(LIST)}?status=ENQUEUED" in page.links


def test_charts_show_starts_failures_and_percentiles(viewer: Client) -> None:
    for number in range(20):
        handle = quick.start()
        run_until_idle()
        set_times(handle.workflow_id, 10 * MINUTE, waited=number, ran=2 * number)
    bad = failing.start()
    run_until_idle()
    set_times(bad.workflow_id, 30 * MINUTE, waited=0, ran=1)

    page = get(viewer, OVERVIEW)

    assert "21 started, of which 1 has failed." in page.text
    assert "p50 18 s, p95 36 s, from the first run to the end." in page.text
    assert "p50 9.0 s, p95 18 s, from the start to the first run." in page.text
    started = chart(page, "started")
    assert started.get("role") == "img"
    assert started.get("aria-label") == "Started: 21 started, of which 1 has failed."
    shapes = [(shape.get("data-colour"), shape[0].text) for shape in started.iter("rect")]
    assert len(shapes) == 3
    assert [colour for colour, _ in shapes] == ["busy", "busy", "bad"]
    assert str(shapes[1][1]).endswith("20 started, 0 failed")
    lines = chart(page, "durations").findall("path[@class='dbos-chart-line']")
    assert [line.get("data-colour") for line in lines] == ["wait", "busy"]


def test_the_day_has_what_the_hour_has_not(viewer: Client) -> None:
    handle = quick.start()
    run_until_idle()
    set_times(handle.workflow_id, 5 * 60 * MINUTE, waited=0, ran=1)

    hour, day = get(viewer, OVERVIEW), get(viewer, OVERVIEW, {"window": "day"})

    assert "0 started" in hour.text
    assert "Nothing in this period." in hour.text
    assert "1 started" in day.text
    assert get(viewer, OVERVIEW, {"window": "<x>"}).text.count("0 started") == 1


def test_failures_are_grouped_by_what_raised_them(viewer: Client) -> None:
    handles = failing.start_many([()] * 3)
    run_until_idle()

    page = get(viewer, OVERVIEW)

    ((count, name, error, place, _),) = page.body("failures")
    assert (count, name, error) == ("3", failing.name, "LookupError")
    assert re.fullmatch(r"failing, admin/workflows.py:\d+", place)
    assert {page_of(handle.workflow_id) for handle in handles} & {*page.links}
    assert f"{reverse(LIST)}?status=ERROR&name={failing.name}" in page.links
    # The message of an error is a value, which needs a permission of its own.
    assert "alert(1)" not in page.html


def test_queues_and_executors_are_listed(viewer: Client) -> None:
    store = get_store()
    store.declare_queues({"default": {}, "mail": {}, "idle": {}}, ())
    quick.using(queue_name="mail").start_many([()] * 3)
    queues.pause("mail", by="ada")
    register(store, hostname=SCRIPT, concurrency=8)

    page = get(viewer, OVERVIEW)

    assert page.body("queues")[0][:4] == ["mail", "paused", "3", "0"]
    assert page.body("executors")[0][:4] == [f"{SCRIPT}:1", "alive", "all", "0 of 8"]
    assert "1 live worker, 0 of 8 slots taken" in page.text
    assert SCRIPT not in page.html


def test_links_need_the_permissions_of_their_pages(client: Client) -> None:
    get_store().declare_queues({"mail": {}}, ())
    register(get_store())
    viewer = log_in(client, "view_workflow")

    page = get(viewer, OVERVIEW)

    assert "mail" in page.text
    assert not [link for link in page.links if "/queue/" in link or "/executor/" in link]


def test_the_overview_needs_the_permission(client: Client) -> None:
    log_in(client, "view_queue", "view_executor")

    assert client.get(OVERVIEW).status_code == 403
    assert OVERVIEW not in client.get(reverse("admin:index")).content.decode()


def test_the_index_of_the_app_links_to_it(viewer: Client) -> None:
    index = reverse("admin:app_list", args=["django_dbos"])

    assert OVERVIEW in get(viewer, index).links


def test_the_overview_costs_the_same_however_much_there_is(viewer: Client) -> None:
    def count() -> int:
        with CaptureQueriesContext(connection) as found:
            get(viewer, OVERVIEW)
        return len(found)

    store = get_store()
    store.declare_queues({"default": {}}, ())
    register(store)
    few = count()
    store.declare_queues({f"q{number}": {} for number in range(20)}, ())
    for number in range(20):
        register(store)
        quick.using(queue_name=f"q{number}").start()
    failing.start_many([()] * 20)
    busy.start_many([()] * 5)
    run_until_idle()

    assert count() == few <= 32


def test_counts_stop_at_their_limits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("django_dbos.store.statistics.MOST", 2)
    busy.start_many([()] * 3)
    quick.using(run_after=3600).start()
    run_until_idle()
    quick.start_many([()] * 3)
    statistics = Statistics(get_store())

    active = statistics.count_active()
    (bucket,) = statistics.read_buckets(timezone.now() - MINUTE, 2 * MINUTE, 1)

    assert str(active["ENQUEUED"]) == "2+"
    assert active["WAITING"].is_cut
    assert bucket.count == 2


def test_a_sample_is_of_the_newest(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("django_dbos.store.statistics.SAMPLE", 2)
    for number in range(4):
        handle = quick.start()
        run_until_idle()
        set_times(handle.workflow_id, (10 - number) * MINUTE, waited=number, ran=10 * number)

    (bucket,) = Statistics(get_store()).read_buckets(timezone.now() - 60 * MINUTE, 60 * MINUTE, 1)

    assert bucket.count == 4
    assert sorted(bucket.waits) == pytest.approx([2, 3], abs=0.001)
    assert sorted(bucket.durations) == pytest.approx([20, 30], abs=0.001)


def test_a_workflow_belongs_to_the_column_of_its_start() -> None:
    since = datetime(2026, 3, 1, tzinfo=UTC)
    if not timezone.is_aware(timezone.now()):
        since = timezone.make_naive(since)
    for hours in (0, 1, 1, 2):
        handle = quick.start()
        QuerySet(Workflow).filter(pk=handle.workflow_id).update(
            created_at=since + timedelta(hours=hours), status="ERROR"
        )

    found = Statistics(get_store()).read_buckets(since, timedelta(hours=1), 2)

    assert [(bucket.start, bucket.count) for bucket in found] == [
        (since, 1),
        (since + timedelta(hours=1), 2),
    ]


def test_a_workflow_that_is_being_deleted_breaks_nothing(viewer: Client) -> None:
    handle = quick.start()
    run_until_idle()
    assert mark(get_store(), get_store().session()) == [handle.workflow_id]

    assert "1 started" in get(viewer, OVERVIEW).text


# Shapes


def test_bars_fill_the_box_and_leave_out_nothing() -> None:
    found = bars([0, 5, 10], 10, "busy", ["a", "b", "c"])

    assert [(bar.tip, bar.height, bar.y) for bar in found] == [("b", "48", "52"), ("c", "96", "4")]
    assert [bar.x for bar in found] == ["88", "168"]


@pytest.mark.parametrize(
    ("values", "path"),
    [
        ([], ""),
        ([None, None], ""),
        ([1.0, 2.0], "M0 52H120V4H240"),
        ([1.0, None, 1.0], "M0 52H80M160 52H240"),
    ],
)
def test_a_line_has_gaps_where_there_is_no_value(values: list[Any], path: str) -> None:
    assert steps(values, 2.0) == path


@pytest.mark.parametrize(
    ("value", "round_number"), [(0, 1), (1, 1), (3, 5), (7, 10), (101, 200), (9_999, 10_000)]
)
def test_the_upper_edge_is_a_round_number(value: float, round_number: int) -> None:
    assert ceiling(value) == round_number
