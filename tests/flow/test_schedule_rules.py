"""The rules of schedules, which are pure: intervals, catch-up, overlap, pauses, descriptions."""

from __future__ import annotations

import random
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from django_dbos.core import schedules
from django_dbos.core.schedules import Definition, StoredSchedule, describe, plan, settle

NOON = datetime(2026, 5, 1, 12, tzinfo=UTC)
MINUTE, HOUR, DAY = timedelta(minutes=1), timedelta(hours=1), timedelta(days=1)


def definition(**options: Any) -> Definition:
    given = {"workflow": "tests.report", "input": "{}", "every": 3_600.0, **options}
    if given.get("cron"):
        given["every"] = None
    return Definition(**given)


def stored(settled_at: datetime = NOON, **options: Any) -> StoredSchedule:
    text = schedules.dumps(schedules.options_of(definition(**options)))
    return StoredSchedule(
        name="report",
        workflow_name="tests.report",
        declared=text,
        edited=None,
        settled_at=settled_at,
    ).planned()


# Intervals, start and end


def test_an_interval_lies_on_a_grid_that_all_workers_share() -> None:
    every = definition(every=7.0)
    first = every.next_after(NOON)
    assert first is not None
    assert (first.timestamp() % 7, first > NOON, first - NOON <= timedelta(seconds=7)) == (
        0,
        True,
        True,
    )
    assert every.next_after(first) == first + timedelta(seconds=7)
    assert every.next_after(first - timedelta(microseconds=1)) == first


def test_a_start_anchors_the_grid_and_is_itself_an_instant() -> None:
    start = NOON + timedelta(seconds=3)
    every = definition(every=60.0, start=start)
    assert every.next_after(NOON - DAY) == start
    assert every.next_after(start) == start + MINUTE
    assert definition(cron="0 13 * * *", start=NOON + HOUR).next_after(NOON - DAY) == NOON + HOUR


def test_nothing_comes_after_the_end() -> None:
    every = definition(end=NOON + HOUR)
    assert every.next_after(NOON) == NOON + HOUR
    assert every.next_after(NOON + HOUR) is None
    assert stored(NOON + HOUR, end=NOON + HOUR).next_at is None


# Catch-up


@pytest.mark.parametrize("window", [None, 86_400.0])
def test_the_latest_missed_instant_is_caught_up(window: float | None) -> None:
    now = NOON + 5 * HOUR + 10 * MINUTE
    settled = settle(definition(catch_up_window=window), NOON, now)
    assert [*settled.instants] == [NOON + 5 * HOUR]
    assert (settled.settled_at, settled.next_at) == (NOON + 5 * HOUR, NOON + 6 * HOUR)
    assert settled.first_missed == NOON + HOUR


def test_an_instant_outside_of_the_window_isn_t_caught_up() -> None:
    now = NOON + 5 * HOUR + 10 * MINUTE
    settled = settle(definition(catch_up_window=300.0), NOON, now)
    assert [*settled.instants] == []
    assert (settled.settled_at, settled.next_at) == (NOON + 5 * HOUR, NOON + 6 * HOUR)


def test_without_catch_up_an_instant_starts_that_is_late_by_less_than_a_minute() -> None:
    none = definition(catch_up="none")
    late = settle(none, NOON, NOON + HOUR + timedelta(seconds=59))
    assert [*late.instants] == [NOON + HOUR]
    missed = settle(none, NOON, NOON + HOUR + timedelta(seconds=61))
    assert ([*missed.instants], missed.first_missed) == ([], NOON + HOUR)
    assert missed.settled_at == NOON + HOUR


def test_all_missed_instants_are_caught_up_a_hundred_at_a_time() -> None:
    every, now = definition(every=60.0, catch_up="all"), NOON + 250 * MINUTE
    settled_at, found = NOON, []
    sizes = []
    while True:
        settled = settle(every, settled_at, now)
        if not settled.instants:
            break
        found += settled.instants
        sizes.append(len(settled.instants))
        settled_at = settled.settled_at
    assert sizes == [100, 100, 50]
    assert found == [NOON + number * MINUTE for number in range(1, 251)]


