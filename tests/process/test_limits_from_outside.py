"""Limits, seen from outside: what steps in worker processes log, whatever befalls the processes."""

from __future__ import annotations

import json
import signal
import time
from collections.abc import Callable, Collection
from datetime import timedelta
from itertools import groupby
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
# What a step takes once the gate is open.
SECONDS = 0.02
QUEUES: dict[str, Any] = {
    "limited": {"concurrency": CONCURRENCY, "worker_concurrency": PER_WORKER},
    "mutex": {"concurrency": 1, "hold_while_waiting": True},
    "tenants": {"partition_concurrency": 1},
    "rated": {"rate_limit": f"{RATE}/s"},
    "family": {"concurrency": 2},
}
# By its lock a dead process is found within a second, whatever the lease is. A short one would end
# the claims of a process that a busy machine holds up.
OPTIONS = {
    "QUEUES": QUEUES,
    "LEASE": 3_600,
    "HEARTBEAT_INTERVAL": 0.3,
    # Waits of any length suspend.
    "HOLD_TIME": 0,
}


@pytest.fixture
def log(tmp_path: Path) -> Log:
    return Log(tmp_path / "log")


@pytest.fixture
def start(start_worker: Start, settings: Any) -> Start:
    """Start a worker with the limits, which this process has as well, and maybe another lease."""
    settings.DBOS = {**settings.DBOS, **OPTIONS}

    def start(*, lease: float = OPTIONS["LEASE"], **options: Any) -> Worker:
        environment = {"DBOS_TEST_SETTINGS": json.dumps({**OPTIONS, "LEASE": lease})}
        return start_worker("--concurrency", "8", **options, **environment)

    return start


def fill(log: Log, count: int, *, queue: str = "limited") -> list[Any]:
    """Start workflows of both colours."""
    return [
        (limited.uses_place if number % 2 else limited.auses_place)
        .using(queue_name=queue)
        .start(log.path, str(number), SECONDS)
        for number in range(count)
    ]


def results(handles: list[Any]) -> list[str]:
    return [handle.get_result(timeout=LIMIT) for handle in handles]


def kill(worker: Worker, ended: dict[int, int]) -> None:
    """Kill a process, and note the time; it is no later than its end."""
    ended[worker.pid] = time.monotonic_ns()
    worker.send(signal.SIGKILL)
    worker.wait()


def holder(log: Log, workers: list[Worker]) -> Worker:
    """Return a worker that has a step in."""
    pids = {one.pid for one in log.inside()}
    return next(worker for worker in workers if worker.pid in pids)


def wait_until_full(log: Log, dead: Collection[int] = (), places: int = CONCURRENCY) -> None:
    """Wait until all places are taken, by steps that stay in."""
    eventually(lambda: len(log.inside(dead)) >= places)


def of_process(intervals: list[Interval], worker: Worker) -> list[Interval]:
    return [one for one in intervals if one.pid == worker.pid]


def test_the_helper_finds_the_most_at_once() -> None:
    def at(begin: int, end: int) -> Interval:
        return Interval("s", 1, begin, end)

    assert most_at_once([]) == 0
    assert most_at_once([at(0, 2), at(2, 4)]) == 1
    assert most_at_once([at(0, 9), at(1, 2), at(3, 4), at(3, 5)]) == 3


@pytest.mark.rule(54)
def test_a_kill_never_exceeds_the_limit(start: Start, log: Log) -> None:
    ended: dict[int, int] = {}
    workers = [start(wait=False) for _ in range(3)]
    handles = fill(log, 30)
    wait_until_full(log)

    kill(holder(log, workers), ended)
    wait_until_full(log, ended)
    log.open()

    assert sorted(results(handles), key=int) == [str(number) for number in range(30)]
    intervals = log.intervals(ended)
    assert most_at_once(intervals) == CONCURRENCY
    for worker in workers:
        assert most_at_once(of_process(intervals, worker)) <= PER_WORKER
    # Only steps that the kill has cut off have begun twice.
    repeated = len(intervals) - len({one.name for one in intervals})
    assert 1 <= repeated <= PER_WORKER


@pytest.mark.rule(54)
def test_a_hand_over_never_exceeds_the_limit(start: Start, log: Log) -> None:
    workers = [start(wait=False) for _ in range(3)]
    handles = fill(log, 30)
    wait_until_full(log)

    ending = holder(log, workers)
    ending.send(signal.SIGTERM)
    # Only its own steps may end.
    log.open_for(ending.pid)
    assert ending.wait() == 0
    wait_until_full(log)
    log.open()

    assert sorted(results(handles), key=int) == [str(number) for number in range(30)]
    # The worker that handed over has ended its steps, and none begins twice.
    intervals = log.intervals({})
    assert most_at_once(intervals) == CONCURRENCY
    for worker in workers:
        assert most_at_once(of_process(intervals, worker)) <= PER_WORKER
    assert len(intervals) == len({one.name for one in intervals}) == 60


