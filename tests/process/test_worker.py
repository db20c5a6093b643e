"""`manage.py dbos_worker`: stopped, killed, frozen, restarted; nothing is lost or done twice."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from django.contrib.auth.models import Group
from django.db import connection

from django_dbos.models import Checkpoint, Workflow
from django_dbos.models import Executor as ExecutorRow
from tests.executor import workflows
from tests.executor.test_executor import eventually

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.process]

Start = Callable[..., "subprocess.Popen[str]"]
# A short lease, so that a frozen process is soon declared dead.
IMPATIENT = json.dumps({"LEASE": 2, "HEARTBEAT_INTERVAL": 0.3})


@pytest.mark.rule(37)
def test_sigterm_hands_over_and_another_goes_on(start_worker: Start) -> None:
    first = start_worker()
    handle = workflows.works.start(20, 0.1)
    eventually(lambda: Checkpoint.objects.count() >= 3)

    first.terminate()
    output, _ = first.communicate(timeout=20)

    assert first.returncode == 0, output
    assert "handing over" in output
    row = Workflow.objects.get()
    assert (row.status, row.recovery_attempts) == ("ENQUEUED", 0)
    assert not ExecutorRow.objects.exists()
    second = start_worker()
    pids = handle.get_result(timeout=30)
    assert set(pids) == {first.pid, second.pid}
    assert Checkpoint.objects.count() == 20


@pytest.mark.rule(5)
@pytest.mark.rule(7)
def test_sigkill_loses_nothing_and_another_goes_on_within_seconds(start_worker: Start) -> None:
    first, second = start_worker("--queues", "first"), None
    handle = workflows.creates.using(queue_name="first").start("group", 30, 0.05)
    eventually(lambda: Checkpoint.objects.count() >= 10)
    second = start_worker()

    first.kill()
    began = time.monotonic()

    assert handle.get_result(timeout=40) == 30
    assert time.monotonic() - began < 20
    assert second.poll() is None
    assert Group.objects.count() == 30
    assert list(handle.read_stream("made").entries()) == [(n, n) for n in range(30)]
    assert Workflow.objects.get().recovery_attempts == 1


@pytest.mark.rule(4)
@pytest.mark.rule(6)
@pytest.mark.rule(7)
def test_a_frozen_process_is_given_up_and_cannot_write(start_worker: Start) -> None:
    frozen = start_worker(DBOS_TEST_SETTINGS=IMPATIENT)
    handle = workflows.works.start(40, 0.1)
    eventually(lambda: Checkpoint.objects.count() >= 2)
    os.killpg(frozen.pid, signal.SIGSTOP)
    start_worker(DBOS_TEST_SETTINGS=IMPATIENT)
    eventually(lambda: Workflow.objects.get().claim_number > 2, seconds=30)

    os.killpg(frozen.pid, signal.SIGCONT)

    pids = handle.get_result(timeout=40)
    assert len(pids) == Checkpoint.objects.count() == 40
    # Once another had it, the frozen one recorded nothing more.
    last_of_frozen = max(number for number, pid in enumerate(pids) if pid == frozen.pid)
    assert all(pid == frozen.pid for pid in pids[: last_of_frozen + 1])
    eventually(lambda: ExecutorRow.objects.count() == 2, seconds=20)


@pytest.mark.rule(8)
def test_a_workflow_that_kills_its_workers_is_given_up(start_worker: Start) -> None:
    poison = workflows.kills.using(attributes={"why": "poison"})
    handle = poison.start(1)
    neighbour = workflows.waits.start()
    with connection.cursor() as cursor:
        cursor.execute(
            "UPDATE dbos_workflow SET max_recovery_attempts = 4 WHERE attributes IS NOT NULL"
        )

    for _ in range(12):
        if handle.get_status() == "MAX_RECOVERY_ATTEMPTS_EXCEEDED":
            break
        worker = start_worker(wait=False)
        deadline = time.monotonic() + 15
        while worker.poll() is None and time.monotonic() < deadline:
            if handle.get_status() == "MAX_RECOVERY_ATTEMPTS_EXCEEDED":
                break
            time.sleep(0.05)

    assert handle.get_status() == "MAX_RECOVERY_ATTEMPTS_EXCEEDED"
    neighbour.send("still here")
    start_worker()
    assert neighbour.get_result(timeout=30) == "still here"


def test_once_runs_what_there_is_and_exits(start_worker: Start) -> None:
    handles = workflows.counts.start_many([(3,)] * 20)
    waiting = workflows.waits.start()

    worker = start_worker("--once", wait=False)
    output, _ = worker.communicate(timeout=40)

    assert worker.returncode == 0, output
    assert [one.get_result(timeout=0) for one in handles] == [3] * 20
    assert waiting.get_status() == "WAITING"


@pytest.mark.rule(44)
def test_processes_are_restarted_and_stopped_together(start_worker: Start) -> None:
    parent = start_worker("--processes", "2")
    eventually(lambda: ExecutorRow.objects.count() == 2)
    pids = set(ExecutorRow.objects.values_list("pid", flat=True))

    os.kill(max(pids), signal.SIGKILL)

    eventually(lambda: bool(_pids() - pids), seconds=30)
    assert workflows.counts.start(3).get_result(timeout=20) == 3
    parent.terminate()
    output, _ = parent.communicate(timeout=30)
    assert parent.returncode == 0, output


def _pids() -> set[int]:
    return set(ExecutorRow.objects.values_list("pid", flat=True))


@pytest.mark.rule(44)
def test_reload_hands_over_uncounted_and_goes_on(
    start_worker: Start, tmp_path: Path, process_environment: dict[str, str]
) -> None:
    module = tmp_path / "watched_module.py"
    module.write_text("VALUE = 1\n")
    # Imported by the worker, so that it is watched.
    sitecustomize = tmp_path / "watched_settings.py"
    sitecustomize.write_text("from tests.settings import *\nimport watched_module\n")
    path = f"{tmp_path}{os.pathsep}{process_environment.get('PYTHONPATH', '')}"
    start_worker("--reload", PYTHONPATH=path, DJANGO_SETTINGS_MODULE="watched_settings")
    handle = workflows.works.start(40, 0.1)
    eventually(lambda: Checkpoint.objects.count() >= 3)
    before = _pids()

    module.write_text("VALUE = 2\n")

    eventually(lambda: bool(_pids() - before), seconds=20)
    assert len(handle.get_result(timeout=40)) == 40
    assert Workflow.objects.get().recovery_attempts == 0


def test_two_workers_share_the_work_and_do_nothing_twice(start_worker: Start) -> None:
    start_worker("--concurrency", "4")
    start_worker("--concurrency", "4")

    handles = workflows.works.start_many([(2, 0.02)] * 60)

    results = [one.get_result(timeout=40) for one in handles]
    assert len({pid for pids in results for pid in pids}) == 2
    assert Checkpoint.objects.count() == 120
    assert set(Workflow.objects.values_list("claim_number", flat=True)) == {2}


def test_a_second_signal_stops_at_once(start_worker: Start) -> None:
    worker = start_worker()
    handle = workflows.works.start(1, 30)
    eventually(lambda: handle.get_status() == "PENDING")

    worker.terminate()
    time.sleep(0.5)
    began = time.monotonic()
    worker.terminate()
    worker.communicate(timeout=20)

    assert time.monotonic() - began < 5
    assert handle.get_status() == "ENQUEUED"


@pytest.mark.skipif(connection.vendor != "postgresql", reason="SQLite has no connections to lose")
@pytest.mark.rule(12)
def test_a_worker_survives_the_loss_of_all_its_connections(start_worker: Start) -> None:
    start_worker("--concurrency", "20")
    handles = [workflows.creates.start(f"group{n}", 20, 0.02) for n in range(10)]
    for _ in range(5):
        time.sleep(0.4)
        with connection.cursor() as cursor:
            cursor.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                "WHERE datname = current_database() AND pid <> pg_backend_pid()"
            )

    for handle in handles:
        assert handle.get_result(timeout=60) == 20
        assert list(handle.read_stream("made")) == list(range(20))
    assert Group.objects.count() == 200


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--concurrency", "0"], "at least 1"),
        (["--processes", "2", "--once"], "--once"),
        (["--database", "nowhere"], "nowhere"),
    ],
)
def test_impossible_arguments_are_refused(
    start_worker: Start, arguments: list[str], message: str
) -> None:
    worker = start_worker(*arguments, wait=False)
    output, _ = worker.communicate(timeout=30)

    assert worker.returncode != 0
    assert message in output


def test_without_tables_it_says_what_to_do(start_worker: Start, tmp_path: Path) -> None:
    settings_file = tmp_path / "bare_settings.py"
    settings_file.write_text(
        "from tests.settings import *\n"
        "DATABASES = {**DATABASES, 'default': {'ENGINE': 'django.db.backends.sqlite3',\n"
        f"    'NAME': {str(tmp_path / 'bare.sqlite3')!r},\n"
        "    'OPTIONS': {'transaction_mode': 'IMMEDIATE'}}}\n"
    )

    worker = start_worker(
        wait=False, PYTHONPATH=str(tmp_path), DJANGO_SETTINGS_MODULE="bare_settings"
    )
    output, _ = worker.communicate(timeout=30)

    assert worker.returncode != 0
    assert "manage.py migrate" in output