def test_a_window_limits_what_is_caught_up() -> None:
    every, now = definition(every=60.0, catch_up="all", catch_up_window=600.0), NOON + DAY
    settled = settle(every, NOON, now)
    assert len(settled.instants) == 10
    assert settled.first_missed == NOON + MINUTE


def test_the_latest_of_a_year_of_minutes_is_found_in_few_looks(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    looks = []
    next_after = Definition.next_after

    def counted(self: Definition, after: datetime) -> datetime | None:
        looks.append(after)
        return next_after(self, after)

    monkeypatch.setattr(Definition, "next_after", counted)
    now = NOON + 365 * DAY + timedelta(seconds=30)
    assert schedules.latest_between(definition(cron="* * * * *"), NOON, now) == NOON + 365 * DAY
    assert schedules.latest_between(definition(cron="0 0 1 1 *"), NOON, now) == datetime(
        2027, 1, 1, tzinfo=UTC
    )
    assert len(looks) < 40


def test_a_clock_that_was_set_back_starts_nothing_again() -> None:
    settled = settle(definition(), NOON + HOUR, NOON - 3 * DAY)
    assert ([*settled.instants], settled.next_at) == ([], NOON + 2 * HOUR)
    assert settled.settled_at == NOON + HOUR


# Overlap


@pytest.mark.parametrize(
    ("overlap", "active", "expected"),
    [
        ("allow", 9, "start"),
        ("skip", 0, "start"),
        ("skip", 1, "skip"),
        ("queue", 0, "start"),
        ("queue", 1, "wait"),
        ("queue", 2, "skip"),
        ("cancel", 0, "start"),
        ("cancel", 3, "replace"),
    ],
)
def test_the_overlap_rule(overlap: str, active: int, expected: str) -> None:
    assert schedules.admit(overlap, active) == expected


def test_one_instant_waits_for_the_active_workflow_and_later_ones_are_skipped() -> None:
    planned = plan(stored(overlap="queue", catch_up="all"), NOON + 3 * HOUR, active=["running"])
    assert [(start.instant, start.behind) for start in planned.starts] == [(NOON + HOUR, "running")]
    assert [*planned.skipped] == [NOON + 2 * HOUR, NOON + 3 * HOUR]
    assert planned.schedule.settled_at == NOON + 3 * HOUR


def test_of_several_instants_that_cancel_each_other_only_the_last_is_started() -> None:
    planned = plan(stored(overlap="cancel", catch_up="all"), NOON + 3 * HOUR, active=["running"])
    assert [start.instant for start in planned.starts] == [NOON + 3 * HOUR]
    assert [*planned.cancelled] == ["running"]


# Failures


@pytest.mark.parametrize(
    ("ends", "is_paused"),
    [
        (["ERROR", "ERROR"], False),
        (["ERROR", "ERROR", "SUCCESS"], False),
        (["ERROR", "MAX_RECOVERY_ATTEMPTS_EXCEEDED", "ERROR"], True),
    ],
)
def test_failures_in_a_row_pause(ends: list[str], is_paused: bool) -> None:
    planned = plan(
        stored(pause_after_failures=3),
        NOON + HOUR,
        ends=[(f"w{number}", status) for number, status in enumerate(ends)],
    )
    assert (planned.pause_reason is not None) is is_paused
    assert bool(planned.starts) is not is_paused
    if is_paused:
        assert planned.schedule.next_at is None
        assert planned.schedule.paused_reason == "3 failures in a row, the last of them w0"


# Rows


def test_a_row_survives_its_json() -> None:
    every = definition(start=NOON, end=NOON + DAY, timezone="Europe/Berlin", jitter=2.5)
    options = schedules.options_of(every)
    assert schedules.of_stored(None, schedules._loads(schedules.dumps(options))) == every


def test_other_times_count_from_now_on_and_other_options_leave_the_past_open() -> None:
    row, later = stored(), NOON + 10 * HOUR
    other = row.redefined(later, edited=schedules.dumps({"every": 60.0}))
    assert (other.settled_at, other.next_at) == (later, later + MINUTE)
    same = row.redefined(later, edited=schedules.dumps({"priority": 5}))
    assert (same.settled_at, same.next_at) == (NOON, NOON + HOUR)


def test_a_pause_is_not_caught_up() -> None:
    row = stored().paused(NOON, "anna", "migration")
    assert row.next_at is None
    resumed = row.resumed(NOON + 10 * HOUR + MINUTE)
    assert (resumed.next_at, resumed.paused_at) == (NOON + 11 * HOUR, None)
    # The clock was set back in the meantime: what was decided stays decided.
    assert row.resumed(NOON - DAY).next_at == NOON + HOUR


def test_ids_are_those_of_the_instant_in_utc() -> None:
    assert schedules.workflow_id("report", NOON) == "report@2026-05-01T12:00:00Z"
    assert schedules.workflow_id("r", NOON + timedelta(microseconds=1)).endswith(".000001Z")


def test_jitter_is_the_same_for_every_worker_and_within_its_bounds() -> None:
    jittery = definition(jitter=60.0)
    found = {schedules.jittered(jittery, "report", NOON + number * HOUR) for number in range(50)}
    delays = [schedules.jittered(jittery, "report", NOON + number * HOUR) for number in range(50)]
    assert found == set(delays)
    shares = [at - (NOON + number * HOUR) for number, at in enumerate(delays) if at is not None]
    assert all(timedelta(0) <= share < MINUTE for share in shares)
    assert len(set(shares)) > 40
    assert schedules.jittered(definition(), "report", NOON) is None


# Descriptions


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"every": 1.0}, "every second"),
        ({"every": 90.0}, "every 90 seconds"),
        ({"every": 7_200.0}, "every 2 hours"),
        ({"every": 86_400.0}, "every day"),
        ({"cron": "0 3 * * *", "timezone": "Europe/Berlin"}, "every day at 03:00 (Europe/Berlin)"),
        ({"cron": "* * * * *"}, "every minute (UTC)"),
        ({"cron": "*/15 * * * *"}, "every 15 minutes (UTC)"),
        ({"cron": "*/40 * * * *"}, "*/40 * * * * (UTC)"),
        ({"cron": "0 * * * *"}, "every hour (UTC)"),
        ({"cron": "5 * * * *"}, "every hour at minute 5 (UTC)"),
        ({"cron": "30 9 * * 1"}, "every Monday at 09:30 (UTC)"),
        ({"cron": "0 0 1 * *"}, "on day 1 of the month at 00:00 (UTC)"),
        ({"cron": "0 0 1 JAN *"}, "0 0 1 JAN * (UTC)"),
        ({"cron": "0 0 13 * 5"}, "0 0 13 * 5 (UTC)"),
    ],
)
def test_a_description_is_plain_or_the_expression_itself(options: Any, words: str) -> None:
    assert describe(definition(**options)) == words


