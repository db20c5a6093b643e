"""Changes of a queue while a worker runs: it follows at once, by a notification or a poll."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator
from typing import Any

import pytest

import django_dbos as dbos
from django_dbos import queues
from django_dbos.core.records import Lane
from django_dbos.executor import Executor
from django_dbos.models import Workflow
from django_dbos.store import get_store
from tests.waiting import LIMIT, eventually

pytestmark = pytest.mark.django_db(transaction=True)

GATE = threading.Event()


@dbos.step
def holds() -> None:
    GATE.wait(LIMIT)


@dbos.workflow
def blocked() -> str:
    holds()
    return "done"


@dbos.workflow
def noop() -> str:
    return "done"


@pytest.fixture(autouse=True)
def gate(worker: Executor) -> Iterator[None]:
    """Let all steps go on after a test, before the worker stops."""
    GATE.clear()
    yield
    GATE.set()


def running() -> int:
    return Workflow.objects.filter(status="PENDING", queue_name="mail").count()


def start(count: int) -> list[Any]:
    return blocked.using(queue_name="mail").start_many([()] * count)


def pass_by() -> None:
    """Have the worker claim and run something from another queue: it has looked around since."""
    assert noop.using(queue_name="other").start().get_result(timeout=LIMIT) == "done"


def test_a_paused_queue_rests_until_it_is_resumed() -> None:
    GATE.set()
    queues.set("mail", concurrency=None)
    queues.pause("mail")
    handle = noop.using(queue_name="mail").start()
    pass_by()
    assert handle.get_status() == "ENQUEUED"

    queues.resume("mail")

    assert handle.get_result(timeout=LIMIT) == "done"


def test_a_pause_does_not_stop_what_runs() -> None:
    (handle,) = start(1)
    eventually(lambda: running() == 1)

    queues.pause("mail")
    GATE.set()

    assert handle.get_result(timeout=LIMIT) == "done"


def test_a_raised_limit_lets_more_run() -> None:
    queues.set("mail", concurrency=1)
    start(4)
    eventually(lambda: running() == 1)
    pass_by()
    assert running() == 1

    queues.set("mail", concurrency=3)

    eventually(lambda: running() == 3)
    pass_by()
    assert running() == 3


def test_a_removed_limit_lets_all_run() -> None:
    queues.set("mail", concurrency=1)
    start(4)
    eventually(lambda: running() == 1)

    queues.reset("mail")

    eventually(lambda: running() == 4)


def test_the_end_of_a_workflow_that_ran_before_the_limit_notifies_the_whole_queue(
    worker: Executor,
) -> None:
    (early,) = start(1)
    eventually(lambda: running() == 1)
    queues.set("mail", concurrency=1)
    (late,) = start(1)
    eventually(lambda: worker.runs[early.workflow_id].claim.place == 1)
    notified: list[Lane] = []

    def note(lanes: Iterable[Lane] | None) -> None:
        notified.extend(lanes or ())

    get_store().wakeups.add_lane_listener(note)
    try:
        GATE.set()
        assert early.get_result(timeout=LIMIT) == late.get_result(timeout=LIMIT) == "done"
        eventually(lambda: Lane("mail", None) in notified)
    finally:
        get_store().wakeups.remove_lane_listener(note)


def test_a_cancelled_workflow_that_ran_before_the_limit_frees_its_place(worker: Executor) -> None:
    (early,) = start(1)
    eventually(lambda: running() == 1)
    queues.set("mail", concurrency=1)
    eventually(lambda: worker.runs[early.workflow_id].claim.place == 1)

    early.cancel()
    (late,) = start(1)
    pass_by()

    assert late.get_status() == "ENQUEUED"
    GATE.set()
    assert late.get_result(timeout=LIMIT) == "done"


def test_workflows_that_run_without_a_limit_count_against_a_new_one() -> None:
    start(2)
    eventually(lambda: running() == 2)

    queues.set("mail", concurrency=2)
    (late,) = start(1)
    pass_by()

    assert late.get_status() == "ENQUEUED"
    assert late.describe().why_not_running == "Queue 'mail' is at 2 of 2."
    GATE.set()
    assert late.get_result(timeout=LIMIT) == "done"
