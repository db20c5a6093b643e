"""The page of a workflow: all of its data, escaped, in sections of bounded size."""

from __future__ import annotations

import json
import re
from typing import Any
from uuid import uuid4

import pytest
from django.db import connection
from django.db.models import QuerySet
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

import django_dbos as dbos
from django_dbos.admin import values
from django_dbos.models import Message, StreamEntry
from django_dbos.testing import advance, run_until_idle
from tests.admin.conftest import LIST, Page, get, log_in, page_of, url_of
from tests.admin.workflows import (
    SCRIPT,
    always_down,
    busy,
    continuing,
    failing,
    parent,
    quick,
    retrying,
)

pytestmark = pytest.mark.django_db


def test_the_facts_of_a_workflow_are_shown(operator: Client) -> None:
    handle = busy.using(user=7, attributes={"order": 1}, priority=5).start(entries=2)
    run_until_idle()

    page = get(operator, page_of(handle.workflow_id))
    facts = dict(page.sections["facts"])

    assert facts["Name"] == busy.name
    assert page.badge == "waiting"
    assert facts["Queue"] == "default"
    assert facts["Priority"] == "5"
    assert facts["User"] == "7"
    assert page.sections["attributes"] == [['{\n  "order": 1\n}']]
    assert "Finished" not in facts


def test_past_runs_are_shown(operator: Client) -> None:
    handle = continuing.start()
    run_until_idle()

    page = get(operator, page_of(handle.workflow_id))

    assert dict(page.sections["facts"])["Run"] == "3"
    first, second = page.body("runs")
    assert (first[0], first[2]) == ("1", "1 to 2")
    assert (second[0], second[2]) == ("2", "3 to 4")
    assert '"args"' in second[1]
    assert "Run" not in dict(get(operator, page_of(quick.start().workflow_id)).sections["facts"])


def test_values_are_plain_json(operator: Client) -> None:
    handle = quick.start({"tagged": (1, 2)})
    run_until_idle()

    page = get(operator, page_of(handle.workflow_id))

    assert '"tagged"' in page.sections["input"][0][0]
    assert page.text.count('"tagged"') == 2
    # The tags of the serializer are never shown.
    assert "$tuple" not in page.text


def test_an_error_has_its_class_message_and_traceback(operator: Client) -> None:
    handle = failing.start()
    run_until_idle()

    page = get(operator, page_of(handle.workflow_id))
    (whole,) = get(operator, url_of("rows", handle.workflow_id, "outcome")).sections["outcome"][0]

    for text in (page.text, whole):
        assert f"LookupError: {SCRIPT}" in text
        assert "in failing" in text


def test_steps_are_in_order_with_their_outcomes(operator: Client) -> None:
    handle = busy.start(entries=2)
    run_until_idle()

    steps = get(operator, url_of("rows", handle.workflow_id, "steps")).body("steps")

    numbers = [int(step[0]) for step in steps]
    assert numbers == sorted(numbers)
    (failed,) = [step for step in steps if step[1].endswith("fails")]
    _, _, state, outcome, attempts, started, recorded, duration, _ = failed
    assert state == "failed"
    assert {step[2] for step in steps} == {"failed", "recorded", "waiting"}
    assert outcome.startswith(f"ValueError: {SCRIPT}")
    assert "Traceback (most recent call last)" in outcome
    assert attempts == "1"
    assert started <= recorded
    assert duration.endswith(" s")
    waiting = steps[-1]
    assert waiting[2] == "waiting"
    assert waiting[7] == ""


def test_messages_show_whether_they_were_consumed(operator: Client) -> None:
    handle = busy.start()
    handle.send("early", "other topic")
    handle.send({"amount": 5}, "paid")
    run_until_idle()

    first, second = get(operator, page_of(handle.workflow_id)).body("messages")

    assert first[1:3] == ["other topic", '"early"']
    assert first[5:] == ["not consumed", ""]
    assert second[1] == "paid"
    assert int(second[6]) > 0


