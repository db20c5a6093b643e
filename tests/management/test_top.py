"""manage.py dbos_top: its figures, its screen, and what it says when something is wrong."""

from __future__ import annotations

import io
import json
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.db import OperationalError, connection
from django.db.models import QuerySet
from django.test.utils import CaptureQueriesContext
from rich.console import Console

from django_dbos import queues
from django_dbos.conf import get_settings
from django_dbos.management import top
from django_dbos.management.commands import dbos_top
from django_dbos.management.top_screen import show
from django_dbos.models import Workflow
from django_dbos.store import get_store, statistics
from django_dbos.testing import run_until_idle
from tests.admin.workflows import busy, failing, quick
from tests.store.conftest import register

pytestmark = pytest.mark.django_db


def run(*arguments: str) -> str:
    out = io.StringIO()
    call_command("dbos_top", *arguments, stdout=out)
    return out.getvalue()


def give(executor_id: str, count: int) -> list[str]:
    """Have an executor run workflows."""
    ids = [handle.workflow_id for handle in quick.start_many([()] * count)]
    at = Workflow.objects.values_list("created_at", flat=True).get(pk=ids[0])
    running = {"status": "PENDING", "executor_id": executor_id, "started_at": at}
    QuerySet(Workflow).filter(pk__in=ids).update(**running)
    return ids


@pytest.fixture
def some() -> str:
    """Make queues, a worker that runs two workflows, and others in each state."""
    store = get_store()
    store.declare_queues({"default": {}, "mail": {}}, ())
    queues.pause("mail", by="ada")
    busy.start(), quick.start(), failing.start()
    run_until_idle()
    quick.using(queue_name="mail").start_many([()] * 3)
    quick.using(run_after=3600).start()
    executor_id = register(store, hostname="web-1", concurrency=32)
    give(executor_id, 2)
    return executor_id


def test_one_look_is_printed_as_text(some: str) -> None:
    lines = run("--once").splitlines()

    assert lines[0] == "workflows  3 queued, 2 running, 1 waiting, 1 delayed"
    assert lines[1] == "rate       9 started (0.15/s), 1 failed in the last 60 s"
    assert lines[4] == "workers    1 live, 2 of 32 slots taken"
    assert lines[lines.index("Queues") + 2].split()[:4] == ["mail", "paused", "3", "0"]
    worker = lines[lines.index("Workers") + 2].split()
    assert worker[:6] == ["web-1:1", "alive", "all", "2", "of", "32"]
    assert len([line for line in lines if some in line]) == 2


def test_one_look_is_printed_as_json(some: str) -> None:
    found = json.loads(run("--format", "json"))

    assert found["active"] == {"ENQUEUED": 3, "PENDING": 2, "WAITING": 1, "DELAYED": 1}
    assert found["more"] == []
    assert found["queues"][0]["name"] == "mail"
    assert found["executors"][0]["running"] == 2
    assert {run["executor_id"] for run in found["longest"]} == {some}


def test_counts_stop_at_the_limit_as_numbers(some: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (top, statistics):
        monkeypatch.setattr(module, "MOST", 2)

    found = json.loads(run("--format", "json"))

    assert found["active"] == {"ENQUEUED": 2, "PENDING": 2, "WAITING": 1, "DELAYED": 1}
    assert found["more"] == ["ENQUEUED", "PENDING"]
    assert run("--once").startswith("workflows  2+ queued, 2+ running, 1 waiting, 1 delayed\n")


def test_without_anything_there_are_no_rows() -> None:
    lines = run("--once").splitlines()

    assert lines[0] == "workflows  0 queued, 0 running, 0 waiting, 0 delayed"
    assert lines[2] == "duration   p50 -, p95 -"
    assert lines.count("none") == 3


def test_a_look_costs_the_same_however_much_there_is(some: str) -> None:
    def count() -> int:
        with CaptureQueriesContext(connection) as found:
            top.take()
        return len(found)

    few = count()
    get_store().declare_queues({f"q{number}": {} for number in range(20)}, ())
    for _ in range(5):
        give(register(get_store()), 3)

    assert count() == few <= 10


def test_the_screen_is_drawn_again_and_again(some: str) -> None:
    out, looks = io.StringIO(), []

    def look() -> top.Snapshot:
        looks.append(top.take())
        return looks[-1]

    show(look, lambda: len(looks) == 3, Console(file=out, width=120, force_terminal=True))

    assert len(looks) == 3
    assert "3 queued, 2 running" in out.getvalue()
    assert "Longest running" in out.getvalue()


def test_ctrl_c_ends_it(some: str) -> None:
    def wait() -> bool:
        raise KeyboardInterrupt

    show(top.take, wait, Console(file=io.StringIO(), force_terminal=True))


def test_names_cannot_steer_the_terminal() -> None:
    name = "\x1b[31mred\r[bold]x[/bold]"
    get_store().declare_queues({name: {}}, ())
    register(get_store(), hostname="web\x1b]0;title\x07")
    out = io.StringIO()

    plain = run("--once")
    show(top.take, lambda: True, Console(file=out, width=200, color_system=None))

    for text in (plain, out.getvalue()):
        assert "\x1b" not in text
        assert "\x07" not in text
        assert "�[31mred�[bold]x[/bold]" in text


def test_an_error_of_the_database_is_shown_and_passes(
    some: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    answers: list[Any] = [OperationalError("server closed\x1b"), top.take()]

    def take() -> top.Snapshot:
        answer = answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer  # type: ignore[no-any-return]

    monkeypatch.setattr(top, "take", take)
    # The test's transaction is on this connection.
    monkeypatch.setattr(dbos_top, "connections", {get_settings().database: _Connection()})

    first, second = dbos_top._look(), dbos_top._look()

    assert first == "The database doesn't answer, trying again: server closed�"
    assert isinstance(second, top.Snapshot)


class _Connection:
    def close(self) -> None:
        """Stay open."""


def test_without_rich_the_error_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dbos_top, "find_spec", lambda name: None)

    with pytest.raises(CommandError, match=r"pip install \"django-durable-workflows\[top\]\""):
        run()
    assert run("--once").startswith("workflows")


@pytest.mark.parametrize("text", ["0", "-1", "soon", "nan", "inf", "1e9"])
def test_an_impossible_interval_is_refused(text: str) -> None:
    with pytest.raises(CommandError, match="must be a number of seconds from"):
        run(f"--interval={text}")


def test_an_unknown_database_is_refused() -> None:
    with pytest.raises(CommandError, match="nowhere"):
        run("--once", "--database", "nowhere")
