"""manage.py dbos_schedules: its answers as text and JSON, its actions and its exit codes."""

from __future__ import annotations

import io
import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.conf import settings as django_settings
from django.core.management import CommandError, call_command

import django_dbos as dbos
from django_dbos.models import Workflow
from tests.flow.scheduled import now, report, row, started

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("amid_an_hour")]


def run(*arguments: str) -> str:
    output = io.StringIO()
    call_command("dbos_schedules", *arguments, stdout=output)
    return output.getvalue()


def run_json(*arguments: str) -> Any:
    return json.loads(run(*arguments, "--format", "json"))


@pytest.fixture
def nightly() -> None:
    dbos.schedules.create("nightly", report, "0 3 * * *", timezone="Europe/Berlin")


def test_it_lists_and_shows(nightly: None) -> None:
    dbos.schedules.create("poll", report, every=60)

    lines = run("list").splitlines()
    assert [line.split()[0] for line in lines] == ["SCHEDULE", "nightly", "poll"]
    assert "every day at 03:00 (Europe/Berlin)" in lines[1]
    assert [found["name"] for found in run_json("list")] == ["nightly", "poll"]
    shown = run_json("show", "nightly")
    assert (shown["workflow_name"], shown["options"]["cron"]) == (report.name, "0 3 * * *")
    assert shown["next_at"] is not None
    assert "overlap: allow" in run("show", "nightly")


def test_it_lists_nothing() -> None:
    assert run("list").startswith("There are no schedules.")
    assert run_json("list") == []


def test_it_acts(nightly: None) -> None:
    assert "by anna: full disk" in run("pause", "nightly", "--reason", "full disk", "--by", "anna")
    assert row("nightly").is_paused
    run("resume", "nightly")
    assert not row("nightly").is_paused
    (workflow_id,) = run_json("trigger", "nightly")["started"]
    assert Workflow.objects.get(pk=workflow_id).schedule_name == "nightly"
    run("edit", "nightly", "--every", "3600", "--overlap", "skip", "--args", "[4]")
    assert row("nightly").description == "every hour"
    assert row("nightly").definition.overlap == "skip"
    run("edit", "nightly", "--start", "2026-03-01T01:00+01:00", "--end", "2099-03-01T00:00Z")
    assert row("nightly").definition.start == datetime(2026, 3, 1, tzinfo=UTC)
    assert row("nightly").definition.end == datetime(2099, 3, 1, tzinfo=UTC)
    run("edit", "nightly", "--start", "none", "--end", "none")
    assert (row("nightly").definition.start, row("nightly").definition.end) == (None, None)
    last = now()
    first, last = (last - timedelta(hours=2)).isoformat(), last.isoformat()
    assert len(run_json("backfill", "nightly", "--first", first, "--last", last)["started"]) == 2
    assert started("nightly")[0].input["args"] == [4]
    assert run("delete", "nightly") == ""
    assert run_json("list") == []


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("pause", "nigthly"), "Did you mean 'nightly'"),
        (("edit", "nightly"), "needs an option"),
        (("edit", "nightly", "--cron", "0 3 * * 9"), "the day of week field"),
        (("edit", "nightly", "--priority", "high"), "--priority must be a number, not 'high'"),
        (("edit", "nightly", "--kwargs", "day=1"), "--kwargs must be JSON, not 'day=1'"),
        (("edit", "nightly", "--timezone", "Mars/Base"), "isn't known"),
        (("edit", "nightly", "--end", "soon"), "--end must be a date and time with its zone"),
        (("edit", "nightly", "--end", "2026-13-01T00:00Z"), "not '2026-13-01T00:00Z'"),
        (("reset", "nightly"), "made at run time"),
        (("backfill", "nightly", "--first", "x", "--last", "y"), "--first must be a date"),
        pytest.param(
            ("backfill", "nightly", "--first", "2026-03-01", "--last", "2026-03-02"),
            "with its zone, like 2026-03-01T00:00Z",
            marks=pytest.mark.skipif(not django_settings.USE_TZ, reason="Local times are taken"),
        ),
        (("list", "--database", "missing"), "isn't in DATABASES"),
    ],
)
def test_errors_name_the_value_and_have_their_exit_code(
    nightly: None, arguments: tuple[str, ...], message: str
) -> None:
    with pytest.raises(CommandError, match=message) as caught:
        run(*arguments)
    # Only a name that there isn't is refused; the others can't be.
    assert caught.value.returncode == (1 if arguments[0] == "pause" else 2)