def test_events_link_to_their_history(operator: Client) -> None:
    handle = busy.start()
    run_until_idle()

    page = get(operator, page_of(handle.workflow_id))

    ((key, value, version, _),) = page.body("events")
    assert (key, value, version) == ("status", '"caught"', "2")
    assert [row[1] for row in page.body("history")] == ["1", "2"]
    assert url_of("rows", handle.workflow_id, "history") + "?key=status" in page.links


def test_streams_are_listed_by_key(operator: Client) -> None:
    handle = busy.start(entries=3)
    run_until_idle()

    page = get(operator, page_of(handle.workflow_id))
    url = url_of("rows", handle.workflow_id, "entries") + "?key=progress"
    entries = get(operator, url).body("entries")

    assert page.streams == [["log", "closed", "1"], ["progress", "open", "3"]]
    assert url in page.links
    assert [row[:3] for row in entries] == [["progress", str(n), str(n)] for n in range(3)]
    assert "end of the stream" in page.text
    whole = get(operator, url_of("rows", handle.workflow_id, "streams"))
    assert [row[:3] for row in whole.body("streams")] == [
        ["log", "1", "closed"],
        ["progress", "3", "open"],
    ]


def test_the_end_of_a_workflow_closes_its_streams(operator: Client) -> None:
    """The state used to depend on the entries alone."""
    handle = busy.start()
    handle.send(None, "paid")
    run_until_idle()

    page = get(operator, page_of(handle.workflow_id))

    assert page.streams == [["log", "closed", "1"], ["progress", "closed", "3"]]


def test_a_workflow_without_an_outcome_shows_none(operator: Client) -> None:
    active, done = busy.start(), quick.start()
    run_until_idle()

    assert "None yet." in get(operator, page_of(active.workflow_id)).text
    page = get(operator, page_of(done.workflow_id))
    assert "None yet." not in page.text
    assert get(operator, url_of("rows", done.workflow_id, "outcome")).sections["outcome"] == [
        ["null"]
    ]


def test_parents_and_children_link_to_each_other(operator: Client) -> None:
    handle = parent.start()
    run_until_idle()

    above = get(operator, page_of(handle.workflow_id))
    ((child_id, name, status, *_),) = above.body("children")
    below = get(operator, page_of(child_id))

    assert (name, status) == (busy.name, "waiting")
    assert page_of(child_id) in above.links
    assert page_of(handle.workflow_id) in below.links
    steps = get(operator, url_of("rows", handle.workflow_id, "steps"))
    assert steps.body("steps")[0][-1] == child_id


def test_everything_is_escaped(operator: Client) -> None:
    workflow_id = f"a/b {SCRIPT} ü%"
    handle = busy.using(
        workflow_id=workflow_id, queue_name=SCRIPT, user=SCRIPT, attributes={SCRIPT: SCRIPT}
    ).start()
    dbos.send(workflow_id, {SCRIPT: SCRIPT}, SCRIPT)
    run_until_idle()

    pages = [get(operator, page_of(workflow_id)), get(operator, reverse(LIST))]
    pages += [
        get(operator, url_of("rows", handle.workflow_id, name)) for name in ("messages", "entries")
    ]

    for page in pages:
        assert SCRIPT not in page.html
        assert SCRIPT in page.text
        assert workflow_id in page.text


@pytest.mark.parametrize("workflow_id", ["a/b", "a b", "ü", "x/cancel", "_2F", "a?b#c", '"', "%00"])
def test_any_id_has_a_page(operator: Client, workflow_id: str) -> None:
    quick.using(workflow_id=workflow_id).start()

    page = get(operator, page_of(workflow_id))
    listed = get(operator, reverse(LIST))

    assert workflow_id in page.text
    assert page_of(workflow_id) in [link.partition("?")[0] for link in listed.links]


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

    assert counts[0] == counts[1] <= 20
    assert sizes[1] < 200_000


