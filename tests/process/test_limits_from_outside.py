"""Limits, seen from outside: what steps in worker processes log, whatever befalls the processes."""

from __future__ import annotations

import json
import signal
import time
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from django_dbos.models import Workflow
from tests.process import limited
from tests.process.conftest import Worker
from tests.process.limited import Interval, Log, most_at_once
from tests.waiting import LIMIT, eventually

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.process]

Start = Callable[..., Worker]
CONCURRENCY, PER_WORKER = 4, 3
RATE, PERIOD = 10, 1.0
QUEUES: dict[str, Any] = {
    "limited": {"concurrency": CONCURRENCY, "worker_concurrency": PER_WORKER},
    "mutex": {"concurrency": 1, "hold_while_waiting": True},
    "tenants": {"partition_concurrency": 1},
    "rated": {"rate_limit": f"{RATE}/s"},
}
# A dead process is found within a second; a stopped one loses its workflows after four.
OPTIONS = {
    "QUEUES": QUEUES,
    "LEASE": 4,
    "HEARTBEAT_INTERVAL": 0.3,
    # Waits of any length suspend.
    "HOLD_TIME": 0,
}


@pytest.fixture
def log(tmp_path: Path) -> Log:
    return Log(tmp_path / "log")


@pytest.fixture
def start(start_worker: Start, settings: Any) -> Start:
    """Start a worker with the limits, which this process has as well."""
    settings.DBOS = {**settings.DBOS, **OPTIONS}
    return lambda *arguments: start_worker(
        *arguments, "--concurrency", "8", DBOS_TEST_SETTINGS=json.dumps(OPTIONS)
    )


def fill(log: Log, count: int, *, queue: str = "limited", seconds: float = 0.02) -> list[Any]:
    """Start workflows of both colours."""
    return [
        (limited.uses_place if number % 2 else limited.auses_place)
        .using(queue_name=queue)
        .start(log.path, str(number), seconds)
        for number in range(count)
    ]


def results(handles: list[Any]) -> list[str]:
    return [handle.get_result(timeout=LIMIT) for handle in handles]


def end(worker: Worker, number: int, ended: dict[int, int]) -> None:
    """End a process by a signal, and note when it was seen dead."""
    worker.send(number)
    worker.wait()
    ended[worker.pid] = time.monotonic_ns()


def of_process(intervals: list[Interval], worker: Worker) -> list[Interval]:
    return [one for one in intervals if one.pid == worker.pid]


def test_the_helper_finds_the_most_at_once() -> None:
    def at(begin: int, end: int) -> Interval:
        return Interval("s", 1, begin, end)

    assert most_at_once([]) == 0
    assert most_at_once([at(0, 2), at(2, 4)]) == 1
    assert most_at_once([at(0, 9), at(1, 2), at(3, 4), at(3, 5)]) == 3


@pytest.mark.rule(54)
def test_kills_and_hand_overs_never_exceed_the_limit(start: Start, log: Log) -> None:
    ended: dict[int, int] = {}
    workers = [start() for _ in range(2)]
    handles = fill(log, 60)
    eventually(lambda: log.count > 10)

    end(workers[0], signal.SIGKILL, ended)
    workers.append(start())
    eventually(lambda: log.count > 40)
    end(workers[1], signal.SIGTERM, ended)
    workers.append(start())

    assert sorted(results(handles), key=int) == [str(number) for number in range(60)]
    intervals = log.intervals(ended)
    # Some ran side by side, and never more than the limit.
    assert 2 <= most_at_once(intervals) <= CONCURRENCY
    for worker in workers:
        assert most_at_once(of_process(intervals, worker)) <= PER_WORKER
    # Only steps that a kill has cut off have begun twice.
    repeated = len(intervals) - len({one.name for one in intervals})
    assert repeated <= PER_WORKER


@pytest.mark.rule(54)
def test_a_mutex_is_held_from_start_to_end_through_a_kill(start: Start, log: Log) -> None:
    ended: dict[int, int] = {}
    workers = [start() for _ in range(2)]
    handles = fill(log, 8, queue="mutex")
    eventually(lambda: log.count > 4)
    for worker in workers:
        end(worker, signal.SIGKILL, ended)
    start()

    results(handles)

    intervals = log.intervals(ended)
    assert most_at_once(intervals) == 1
    # No workflow began between the first and the last step of another one.
    order = [one.name.partition(".")[0] for one in sorted(intervals, key=lambda one: one.begin)]
    turns = [
        name for position, name in enumerate(order) if order[position - 1 : position] != [name]
    ]
    assert len(turns) == len(set(turns)) == 8


@pytest.mark.rule(54)
def test_partitions_run_one_at_a_time_through_a_kill(start: Start, log: Log) -> None:
    ended: dict[int, int] = {}
    workers = [start() for _ in range(2)]
    handles = [
        limited.uses_place.using(queue_name="tenants", partition_key=f"tenant-{number % 4}").start(
            log.path, f"{number % 4}/{number}", 0.02
        )
        for number in range(40)
    ]
    eventually(lambda: log.count > 10)
    end(workers[0], signal.SIGKILL, ended)

    results(handles)

    intervals = log.intervals(ended)
    for tenant in range(4):
        own = [one for one in intervals if one.name.startswith(f"{tenant}/")]
        assert most_at_once(own) == 1
    assert most_at_once(intervals) > 1


@pytest.mark.rule(54)
def test_only_the_steps_of_a_stopped_process_may_exceed_the_limit(start: Start, log: Log) -> None:
    stopped, other = start(), start()
    handles = fill(log, 24, seconds=0.1)
    eventually(lambda: of_process(log.intervals(AnyTime()), stopped))
    stopped.send(signal.SIGSTOP)
    stopped_at = time.monotonic_ns()
    # The other process takes its workflows over, and runs them all.
    assert sorted(results(handles), key=int) == [str(number) for number in range(24)]

    more = fill(log, 8, seconds=0.3)
    stopped.send(signal.SIGCONT)
    results(more)
    stopped.wait_for("registers again")

    intervals = log.intervals({stopped.pid: time.monotonic_ns()})
    cut_off = [one for one in of_process(intervals, stopped) if one.begin < stopped_at < one.end]
    assert len(cut_off) <= PER_WORKER
    assert most_at_once([one for one in intervals if one not in cut_off]) <= CONCURRENCY
    assert not other.has_ended


class AnyTime(dict[int, int]):
    """The ends of processes that run."""

    def __missing__(self, pid: int) -> int:
        return time.monotonic_ns()


@pytest.mark.rule(55)
def test_no_window_has_more_starts_than_the_rate(start: Start) -> None:
    workers = [start() for _ in range(2)]
    handles = limited.starts_only.using(queue_name="rated").start_many([()] * 45)
    eventually(lambda: started() > 15)
    workers[0].send(signal.SIGKILL)
    workers.append(start())
    eventually(lambda: started() > 30)
    workers[1].send(signal.SIGTERM)

    results(handles)

    instants = list(Workflow.objects.order_by("started_at").values_list("started_at", flat=True))
    window = timedelta(seconds=PERIOD)
    gaps = [later - first for first, later in zip(instants, instants[RATE:], strict=False)]
    assert len(gaps) == 35
    assert min(gaps) >= window


def started() -> int:
    return Workflow.objects.filter(started_at__isnull=False).count()
