"""Who sees values: the permission, and the redaction of DBOS["REDACT"]."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import pytest
from django.contrib.admin.utils import quote
from django.contrib.auth.models import User
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

import django_dbos as dbos
from django_dbos.models import Event, Message
from django_dbos.testing import run_until_idle
from tests.admin.conftest import LIST, get, log_in, page_of, url_of

pytestmark = pytest.mark.django_db

SECRET = "s3cret"
VIEWING = ("view_workflow", "view_message", "view_event", "view_schedule")


@dbos.step(max_attempts=2, interval=0)
def leaks() -> None:
    raise ValueError(SECRET)


@dbos.step
def tells() -> str:
    return SECRET


@dbos.workflow
def secretive(key: str, number: int = 1) -> Any:
    """Store the secret in a value of each kind."""
    if number == 1:
        dbos.continue_as_new(key, 2)
    tells()
    try:
        leaks()
    except ValueError:
        dbos.set_event("event", {"password": SECRET})
    dbos.write_stream("stream", SECRET)
    dbos.recv("topic", timeout=0, default=None)
    if key == f"{SECRET}-fails":
        raise LookupError(SECRET)
    return SECRET


@pytest.fixture
def workflow_ids() -> list[str]:
    handles = [
        secretive.using(attributes={"token": SECRET}).start(key)
        for key in (SECRET, f"{SECRET}-fails")
    ]
    for handle in handles:
        handle.send({"card": SECRET}, "topic")
    run_until_idle()
    return [handle.workflow_id for handle in handles]


def pages_of(workflow_ids: list[str]) -> Iterator[str]:
    """Yield the addresses of every page with a value of these workflows."""
    for workflow_id in workflow_ids:
        yield page_of(workflow_id)
        for section in ("input", "attributes", "outcome", "steps", "runs", "messages"):
            yield url_of("rows", workflow_id, section)
        for section in ("events", "history", "entries"):
            yield url_of("rows", workflow_id, section)
        yield url_of("rows", workflow_id, "entries") + "?key=stream&offset=0"
    yield reverse(LIST)
    for row in (*Message.objects.all(), *Event.objects.all()):
        name = f"admin:django_dbos_{row._meta.model_name}_change"
        yield reverse(name, args=[quote(str(row.pk))])


def downloads_of(workflow_ids: list[str]) -> Iterator[str]:
    for workflow_id in workflow_ids:
        yield url_of("rows", workflow_id, "input") + "?download=1"
        yield url_of("rows", workflow_id, "attributes") + "?download=1"
        yield url_of("rows", workflow_id, "outcome") + "?download=1"
        yield url_of("rows", workflow_id, "events") + "?key=event&download=1"
    for row in (*Message.objects.all(), *Event.objects.all()):
        name = f"admin:django_dbos_{row._meta.model_name}_download"
        yield reverse(name, args=[quote(str(row.pk))])


def test_without_the_permission_no_page_has_a_value(
    client: Client, workflow_ids: list[str]
) -> None:
    log_in(client, *VIEWING)

    for url in pages_of(workflow_ids):
        page = get(client, url)

        assert SECRET not in page.html, url
    for url in downloads_of(workflow_ids):
        assert client.get(url).status_code == 403, url


def test_with_the_permission_the_pages_have_values(client: Client, workflow_ids: list[str]) -> None:
    log_in(client, *VIEWING, "view_payload")

    for url in pages_of(workflow_ids):
        assert SECRET in get(client, url).html, url
    for url in downloads_of(workflow_ids):
        assert SECRET in client.get(url).content.decode(), url


def test_without_the_permission_there_are_the_classes_of_errors(
    client: Client, workflow_ids: list[str]
) -> None:
    log_in(client, *VIEWING)

    page = get(client, page_of(workflow_ids[1]))

    assert page.text.count("LookupError: (hidden)") == 1
    assert page.sections["input"] == [["(hidden)"]]
    steps = get(client, url_of("rows", workflow_ids[1], "steps")).body("steps")
    (failed,) = [step for step in steps if step[1].endswith("leaks")]
    assert failed[2:5] == ["failed", "ValueError: (hidden)", "2"]
    assert "LookupError: (hidden)" in get(client, reverse(LIST)).text


def test_without_the_permission_values_are_not_read(
    client: Client, workflow_ids: list[str]
) -> None:
    log_in(client, *VIEWING)

    with CaptureQueriesContext(connection) as queries:
        get(client, page_of(workflow_ids[0]))

    read = " ".join(query["sql"] for query in queries)
    found = set(re.findall(r'THEN (?:CAST\()?"\w+"\."(\w+)"', read))
    columns = {"input", "output", "error", "attempt_errors", "message", "value", "attributes"}
    assert found & columns == {"error"}


# Redaction


def masked(user: Any, row: Any, field: str, value: Any) -> Any:
    """Replace the secret wherever it is in a value."""
    assert user.is_staff
    assert row.pk
    if isinstance(value, dict):
        return {key: masked(user, row, field, found) for key, found in value.items()}
    if isinstance(value, list):
        return [masked(user, row, field, found) for found in value]
    return value.replace(SECRET, "*****") if isinstance(value, str) else value


def test_values_are_redacted_wherever_they_are_shown(
    client: Client, workflow_ids: list[str], settings: Any
) -> None:
    log_in(client, *VIEWING, "view_payload")
    settings.DBOS = {**settings.DBOS, "REDACT": "tests.admin.test_look.masked"}

    for url in (*pages_of(workflow_ids), *downloads_of(workflow_ids)):
        answer = client.get(url).content.decode()

        assert SECRET not in answer, url
        assert "*****" in answer, url


def test_the_function_knows_what_it_redacts(
    client: Client, workflow_ids: list[str], settings: Any
) -> None:
    log_in(client, *VIEWING, "view_payload")
    seen: dict[tuple[str, str], Any] = {}

    def remember(user: Any, row: Any, field: str, value: Any) -> Any:
        seen[type(row).__name__, field] = (user.get_username(), value)
        return value

    settings.DBOS = {**settings.DBOS, "REDACT": remember}

    for workflow_id in workflow_ids:
        get(client, page_of(workflow_id))
        get(client, url_of("rows", workflow_id, "entries"))

    assert seen["Workflow", "input"] == ("staff", {"args": [f"{SECRET}-fails", 2], "kwargs": {}})
    assert seen["Workflow", "attributes"] == ("staff", {"token": SECRET})
    assert seen["Workflow", "output"] == ("staff", SECRET)
    assert seen["Workflow", "error"][1]["message"] == SECRET
    assert set(seen["Workflow", "error"][1]) == {"class", "message", "traceback"}
    assert seen["Message", "message"] == ("staff", {"card": SECRET})
    assert {
        ("Checkpoint", "output"),
        ("Checkpoint", "error"),
        ("Checkpoint", "attempt_errors"),
    } <= {*seen}
    assert {("Event", "value"), ("EventVersion", "value"), ("StreamEntry", "value")} <= {*seen}
    assert seen["PastRun", "input"][1]["args"] == [f"{SECRET}-fails"]


@pytest.mark.parametrize("path", ["tests.admin.test_look.broken", "tests.nowhere.redact"])
def test_what_can_not_be_redacted_is_not_shown(
    client: Client,
    workflow_ids: list[str],
    settings: Any,
    path: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    log_in(client, *VIEWING, "view_payload")
    settings.DBOS = {**settings.DBOS, "REDACT": path}
    caplog.clear()

    for url in (*pages_of(workflow_ids), *downloads_of(workflow_ids)):
        assert SECRET not in client.get(url).content.decode(), url

    page = get(client, page_of(workflow_ids[0]))
    assert "This value can't be shown: the function of DBOS['REDACT'] failed with" in page.text
    assert "DBOS['REDACT'] failed for" in caplog.text


def broken(user: Any, row: Any, field: str, value: Any) -> Any:
    raise KeyError(f"no idea what {value!r} is")


def test_the_arguments_of_a_schedule_are_values_too(client: Client, settings: Any) -> None:
    dbos.schedules.create("nightly", secretive, every=3600, kwargs={"key": SECRET})
    url = reverse("admin:django_dbos_schedule_change", args=["nightly"])
    user = log_in(client, *VIEWING)

    assert get(client, url).sections["facts"]
    assert SECRET not in get(client, url).html
    client.force_login(User.objects.create_superuser("root"))
    assert SECRET in get(user, url).html
    settings.DBOS = {**settings.DBOS, "REDACT": masked}
    assert SECRET not in get(user, url).html