def add_entries(workflow_id: str, count: int) -> None:
    """Insert more entries of the workflow."""
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


def test_more_rows_are_on_further_pages(operator: Client) -> None:
    handle = busy.start(120)
    run_until_idle()
    url = url_of("rows", handle.workflow_id, "entries")
    first = get(operator, url, {"key": "progress"})
    assert len(first.body("entries")) == 50
    assert not [link for link in first.links if "before=" in link]

    second = get(operator, only_link(first, "after="))
    last = get(operator, only_link(second, "after="))

    assert [row[1] for row in last.body("entries")] == [str(n) for n in range(100, 120)]
    assert not [link for link in last.links if "after=" in link]
    back = get(operator, only_link(last, "before="))
    assert back.body("entries") == second.body("entries")
    assert get(operator, only_link(back, "before=")).body("entries") == first.body("entries")


def only_link(page: Page, part: str) -> str:
    (found,) = [link for link in page.links if part in link]
    return found


def test_a_long_value_is_shortened_with_a_link_to_more(operator: Client) -> None:
    long = "x" * 5_000
    handle = quick.start(long)
    handle.send(long)
    run_until_idle()
    page = get(operator, page_of(handle.workflow_id))
    assert long not in page.html

    whole = [
        get(operator, link).text for link in page.links if link.startswith(url_of_rows(handle))
    ]

    assert len(whole) == 3
    assert all(long in text for text in whole)


def url_of_rows(handle: Any) -> str:
    return url_of("rows", handle.workflow_id, "x").removesuffix("x/")


def test_a_huge_value_stays_in_the_database(operator: Client) -> None:
    huge = "x" * (values.MAX_LOADED + 1)
    handle = quick.start(huge)
    run_until_idle()

    with CaptureQueriesContext(connection):
        page = get(operator, page_of(handle.workflow_id))
    whole = get(operator, url_of("rows", handle.workflow_id, "outcome"))

    assert f"({len(huge) + 2} bytes)" in page.text
    assert url_of("rows", handle.workflow_id, "outcome") in page.links
    assert huge in whole.text


def test_a_long_traceback_shows_its_end(operator: Client) -> None:
    def fall(left: int) -> None:
        if not left:
            raise LookupError("the bottom")
        fall_further(left - 1)

    # Alternating, since Python only merges consecutive identical frames.
    def fall_further(left: int) -> None:
        fall(left)

    @dbos.workflow
    def deep() -> None:
        fall(50)

    handle = deep.start()
    run_until_idle()

    page = get(operator, page_of(handle.workflow_id))

    (traceback,) = re.findall(r"<pre>…(.*?)</pre>", page.html, re.DOTALL)
    assert traceback.rstrip().endswith("LookupError: the bottom")
    assert url_of("rows", handle.workflow_id, "outcome") in page.links


@pytest.mark.parametrize(
    "asked",
    [
        {"after": "x"},
        {"after": "{}"},
        {"after": "[]"},
        {"after": '["a"]'},
        {"before": '["a", [1]]'},
        {"after": '["a\\u0000", 1]'},
        {"after": '["a", "b"]'},
        {"after": '["a", %s]' % ("9" * 30)},
        {"key": "a\0b"},
        {"key": "progress", "offset": "x"},
    ],
)
def test_an_invalid_query_is_not_found(operator: Client, asked: dict[str, str]) -> None:
    handle = busy.start()

    response = operator.get(url_of("rows", handle.workflow_id, "entries"), asked)

    assert response.status_code == 404


@pytest.mark.parametrize("asked", [{"offset": "1" * 30}, {"after": '["z", 1]'}, {"key": "none"}])
def test_a_query_without_rows_is_an_empty_page(operator: Client, asked: dict[str, str]) -> None:
    handle = busy.start()

    page = get(operator, url_of("rows", handle.workflow_id, "entries"), asked)

    assert "None." in page.text


