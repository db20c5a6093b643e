"""Schedules at run time: starts, overlap, catch-up, pauses, edits, on the database."""

from __future__ import annotations

import logging
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any

import pytest
from asgiref.sync import sync_to_async
from django.db import transaction
from django.utils import timezone

import django_dbos as dbos
from django_dbos.core import registry, zones
from django_dbos.core.cron import CronsimMissing
from django_dbos.core.schedules import GRACE
from django_dbos.executor import Executor
from django_dbos.models import Schedule, Workflow
from django_dbos.store import get_store
from django_dbos.testing import run_until_idle
from tests.flow.scheduled import (
    HOUR,
    areport,
    declared,
    failing,
    held,
    let_pass,
    make_due,
    needy,
    now,
    report,
    row,
    set_row,
    start_due,
    started,
    utc,
)
from tests.waiting import LIMIT, eventually

pytestmark = [
    pytest.mark.django_db(transaction=True, databases=["default", "other"]),
    pytest.mark.usefixtures("amid_an_hour"),
]


def hourly(name: str = "hourly", workflow: Any = report, **options: Any) -> None:
    dbos.schedules.create(name, workflow, every=HOUR, **options)


# Starts


@pytest.mark.parametrize("workflow", [report, areport])
def test_a_due_instant_starts_one_workflow_that_sees_it(workflow: Any) -> None:
    hourly(workflow=workflow, priority=5, queue_name="reports")
    make_due("hourly")
    assert not start_due()
    assert not start_due()

    (found,) = started("hourly")
    instant = utc(found.scheduled_at)
    assert instant.timestamp() % 3_600 == 0
    assert found.workflow_id == f"hourly@{instant.isoformat().replace('+00:00', 'Z')}"
    assert (found.name, found.priority, found.queue_name) == (workflow.name, 5, "reports")
    run_until_idle()
    seen = found.handle.get_result(timeout=LIMIT)
    assert seen is not None
    assert utc(datetime.fromisoformat(seen)) == instant
    kept = row("hourly")
    assert (utc(kept.settled_at), utc(kept.last_at)) == (instant, instant)
    assert (utc(kept.next_at), kept.last_workflow_id) == (instant + HOUR, found.workflow_id)


def test_a_workflow_without_a_schedule_sees_no_instant() -> None:
    handle = report.start()
    run_until_idle()
    assert handle.get_result(timeout=LIMIT) is None


def test_the_arguments_are_stored_with_the_schedule() -> None:
    hourly(args=[7], kwargs={"title": "Q1"})
    make_due("hourly")
    start_due()
    assert started("hourly")[0].input == {"args": [7], "kwargs": {"title": "Q1"}}


def test_nothing_starts_before_its_instant_or_twice() -> None:
    hourly()
    before = row("hourly")
    assert not start_due()
    assert started("hourly") == []
    assert row("hourly").next_at == before.next_at