@pytest.mark.rule(54)
def test_a_mutex_is_held_from_start_to_end_through_kills(start: Start, log: Log) -> None:
    ended: dict[int, int] = {}
    workers = [start(wait=False) for _ in range(3)]
    handles = fill(log, 6, queue="mutex")
    wait_until_full(log, places=1)
    (held,) = log.inside()
    kill(holder(log, workers), ended)
    wait_until_full(log, ended, places=1)
    # Another one goes on with the same workflow.
    assert [one.name for one in log.inside(ended)] == [held.name]
    log.open()
    eventually(lambda: log.count > 4)
    kill(next(worker for worker in workers if worker.pid not in ended), ended)

    results(handles)

    intervals = log.intervals(ended)
    assert most_at_once(intervals) == 1
    # No workflow began between the first and the last step of another one.
    order = [one.name.partition(".")[0] for one in sorted(intervals, key=lambda one: one.begin)]
    turns = [name for name, _ in groupby(order)]
    assert len(turns) == len(set(turns)) == 6


@pytest.mark.rule(54)
def test_partitions_run_one_at_a_time_through_a_kill(start: Start, log: Log) -> None:
    ended: dict[int, int] = {}
    workers = [start(wait=False) for _ in range(2)]
    handles = [
        limited.uses_place.using(queue_name="tenants", partition_key=f"tenant-{number % 4}").start(
            log.path, f"{number % 4}/{number}", SECONDS
        )
        for number in range(24)
    ]
    wait_until_full(log, places=4)
    kill(holder(log, workers), ended)
    wait_until_full(log, ended, places=4)
    log.open()

    results(handles)

    intervals = log.intervals(ended)
    for tenant in range(4):
        own = [one for one in intervals if one.name.startswith(f"{tenant}/")]
        assert most_at_once(own) == 1
    # All tenants at once.
    assert most_at_once(intervals) == 4


@pytest.mark.rule(86)
def test_parents_with_branches_lend_their_places_through_kills(start: Start, log: Log) -> None:
    """Each of them waits for others of its queue, and all places are theirs at first."""
    ended: dict[int, int] = {}
    workers = [start(wait=False) for _ in range(3)]
    parents = limited.agathers_in_place.using(queue_name="family")
    handles = [parents.start(log.path, str(number), SECONDS) for number in range(4)]
    wait_until_full(log, places=2)
    kill(holder(log, workers), ended)
    wait_until_full(log, ended, places=2)
    log.open()
    # Now places are lent: the children run.
    eventually(lambda: log.count > 8)
    ending = next(worker for worker in workers if worker.pid not in ended)
    ending.send(signal.SIGTERM)
    workers.append(start(wait=False))
    eventually(lambda: log.count > 12)
    left = [worker for worker in workers if worker.pid not in ended and worker is not ending]
    kill(left[0], ended)

    assert results(handles) == [str(number) for number in range(4)]
    intervals = log.intervals(ended)
    assert most_at_once(intervals) == 2
    assert {one.name for one in intervals} == {
        f"{parent}.{step}" for parent in range(4) for step in ("begin", "0.0", "1.0", "2.0", "end")
    }
    places = set(Workflow.objects.values_list("status", "place"))
    assert places == {("SUCCESS", 0)}


@pytest.mark.rule(54)
def test_only_the_steps_of_a_stopped_process_may_exceed_the_limit(start: Start, log: Log) -> None:
    workers = [start(lease=4.0, wait=False) for _ in range(3)]
    handles = fill(log, 16)
    wait_until_full(log)
    stopped = holder(log, workers)
    stopped.send(signal.SIGSTOP)
    stopped_at = time.monotonic_ns()
    # Those that run take its workflows over.
    wait_until_full(log, [stopped.pid])
    # Its steps that are still in are over the limit.
    log.open()
    assert sorted(results(handles), key=int) == [str(number) for number in range(16)]
    log.shut()

    more = fill(log, 8)
    stopped.send(signal.SIGCONT)
    stopped.wait_for("registers again")
    wait_until_full(log)
    log.open()
    results(more)
    eventually(lambda: not log.inside())

    intervals = log.intervals({})
    over = [one for one in of_process(intervals, stopped) if one.begin < stopped_at < one.end]
    assert 1 <= len(over) <= PER_WORKER
    assert most_at_once(set(intervals) - set(over)) == CONCURRENCY
    assert most_at_once(intervals) > CONCURRENCY
    assert not any(worker.has_ended for worker in workers)


@pytest.mark.rule(56)
def test_no_window_has_more_starts_than_the_rate(start: Start) -> None:
    workers = [start(wait=False) for _ in range(2)]
    handles = limited.starts_only.using(queue_name="rated").start_many([()] * 45)
    eventually(lambda: started() > 15)
    workers[0].send(signal.SIGKILL)
    workers.append(start(wait=False))
    eventually(lambda: started() > 30)
    workers[1].send(signal.SIGTERM)

    results(handles)

    instants = list(Workflow.objects.order_by("started_at").values_list("started_at", flat=True))
    window = timedelta(seconds=PERIOD)
    gaps = [later - first for first, later in zip(instants, instants[RATE:], strict=False)]
    assert len(gaps) == 35
    assert min(gaps) >= window
    # The rate was reached.
    within = [later - first for first, later in zip(instants, instants[RATE - 1 :], strict=False)]
    assert min(within) < window


def started() -> int:
    return Workflow.objects.filter(started_at__isnull=False).count()
