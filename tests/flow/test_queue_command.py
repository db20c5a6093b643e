"""manage.py dbos_queues: its actions, its two formats, its exit codes."""

from __future__ import annotations

import json
from io import StringIO
from typing import Any

import pytest
from django.core.management import CommandError, call_command

import django_dbos as dbos
from django_dbos import queues

pytestmark = pytest.mark.django_db


@dbos.workflow
def noop() -> None: ...


def run(*arguments: str) -> str:
    output = StringIO()
    call_command("dbos_queues", *arguments, stdout=output)
    return output.getvalue()


def run_json(*arguments: str) -> Any:
    return json.loads(run(*arguments, "--format", "json"))


@pytest.fixture
def mail(settings: Any) -> None:
    settings.DBOS = {"QUEUES": {"mail": {"concurrency": 3}}}


@pytest.mark.usefixtures("mail")
def test_a_queue_is_changed_paused_resumed_and_reset() -> None:
    options = ("--concurrency", "5", "--rate-limit", "100/m", "--hold-while-waiting", "yes")

    changed = run_json("set", "mail", *options)
    assert changed["edited"] == {
        "concurrency": 5,
        "rate_limit": "100/m",
        "hold_while_waiting": True,
    }
    assert run_json("set", "mail", "--concurrency", "none")["options"] == {
        "rate_limit": "100/m",
        "hold_while_waiting": True,
    }
    assert run_json("pause", "mail", "--by", "ada")["paused_by"] == "ada"
    assert run_json("resume", "mail")["paused_at"] is None
    assert run_json("reset", "mail")["edited"] is None


@pytest.mark.usefixtures("mail")
def test_a_pause_names_the_systems_user() -> None:
    assert run_json("pause", "mail")["paused_by"]


def test_the_list_shows_limits_depths_and_pauses() -> None:
    queues.set("mail", concurrency=5)
    queues.pause("mail", by="ada")
    noop.using(queue_name="mail").start()

    header, *rows = run("list").splitlines()
    (mail,) = [line.split() for line in rows if line.startswith("mail ")]

    assert header.split() == ["QUEUE", "QUEUED", "RUNNING", "PLACES", "OPTIONS", "STATE"]
    assert mail[:6] == ["mail", "1", "0", "0", "concurrency=5", "(edited)"]
    assert mail[-2:] == ["by", "ada"]
    assert "default" in {queue["name"] for queue in run_json("list")}
    assert run_json("show", "mail")["queued"] == 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("show", "mial"), "Did you mean 'mail'?"),
        (("pause", "mial"), "Did you mean 'mail'?"),
        (("set", "mial", "--concurrency", "1"), "Did you mean 'mail'?"),
        (("set", "fresh", "--concurrency", "1"), "To make a new queue, add --create."),
        (("set", "mail"), "set needs an option"),
        (("set", "mail", "--concurrency", "0"), "concurrency must be at least 1"),
        (("set", "mail", "--concurrency", "many"), "--concurrency must be a number or 'none'"),
        (("set", "mail", "--rate-limit", "x"), "rate_limit must be like '100/m'"),
        (("set", "mail", "--worker-concurrency", "0"), "worker_concurrency must be at least 1"),
        (("set", "mail", "--rate", "1/s"), "unrecognized arguments"),
        (("list", "--database", "nowhere"), "--database 'nowhere' isn't in DATABASES"),
        (("stop", "mail"), "invalid choice: 'stop'"),
    ],
)
@pytest.mark.usefixtures("mail")
def test_mistakes_are_explained(arguments: tuple[str, ...], message: str) -> None:
    with pytest.raises(CommandError) as caught:
        run(*arguments)

    assert message in str(caught.value)


def test_a_new_queue_is_made_on_request() -> None:
    assert run_json("set", "fresh", "--concurrency", "1", "--create")["name"] == "fresh"
