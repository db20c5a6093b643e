"""Each command that changes something logs who has changed what, and no value."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from pathlib import Path

import pytest
from django.core.management import CommandError

import django_dbos as dbos
from django_dbos import management, schedules
from django_dbos.models import Workflow
from django_dbos.testing import run_until_idle
from tests.management.calling import run
from tests.payloads.workflows import SECRET, fail, wait_for_note

pytestmark = pytest.mark.django_db(transaction=True, databases=["default", "other"])

# Commands that only read, and the worker itself, whose life has its own log.
READING = {
    "dbos_health", "dbos_list", "dbos_replay", "dbos_show", "dbos_skills", "dbos_top",
    "dbos_versions", "dbos_worker",
}  # fmt: skip


@pytest.fixture(autouse=True)
def _known(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("django_dbos.management.audit.who", lambda: "ada as root")
    monkeypatch.setattr("django_dbos.management.audit.socket.gethostname", lambda: "web-3")


def waiting() -> str:
    wait_for_note.using(workflow_id="one").start(SECRET)
    run_until_idle()
    return "one"


def failed() -> str:
    fail.using(workflow_id="one").start(SECRET)
    run_until_idle()
    return "one"


def document(tmp_path: Path) -> str:
    path = tmp_path / "one.json"
    path.write_text(json.dumps(dbos.retrieve_workflow(failed()).export()))
    dbos.retrieve_workflow("one").delete()
    return str(path)


def schedule() -> str:
    schedules.create("nightly", "tests.payloads.workflows.fail", every=3_600, args=[SECRET])
    return "nightly"


def cancelled() -> str:
    dbos.retrieve_workflow(waiting()).cancel()
    return "one"


CASES: dict[str, tuple[Callable[..., list[str]], str]] = {
    "dbos_cancel": (lambda: [waiting()], "cancelled workflow 'one'"),
    "dbos_delete": (lambda: [failed()], "deleted workflow 'one'"),
    "dbos_export": (lambda: [failed()], "exported workflow 'one'"),
    "dbos_fork": (lambda: [failed(), "--from-step=1"], "forked workflow 'one'"),
    "dbos_import": (lambda tmp_path: [document(tmp_path)], "imported workflow 'one'"),
    "dbos_prune": (lambda: ["--older-than=1d"], "deleted 0 workflows, 0 past runs"),
    "dbos_queues": (
        lambda: ["pause", "default", "--by=night"],
        "paused in the name of 'night': queue 'default'",
    ),
    "dbos_resume": (lambda: [cancelled()], "resumed workflow 'one'"),
    "dbos_retry": (lambda: [failed()], "retried workflow 'one'"),
    "dbos_rewind": (lambda: [failed(), "--to-step=1"], "rewound workflow 'one'"),
    "dbos_schedules": (lambda: ["pause", schedule()], "paused: schedule 'nightly'"),
    "dbos_send": (lambda: [waiting(), json.dumps(SECRET)], "sent a message to workflow 'one'"),
    "dbos_start": (
        lambda: [fail.name, "--workflow-id=one", f"--args={json.dumps([SECRET])}"],
        f"started {fail.name!r} as workflow 'one'",
    ),
}


@pytest.mark.parametrize("command", CASES)
def test_a_change_is_logged(command: str, caplog: pytest.LogCaptureFixture, tmp_path: Path) -> None:
    make, said = CASES[command]
    arguments = make(tmp_path) if "tmp_path" in make.__code__.co_varnames else make()
    with caplog.at_level(logging.INFO, "django_dbos.audit"):
        run(command, *arguments)

    records = [record for record in caplog.records if record.name == "django_dbos.audit"]
    assert [record.getMessage() for record in records] == [
        f"{command} by 'ada as root' on 'web-3': {said}"
    ]
    (record,) = records
    assert record.__dict__["user"] == "ada as root"
    assert record.__dict__["hostname"] == "web-3"
    assert record.__dict__["command"] == command
    assert SECRET not in str(record.__dict__)


def test_every_command_that_changes_something_is_tried() -> None:
    others = {"dbos_executors", "dbos_rotate_keys", "dbos_sweep_offloaded"}
    found = {path.stem for path in Path(*management.__path__, "commands").glob("dbos_*.py")}

    assert found == READING | others | CASES.keys()
    for name in found - READING - {"dbos_cancel"}:
        text = Path(*management.__path__, "commands", f"{name}.py").read_text()
        assert "self.audit(" in text or "Command(BulkCommand)" in text or "ChangeCommand" in text


def test_one_record_for_each_workflow_that_was_changed(caplog: pytest.LogCaptureFixture) -> None:
    for name in "ab":
        wait_for_note.using(workflow_id=name).start(SECRET)
    fail.using(workflow_id="c").start(SECRET)
    run_until_idle()

    with caplog.at_level(logging.INFO, "django_dbos.audit"), pytest.raises(CommandError):
        run("dbos_cancel", "a", "c", "unknown")
    run("dbos_cancel", "--active", "--yes")
    dbos.retrieve_workflow("b").resume()
    with caplog.at_level(logging.INFO, "django_dbos.audit"):
        run("dbos_cancel", "--active", "--yes")

    said = [record.__dict__["subject"] for record in caplog.records if "audit" in record.name]
    assert said == ["a", "b"]
    assert not Workflow.objects.active().exists()


@pytest.mark.parametrize(
    ("caller", "expected"), [("", "root"), ("root", "root"), ("ada", "ada as root")]
)
def test_who_called_sudo_is_named(
    monkeypatch: pytest.MonkeyPatch, caller: str, expected: str
) -> None:
    monkeypatch.undo()
    monkeypatch.setenv("SUDO_USER", caller)
    monkeypatch.setattr("django_dbos.management.audit.getpass.getuser", lambda: "root")
    from django_dbos.management import audit

    assert audit.who() == expected


def test_a_dry_run_changes_and_logs_nothing(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "django_dbos.audit"):
        run("dbos_prune", "--older-than=1d", "--dry-run")
    assert not [record for record in caplog.records if record.name == "django_dbos.audit"]
