"""Attendance: silence counts only while heartbeats could have been seen."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from django.db import connection

from django_dbos.executor import Executor
from django_dbos.executor.duties.attendance import RETURN, Attendance
from django_dbos.models import Executor as ExecutorRow
from tests.executor import workflows
from tests.executors import StoppedClock, claim_for, register_dead
from tests.waiting import LIMIT

INTERVAL = 2.5


@pytest.fixture
def clock() -> StoppedClock:
    return StoppedClock()


def beat(clock: StoppedClock, own: Attendance, seconds: float) -> None:
    """Send heartbeats on time for a number of seconds."""
    until = clock.now + seconds
    while clock.now < until:
        clock.now = min(clock.now + INTERVAL, until)
        own.note_beat()


@pytest.mark.rule(4)
def test_a_fresh_executor_has_seen_no_heartbeats(clock: StoppedClock) -> None:
    own = Attendance(INTERVAL, clock)
    own.begin()

    assert own.on_time(3_600) == own.settled(3_600) == 0
    beat(clock, own, 20)
    assert own.on_time(3_600) == own.settled(3_600) == 20
    assert own.on_time(5) == 5


def test_the_clock_may_start_at_zero(clock: StoppedClock) -> None:
    """On Linux it starts with the machine, and a worker that started right then crashed."""
    clock.now = 0.5
    own = Attendance(INTERVAL, clock)
    own.begin()

    beat(clock, own, 20)
    assert own.on_time(3_600) == 20


@pytest.mark.rule(4)
def test_an_outage_does_not_count_as_silence(clock: StoppedClock) -> None:
    own = Attendance(INTERVAL, clock)
    own.begin()
    beat(clock, own, 60)

    own.note_failure()
    clock.now += 300
    own.note_beat()

    # For an executor whose last heartbeat was 2 s before the outage.
    assert own.on_time(302) == own.settled(302) == 2
    beat(clock, own, 18)
    assert own.on_time(320) == 20
    assert own.settled(320) == 20 - RETURN


@pytest.mark.rule(4)
def test_short_interruptions_do_not_reset_attendance(clock: StoppedClock) -> None:
    own = Attendance(INTERVAL, clock)
    own.begin()
    beat(clock, own, 60)
    died_at = clock.now

    for _ in range(5):
        beat(clock, own, 5)
        own.note_failure()
        clock.now += 1
        own.note_beat()

    age = clock.now - died_at
    # A lease of 20 s has passed, and the lock was seen free for long enough.
    assert own.on_time(age) == age
    assert 5 <= own.settled(age) <= age - 4 * RETURN


@pytest.mark.rule(4)
def test_a_late_heartbeat_of_its_own_is_no_evidence_about_others(clock: StoppedClock) -> None:
    own = Attendance(INTERVAL, clock)
    own.begin()
    beat(clock, own, 10)

    clock.now += 15
    own.note_beat()

    assert own.on_time(3_600) == 10
    beat(clock, own, 5)
    assert own.on_time(3_600) == 15
    assert own.settled(3_600) == 15 - RETURN


@pytest.mark.rule(4)
def test_heartbeats_in_the_table_are_evidence_too(clock: StoppedClock) -> None:
    """Workers are killed every few seconds, but each has sent heartbeats."""
    own = Attendance(INTERVAL, clock)

    own.begin([100.0, 20.0, 18.0, 16.5, 12.0, 8.0, 7.0, 4.0, 2.0])

    assert own.on_time(30) == 20
    # Its own attendance begins now, since there may have been an outage before.
    assert own.settled(30) == 18 - RETURN
    assert own.on_time(10) == 10


@pytest.mark.rule(4)
def test_a_single_heartbeat_of_another_executor_is_no_evidence(clock: StoppedClock) -> None:
    """It may be one of the first after an outage."""
    own = Attendance(INTERVAL, clock)

    own.begin([300.0, 0.5])

    assert own.on_time(300) == 0.5
    assert own.settled(300) == 0


@pytest.mark.rule(4)
@pytest.mark.django_db(transaction=True, databases=["default", "other"])
def test_workers_that_are_killed_before_they_can_judge_leave_evidence(
    start_executor: Callable[..., Executor], settings: Any
) -> None:
    settings.DBOS = {**settings.DBOS, "HEARTBEAT_INTERVAL": 0.2, "LEASE": 3_600.0}
    handle = workflows.counts.start(3)
    dead = register_dead(has_lock=False)
    claim_for(dead, handle.workflow_id)
    # Its lease is long over, and the others' rows show that its heartbeats would have been seen.
    others = [register_dead(has_lock=False) for _ in range(3)]
    _age(dead, 7_300.0)
    _set_lease(dead, 1.0)
    for position, one in enumerate(others):
        _age(one, 6_000.0 - 2_990.0 * position)

    # With heartbeats an hour apart, a fresh process needs no attendance of its own.
    settings.DBOS = {**settings.DBOS, "HEARTBEAT_INTERVAL": 1_799.0, "LEASE": 3_600.0}
    start_executor()

    assert handle.get_result(timeout=LIMIT) == 3
    assert not ExecutorRow.objects.filter(executor_id=dead).exists()


def _age(executor_id: str, seconds: float) -> None:
    """Write the row of an executor by the age of its start and of its last heartbeat."""
    with connection.cursor() as cursor:
        if connection.vendor == "postgresql":
            moved = "clock_timestamp() - make_interval(secs => %s)"
        else:
            moved = "strftime('%%Y-%%m-%%d %%H:%%M:%%f', 'now', '-' || %s || ' seconds') || '000'"
        cursor.execute(
            f"UPDATE dbos_executor SET started_at = {moved}, heartbeat_at = {moved} "
            "WHERE executor_id = %s",
            [seconds, seconds, executor_id],
        )


def _set_lease(executor_id: str, seconds: float) -> None:
    with connection.cursor() as cursor:
        value = "make_interval(secs => %s)" if connection.vendor == "postgresql" else "1000000 * %s"
        cursor.execute(
            f"UPDATE dbos_executor SET lease = {value} WHERE executor_id = %s",
            [seconds, executor_id],
        )
