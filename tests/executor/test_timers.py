"""Timers: when they ask for the next time, after a run that has found something or nothing."""

from __future__ import annotations

import math
from typing import Any

import pytest

from django_dbos.executor.duties.timers import FIRST_PAUSE, DueTimer
from tests.executors import StoppedClock


class Heartbeats:
    """A heartbeat of which only the requests to hurry matter."""

    period = 2.5

    def __init__(self) -> None:
        self.asked: list[float] = []

    def hurry(self, seconds: float = 0.0) -> None:
        self.asked.append(seconds)


class Rows:
    """A store with rows that are due."""

    def __init__(self) -> None:
        self.found: list[Any] = []

    def enqueue_due(self, session: Any, limit: int) -> list[Any]:
        return self.found

    def announce(self, session: Any, notifications: Any) -> None:
        """Do nothing."""


@pytest.fixture
def heartbeats() -> Heartbeats:
    return Heartbeats()


@pytest.fixture
def rows() -> Rows:
    return Rows()


@pytest.fixture
def timer(heartbeats: Any, rows: Any) -> DueTimer:
    return DueTimer(rows, StoppedClock(), heartbeats, lambda: None)


def test_the_next_time_is_asked_for_at_once_after_a_find(
    timer: DueTimer, rows: Rows, heartbeats: Heartbeats
) -> None:
    rows.found = ["a lane"]

    timer.run(None)  # type: ignore[arg-type]

    assert heartbeats.asked == [0.0]


def test_and_ever_later_while_a_due_row_is_locked(timer: DueTimer, heartbeats: Heartbeats) -> None:
    for _ in range(12):
        timer.run_at(-1.0)
        timer.run(None)  # type: ignore[arg-type]

    assert heartbeats.asked[:3] == [FIRST_PAUSE, 2 * FIRST_PAUSE, 4 * FIRST_PAUSE]
    assert heartbeats.asked[-1] == heartbeats.period


@pytest.mark.parametrize("report", [None, 0.5])
def test_a_report_of_a_later_time_begins_again(
    timer: DueTimer, heartbeats: Heartbeats, report: float | None
) -> None:
    for _ in range(3):
        timer.run(None)  # type: ignore[arg-type]
        timer.run_at(report)

    assert heartbeats.asked == [FIRST_PAUSE] * 3


def test_of_times_that_were_noted_the_earliest_counts(timer: DueTimer) -> None:
    for seconds in (0.5, 0.2, 0.9, math.nan, math.inf, 9.0):
        timer.note(seconds)

    assert not timer.is_due
    assert timer.next_at == pytest.approx(10_000.2)
