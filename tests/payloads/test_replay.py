"""dbos_replay compares histories with the code, and runs nothing."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from django.core.management import CommandError, call_command

import django_dbos as dbos
from django_dbos.core import registry
from django_dbos.models import Checkpoint, Workflow
from django_dbos.operations.replaying import Replayed, replay
from django_dbos.store import get_store
from django_dbos.testing import run_until_idle
from tests.payloads.workflows import SECRET, charge_twice, fail, pay, wait_for_note

pytestmark = pytest.mark.django_db(transaction=True, databases=["default", "other"])

calls: list[str] = []
versions = {"steps": ["a", "b"], "result": "done"}


@dbos.step
def note(name: str) -> str:
    calls.append(name)
    return name


@dbos.step
def another(name: str) -> str:
    calls.append(name)
    return name


@dbos.workflow
def changes() -> Any:
    """Do what `versions` says, as if its code were edited."""
    for name in versions["steps"]:
        (another if name == "x" else note)(name)
    if versions["result"] == "raise":
        raise RuntimeError("by now")
    if versions["result"] == "wait":
        dbos.recv(timeout=None)
    return versions["result"]


@dbos.workflow
async def changes_async() -> Any:
    return list(await asyncio.gather(*(anote(name) for name in versions["steps"])))


@dbos.step
async def anote(name: str) -> str:
    calls.append(name)
    return name


@pytest.fixture(autouse=True)
def _first_version() -> None:
    calls.clear()
    versions.update(steps=["a", "b"], result="done")


def run_once(workflow: Any, *args: Any) -> dbos.WorkflowHandle[Any]:
    handle = workflow.start(*args)
    run_until_idle()
    return handle  # type: ignore[no-any-return]


def replayed(handle: dbos.WorkflowHandle[Any]) -> Replayed:
    before = [*calls], list(Checkpoint.objects.values()), list(Workflow.objects.values())
    found = replay(get_store(), handle.workflow_id)
    assert before == ([*calls], list(Checkpoint.objects.values()), list(Workflow.objects.values()))
    return found


def test_unchanged_code_fits() -> None:
    handles = [run_once(changes), run_once(changes_async), run_once(charge_twice, "1", "2")]
    for handle in handles:
        found = replayed(handle)
        assert found.fits
        assert (found.recorded, found.compared) == (2, 2)
        assert str(found).endswith("fits the code: 2 of 2 recorded steps compared.")


def test_failures_and_waits_fit() -> None:
    failed, waiting = run_once(fail, SECRET), run_once(wait_for_note, SECRET)
    paid = pay.start(SECRET)
    paid.send("x", topic="note")
    run_until_idle()
    assert replayed(failed).fits
    assert replayed(paid).fits
    found = replayed(waiting)
    assert found.fits
    assert "It would go on with step 2 'dbos.recv(note)'." in str(found)


@pytest.mark.parametrize(
    ("steps", "result", "words"),
    [
        (["a", "x"], "done", "another"),
        (["a"], "done", "its end"),
        (["a", "b", "c"], "done", "the code goes on with step 3"),
        (["a", "b"], "other", "another result"),
        (["a", "b"], "raise", "it has succeeded, and the code raises RuntimeError: by now"),
        (["a", "b"], "wait", "the code goes on with step 3"),
    ],
)
def test_a_difference_is_named(steps: list[str], result: str, words: str) -> None:
    handle = run_once(changes)
    versions.update(steps=steps, result=result)
    found = replayed(handle)
    assert not found.fits
    assert words in str(found)


def test_a_failure_that_no_longer_happens_is_a_difference() -> None:
    versions["result"] = "raise"
    handle = run_once(changes)
    versions["result"] = "done"
    assert "it has failed, and the code returns a value" in str(replayed(handle))


def test_a_waiting_workflow_may_go_on_differently() -> None:
    versions["result"] = "wait"
    handle = run_once(changes)
    versions["steps"] = ["a", "x"]
    assert not replayed(handle).fits
    versions["steps"] = ["a", "b", "c"]
    assert not replayed(handle).fits


def test_the_command_reads_the_database_and_documents(tmp_path: Path) -> None:
    handle = run_once(changes)
    path = tmp_path / "changes.json"
    path.write_text(json.dumps(handle.export()))
    Workflow.objects.none()
    for arguments in ([handle.workflow_id], ["--file", str(path)]):
        out = StringIO()
        call_command("dbos_replay", *arguments, "--format", "json", stdout=out)
        (found,) = json.loads(out.getvalue())
        assert (found["workflow_id"], found["fits"]) == (handle.workflow_id, True)
    versions["steps"] = ["x"]
    for arguments in ([handle.workflow_id], ["--file", str(path)]):
        with pytest.raises(CommandError, match=r"don't fit the code: 1 of 1"):
            call_command("dbos_replay", *arguments, stdout=StringIO())


def test_mistakes_are_named(tmp_path: Path, use_keys: Callable[..., None]) -> None:
    with pytest.raises(CommandError, match="Name a workflow"):
        call_command("dbos_replay")
    with pytest.raises(CommandError, match="nobody"):
        call_command("dbos_replay", "nobody")
    use_keys("2025")
    handle = run_once(changes)
    path = tmp_path / "changes.json"
    path.write_text(json.dumps(handle.export()))
    with pytest.raises(CommandError, match="no workflow 'nobody'"):
        call_command("dbos_replay", "nobody", "--file", str(path))
    use_keys()
    with pytest.raises(CommandError, match="key '2025'"):
        call_command("dbos_replay", handle.workflow_id)


def test_an_unknown_function_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    handle = run_once(changes)
    monkeypatch.delitem(registry.workflows, changes.name)
    with pytest.raises(CommandError, match="changes"):
        call_command("dbos_replay", handle.workflow_id)
