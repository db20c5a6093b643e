"""Schedules and real workers: kill -9 and SIGTERM around the instants, and what idling costs."""

from __future__ import annotations

import json
import signal
import threading
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

import django_dbos as dbos
from django_dbos.executor import Executor
from django_dbos.models import Workflow
from django_dbos.store import statements
from tests.executors import Clock
from tests.flow.scheduled import report, row, started, utc
from tests.process.conftest import Worker, start_worker
from tests.waiting import eventually

__all__ = ["start_worker"]

pytestmark = pytest.mark.django_db(transaction=True)
Start = Callable[..., Worker]
QUICK = json.dumps({"LEASE": 3, "HEARTBEAT_INTERVAL": 0.5})


@pytest.mark.process
@pytest.mark.rule(66)
def test_workers_that_die_and_stop_leave_no_gap_and_start_nothing_twice(
    start_worker: Start,
) -> None:
    dbos.schedules.create("seconds", "tests.flow.scheduled.report", every=1, catch_up="all")
    first = utc(row("seconds").next_at)
    for number in (signal.SIGKILL, signal.SIGTERM, signal.SIGKILL):
        seen = len(started("seconds"))
        worker = start_worker(DBOS_TEST_SETTINGS=QUICK)
        eventually(lambda seen=seen: len(started("seconds")) >= seen + 3)
        worker.send(number)
        eventually(lambda worker=worker: worker.has_ended)
    start_worker(DBOS_TEST_SETTINGS=QUICK)
    seen = len(started("seconds"))
    eventually(lambda: len(started("seconds")) >= seen + 3)
    dbos.schedules.pause("seconds")
    eventually(lambda: not Workflow.objects.exclude(status="SUCCESS").exists())

    instants = [utc(one.scheduled_at) for one in started("seconds")]
    assert instants == [first + timedelta(seconds=n) for n in range(len(instants))]


def test_schedules_that_aren_t_due_cost_an_idle_worker_nothing(
    settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings.DBOS = {**settings.DBOS, "HEARTBEAT_INTERVAL": 600, "LEASE": 10_000_000}
    for number in range(100):
        dbos.schedules.create(f"s{number}", report, "0 3 1 1 *")
    clock, ran = Clock(), []
    load = statements.load

    def note(vendor: str, name: str) -> str:
        if threading.current_thread().name == "dbos-housekeeping":
            ran.append(name)
        return load(vendor, name)

    with Executor(concurrency=1, clock=clock) as executor:
        executor.wait_until_idle()
        monkeypatch.setattr(statements, "load", note)
        # A heartbeat that is under way when the clock moves is scheduled by the later time.
        eventually(lambda: ran.count("heartbeat") >= 3 or clock.advance(600, executor), every=0.2)
        assert [name for name in ran if "schedule" in name] == []