@pytest.mark.parametrize("workflow_id", ["nobody", "a/b", "%00", "_00"])
def test_an_unknown_workflow_is_not_found(operator: Client, workflow_id: str) -> None:
    assert operator.get(page_of(workflow_id)).status_code == 404


def test_an_id_that_no_database_stores_is_not_found(operator: Client) -> None:
    assert operator.get("/admin/django_dbos/workflow/a%00b/change/").status_code == 404


def test_an_unknown_section_is_not_found(operator: Client) -> None:
    handle = busy.start()

    assert operator.get(url_of("rows", handle.workflow_id, "nothing")).status_code == 404


def test_a_user_without_permission_sees_nothing(client: Client) -> None:
    nobody = log_in(client)
    handle = busy.start()

    assert nobody.get(page_of(handle.workflow_id)).status_code == 403
    assert nobody.get(url_of("rows", handle.workflow_id, "steps")).status_code == 403
    # The answer doesn't reveal whether the workflow exists either.
    assert nobody.get(page_of("nothing")).status_code == 403


class FromOther:
    """Reads from a replica that lags behind: it is still empty."""

    def db_for_read(self, model: Any, **notifications: Any) -> str | None:
        return "other" if model._meta.app_label == "django_dbos" else None


@pytest.mark.django_db(databases=["default", "other"])
def test_all_data_is_read_from_the_workflow_database(operator: Client, settings: Any) -> None:
    handle = busy.start()
    run_until_idle()
    settings.DATABASE_ROUTERS = ["tests.admin.test_page.FromOther", *settings.DATABASE_ROUTERS]
    assert StreamEntry.objects.db == "other"

    page = get(operator, page_of(handle.workflow_id))
    listed = get(operator, reverse(LIST))

    assert page.steps
    assert page.streams
    assert page.body("events")
    assert handle.workflow_id in listed.text


def test_no_page_shows_many_complete_values(operator: Client) -> None:
    """An address used to show 50 complete rows, each of which may have megabytes."""
    handle = quick.start()
    for _ in range(3):
        handle.send("x" * 5_000)

    page = get(operator, url_of("rows", handle.workflow_id, "messages"), {"whole": ""})

    assert len(page.body("messages")) == 3
    assert "x" * 5_000 not in page.html


def test_long_values_are_not_loaded(operator: Client) -> None:
    huge = "x" * (values.MAX_LOADED + 1)
    handle = quick.start(huge)
    handle.send(huge)

    with CaptureQueriesContext(connection) as queries:
        page = get(operator, page_of(handle.workflow_id))

    assert page.text.count(f"({len(huge) + 2} bytes)") == 1
    assert len(page.html) < 50_000
    for column in ("input", "output", "error"):
        plain = re.compile(rf'(SELECT|,) "dbos_workflow"."{column}"(,| FROM)')
        assert not any(plain.search(query["sql"]) for query in queries)


def nested(depth: int, count: int) -> Any:
    """Return a value that indentation makes much longer."""
    value: Any = [1] * count
    for _ in range(depth):
        value = [value]
    return value


def downloaded(client: Client, url: str) -> tuple[Any, Any]:
    response = client.get(url)
    assert response.status_code == 200
    assert response["Content-Type"] == "application/json"
    assert response["X-Content-Type-Options"] == "nosniff"
    return response["Content-Disposition"], json.loads(response.content)


def test_the_shown_part_of_a_value_is_bounded(admin_client: Client) -> None:
    """A message of 1 MiB, nested 95 deep, used to make a page of 100 MB."""
    value = nested(95, 20_000)
    handle = quick.using(attributes={"nested": nested(80, 20_000)}).start(value)
    handle.send(value)
    run_until_idle()
    number = Message.objects.get().pk
    pages = [
        page_of(handle.workflow_id),
        url_of("rows", handle.workflow_id, "messages") + f"?message_id={number}",
        url_of("rows", handle.workflow_id, "input"),
        url_of("rows", handle.workflow_id, "attributes"),
        f"/admin/django_dbos/message/{number}/change/",
    ]

    whole = [value, {"nested": nested(80, 20_000)}, {"args": [value], "kwargs": {}}]

    for url in pages:
        page = get(admin_client, url)
        assert len(page.html) < 250_000, url
        links = [link for link in page.links if "download" in link]
        assert len(links) == (url != pages[0])
        for link in links:
            disposition, found = downloaded(admin_client, link)
            assert disposition.startswith("attachment;")
            assert any(found == expected for expected in whole)


