"""Stopping workers: signals to a process or to its group, and the death of their parent."""

from __future__ import annotations

import os
import random
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from django.db import connection

from django_dbos.executor.cli.inbox import SECOND_AFTER
from django_dbos.models import Checkpoint, Workflow
from django_dbos.models import Executor as ExecutorRow
from tests.process import workflows
from tests.process.conftest import Worker
from tests.process.workflows import Gate
from tests.waiting import LIMIT, eventually

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.process]

Start = Callable[..., Worker]

HANDS_OVER, AT_ONCE = "hands over", "stopping at once"
# The number of executors of each.
ROLES = {(): 1, ("--processes", "2"): 2, ("--reload",): 1}
# All processes receive them in the same way; a terminal sends SIGINT to the parents' groups.
GROUP_SIGNALS = {
    (): [signal.SIGTERM, signal.SIGINT, signal.SIGHUP],
    ("--processes", "2"): [signal.SIGINT],
    ("--reload",): [signal.SIGINT],
}
# A grace period that only ends in a failing test.
PATIENT = '{"GRACE_PERIOD": 100}'


@pytest.fixture
def gate(tmp_path: Path) -> Gate:
    return Gate(tmp_path / "gate")


def start_at_gate(start_worker: Start, gate: Gate, *arguments: str) -> Worker:
    """Start a worker, or a parent with workers, with one workflow in the middle of a step."""
    worker = start_worker(*arguments, DBOS_TEST_SETTINGS=PATIENT)
    eventually(lambda: ExecutorRow.objects.count() == ROLES[arguments])
    workflows.passes.start(gate.path)
    eventually(lambda: gate.is_reached)
    return worker


def assert_finished_gracefully(worker: Worker) -> None:
    """Assert that the running step could finish, and that nothing of the worker is left."""
    assert worker.wait() == 0, worker.output
    assert AT_ONCE not in worker.output
    assert Checkpoint.objects.count() == 1
    assert_nothing_is_left()


def assert_nothing_is_left() -> None:
    row = Workflow.objects.get()
    assert row.status in ("SUCCESS", "ENQUEUED")
    assert row.recovery_attempts == 0
    assert not ExecutorRow.objects.exists()


@pytest.mark.rule(37)
@pytest.mark.parametrize(
    ("arguments", "number"),
    [
        (arguments, number)
        for arguments, numbers in GROUP_SIGNALS.items()
        for number in numbers
        # How a signal is received doesn't depend on the database.
        if connection.vendor == "postgresql" or number == signal.SIGINT
    ],
)
def test_a_signal_to_the_group_counts_once(
    start_worker: Start, gate: Gate, arguments: tuple[str, ...], number: signal.Signals
) -> None:
    worker = start_at_gate(start_worker, gate, *arguments)

    worker.send_group(number)

    worker.wait_for(HANDS_OVER, times=ROLES[arguments])
    gate.open()
    assert_finished_gracefully(worker)


@pytest.mark.rule(37)
def test_signals_within_a_second_count_once(start_worker: Start, gate: Gate) -> None:
    worker = start_at_gate(start_worker, gate)

    for _ in range(50):
        worker.send(signal.SIGTERM)
        worker.send(signal.SIGINT)

    worker.wait_for(HANDS_OVER)
    gate.open()
    assert_finished_gracefully(worker)


@pytest.mark.rule(37)
@pytest.mark.parametrize("arguments", ROLES)
def test_a_signal_to_the_parent_alone_starts_the_grace_period(
    start_worker: Start, gate: Gate, arguments: tuple[str, ...]
) -> None:
    worker = start_at_gate(start_worker, gate, *arguments)

    worker.send(signal.SIGTERM)

    worker.wait_for(HANDS_OVER, times=ROLES[arguments])
    gate.open()
    assert_finished_gracefully(worker)


@pytest.mark.rule(37)
@pytest.mark.parametrize("arguments", ROLES)
def test_a_later_second_signal_stops_at_once(
    start_worker: Start, gate: Gate, arguments: tuple[str, ...]
) -> None:
    worker = start_at_gate(start_worker, gate, *arguments)
    worker.send(signal.SIGTERM)
    worker.wait_for(HANDS_OVER, times=ROLES[arguments])
    time.sleep(SECOND_AFTER)

    worker.send(signal.SIGTERM)

    assert worker.wait() == 1, worker.output
    assert Workflow.objects.get().status == "ENQUEUED"
    assert_nothing_is_left()


@pytest.mark.rule(37)
def test_a_signal_that_another_thread_receives_takes_effect(
    start_worker: Start, gate: Gate
) -> None:
    worker = start_worker(DBOS_TEST_SETTINGS=PATIENT)
    workflows.is_met_by_signals.start(gate.path, signal.SIGTERM, 1, 0.0)

    worker.wait_for(HANDS_OVER)
    gate.open()

    assert_finished_gracefully(worker)