@pytest.mark.rule(66)
def test_start_and_advance_are_one_transaction(monkeypatch: pytest.MonkeyPatch) -> None:
    hourly()
    make_due("hourly")
    store = get_store()

    def die(*args: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(store, "update_schedules", die)
    with pytest.raises(KeyboardInterrupt):
        start_due()
    assert started("hourly") == []
    monkeypatch.undo()
    start_due()
    assert len(started("hourly")) == 1


@pytest.mark.rule(66)
def test_an_instant_whose_row_was_turned_back_starts_no_second_workflow() -> None:
    """The id of the workflow is the second line of defence, after the row's own instant."""
    hourly()
    make_due("hourly")
    start_due()
    (first,) = started("hourly")
    make_due("hourly")
    start_due()
    assert started("hourly") == [first]
    assert utc(row("hourly").next_at) == utc(first.scheduled_at) + HOUR


@pytest.mark.rule(67)
def test_a_clock_that_was_ahead_starts_nothing_again() -> None:
    """While the clock was a day ahead, the instants of that day were started."""
    hourly()
    let_pass("hourly", -timedelta(days=1))
    settled = utc(row("hourly").settled_at)
    start_due()
    assert dbos.schedules.pause("hourly")
    assert dbos.schedules.resume("hourly")
    dbos.schedules.edit("hourly", every=60)
    with Executor():
        start_due()
    assert started("hourly") == []
    assert utc(row("hourly").settled_at) == settled
    assert utc(row("hourly").next_at) > settled


def test_jitter_delays_the_workflow_and_not_its_instant() -> None:
    hourly(jitter=1_800, catch_up="all")
    make_due("hourly", 3)
    start_due()
    found = started("hourly")
    assert len(found) == 3
    assert all(utc(one.scheduled_at).minute == 0 for one in found)
    # The instants of hours ago have had their delay.
    assert {one.status for one in found[:2]} == {"ENQUEUED"}


def test_a_schedule_ends() -> None:
    dbos.schedules.create("short", report, every=HOUR, end=now() + timedelta(minutes=90))
    let_pass("short", HOUR)
    ends = now() - timedelta(seconds=1)
    dbos.schedules.edit("short", end=ends)
    start_due()
    assert row("short").next_at is None
    assert started("short") == []


# Catch-up


def test_of_missed_instants_the_latest_starts(caplog: pytest.LogCaptureFixture) -> None:
    hourly()
    make_due("hourly", 6)
    start_due()
    assert len(started("hourly")) == 1
    assert utc(row("hourly").next_at) > now()
    assert "has missed instants" in caplog.text


def test_all_missed_instants_start() -> None:
    hourly(catch_up="all")
    make_due("hourly", 250)
    rounds = 1
    while start_due():
        rounds += 1
    instants = [utc(one.scheduled_at) for one in started("hourly")]
    assert len(instants) == 250
    assert {later - sooner for sooner, later in pairwise(instants)} == {HOUR}
    assert rounds == 3


def test_without_catch_up_missed_instants_are_gone() -> None:
    hourly(catch_up="none")
    make_due("hourly", 6)
    last = utc(row("hourly").next_at) + 5 * HOUR
    before = now()
    start_due()
    is_late = {before - last >= GRACE, now() - last >= GRACE}
    assert (len(started("hourly")) == 0) in is_late
    assert utc(row("hourly").next_at) == last + HOUR


# Overlap


def make_busy(overlap: str) -> Any:
    """Start a workflow of an hourly schedule that goes on; make the next instant due."""
    hourly(workflow=held, overlap=overlap)
    make_due("hourly")
    start_due()
    (first,) = started("hourly")
    set_row_back("hourly")
    return first


def set_row_back(name: str) -> None:
    """Make one further instant due: turn the workflows of the schedule back with its row."""
    for one in started(name):
        instant = utc(one.scheduled_at) - HOUR
        shown = instant if timezone.is_aware(one.scheduled_at) else timezone.make_naive(instant)
        _WORKFLOWS.filter(pk=one.pk).update(
            scheduled_at=shown, workflow_id=f"{name}@earlier-{instant.isoformat()}"
        )
    make_due(name)


class _Rows:
    def filter(self, **conditions: Any) -> Any:
        from django.db.models import QuerySet

        return QuerySet(Workflow).filter(**conditions)


_WORKFLOWS = _Rows()


def test_an_instant_is_skipped_while_a_workflow_is_active(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO, "django_dbos.executor")
    make_busy("skip")
    start_due()
    assert len(started("hourly")) == 1
    assert "skips" in caplog.text
    dbos.schedules.get("hourly")
    (first,) = started("hourly")
    first.handle.cancel()
    set_row_back("hourly")
    start_due()
    assert len(started("hourly")) == 2


@pytest.mark.rule(68)
def test_one_instant_waits_for_the_active_workflow_to_end() -> None:
    make_busy("queue")
    start_due()
    first, second = started("hourly")
    assert (second.status, second.wake_workflow_id) == ("WAITING", first.workflow_id)
    set_row_back("hourly")
    start_due()
    # A third one would wait for the second.
    assert len(started("hourly")) == 2
    first, second = started("hourly")
    assert second.handle.get_status() == "WAITING"


@pytest.mark.rule(68)
def test_the_queued_workflow_runs_as_soon_as_the_active_one_ends(worker: Executor) -> None:
    hourly(workflow=held, overlap="queue")
    first = dbos.schedules.trigger("hourly")
    make_due("hourly")
    eventually(lambda: len(started("hourly")) == 2)
    (second,) = [one for one in started("hourly") if one.workflow_id != first.workflow_id]
    assert second.handle.get_status() == "WAITING"
    first.send("done", "go")
    assert first.get_result(timeout=LIMIT) == "done"
    second.handle.send("too", "go")
    assert second.handle.get_result(timeout=LIMIT) == "too"


@pytest.mark.rule(68)
def test_a_workflow_that_ends_during_the_transaction_leaves_none_waiting(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    hourly(workflow=report, overlap="queue")
    first = dbos.schedules.trigger("hourly")
    make_due("hourly")
    store = get_store()
    find = store.find_scheduled

    def find_and_end(*args: Any) -> Any:
        found = find(*args)
        run_until_idle()
        return found

    if store.vendor == "sqlite":
        pytest.skip("SQLite has one writer: nothing ends during the transaction.")
    monkeypatch.setattr(store, "find_scheduled", find_and_end)
    start_due()
    (second,) = [one for one in started("hourly") if one.workflow_id != first.workflow_id]
    assert second.status in ("ENQUEUED", "SUCCESS")


def test_a_workflow_is_cancelled_for_the_next_instant() -> None:
    first = make_busy("cancel")
    start_due()
    first, second = started("hourly")
    assert (first.status, second.status) == ("CANCELLED", "ENQUEUED")


# Failures


def test_failures_in_a_row_pause_and_are_counted_anew_after_a_resume(
    caplog: pytest.LogCaptureFixture,
) -> None:
    hourly(workflow=failing, pause_after_failures=2, catch_up="all")
    make_due("hourly", 2)
    start_due()
    assert len(started("hourly")) == 2
    run_until_idle()
    set_row_back("hourly")
    start_due()

    paused = row("hourly")
    assert (len(started("hourly")), paused.next_at) == (2, None)
    assert paused.is_paused
    assert "2 failures in a row" in paused.paused_reason
    assert "is paused: '2 failures in a row" in caplog.text
    assert dbos.schedules.resume("hourly")
    make_due("hourly")
    start_due()
    assert not row("hourly").is_paused


def test_a_new_schedule_does_not_count_the_failures_of_a_deleted_one() -> None:
    hourly(workflow=failing, pause_after_failures=1)
    dbos.schedules.trigger("hourly")
    run_until_idle()
    dbos.schedules.delete("hourly")

    hourly(pause_after_failures=1)
    make_due("hourly")
    start_due()

    assert not row("hourly").is_paused
    assert len(started("hourly")) == 2


def test_a_success_ends_the_count_of_failures() -> None:
    hourly(pause_after_failures=1)
    make_due("hourly")
    start_due()
    run_until_idle()
    set_row_back("hourly")
    start_due()
    assert len(started("hourly")) == 2


# API


def test_a_schedule_is_created_read_and_listed() -> None:
    dbos.schedules.create("b", report, "0 3 * * *", timezone="Europe/Berlin", args=[1])
    dbos.schedules.create("a", report.name, every=timedelta(seconds=90))

    assert [found.name for found in dbos.schedules.list()] == ["a", "b"]
    found = dbos.schedules.get("b")
    assert found.description == "every day at 03:00 (Europe/Berlin)"
    assert (found.workflow_name, found.declared) == (report.name, None)
    assert found.options["timezone"] == "Europe/Berlin"
    assert found.definition.queue_name == "default"
    assert found.tzdata == zones.data_version()
    local = utc(found.next_at).astimezone(zones.find("Europe/Berlin"))
    assert (local.hour, local.minute) == (3, 0)
    assert dbos.schedules.get("a").tzdata == ""


def test_a_taken_name_is_rejected_replaced_or_left() -> None:
    hourly()
    with pytest.raises(dbos.ScheduleExists, match="hourly"):
        hourly()
    hourly(on_existing="return", priority=9)
    assert row("hourly").definition.priority == 0
    hourly(on_existing="replace", priority=9)
    assert row("hourly").definition.priority == 9
    with pytest.raises(ValueError, match="on_existing"):
        hourly(on_existing="update")


def test_a_schedule_that_is_there_already_may_have_ended() -> None:
    end = now() - HOUR
    hourly(end=now() + HOUR)

    hourly(on_existing="return", end=end)

    with pytest.raises(ValueError, match="which has passed"):
        hourly(on_existing="replace", end=end)
    assert row("hourly").next_at is not None


def test_a_creation_is_part_of_the_caller_s_transaction() -> None:
    with transaction.atomic():
        hourly()
        transaction.set_rollback(True)
    assert dbos.schedules.list() == []


def test_pause_resume_and_trigger() -> None:
    hourly()
    assert dbos.schedules.pause("hourly", "migration", by="anna")
    assert not dbos.schedules.pause("hourly")
    paused = row("hourly")
    assert (paused.paused_by, paused.paused_reason, paused.next_at) == ("anna", "migration", None)

    handle = dbos.schedules.trigger("hourly")
    run_until_idle()
    assert handle.get_result(timeout=LIMIT) is not None
    (found,) = started("hourly")
    assert abs(utc(found.scheduled_at) - now()) < timedelta(minutes=1)

    assert dbos.schedules.resume("hourly")
    assert not dbos.schedules.resume("hourly")
    assert utc(row("hourly").next_at) > now()


def test_a_pause_isn_t_caught_up() -> None:
    hourly(catch_up="all")
    dbos.schedules.pause("hourly")
    make_due("hourly", 5)
    start_due()
    dbos.schedules.resume("hourly")
    start_due()
    assert started("hourly") == []


@pytest.mark.rule(66)
def test_a_backfill_starts_each_past_instant_once() -> None:
    hourly()
    last = now()
    first = last - 3 * HOUR
    handles = dbos.schedules.backfill("hourly", first, last)
    assert len(handles) == 3
    assert [one.workflow_id for one in started("hourly")] == [h.workflow_id for h in handles]
    assert dbos.schedules.backfill("hourly", first, last) == []
    # What was backfilled isn't started by the schedule, either.
    make_due("hourly", 2)
    start_due()
    assert len(started("hourly")) == 3


def test_a_backfill_is_bounded_and_lies_in_the_past() -> None:
    dbos.schedules.create("seconds", report, every=1)
    last = now()
    with pytest.raises(ValueError, match="more than 10,000"):
        dbos.schedules.backfill("seconds", last - timedelta(days=1), last)
    with pytest.raises(ValueError, match="later than now"):
        dbos.schedules.backfill("seconds", last, last + HOUR)
    with pytest.raises(ValueError, match="earlier than first"):
        dbos.schedules.backfill("seconds", last, last - HOUR)
    with pytest.raises(TypeError, match="datetime"):
        dbos.schedules.backfill("seconds", "yesterday", last)  # type: ignore[arg-type]
    assert started("seconds") == []


def test_edits_win_until_they_are_reset() -> None:
    with declared("nightly", report, every=HOUR, priority=3):
        with Executor():
            pass
        dbos.schedules.edit("nightly", cron="0 3 * * *", priority=9)
        with Executor():
            pass
        edited = row("nightly")
        assert (edited.definition.cron, edited.definition.every) == ("0 3 * * *", None)
        assert (edited.definition.priority, edited.is_edited) == (9, True)
        assert edited.declared["priority"] == 3
        assert dbos.schedules.reset("nightly")
        assert not dbos.schedules.reset("nightly")
        assert row("nightly").definition.every == 3_600.0


def test_a_schedule_of_run_time_is_deleted_and_not_reset() -> None:
    hourly()
    with pytest.raises(ValueError, match="made at run time"):
        dbos.schedules.reset("hourly")
    dbos.schedules.delete("hourly")
    with pytest.raises(dbos.ScheduleDoesNotExist, match="hourly"):
        dbos.schedules.delete("hourly")


def test_an_unknown_name_is_named_with_a_suggestion() -> None:
    hourly()
    for call in (
        lambda: dbos.schedules.get("hourli"),
        lambda: dbos.schedules.pause("hourli"),
        lambda: dbos.schedules.trigger("hourli"),
        lambda: dbos.schedules.edit("hourli", priority=1),
    ):
        with pytest.raises(dbos.ScheduleDoesNotExist, match="Did you mean 'hourly'"):
            call()


@pytest.mark.asyncio
async def test_the_async_twins(async_db: None) -> None:
    await dbos.schedules.acreate("hourly", report, every=HOUR)
    assert (await dbos.schedules.aget("hourly")).name == "hourly"
    assert len(await dbos.schedules.alist()) == 1
    assert await dbos.schedules.apause("hourly", "x", by="y")
    assert await dbos.schedules.aresume("hourly")
    await dbos.schedules.aedit("hourly", priority=2)
    assert (await dbos.schedules.atrigger("hourly")).workflow_id
    last = await sync_to_async(now)()
    assert len(await dbos.schedules.abackfill("hourly", last - 2 * HOUR, last)) == 2
    with pytest.raises(ValueError, match="run time"):
        await dbos.schedules.areset("hourly")
    await dbos.schedules.adelete("hourly")


def test_workflow_code_may_change_schedules_and_its_calls_are_recorded() -> None:
    handle = manages.start()
    run_until_idle()
    assert handle.get_result(timeout=LIMIT) is True
    names = [step.step_name for step in handle.steps()]
    assert names == [
        "dbos.schedules.create",
        "dbos.schedules.pause",
        "dbos.schedules.resume",
        "dbos.schedules.trigger",
    ]


@dbos.workflow
def manages() -> bool:
    dbos.schedules.create("made", report, every=HOUR)
    was_active = dbos.schedules.pause("made")
    dbos.schedules.resume("made")
    dbos.schedules.trigger("made")
    with pytest.raises(dbos.DbosError, match="can't be recorded"):
        dbos.schedules.get("made")
    return was_active


# Bad input


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({}, ValueError, "either cron or every"),
        ({"cron": "0 3 * * *", "every": 60}, ValueError, "either cron or every"),
        ({"cron": "0 25 * * *"}, ValueError, "the hour field, '25'"),
        ({"cron": "0 0 3 * * *"}, ValueError, "Seconds aren't taken"),
        ({"cron": "0 3 * * *", "timezone": "Europe/Berlim"}, ValueError, "'Europe/Berlin'"),
        ({"every": 60, "timezone": "UTC"}, ValueError, "every or timezone='UTC', not both"),
        ({"every": 60, "queue_name": "imports"}, ValueError, "needs a partition key"),
        ({"every": 0.5}, ValueError, "at least 1 s"),
        ({"every": True}, TypeError, "every must be seconds"),
        ({"every": 60, "jitter": 60}, ValueError, "less than its period"),
        ({"every": 60, "overlap": "skp"}, ValueError, "Did you mean 'skip'"),
        ({"every": 60, "catch_up": "last"}, ValueError, "'none', 'latest', 'all'"),
        ({"every": 60, "catch_up_window": 5}, ValueError, "at least 60 s"),
        ({"every": 60, "pause_after_failures": 0}, ValueError, "from 1 to 1,000"),
        ({"every": 60, "priority": 101}, ValueError, "from -100 to 100"),
        ({"every": 60, "args": [1, 2, 3]}, TypeError, "don't fit"),
        ({"every": 60, "args": "abc"}, TypeError, "list or tuple"),
        ({"every": 60, "kwargs": {"titel": ""}}, TypeError, "titel"),
        ({"every": 60, "start": "today"}, TypeError, "start must be a datetime"),
        ({"every": 60, "overlapp": "skip"}, TypeError, "Did you mean 'overlap'"),
        (
            {
                "every": 60,
                "start": datetime(2026, 2, 1, tzinfo=UTC),
                "end": datetime(2026, 1, 1, tzinfo=UTC),
            },
            ValueError,
            "before it starts",
        ),
        (
            {"every": 60, "end": datetime(2026, 1, 1, tzinfo=UTC)},
            ValueError,
            r"'bad' ends at 2026-01-01T00:00:00\+00:00, which has passed",
        ),
        (
            {"every": 60, "catch_up": "none", "catch_up_window": 300},
            ValueError,
            "catch_up='none' and a catch_up_window of 300 s",
        ),
    ],
)
def test_bad_options_are_refused_and_leave_nothing_behind(
    options: Any, error: type[Exception], message: str, settings: Any
) -> None:
    settings.DBOS = {**settings.DBOS, "QUEUES": {"imports": {"partition_rate_limit": "1/m"}}}
    with pytest.raises(error, match=message):
        dbos.schedules.create("bad", report, **options)
    assert not Schedule.objects.exists()


