"""The timeline of a workflow's page: its scale, its bars, its pages, and the frames of errors."""

from __future__ import annotations

import re
from datetime import datetime, timedelta
from typing import Any
from xml.etree import ElementTree as ET

import pytest
from django.db import connection
from django.db.models import QuerySet
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

import django_dbos as dbos
from django_dbos.admin import ages, timeline
from django_dbos.admin.time_scale import Scale
from django_dbos.admin.tracebacks import own_frames
from django_dbos.models import Checkpoint, Workflow
from django_dbos.testing import advance, run_until_idle
from tests.admin.conftest import get, page_of
from tests.admin.workflows import busy, failing, parent, quick

START = datetime(2026, 1, 1)


def after(**given: float) -> datetime:
    return START + timedelta(**given)


# The scale


def test_a_scale_without_long_waits_is_even() -> None:
    scale = Scale(START, after(seconds=10), [(START, after(seconds=5))])

    assert not scale.is_shortened
    assert [scale.position(after(seconds=s)) for s in (0, 2.5, 5, 10)] == [0, 25, 50, 100]
    assert [tick.total_seconds() for _, tick in scale.ticks()] == [0, 2.5, 5, 7.5, 10]
    assert scale.gaps() == []


def test_long_waits_are_shortened() -> None:
    work = [(START, after(seconds=3)), (after(days=30), after(days=30, seconds=6))]
    scale = Scale(START, after(days=30, seconds=6), work)

    assert scale.is_shortened
    assert [round(scale.position(at)) for pair in work for at in pair] == [0, 20, 60, 100]
    ((left, width),) = scale.gaps()
    assert (round(left), round(width)) == (20, 40)


def test_marks_that_read_alike_are_one() -> None:
    """Of milliseconds of work after a month, each mark would say "30 d 0 h"."""
    work = [(START, after(seconds=3)), (after(days=30), after(days=30, seconds=6))]
    scale = Scale(START, after(days=30, seconds=6), work)

    assert [round(at) for at, _ in scale.ticks()] == [0, 25, 50, 75, 100]
    found = [(round(at), text) for at, text in timeline._ticks(scale)]
    assert found[0] == (0, "0 ms")
    assert found[-1] == (100, "30 d 0 h")
    texts = [text for _, text in found]
    assert len(texts) == len(set(texts)) > 2


def test_a_longer_wait_is_shown_longer() -> None:
    work = [
        (START, after(minutes=1)),
        (after(hours=1), after(hours=1, minutes=1)),
        (after(hours=10), after(hours=10, minutes=1)),
    ]

    (_, short), (_, long) = Scale(START, after(hours=10, minutes=1), work).gaps()

    assert short < long < 9 * short


def test_positions_grow_with_time_and_stay_inside() -> None:
    work = [(after(seconds=s), after(seconds=s + 0.01)) for s in range(0, 100, 7)]
    scale = Scale(START, after(seconds=100), work)

    found = [scale.position(after(seconds=s / 10)) for s in range(-10, 1_100)]

    assert found == sorted(found)
    assert (found[0], found[-1]) == (0, 100)


@pytest.mark.parametrize("work", [[], [(START, START)], [(after(days=-1), after(days=9))]])
def test_a_scale_of_nothing_is_one(work: list[tuple[datetime, datetime]]) -> None:
    scale = Scale(START, START, work)

    assert 0 <= scale.position(START) <= 100
    assert len(scale.ticks()) == 5


# Durations in words


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0, "0 ms"),
        (0.0004, "< 1 ms"),
        (0.012, "12 ms"),
        (0.9996, "1.0 s"),
        (3.44, "3.4 s"),
        (125, "2 min 5 s"),
        (12_000, "3 h 20 min"),
        (190_000, "2 d 4 h"),
        (-5, "0 ms"),
    ],
)
def test_durations_are_told_in_two_units(seconds: float, words: str) -> None:
    assert ages.in_words(timedelta(seconds=seconds)) == words


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(-1, "0 s"), (5, "5 s"), (200, "3 min"), (100_000, "27 h"), (1_000_000, "11 d")],
)
def test_ages_are_told_in_one_unit(seconds: float, words: str) -> None:
    assert ages.age(START, after(seconds=seconds)) == words


# Tracebacks


