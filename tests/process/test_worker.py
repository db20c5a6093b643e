"""`manage.py dbos_worker`: stopped, killed, frozen or restarted, without losses or repeats."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable
from pathlib import Path

import pytest
from django.contrib.auth.models import Group
from django.db import connection

from django_dbos.models import Checkpoint, PastRun, Workflow
from django_dbos.models import Executor as ExecutorRow
from tests.executor import workflows
from tests.process import workflows as gated
from tests.process.conftest import Worker
from tests.process.workflows import Gate
from tests.waiting import LIMIT, eventually

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.process]

Start = Callable[..., Worker]
# A short lease, after which a frozen process is soon declared dead; an endless one, with which only
# the lock shows that a process is dead.
IMPATIENT = json.dumps({"LEASE": 4, "HEARTBEAT_INTERVAL": 0.3})
LOCKS_ONLY = json.dumps({"LEASE": 3600})
# In a settings module, so that the worker's output shows the events of Django's reloader.
LOGGING = """
LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "handlers": {"console": {"class": "logging.StreamHandler"}},
    "loggers": {
        "django.utils.autoreload": {"level": "DEBUG", "handlers": ["console"]},
        "django_dbos": {"level": "INFO", "handlers": ["console"]},
    },
}
"""


@pytest.fixture
def gate(tmp_path: Path) -> Gate:
    return Gate(tmp_path / "gate")


@pytest.fixture
def module_path(tmp_path: Path) -> str:
    """Return a PYTHONPATH with the modules that a test writes."""
    return f"{tmp_path}{os.pathsep}{os.environ.get('PYTHONPATH', '')}"


@pytest.mark.rule(37)
def test_after_sigterm_another_worker_continues(start_worker: Start, gate: Gate) -> None:
    first = start_worker()
    handle = gated.works_until_handed_over.start(3, gate.path, 16)
    eventually(lambda: gate.is_reached)

    first.send(signal.SIGTERM)
    first.wait_for("hands over")
    gate.open()

    assert first.wait() == 0, first.output
    row = Workflow.objects.get()
    assert (row.status, row.recovery_attempts) == ("ENQUEUED", 0)
    assert Checkpoint.objects.count() == 4
    assert not ExecutorRow.objects.exists()
    second = start_worker()
    assert handle.get_result(timeout=LIMIT) == [first.pid] * 4 + [second.pid] * 16
    assert Checkpoint.objects.count() == 20


@pytest.mark.rule(5)
@pytest.mark.rule(7)
def test_after_sigkill_another_worker_continues_without_losses(
    start_worker: Start, gate: Gate
) -> None:
    first = start_worker("--queues", "first", DBOS_TEST_SETTINGS=LOCKS_ONLY)
    handle = gated.creates.using(queue_name="first").start(10, gate.path, 20)
    eventually(lambda: gate.is_reached)
    second = start_worker(DBOS_TEST_SETTINGS=LOCKS_ONLY)

    first.send(signal.SIGKILL)
    first.wait()
    gate.open()

    assert handle.get_result(timeout=LIMIT) == second.pid
    assert not second.has_ended
    assert Group.objects.count() == 30
    assert list(handle.read_stream("made").entries()) == [(n, n) for n in range(30)]
    assert Workflow.objects.get().recovery_attempts == 1


@pytest.mark.rule(73)
def test_sigkill_loses_no_run_of_a_workflow_that_continues_as_new(
    start_worker: Start, gate: Gate
) -> None:
    first = start_worker(DBOS_TEST_SETTINGS=LOCKS_ONLY)
    handle = gated.creates_in_rounds.start(gate.path, 1, 10)
    eventually(lambda: gate.is_reached)

    first.send(signal.SIGKILL)
    first.wait()
    start_worker(DBOS_TEST_SETTINGS=LOCKS_ONLY)
    gate.open()

    assert handle.get_result(timeout=LIMIT) == 10
    assert Group.objects.count() == 10
    assert list(handle.read_stream("made")) == list(range(1, 11))
    runs = PastRun.objects.order_by("run_number").values_list("run_number", "steps")
    # A group and an entry each; the fifth run also has the gate.
    assert list(runs) == [(number, 3 if number == 5 else 2) for number in range(1, 10)]


@pytest.mark.rule(72)
def test_sigkill_neither_loses_a_child_of_a_map_nor_starts_one_too_early(
    start_worker: Start, gate: Gate, tmp_path: Path
) -> None:
    log, last_gate = tmp_path / "log", Gate(tmp_path / "last")
    first = start_worker(DBOS_TEST_SETTINGS=LOCKS_ONLY)
    gates = {"20": gate.path, **dict.fromkeys(("57", "58", "59"), last_gate.path)}
    handle = gated.maps_logs.start(str(log), gates, 60, 3)
    eventually(lambda: gate.is_reached)

    first.send(signal.SIGKILL)
    first.wait()
    start_worker(DBOS_TEST_SETTINGS=LOCKS_ONLY)
    gate.open()
    # The limit is made use of, after the crash too.
    eventually(lambda: under_way(log)[-1] == {"57", "58", "59"})
    last_gate.open()

    assert handle.get_result(timeout=LIMIT) == list(range(60))
    assert max(map(len, under_way(log))) == 3


def under_way(log: Path) -> list[set[str]]:
    """Return which steps of living processes were under way after each line of the log."""
    found: list[set[str]] = [set()]
    last_pid = ""
    for pid, event, number in (line.split() for line in log.read_text().splitlines()):
        # A process before was killed.
        before = found[-1] if pid == last_pid else set()
        found.append(before | {number} if event == "begins" else before - {number})
        last_pid = pid
    return found


@pytest.mark.rule(53)
def test_sigkill_loses_no_reader_that_waits_for_a_stream(start_worker: Start, gate: Gate) -> None:
    first = start_worker(DBOS_TEST_SETTINGS=LOCKS_ONLY)
    source = gated.creates.start(3, gate.path, 4)
    reader = gated.reads_made.start(source.workflow_id)
    waiting = Workflow.objects.filter(status="WAITING", wake_kind="stream", wake_offset=3)
    eventually(lambda: gate.is_reached and waiting.exists())

    first.send(signal.SIGKILL)
    first.wait()
    second = start_worker(DBOS_TEST_SETTINGS=LOCKS_ONLY)
    gate.open()

    assert reader.get_result(timeout=LIMIT) == list(range(7))
    assert source.get_result(timeout=LIMIT) == second.pid


@pytest.mark.rule(4)
@pytest.mark.rule(6)
@pytest.mark.rule(7)
def test_a_frozen_process_loses_its_workflows_and_cannot_write(
    start_worker: Start, gate: Gate, tmp_path: Path
) -> None:
    later = Gate(tmp_path / "later")
    frozen = start_worker(DBOS_TEST_SETTINGS=IMPATIENT)
    handle = gated.works.start(2, gate.path, 3, later.path)
    eventually(lambda: gate.is_reached)
    frozen.send_group(signal.SIGSTOP)
    second = start_worker(DBOS_TEST_SETTINGS=IMPATIENT)
    gate.open()
    eventually(lambda: later.is_reached)

    frozen.send_group(signal.SIGCONT)

    # Its step has ended but isn't recorded, since another worker has the workflow.
    frozen.wait_for("registers again")
    assert Checkpoint.objects.count() == 6
    later.open()
    pids = handle.get_result(timeout=LIMIT)
    assert pids[:6] == [frozen.pid] * 2 + [second.pid] * 4
    assert len(pids) == Checkpoint.objects.count() == 7
    eventually(lambda: ExecutorRow.objects.count() == 2)


@pytest.mark.skipif(connection.vendor != "postgresql", reason="SQLite has no sessions")
@pytest.mark.django_db(transaction=True, databases=["default", "other"])
@pytest.mark.rule(6)
@pytest.mark.rule(27)
def test_a_frozen_process_delays_no_atomic_step_on_another_database(
    start_worker: Start, tmp_path: Path
) -> None:
    go = tmp_path / "go"
    Group.objects.using("other").create(name="purse, full")
    frozen = start_worker(DBOS_TEST_SETTINGS=IMPATIENT, LINGER=str(go))
    handle = workflows.spends_elsewhere.start("purse")
    assert next(iter(handle.read_stream("spent", timeout=60))) == frozen.pid
    os.killpg(frozen.pid, signal.SIGSTOP)

    other = start_worker(DBOS_TEST_SETTINGS=IMPATIENT)
    # The frozen process has locked the row until its session is terminated.
    assert handle.get_result(timeout=LIMIT) == other.pid

    go.touch()
    os.killpg(frozen.pid, signal.SIGCONT)
    eventually(lambda: ExecutorRow.objects.count() == 2)
    assert Group.objects.using("other").get().name == "purse, spent"
    assert Checkpoint.objects.get().output == other.pid


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
        eventually(
            lambda worker=worker: (  # type: ignore[misc]
                worker.has_ended or handle.get_status() == "MAX_RECOVERY_ATTEMPTS_EXCEEDED"
            ),
            every=0.05,
        )

    assert handle.get_status() == "MAX_RECOVERY_ATTEMPTS_EXCEEDED"
    neighbour.send("still here")
    start_worker()
    assert neighbour.get_result(timeout=LIMIT) == "still here"


def test_once_runs_the_enqueued_workflows_and_exits(start_worker: Start) -> None:
    handles = workflows.counts.start_many([(3,)] * 20)
    waiting = workflows.waits.start()

    worker = start_worker("--once", wait=False)

    assert worker.wait() == 0, worker.output
    assert [one.get_result(timeout=0) for one in handles] == [3] * 20
    assert waiting.get_status() == "WAITING"


@pytest.mark.rule(44)
def test_processes_are_restarted_and_stopped_together(start_worker: Start) -> None:
    parent = start_worker("--processes", "2")
    eventually(lambda: ExecutorRow.objects.count() == 2)
    pids = set(ExecutorRow.objects.values_list("pid", flat=True))

    os.kill(max(pids), signal.SIGKILL)

    eventually(lambda: bool(_pids() - pids))
    assert workflows.counts.start(3).get_result(timeout=LIMIT) == 3
    parent.send(signal.SIGTERM)
    assert parent.wait() == 0, parent.output


def _pids() -> set[int]:
    return set(ExecutorRow.objects.values_list("pid", flat=True))


@pytest.mark.rule(44)
def test_a_reload_hands_over_without_counting_an_attempt(
    start_worker: Start, tmp_path: Path, module_path: str, gate: Gate
) -> None:
    module = tmp_path / "watched_module.py"
    module.write_text("VALUE = 1\n")
    # The worker imports the module, so the reloader watches it.
    (tmp_path / "watched_settings.py").write_text(
        f"from tests.settings import *\nimport watched_module\n{LOGGING}"
    )
    worker = start_worker(
        "--reload", PYTHONPATH=module_path, DJANGO_SETTINGS_MODULE="watched_settings"
    )
    handle = gated.works.start(3, gate.path, 16)
    eventually(lambda: gate.is_reached)
    (before,) = _pids()
    worker.wait_for("watched_module.py first seen")

    module.write_text("VALUE = 2\n")

    eventually(lambda: _pids() - {before})
    gate.open()
    (after,) = _pids()
    assert handle.get_result(timeout=LIMIT) == [before] * 3 + [after] * 17
    assert Workflow.objects.get().recovery_attempts == 0


@pytest.mark.rule(44)
def test_a_changed_template_stops_nothing(
    start_worker: Start, tmp_path: Path, module_path: str, gate: Gate
) -> None:
    template = tmp_path / "templates" / "page.html"
    template.parent.mkdir()
    template.write_text("one")
    (tmp_path / "template_settings.py").write_text(
        "from tests.settings import *\n"
        f"TEMPLATES = [{{**TEMPLATES[0], 'DIRS': [{str(template.parent)!r}]}}]\n{LOGGING}"
    )
    worker = start_worker(
        "--reload", PYTHONPATH=module_path, DJANGO_SETTINGS_MODULE="template_settings"
    )
    worker.wait_for("page.html first seen")

    template.write_text("another")

    worker.wait_for("page.html notified as changed")
    gate.open()
    assert gated.passes.start(gate.path).get_result(timeout=LIMIT)
    assert "hands over" not in worker.output


@pytest.mark.rule(44)
def test_code_that_cannot_be_imported_is_tried_again(
    start_worker: Start, tmp_path: Path, module_path: str
) -> None:
    broken = tmp_path / "broken_settings.py"
    broken.write_text(f"from tests.settings import *\n{LOGGING}")
    parent = start_worker(
        "--reload", PYTHONPATH=module_path, DJANGO_SETTINGS_MODULE="broken_settings"
    )
    parent.wait_for("broken_settings.py first seen")

    broken.write_text("this is no Python\n")
    parent.wait_for("starting another")
    broken.write_text(f"from tests.settings import *\n{LOGGING}")

    parent.wait_for("runs all queues", times=2)
    parent.send(signal.SIGINT)
    assert parent.wait() == 0, parent.output


def test_two_workers_share_the_work_without_repeats(start_worker: Start, gate: Gate) -> None:
    workers = [start_worker("--concurrency", "4") for _ in range(2)]

    handles = gated.passes.start_many([(gate.path,)] * 12)
    eventually(lambda: Workflow.objects.filter(status="PENDING").count() == 8)
    gate.open()

    pids = [one.get_result(timeout=LIMIT) for one in handles]
    assert all(pids.count(worker.pid) >= 4 for worker in workers)
    assert Checkpoint.objects.count() == 12
    assert set(Workflow.objects.values_list("claim_number", flat=True)) == {2}


@pytest.mark.skipif(connection.vendor != "postgresql", reason="SQLite has no connections to lose")
@pytest.mark.rule(12)
def test_a_worker_survives_the_loss_of_all_its_connections(start_worker: Start) -> None:
    start_worker("--concurrency", "20")
    handles = [workflows.creates.start(f"group{n}", 20, 0.02) for n in range(10)]
    for made in (20, 50, 80, 110, 140):
        eventually(lambda made=made: Group.objects.count() >= made)  # type: ignore[misc]
        with connection.cursor() as cursor:
            cursor.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                "WHERE datname = current_database() AND pid <> pg_backend_pid()"
            )

    for handle in handles:
        assert handle.get_result(timeout=LIMIT) == 20
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

    assert worker.wait() != 0
    assert message in worker.output


def test_without_tables_the_error_has_the_remedy(start_worker: Start, tmp_path: Path) -> None:
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

    assert worker.wait() != 0
    assert "manage.py migrate" in worker.output
