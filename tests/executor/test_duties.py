"""Duties: each runs with its own period, on a clock that tests set forward."""

from __future__ import annotations

import threading
from typing import Any

import pytest

from django_dbos.executor import Executor
from django_dbos.executor.clock import Clock as AnyClock
from django_dbos.executor.duties.duty import Duty
from django_dbos.store import errors
from django_dbos.store.records import HeartbeatReport
from django_dbos.store.sessions import Session
from tests.executor import workflows
from tests.executors import Clock, StoppedClock
from tests.waiting import LIMIT, eventually

PERIOD = 600.0


class CountsWorkflows(Duty):
    """A new duty: a class with a period and `run()`."""

    def __init__(self, clock: AnyClock) -> None:
        super().__init__(clock, period=PERIOD)
        self.counts: list[int] = []
        self.threads: set[str] = set()

    def run(self, session: Session) -> None:
        self.counts.append(len(session.run("list_lanes")))
        self.threads.add(threading.current_thread().name)


class FailsOnce(Duty):
    """Fails in its first run, without effect on other duties."""

    def __init__(self, clock: AnyClock) -> None:
        super().__init__(clock, period=PERIOD)
        self.tries = 0

    def run(self, session: Session) -> None:
        self.tries += 1
        if self.tries == 1:
            raise LookupError("a bug")


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def executor(transactional_db: None, settings: object, clock: Clock) -> Executor:
    # Heartbeats are rare, and leases are long.
    settings.DBOS = {**settings.DBOS, "LEASE": 7_200, "HEARTBEAT_INTERVAL": 3_000}  # type: ignore[attr-defined]
    return Executor(clock=clock)


def test_a_new_duty_runs_with_its_period(executor: Executor, clock: Clock) -> None:
    duty = CountsWorkflows(clock)
    executor.housekeeping.add(duty)

    with executor:
        for number in range(1, 4):
            clock.advance(PERIOD / 2, executor)
            # Other duties that were due have run; this one isn't due.
            assert workflows.counts.start(1).get_result(timeout=LIMIT) == 1
            assert len(duty.counts) == number - 1
            clock.advance(PERIOD / 2, executor)
            eventually(lambda number=number: len(duty.counts) == number)

    assert duty.threads == {"dbos-housekeeping"}


def test_a_duty_that_fails_is_logged_and_runs_again_a_period_later(
    executor: Executor, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    failing, other = FailsOnce(clock), CountsWorkflows(clock)
    executor.housekeeping.add(failing)
    executor.housekeeping.add(other)

    with executor:
        clock.advance(PERIOD, executor)
        eventually(lambda: other.counts)
        clock.advance(PERIOD, executor)
        eventually(lambda: failing.tries == 2)

    assert "FailsOnce failed" in caplog.text
    assert "LookupError: a bug" in caplog.text


@pytest.mark.rule(4)
def test_a_heartbeat_that_meets_a_lock_is_sent_again_without_waiting_a_period(
    executor: Executor, monkeypatch: pytest.MonkeyPatch
) -> None:
    send, sent = executor.store.heartbeat, []

    def meet_a_lock_at_first(*args: Any, **options: Any) -> HeartbeatReport:
        sent.append(args)
        if len(sent) == 1:
            raise errors.LockTimeout("Another session has locked the executor's row.")
        return send(*args, **options)

    monkeypatch.setattr(executor.store, "heartbeat", meet_a_lock_at_first)

    with executor:
        # The next period begins in 3,000 s.
        eventually(lambda: len(sent) == 2)


class Listed(Duty):
    """Returns given seconds until its next run."""

    def __init__(self, clock: AnyClock) -> None:
        super().__init__(clock, period=60.0, first=5.0)
        self.answer: float | None = None
        self.hurries_for: float | None = None

    def run(self, session: Session) -> float | None:
        if self.hurries_for is not None:
            self.hurry(self.hurries_for)
        return self.answer

    def on_heartbeat(self, session: Session, report: HeartbeatReport) -> None:
        self.hurry()


def test_the_next_run_is_at_the_time_that_the_last_run_returned() -> None:
    clock, session = StoppedClock(100.0), None
    duty = Listed(clock)
    assert (duty.next_at, duty.is_due) == (105.0, False)
    clock.sleep(5.0)
    assert duty.is_due

    duty.perform(session)  # type: ignore[arg-type]
    assert duty.next_at == 165.0
    duty.answer = 2.5
    duty.perform(session)  # type: ignore[arg-type]
    assert duty.next_at == 107.5
    # A time that is noted during a run takes precedence over its return value.
    duty.hurries_for = 1.0
    duty.perform(session)  # type: ignore[arg-type]
    assert duty.next_at == 106.0