def test_a_very_large_value_is_only_a_download(operator: Client) -> None:
    large = "x" * (values.MAX_LOADED_ALONE + 1)
    handle = quick.start(large)
    run_until_idle()

    page = get(operator, url_of("rows", handle.workflow_id, "outcome"))

    assert len(page.html) < 50_000
    (link,) = [url for url in page.links if "download" in url]
    assert downloaded(operator, link)[1] == large


def test_an_error_can_be_downloaded(operator: Client) -> None:
    handle = failing.start()
    run_until_idle()

    found = downloaded(operator, url_of("rows", handle.workflow_id, "outcome") + "?download=1")[1]

    assert (found["class"], found["message"]) == ("builtins.LookupError", SCRIPT)
    assert "Traceback" in found["traceback"]


@pytest.mark.parametrize("section", ["streams", "children", "messages", "nonsense"])
def test_only_values_can_be_downloaded(operator: Client, section: str) -> None:
    handle = quick.start(1)

    url = url_of("rows", handle.workflow_id, section)
    assert operator.get(url, {"download": "1"}).status_code == 404
    assert operator.get(url, {"download": "1", "message_id": "7"}).status_code == 404


def test_a_download_needs_the_permission(client: Client) -> None:
    handle = quick.start(1)
    handle.send("secret")
    number = Message.objects.get().pk
    urls = [
        url_of("rows", handle.workflow_id, "input") + "?download=1",
        f"/admin/django_dbos/message/{number}/download/",
    ]
    assert [client.get(url).status_code for url in urls] == [302, 302]
    log_in(client, "view_event")

    assert [client.get(url).status_code for url in urls] == [403, 403]


def test_a_retried_step_shows_its_errors_and_next_attempt(operator: Client) -> None:
    handle = retrying.start()
    run_until_idle()
    advance(3_600)
    run_until_idle()

    page = get(operator, page_of(handle.workflow_id))

    assert "its next attempt is at" in page.text
    rows = get(operator, url_of("rows", handle.workflow_id, "steps"))
    ((_, _, state, _, attempts, *_),) = rows.body("steps")
    assert state == "waiting"
    assert page.steps == [("1", f"{always_down.name} waiting 2 attempts")]
    assert attempts.splitlines()[0].startswith(f"1. ConnectionError: {SCRIPT}")
    assert "2. ConnectionError" in attempts


@pytest.mark.parametrize("button", ["cancel", "resume"])
def test_a_button_reads_no_values(operator: Client, button: str) -> None:
    handle = busy.start()
    run_until_idle()

    with CaptureQueriesContext(connection) as queries:
        operator.post(url_of(button, handle.workflow_id), {"confirmed": "1"})

    read = [query["sql"] for query in queries if query["sql"].startswith("SELECT")]
    for column in ("input", "output", "error", "attributes"):
        assert not any(f'"dbos_workflow"."{column}"' in sql for sql in read)


def test_a_surrogate_stored_by_another_program_breaks_no_page(admin_client: Client) -> None:
    handle = quick.start()
    handle.send("x")
    QuerySet(Message).update(message_text=r'{"a": "\ud800"}')
    number = Message.objects.get().pk

    for url in (page_of(handle.workflow_id), f"/admin/django_dbos/message/{number}/change/"):
        assert r"\ud800" in get(admin_client, url).text
    url = f"/admin/django_dbos/message/{number}/download/"
    assert downloaded(admin_client, url)[1] == {"a": "\ud800"}
