"""Workers sweep offloaded values once a day, where retention is set, and hold nobody up."""

from __future__ import annotations

import threading
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from django.db import connection

from django_dbos.executor import Executor
from django_dbos.executor.duties import offload_sweep
from django_dbos.executor.duties.offload_sweep import OffloadSweep
from django_dbos.models import Workflow
from django_dbos.operations import sweeping
from django_dbos.store import documents, get_store
from django_dbos.testing import run_until_idle
from tests.executors import StoppedClock
from tests.payloads.workflows import fail
from tests.waiting import LIMIT, eventually

pytestmark = pytest.mark.django_db(transaction=True, databases=["default", "other"])
LARGE = "large value " * 200


@pytest.fixture(autouse=True)
def folder(settings: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    settings.STORAGES = {
        **settings.STORAGES,
        "values": {
            "BACKEND": "django.core.files.storage.FileSystemStorage",
            "OPTIONS": {"location": str(tmp_path)},
        },
    }
    offload = {"STORAGE": "values", "ABOVE": 1_024}
    settings.DBOS = {**settings.DBOS, "OFFLOAD": offload, "RETENTION": 3_600}
    monkeypatch.setattr(sweeping, "GAP", 0.0)
    monkeypatch.setattr(sweeping.sweep, "__kwdefaults__", {
        **sweeping.sweep.__kwdefaults__, "gap": 0.0,
    })  # fmt: skip
    monkeypatch.setattr(offload_sweep, "FIRST", 0.0)
    return tmp_path


def orphan(folder: Path, name: str = "0" * 32) -> Path:
    """Make an object that has no row, and is old enough."""
    day = (datetime.now(UTC) - timedelta(days=7)).date().isoformat()
    path = folder / "dbos" / day / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("old")
    return path


def duty() -> OffloadSweep:
    return OffloadSweep(get_store(), StoppedClock(), lambda: False)


@pytest.mark.rule(97)
def test_a_worker_deletes_what_no_row_refers_to(folder: Path) -> None:
    handle = fail.start(LARGE)
    run_until_idle()
    path = orphan(folder)

    with Executor():
        eventually(lambda: not path.exists())

    assert Workflow.objects.get().input["args"] == [LARGE]
    with pytest.raises(Exception, match="was declined"):
        handle.get_result(0)


def test_one_sweep_a_day_over_all_workers(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sweeps: list[Any] = []
    monkeypatch.setattr(
        offload_sweep, "sweep", lambda *args, **options: sweeps.append(args) or sweeping.Swept()
    )
    for _ in range(3):
        duty().run(None)  # type: ignore[arg-type]
    assert len(sweeps) == 1

    # The day after.
    (mark,) = (folder / "dbos" / "swept").iterdir()
    mark.rename(mark.with_name("2026-01-01"))
    duty().run(None)  # type: ignore[arg-type]
    assert len(sweeps) == 2
    assert len(list((folder / "dbos" / "swept").iterdir())) == 1


def test_the_marks_of_days_are_no_objects(folder: Path) -> None:
    duty().run(None)  # type: ignore[arg-type]
    assert sweeping.sweep(get_store(), days=1).objects == 0


def test_a_worker_stops_in_the_middle_and_another_one_begins_again(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, began = orphan(folder), threading.Event()

    def begins(self: OffloadSweep, seconds: float) -> None:
        began.set()
        rest(self, max(seconds, 10 * LIMIT))

    rest = OffloadSweep._rest
    with monkeypatch.context() as patch:
        patch.setattr(OffloadSweep, "_rest", begins)
        executor = Executor()
        executor.start()
        assert began.wait(LIMIT)
        stopping = threading.Thread(target=executor.stop)
        stopping.start()
        stopping.join(LIMIT)
        assert not stopping.is_alive()
    eventually(lambda: not list((folder / "dbos" / "swept").iterdir()))
    assert path.exists()

    with Executor():
        eventually(lambda: not path.exists())


@pytest.mark.parametrize("left_out", ["OFFLOAD", "RETENTION"])
def test_without_either_setting_nothing_sweeps(settings: Any, left_out: str) -> None:
    settings.DBOS = {**settings.DBOS, left_out: None}
    assert Executor().sweeping.is_empty


def test_a_statement_reads_so_many_rows_and_only_texts_with_references(
    folder: Path, monkeypatch: pytest.MonkeyPatch, django_assert_max_num_queries: Any
) -> None:
    monkeypatch.setattr(sweeping, "BATCH", 3)
    fail.start_many([("short",)] * 7)
    fail.start(LARGE)
    rests: list[float] = []
    seen = list(sweeping._referred(get_store(), rests.append))

    assert len(seen) == 1
    # A rest after each page: three of the workflows, and one of each other table with values.
    assert len(rests) >= 3 + len(folder_tables()) - 1


def folder_tables() -> list[Any]:
    from django_dbos.store.values import VALUE_COLUMNS

    return [model for model in VALUE_COLUMNS if model._meta.db_table != "dbos_schedule"]


def test_a_look_does_not_hold_the_write_lock(folder: Path) -> None:
    """On SQLite, a transaction takes it at its begin; a worker could write nothing meanwhile."""
    if connection.vendor == "sqlite":
        with connection.cursor() as cursor:
            # As workers have it.
            cursor.execute("PRAGMA journal_mode=wal")
    with documents.snapshot("default"):
        assert Workflow.objects.count() == 0
        done: list[str] = []
        thread = threading.Thread(target=lambda: done.append(start_elsewhere()))
        thread.start()
        thread.join(LIMIT)
        assert done
        assert Workflow.objects.count() == 0, "The look is of one moment."
    assert Workflow.objects.count() == 1
    if connection.vendor == "sqlite":
        assert connection.transaction_mode == "IMMEDIATE"


def start_elsewhere() -> str:
    from django.db import connections

    try:
        return fail.start("short").workflow_id
    finally:
        connections.close_all()