def test_other_bad_input_is_refused() -> None:
    with pytest.raises(TypeError, match=r"needy\(\): missing a required argument: 'number'"):
        dbos.schedules.create("bad", needy, every=60)
    with pytest.raises(dbos.UnknownWorkflow, match="Did you mean"):
        dbos.schedules.create("bad", report.name + "s", every=60)
    for other in (len, None, dbos.step(len)):
        with pytest.raises(TypeError, match="'bad' needs a function decorated with @workflow"):
            dbos.schedules.create("bad", other, every=60)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="200 characters"):
        dbos.schedules.create("b" * 201, report, every=60)
    hourly()
    with pytest.raises(ValueError, match="hour field"):
        dbos.schedules.edit("hourly", cron="0 99 * * *")
    with pytest.raises(TypeError, match="no option 'workflow'"):
        dbos.schedules.edit("hourly", workflow="other")  # type: ignore[call-arg]
    assert row("hourly").definition.every == 3_600.0


def test_the_decorator_refuses_what_create_refuses() -> None:
    with pytest.raises(TypeError, match="@schedule needs its times, such as"):
        dbos.schedule(report)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="goes above @workflow"):
        dbos.schedule("0 3 * * *")(lambda: None)  # type: ignore[type-var]
    with pytest.raises(TypeError, match="missing a required argument"):
        dbos.schedule("0 3 * * *")(needy)
    with pytest.raises(ValueError, match="the minute field"):
        dbos.schedule("99 3 * * *")(report)
    with pytest.raises(ValueError, match="either cron or every"):
        dbos.schedule()(report)
    with declared("same", report, every=60), pytest.raises(ValueError, match="Two schedules"):
        dbos.schedule(every=60, name="same")(failing)
    assert registry.schedules == {}


