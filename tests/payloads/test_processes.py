"""Worker processes with and without the key of a value."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from django_dbos import offloading
from django_dbos.models import AtomicCheckpoint, Checkpoint, Workflow
from django_dbos.store.values import VALUE_COLUMNS, texts_of
from tests.payloads.conftest import with_keys
from tests.payloads.workflows import SECRET, pass_through_gate, wait_for_note
from tests.process.conftest import Worker, start_worker  # noqa: F401
from tests.process.workflows import Gate
from tests.waiting import LIMIT, eventually

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.process]
Start = Callable[..., Worker]


@pytest.mark.rule(95)
def test_a_worker_without_the_key_leaves_the_work_to_one_with_it(
    encrypted: None,
    start_worker: Start,  # noqa: F811
) -> None:
    without = start_worker(**with_keys("2026"))
    handles = [wait_for_note.start(f"{SECRET}-{number}") for number in range(5)]
    waiting = Workflow.objects.filter(status="WAITING", wake_kind="key", wake_name="2025")
    eventually(lambda: waiting.count() == 5)
    without.wait_for("encrypted with key '2025'")
    assert SECRET not in without.output
    assert Checkpoint.objects.count() == 0

    start_worker(**with_keys("2025", "2026"))
    for handle in handles:
        handle.send("paid", topic="note")
    results = [handle.get_result(LIMIT) for handle in handles]
    assert results == [f"{SECRET}-{number} paid" for number in range(5)]
    assert Workflow.objects.exclude(status="SUCCESS").count() == 0


@pytest.mark.rule(95)
def test_a_key_that_goes_in_the_middle_costs_no_step(
    encrypted: None,
    start_worker: Start,  # noqa: F811
    tmp_path: Path,
) -> None:
    gate = Gate(tmp_path / "gate")
    first = start_worker(**with_keys("2025"))
    handle = pass_through_gate.start(gate.path, SECRET)
    eventually(lambda: gate.is_reached)
    first.send_group(9)
    first.wait()
    gate.open()
    second = start_worker(**with_keys("2026"))
    waiting = Workflow.objects.filter(status="WAITING", wake_kind="key")
    eventually(waiting.exists)
    second.send_group(9)
    second.wait()
    start_worker(**with_keys("2025"))
    assert handle.get_result(LIMIT) == SECRET
    assert Checkpoint.objects.filter(step_name__endswith="charge").count() == 1


@pytest.mark.rule(97)
def test_a_worker_that_dies_between_object_and_row_leaves_no_row_without_object(
    start_worker: Start,  # noqa: F811
    settings: Any,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    folder, gate = tmp_path / "values", Gate(tmp_path / "gate")
    monkeypatch.setenv("DBOS_TEST_VALUES", str(folder))
    offload = {"OFFLOAD": {"STORAGE": "values", "ABOVE": 1_024}}
    settings.DBOS = {**settings.DBOS, **offload}
    environment = {
        "DBOS_TEST_SETTINGS": json.dumps(offload),
        "DBOS_TEST_VALUES": str(folder),
        "DBOS_TEST_VALUES_GATE": gate.path,
    }
    large = "large value " * 200
    first = start_worker(**environment)
    handle = wait_for_note.start(large)
    handle.send("paid", topic="note")
    eventually(lambda: gate.is_reached)
    assert Checkpoint.objects.count() == 0
    first.send_group(9)
    first.wait()
    written = {path for path in folder.rglob("*") if path.is_file()}

    gate.open()
    start_worker(**environment)
    assert handle.get_result(LIMIT) == f"{large} paid"
    referred = {
        str(folder / reference.name)
        for model in VALUE_COLUMNS
        if model is not AtomicCheckpoint
        for row in model._base_manager.all()
        for text in texts_of(row)
        for reference in offloading.references_in(text)
    }
    stored = {str(path) for path in folder.rglob("*") if path.is_file()}
    assert referred <= stored
    # The input's, of which there is a row, and the step's, of which there never will be.
    assert len(written) == 2
    assert len(stored - referred) == 1