def test_the_own_frames_come_first_without_those_of_libraries(settings: Any) -> None:
    settings.BASE_DIR = "/srv/shop"
    text = (
        "Traceback (most recent call last):\n"
        '  File "/x/lib/python3.13/site-packages/django_dbos/runner.py", line 9, in run\n'
        "    call()\n"
        '  File "/srv/shop/orders/workflows.py", line 12, in checkout\n'
        "    charge(order)\n"
        "    ~~~~~~^^^^^^^\n"
        '  File "/srv/shop/orders/steps.py", line 3, in charge\n'
        "    raise ValueError(\n"
        '  File "/usr/lib/python3.13/json/decoder.py", line 1, in decode\n'
        "    x\n"
        '  File "<frozen runpy>", line 1, in y\n'
        "ValueError: no\n"
    )

    found = [(frame.path, frame.line, frame.function, frame.code) for frame in own_frames(text)]

    assert found == [
        ("orders/steps.py", 3, "charge", "raise ValueError("),
        ("orders/workflows.py", 12, "checkout", "charge(order)"),
    ]
    assert own_frames("ValueError: no traceback") == []


@pytest.mark.django_db
def test_the_page_shows_the_own_frames(operator: Client) -> None:
    handle = failing.start()
    run_until_idle()

    page = get(operator, page_of(handle.workflow_id))

    (frames,) = re.findall(r'<ol class="dbos-frames">(.*?)</ol>', page.html, re.DOTALL)
    assert frames.count("<li>") == 1
    assert "tests/admin/workflows.py:" in frames
    assert "Complete traceback" in page.text


# The page


def bars(html: str) -> list[list[str]]:
    """Return the kinds of the bars of each line."""
    lines = re.findall(r'(<svg class="dbos-bar"[^>]*>.*?</svg>)', html)
    return [
        [rect.attrib["class"].removeprefix("dbos-bar-") for rect in ET.fromstring(line)]
        for line in lines[1:]
    ]


@pytest.mark.django_db
def test_steps_waits_and_failures_are_bars(operator: Client) -> None:
    handle = busy.start(entries=1)
    run_until_idle()

    page = get(operator, page_of(handle.workflow_id))

    shown = [[kind for kind in line if kind != "dbos-gap"] for line in bars(page.html)]
    assert shown[0] == ["queue", "wait"]
    steps = dict(zip([name for _, name in page.steps], shown[1:], strict=True))
    assert steps["fails failed"] == ["failed"]
    assert steps["dbos.recv(paid) waiting"] == ["wait"]
    assert steps["dbos.set_event(status)"] == ["done"]


@dbos.step(max_attempts=3, interval=60, name="shop.flaky")
def flaky() -> None:
    raise ConnectionError


@dbos.workflow
def retries() -> None:
    flaky()


@pytest.mark.django_db
def test_attempts_and_the_pauses_between_them_are_bars(operator: Client) -> None:
    handle = retries.start()
    run_until_idle()
    waiting = bars(get(operator, page_of(handle.workflow_id)).html)[1]
    for pause in (60, 120):
        advance(pause)
        run_until_idle()

    page = get(operator, page_of(handle.workflow_id))

    assert [kind for kind in waiting if kind != "dbos-gap"] == ["failed", "wait", "wait"]
    failed = [kind for kind in bars(page.html)[1] if kind != "dbos-gap"]
    assert [kind for kind in failed if kind == "failed"] == ["failed"] * 3
    assert (failed[0], failed[-1]) == ("failed", "failed")
    assert page.steps == [("1", "shop.flaky failed 3 attempts")]


@pytest.mark.django_db
def test_attempts_without_times_are_one_bar(operator: Client) -> None:
    """Earlier versions recorded only numbers and errors."""
    handle = retries.start()
    run_until_idle()
    QuerySet(Checkpoint).update(attempt_errors_text='[{"attempt": 1, "error": "x"}]')

    page = get(operator, page_of(handle.workflow_id))

    assert [kind for kind in bars(page.html)[1] if kind != "dbos-gap"] == ["wait"]


@pytest.mark.django_db
def test_children_are_nested_below_their_steps(operator: Client) -> None:
    @dbos.workflow
    def grandparent() -> Any:
        return parent()

    handle = grandparent.start()
    run_until_idle()
    child = f"{handle.workflow_id}-1"

    page = get(operator, page_of(handle.workflow_id))

    nested = page.html.partition('class="dbos-children"')[2]
    assert page_of(child) in page.links
    assert page_of(f"{child}-1") in page.links
    assert nested.index("dbos-depth-1") < nested.index("dbos-depth-2")
    # The step that started it doesn't name it once more.
    assert "Its workflow" not in page.html.partition('id="step-1"')[2].partition("</details>")[0]