def test_cron_without_cronsim_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "cronsim", None)
    with pytest.raises(CronsimMissing, match=r"django-durable-workflows\[schedules\]"):
        dbos.schedules.create("c", report, "0 3 * * *")
    hourly()
    # The module of a decorated workflow can be imported all the same.
    with declared("c", report, cron="0 3 * * *"), Executor():
        assert [one.name for one in dbos.schedules.list()] == ["hourly"]


# Declared schedules


def test_a_worker_writes_what_is_declared_and_changes_what_differs() -> None:
    with declared("nightly", report, cron="0 3 * * *", timezone="Europe/Berlin"), Executor():
        first = row("nightly")
        assert (first.declared["cron"], first.edited) == ("0 3 * * *", None)
    with declared("nightly", report, cron="0 4 * * *", timezone="Europe/Berlin"), Executor():
        changed = row("nightly")
        assert changed.definition.cron == "0 4 * * *"
        assert changed.next_at != first.next_at


def test_a_schedule_that_is_declared_no_longer_is_paused_until_it_is_again() -> None:
    is_refused = pytest.raises(dbos.ScheduleIsDeclared, match="nightly")
    with declared("nightly", report, every=HOUR), Executor(), is_refused:
        dbos.schedules.delete("nightly")
    with Executor():
        assert row("nightly").paused_reason == "no longer declared"
    with declared("nightly", report, every=HOUR), Executor():
        assert not row("nightly").is_paused
    with Executor():
        dbos.schedules.delete("nightly")


