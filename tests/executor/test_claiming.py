"""The timing of claims, and the cost of heartbeat queries, when they are fast and when slow."""

from __future__ import annotations

import threading
import time
from types import SimpleNamespace
from typing import Any

import pytest
from django.db import connection, connections, transaction

from django_dbos.executor import Executor, dispatcher, throttle
from django_dbos.store.records import HeartbeatReport
from tests.capabilities import many_writers
from tests.executor import workflows
from tests.executors import Start
from tests.waiting import LIMIT, eventually

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.mark.rule(28)
@pytest.mark.rule(29)
@many_writers
@pytest.mark.parametrize("is_expensive", [False, True])
def test_a_workflow_that_was_committed_late_is_claimed(
    is_expensive: bool, start_executor: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    if is_expensive:
        # Every rescan counts as expensive, but is allowed again soon.
        monkeypatch.setattr(throttle, "EXPENSIVE", -1.0)
        monkeypatch.setattr(throttle, "SHARE", 0.5)
    start_executor()
    is_started, may_commit = threading.Event(), threading.Event()
    handles = []

    def start_late() -> None:
        with transaction.atomic():
            handles.append(workflows.counts.start(1))
            is_started.set()
            may_commit.wait(LIMIT)
        connections.close_all()

    thread = threading.Thread(target=start_late)
    thread.start()
    is_started.wait(LIMIT)
    # Later in the queue, and claimed before the other is committed.
    assert workflows.counts.start(2).get_result(timeout=LIMIT) == 2
    may_commit.set()
    thread.join()

    assert handles[0].get_result(timeout=LIMIT) == 1


def test_workflows_that_are_started_one_by_one_are_claimed_together(
    start_executor: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    executor = start_executor()
    assert workflows.counts.start(1).get_result(timeout=LIMIT) == 1
    # The pause is as long as the starts of the others take.
    all_started = threading.Event()
    clock = SimpleNamespace(monotonic=time.monotonic, sleep=lambda _: all_started.wait(LIMIT))
    monkeypatch.setattr(dispatcher, "BREATH", 600.0)
    monkeypatch.setattr(dispatcher, "time", clock)
    taken: list[int] = []
    claim = executor.store.claim_workflows

    def note(*args: Any, **options: Any) -> Any:
        claims, last = claim(*args, **options)
        taken.append(len(claims))
        return claims, last

    monkeypatch.setattr(executor.store, "claim_workflows", note)

    handles = [workflows.counts.start(number) for number in range(8)]
    all_started.set()

    assert [handle.get_result(timeout=LIMIT) for handle in handles] == list(range(8))
    # The first at once, the others after the pause.
    assert sum(taken) == 8
    assert len([count for count in taken if count]) <= 3


def test_after_a_slow_heartbeat_the_next_one_runs_fewer_queries(
    start_executor: Start, monkeypatch: pytest.MonkeyPatch, settings: Any
) -> None:
    settings.DBOS = {**settings.DBOS, "HEARTBEAT_INTERVAL": 0.1}
    # Such a small share of the time that a slow one is allowed again only after hours.
    monkeypatch.setattr(throttle, "SHARE", 1e-5)
    executor = Executor()
    looks: list[tuple[bool, HeartbeatReport]] = []
    beat = executor.store.heartbeat

    def beat_slowly(*args: Any, is_thorough: bool) -> HeartbeatReport:
        time.sleep(0.1 if is_thorough else 0.0)
        look = beat(*args, is_thorough=is_thorough)
        looks.append((is_thorough, look))
        return look

    monkeypatch.setattr(executor.store, "heartbeat", beat_slowly)

    with executor:
        eventually(lambda: len(looks) >= 5)

    # Once may be chance.
    assert [is_thorough for is_thorough, _ in looks[:5]] == [True, True, False, False, False]
    if connection.vendor == "postgresql":
        assert [look.held_count for _, look in looks[:4]] == [0, 0, None, None]
    assert all(look.is_registered for _, look in looks)
