"""DBOS["REDACT"] by paths, in the admin and in logs."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

import pytest
from django.contrib.auth import get_user_model
from django.core.exceptions import ImproperlyConfigured
from django.test import Client
from django.urls import reverse

import django_dbos as dbos
from django_dbos.admin.look import Look, Unshowable
from django_dbos.conf import get_settings
from django_dbos.models import Workflow
from django_dbos.redaction import redacted
from django_dbos.telemetry.subscribers import Subscriber, subscribe, unsubscribe
from django_dbos.testing import run_until_idle
from tests.payloads.workflows import SECRET, Confirm, Declined, fail, pay

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.mark.parametrize(
    ("path", "field", "value", "shown"),
    [
        ("input", "input", {"args": [1]}, "[redacted]"),
        ("input.args", "input", {"args": [1], "kwargs": {}}, {"args": "[redacted]", "kwargs": {}}),
        ("input.args.1", "input", {"args": [1, 2]}, {"args": [1, "[redacted]"]}),
        (
            "output.*.card",
            "output",
            {"a": {"card": 1, "b": 2}},
            {"a": {"card": "[redacted]", "b": 2}},
        ),
        ("output.*.card", "output", [{"card": 1}, 5], [{"card": "[redacted]"}, 5]),
        ("output.card", "output", "text", "text"),
        ("output", "input", "text", "text"),
        ("*", "value", "text", "[redacted]"),
        ("*.card", "value", {"card": 5}, {"card": "[redacted]"}),
        (
            "error",
            "error",
            {"class": "E", "message": "m", "traceback": "t"},
            {"class": "E", "message": "[redacted]", "traceback": "[redacted]"},
        ),
        (
            "attempt_errors",
            "attempt_errors",
            [{"attempt": 1, "error": "E: m", "seconds": 2}],
            [{"attempt": 1, "error": "[redacted]", "seconds": 2}],
        ),
    ],
)
def test_a_path_names_a_part(settings: Any, path: str, field: str, value: Any, shown: Any) -> None:
    settings.DBOS = {**settings.DBOS, "REDACT": {"*": [path]}}
    assert redacted(None, SimpleNamespace(), field, value) == shown


def test_paths_are_of_one_workflow(settings: Any) -> None:
    settings.DBOS = {**settings.DBOS, "REDACT": {fail.name: ["output"], "other": ["value"]}}
    assert redacted(None, SimpleNamespace(name=fail.name), "output", 1) == "[redacted]"
    assert redacted(None, SimpleNamespace(name=fail.name), "value", 1) == 1
    assert redacted(None, SimpleNamespace(name=pay.name), "output", 1) == 1


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"w": "input"}, "must be a list of paths"),
        ({"w": ["inputs"]}, "Did you mean 'input'"),
        ({"w": ["input..card"]}, "must have paths like"),
        ({"w": [5]}, "must have paths like"),
        ({"": ["input"]}, "name of a workflow"),
    ],
)
def test_bad_paths_are_named(settings: Any, given: Any, words: str) -> None:
    settings.DBOS = {**settings.DBOS, "REDACT": given}
    with pytest.raises(ImproperlyConfigured, match="REDACT") as caught:
        get_settings()
    assert words in str(caught.value)


def test_the_admin_shows_no_redacted_part(settings: Any, client: Client) -> None:
    settings.DBOS = {
        **settings.DBOS,
        "REDACT": {fail.name: ["input.args.0", "error", "output.charged"]},
    }
    shown, other = fail.start(SECRET), pay.start(SECRET)
    run_until_idle()
    client.force_login(get_user_model().objects.create_superuser("root"))

    def page(workflow_id: str) -> str:
        url = reverse("admin:django_dbos_workflow_change", args=[workflow_id])
        return client.get(url).content.decode()

    assert "[redacted]" in page(shown.workflow_id)
    assert SECRET not in page(shown.workflow_id)
    assert SECRET in page(other.workflow_id)
    assert "Declined" in page(shown.workflow_id)
    assert Workflow.objects.get(pk=shown.workflow_id).input["args"] == [SECRET]


@pytest.mark.parametrize("rule", ["encryption", "paths", None])
def test_logs_have_no_messages_of_concealed_errors(
    settings: Any, encrypted: None, caplog: pytest.LogCaptureFixture, rule: str | None
) -> None:
    if rule != "encryption":
        redact = {fail.name: ["error"], pay.name: ["error"]} if rule else None
        settings.DBOS = {**settings.DBOS, "ENCRYPTION": None, "REDACT": redact}
    caplog.set_level(logging.INFO)
    failed, paid = fail.start(SECRET), pay.start(SECRET)
    paid.send("x", topic="note")
    run_until_idle()
    with pytest.raises(Declined):
        failed.get_result(0)

    text = caplog.text
    assert f"{failed.workflow_id!r} ({fail.name}) failed" in text
    assert "in attempt 1 of 2" in text
    assert "raise Declined" in text
    assert (SECRET in text) is (rule is None)
    assert ("Declined, whose message isn't logged" in text) is (rule is not None)


class Breaks(Subscriber):
    """Fails where a step's error is noted."""

    @contextmanager
    def stepping(self, step: Any) -> Iterator[None]:
        try:
            yield
        except Declined:
            raise LookupError("the subscriber's own")  # noqa: B904 - with its context

    def step_retried(self, step: Any, error: BaseException) -> None:
        raise LookupError from error


def remind(form: object, number: int) -> None:
    raise Declined(f"card {SECRET} was declined")


@dbos.workflow
def asks() -> None:
    dbos.wait_for_form(Confirm, timeout=60, reminders=[0], on_reminder=remind)


def test_no_log_of_the_engine_has_a_message_of_user_code(
    encrypted: None, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    subscriber = Breaks()
    subscribe(subscriber)
    try:
        pay.start(SECRET).send("x", topic="note")
        asks.start()
        run_until_idle()
    finally:
        unsubscribe(subscriber)

    assert "failed to note an event" in caplog.text
    assert "Reminder 1 of form" in caplog.text
    assert SECRET not in caplog.text


def refuse(user: Any, row: Any, field: str, value: Any) -> Any:
    raise ValueError(f"can't redact {value!r}")


def test_a_function_that_fails_logs_no_value_while_values_are_encrypted(
    settings: Any, encrypted: None, caplog: pytest.LogCaptureFixture
) -> None:
    settings.DBOS = {**settings.DBOS, "REDACT": f"{__name__}.refuse"}
    look = Look(user=None, may_see=True)
    with pytest.raises(Unshowable):
        look.redacted(Workflow(pk="one"), "input", SECRET)

    assert "DBOS['REDACT'] failed for 'input'" in caplog.text
    assert SECRET not in caplog.text