@pytest.mark.rule(37)
def test_a_second_signal_that_another_thread_receives_takes_effect(
    start_worker: Start, gate: Gate
) -> None:
    worker = start_worker(DBOS_TEST_SETTINGS=PATIENT)
    # The first one may be seen late, and the second one then count with it.
    workflows.is_met_by_signals.start(gate.path, signal.SIGTERM, 20, 1.5)

    assert worker.wait() == 1, worker.output
    assert_nothing_is_left()


@pytest.mark.rule(37)
@pytest.mark.parametrize("arguments", ROLES)
def test_sigquit_stops_at_once(start_worker: Start, gate: Gate, arguments: tuple[str, ...]) -> None:
    worker = start_at_gate(start_worker, gate, *arguments)

    worker.send(signal.SIGQUIT)

    assert worker.wait() == 1, worker.output
    assert Workflow.objects.get().status == "ENQUEUED"
    assert_nothing_is_left()


@pytest.mark.rule(44)
@pytest.mark.parametrize("arguments", [one for one in ROLES if one])
def test_children_of_a_killed_parent_hand_over_and_end(
    start_worker: Start, gate: Gate, arguments: tuple[str, ...]
) -> None:
    parent = start_at_gate(start_worker, gate, *arguments)

    parent.send(signal.SIGKILL)

    eventually(lambda: parent.output.count(HANDS_OVER) == ROLES[arguments])
    gate.open()
    eventually(lambda: not ExecutorRow.objects.exists())
    assert Checkpoint.objects.count() == 1
    assert_nothing_is_left()


@pytest.mark.rule(37)
def test_a_signal_during_start_up_stops_the_worker(start_worker: Start, tmp_path: Path) -> None:
    (tmp_path / "signalled_settings.py").write_text(
        "import os, signal\n"
        "from django_dbos.signals import executor_started\n"
        "from tests.settings import *\n"
        "def on_start(**kwargs):\n"
        "    os.kill(os.getpid(), signal.SIGTERM)\n"
        "executor_started.connect(on_start, weak=False)\n"
    )

    worker = start_worker(
        wait=False,
        PYTHONPATH=f"{tmp_path}{os.pathsep}{os.environ.get('PYTHONPATH', '')}",
        DJANGO_SETTINGS_MODULE="signalled_settings",
    )

    assert worker.wait() == 0, worker.output
    assert HANDS_OVER in worker.output
    assert not ExecutorRow.objects.exists()


@pytest.mark.rule(37)
@pytest.mark.skipif(connection.vendor != "postgresql", reason="SQLite's file is there")
@pytest.mark.parametrize("arguments", ROLES)
def test_a_worker_that_waits_for_the_database_can_be_stopped(
    start_worker: Start, tmp_path: Path, arguments: tuple[str, ...]
) -> None:
    (tmp_path / "nowhere_settings.py").write_text(
        "from tests.settings import *\n"
        "DATABASES['default'] = {**DATABASES['default'], 'HOST': '127.0.0.1', 'PORT': '1'}\n"
    )
    worker = start_worker(
        *arguments,
        wait=False,
        PYTHONPATH=f"{tmp_path}{os.pathsep}{os.environ.get('PYTHONPATH', '')}",
        DJANGO_SETTINGS_MODULE="nowhere_settings",
    )
    worker.wait_for("waiting for it", times=ROLES[arguments])

    worker.send_group(signal.SIGTERM)

    assert worker.wait() == 0, worker.output


@pytest.mark.rule(37)
@pytest.mark.parametrize("arguments", ROLES)
def test_a_worker_can_be_stopped_while_it_boots(
    start_worker: Start, arguments: tuple[str, ...]
) -> None:
    worker = start_worker(*arguments, wait=False)
    time.sleep(random.uniform(0.0, 4.0))

    worker.send_group(signal.SIGTERM)

    # By the signal itself, as long as there is nothing to hand over.
    assert worker.wait() in (0, -signal.SIGTERM), worker.output
    eventually(lambda: not ExecutorRow.objects.exists())


@pytest.mark.rule(37)
def test_a_forked_process_has_its_own_signal_handlers(start_worker: Start, gate: Gate) -> None:
    worker = start_worker()
    handle = workflows.forks.start(gate.path)
    eventually(lambda: gate.is_reached)

    gate.open()

    assert handle.get_result(timeout=LIMIT) == -signal.SIGTERM
    assert HANDS_OVER not in worker.output


@pytest.mark.parametrize("workflow", [workflows.passes, workflows.apasses])
def test_a_step_that_outlasts_the_grace_period_does_not_hold_the_process(
    start_worker: Start, gate: Gate, workflow: Any
) -> None:
    worker = start_worker(DBOS_TEST_SETTINGS='{"GRACE_PERIOD": 0.1}')
    workflow.start(gate.path)
    eventually(lambda: gate.is_reached)

    worker.send(signal.SIGTERM)

    assert worker.wait() == 0, worker.output
    assert not gate.is_open
    assert_nothing_is_left()
