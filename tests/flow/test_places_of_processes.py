"""Places of processes that are killed or stopped: freed once nothing runs there any more."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from django_dbos.executor import Executor
from django_dbos.models import Executor as ExecutorRow
from django_dbos.models import Workflow
from tests.flow.managed import make_queue
from tests.process.conftest import Worker
from tests.process.workflows import Gate, passes
from tests.waiting import LIMIT, eventually

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.process]


@pytest.fixture(autouse=True)
def _one_place() -> None:
    make_queue(concurrency=1)


def state(handle: Any) -> tuple[str, int]:
    row = Workflow.objects.get(pk=handle.workflow_id)
    return str(row.status), int(row.place)


@pytest.mark.rule(58)
def test_the_lingering_place_of_a_killed_worker_is_freed(
    start_worker: Callable[..., Worker], gate: Gate
) -> None:
    worker = start_worker()
    cancelled = passes.using(queue_name="mail").start(gate.path)
    eventually(lambda: gate.is_reached)
    cancelled.cancel()
    assert state(cancelled) == ("CANCELLED", 1)
    following = passes.using(queue_name="mail").start(gate.path)

    worker.send(signal.SIGKILL)
    worker.wait()
    assert state(cancelled) == ("CANCELLED", 1)
    gate.open()
    other = start_worker()

    assert following.get_result(timeout=LIMIT) == other.pid
    assert state(cancelled) == ("CANCELLED", 0)


@pytest.mark.rule(59)
def test_a_worker_that_ends_amid_a_step_leaves_its_place_to_recovery_uncounted(
    start_worker: Callable[..., Worker], gate: Gate
) -> None:
    worker = start_worker(DBOS_TEST_SETTINGS='{"GRACE_PERIOD": 0.1}')
    handle = passes.using(queue_name="mail").start(gate.path)
    eventually(lambda: gate.is_reached)

    worker.send(signal.SIGTERM)
    worker.wait()
    assert state(handle) == ("ENQUEUED", 1)
    gate.open()
    other = start_worker()

    assert handle.get_result(timeout=LIMIT) == other.pid
    row = Workflow.objects.get()
    assert (row.place, row.recovery_attempts) == (0, 0)
    eventually(lambda: ExecutorRow.objects.count() == 1)


ONLY_NOTIFIED = '{"HEARTBEAT_INTERVAL": 500, "LEASE": 2000}'


@pytest.mark.rule(61)
def test_a_place_that_becomes_free_here_is_taken_in_another_process_without_a_poll(
    start_worker: Callable[..., Worker], worker: Executor, gate: Gate, tmp_path: Path
) -> None:
    held = passes.using(queue_name="mail").start(gate.path)
    eventually(lambda: gate.is_reached)
    other = start_worker(DBOS_TEST_SETTINGS=ONLY_NOTIFIED)
    open_gate = Gate(tmp_path / "open")
    open_gate.open()
    following = passes.using(queue_name="mail").start(open_gate.path)
    # From here on this executor claims nothing.
    worker.drain()

    gate.open()

    assert held.get_result(timeout=LIMIT) == os.getpid()
    assert following.get_result(timeout=LIMIT) == other.pid