# Clocks

# Seconds by which a clock moves between two events, now and then backwards.
STEPS = (-3_600, -600, -1, 1, 5, 20, 30, 40, 60, 60, 90, 120, 300, 600, 1_200, 7_200)


@pytest.mark.parametrize("catch_up", ["none", "latest", "all"])
@pytest.mark.parametrize("options", [{"every": 30.0}, {"cron": "*/2 * * * *"}], ids=str)
def test_whatever_the_clock_does_no_instant_starts_twice(catch_up: str, options: Any) -> None:
    """Passes, edits, pauses, resumes and restarts under a clock that is set to and fro."""
    chance = random.Random(f"{catch_up}{options}")
    row, clock = stored(catch_up=catch_up, **options), NOON
    started: list[datetime] = []
    for _ in range(400):
        clock += timedelta(seconds=chance.choice(STEPS))
        match chance.randrange(8):
            case 0:
                row = row.paused(clock, "", "") if row.paused_at is None else row.resumed(clock)
            case 1:
                row = row.planned()
            case 2:
                edited = schedules.dumps({"priority": chance.randrange(9)})
                row = row.redefined(clock, edited=edited)
        if row.next_at is None or row.next_at > clock:
            continue
        planned = plan(row, clock)
        started += [start.instant for start in planned.starts]
        row = planned.schedule
    assert len(started) > 20
    assert started == sorted(set(started))