def test_a_schedule_of_another_code_base_is_left_alone() -> None:
    with declared("nightly", report, every=HOUR), Executor():
        pass
    set_row("nightly", workflow_name="elsewhere.report")
    with Executor():
        assert not row("nightly").is_paused


def test_the_settings_declare_schedules(settings: Any) -> None:
    settings.DBOS = {
        **settings.DBOS,
        "SCHEDULES": {"nightly": {"workflow": report.name, "cron": "@daily", "args": [4]}},
    }
    with Executor():
        found = row("nightly")
    assert found.declared["cron"] == "0 0 * * *"
    assert found.definition.timezone == settings.TIME_ZONE


def test_a_mistake_in_one_declaration_keeps_no_worker_down(
    settings: Any, caplog: pytest.LogCaptureFixture
) -> None:
    settings.DBOS = {
        **settings.DBOS,
        "SCHEDULES": {
            "bad": {"workflow": "shop.reprot", "every": 60},
            "good": {"workflow": report.name, "every": 60},
        },
    }
    with Executor():
        assert [one.name for one in dbos.schedules.list()] == ["good"]
    assert "Schedule 'bad' is declared with a mistake" in caplog.text


# Time-zone data


@pytest.fixture
def data(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Set the version of the time-zone data that this host has."""

    def set_version(version: str) -> None:
        monkeypatch.setattr(zones, "data_version", lambda: version)

    return set_version


@pytest.mark.rule(69)
def test_newer_time_zone_data_plans_again_and_older_data_doesn_t(
    data: Callable[[str], None], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "django_dbos.executor")
    data("2026c")
    dbos.schedules.create("nightly", report, "0 3 * * *", timezone="Europe/Berlin")
    right = row("nightly").next_at
    wrong = right + HOUR
    # As planned by an older version of the rules.
    set_row("nightly", next_at=wrong, tzdata="2025b")
    with Executor():
        assert (row("nightly").next_at, row("nightly").tzdata) == (right, "2026c")
    assert "Schedules: 1; time-zone data: '2026c'" in caplog.text
    set_row("nightly", next_at=wrong)
    data("2025b")
    with Executor():
        assert (row("nightly").next_at, row("nightly").tzdata) == (wrong, "2026c")
    assert "is older than that of other executors, '2026c'" in caplog.text


@pytest.mark.rule(69)
def test_an_executor_with_older_data_lets_others_go_first(data: Callable[[str], None]) -> None:
    data("2026c")
    dbos.schedules.create("minutely", report, "* * * * *", timezone="Europe/Berlin")
    data("2025b")
    shown = row("minutely").next_at
    store = get_store()
    just_due = now() - timedelta(seconds=1)
    late = now() - timedelta(seconds=30)
    for instant, expected in ((just_due, 0), (late, 1)):
        value = instant if timezone.is_aware(shown) else timezone.make_naive(instant)
        set_row("minutely", next_at=value, settled_at=value - timedelta(minutes=1))
        session = store.session()
        with session.transaction():
            found = store.lock_due_schedules(session, limit=9, tzdata="2025b", patience=5.0)
        assert len(found.schedules) == expected


def test_a_schedule_that_can_t_be_computed_here_is_left_to_others(
    caplog: pytest.LogCaptureFixture,
) -> None:
    hourly("good")
    hourly("bad")
    make_due("good")
    make_due("bad")
    set_row(
        "bad",
        edited={**row("bad").edited, "every": None, "cron": "0 3 * * *", "timezone": "No/Where"},
    )
    start_due()
    assert (len(started("good")), len(started("bad"))) == (1, 0)
    assert "Schedule 'bad' can't be computed by this executor" in caplog.text


def test_jitter_doesn_t_delay_what_is_triggered_or_backfilled() -> None:
    hourly(jitter=3_000)
    dbos.schedules.trigger("hourly")
    last = now()
    dbos.schedules.backfill("hourly", last - HOUR, last)
    assert {one.status for one in started("hourly")} == {"ENQUEUED"}


def test_a_declared_schedule_can_be_used_before_a_worker_has_started() -> None:
    with declared("nightly", report, every=HOUR, args=[3]):
        handle = dbos.schedules.trigger("nightly")
        assert dbos.schedules.pause("nightly", "until the deployment")
    run_until_idle()
    assert handle.get_result(timeout=LIMIT)
    assert (row("nightly").declared["every"], row("nightly").is_paused) == (3_600.0, True)
    with pytest.raises(dbos.ScheduleDoesNotExist):
        dbos.schedules.trigger("weekly")


def test_a_change_is_refused_where_only_another_database_has_a_transaction() -> None:
    with transaction.atomic(using="other"), pytest.raises(dbos.NotAllowedInAtomic):
        hourly()
    assert dbos.schedules.list() == []


def test_many_schedules_that_catch_up_share_a_transaction_of_bounded_size() -> None:
    for number in range(20):
        hourly(f"s{number:02}", catch_up="all")
        make_due(f"s{number:02}", 60)
    start_due()
    # 1,000 instants in all.
    assert {len(started(f"s{number:02}")) for number in range(20)} == {50}
    while start_due():
        pass
    assert {len(started(f"s{number:02}")) for number in range(20)} == {60}


def test_a_queue_that_limits_its_partitions_needs_a_key(settings: Any) -> None:
    settings.DBOS = {**settings.DBOS, "QUEUES": {"imports": {"partition_concurrency": 1}}}
    with pytest.raises(ValueError, match="needs a partition key"):
        hourly(queue_name="imports")
    hourly(queue_name="imports", partition_key="customer-7")
    dbos.schedules.trigger("hourly")
    assert started("hourly")[0].partition_key == "customer-7"
    with pytest.raises(ValueError, match="needs a partition key"):
        dbos.schedules.edit("hourly", partition_key=None)


def test_a_row_with_unreadable_options_fails_no_list_and_can_be_deleted() -> None:
    hourly("good")
    hourly("bad")
    set_row("bad", edited={"every": 60})
    assert [one.description.split()[0] for one in dbos.schedules.list()] == ["unreadable", "every"]
    with Executor():
        pass
    make_due("good")
    set_row("bad", next_at=row("good").next_at)
    start_due()
    assert len(started("good")) == 1
    dbos.schedules.delete("bad")