def add_steps(workflow_id: str, count: int) -> None:
    rows = [
        Checkpoint(
            workflow_id=workflow_id,
            step_number=number,
            step_name="shop.step",
            output_text="1",
            record_order=number,
            claim_number=1,
            started_at=timezone.now(),
            recorded_at=timezone.now(),
        )
        for number in range(1, count + 1)
    ]
    QuerySet(Checkpoint).bulk_create(rows)


@pytest.mark.django_db
def test_deep_pages_of_steps_cost_no_more(operator: Client) -> None:
    handle = quick.start()
    add_steps(handle.workflow_id, 1_000)
    url = page_of(handle.workflow_id)
    seen, sql = [], []

    for query in ({}, {"before": "951"}, {"after": "0"}, {"after": "500"}, {"after": "950"}):
        with CaptureQueriesContext(connection) as queries:
            page = get(operator, url, query)
        seen.append([int(number) for number, _ in page.steps])
        sql.append(len(queries))
        assert not any("OFFSET" in found["sql"] for found in queries)

    assert [(numbers[0], numbers[-1]) for numbers in seen] == [
        (951, 1_000),
        (901, 950),
        (1, 50),
        (501, 550),
        (951, 1_000),
    ]
    assert len(set(sql)) == 1
    assert sql[0] <= 20


@pytest.mark.django_db
def test_pages_of_steps_link_to_each_other(operator: Client) -> None:
    handle = quick.start()
    add_steps(handle.workflow_id, 120)
    url = page_of(handle.workflow_id)

    last, first = get(operator, url), get(operator, url, {"after": "0"})
    middle = get(operator, f"{url}?after=50")

    turns = [
        [link.partition("?")[2] for link in page.links if "#timeline" in link]
        for page in (last, first, middle)
    ]
    assert turns == [
        ["after=0#timeline", "before=71#timeline"],
        ["after=50#timeline", "before=last#timeline"],
        ["after=0#timeline", "before=51#timeline", "after=100#timeline", "before=last#timeline"],
    ]


@pytest.mark.django_db
@pytest.mark.parametrize("asked", [{"after": "x"}, {"before": "9" * 30}, {"after": "-2"}])
def test_an_invalid_step_number_is_not_found(operator: Client, asked: dict[str, str]) -> None:
    handle = quick.start()

    assert operator.get(page_of(handle.workflow_id), asked).status_code == 404


@pytest.mark.django_db
def test_the_number_of_queries_of_a_page_is_fixed(
    operator: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    few, many = parent.start(), parent.start()
    run_until_idle()
    monkeypatch.setattr(timeline, "PAGE_STEPS", 10)
    for number in range(200):
        quick.using(workflow_id=f"child-{number}").start()
    QuerySet(Workflow).filter(workflow_id__startswith="child-").update(
        parent_id=many.workflow_id, parent_step_number=1
    )
    add_steps(f"{many.workflow_id}-1", 0)

    counts = []
    for handle in (few, many):
        with CaptureQueriesContext(connection) as queries:
            page = get(operator, page_of(handle.workflow_id))
        counts.append(len(queries))

    assert counts[0] == counts[1] <= 20
    assert page.html.count("dbos-depth-1") == timeline.MAX_CHILDREN


@pytest.mark.django_db
def test_only_active_workflows_refresh_their_page(operator: Client) -> None:
    waiting, done = busy.start(), quick.start()
    run_until_idle()

    assert 'data-dbos-live="page"' in get(operator, page_of(waiting.workflow_id)).html
    assert "data-dbos-live" not in get(operator, page_of(done.workflow_id)).html


@pytest.mark.django_db
def test_numbers_of_drawings_ignore_the_locale(operator: Client, settings: Any) -> None:
    settings.LANGUAGE_CODE, settings.USE_THOUSAND_SEPARATOR = "de", True
    handle = busy.start()
    run_until_idle()

    html = get(operator, page_of(handle.workflow_id)).html

    assert re.search(r'width="[\d.]+%"', html)
    assert not re.search(r'="\d+,\d+%"', html)
