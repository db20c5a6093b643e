"""Storages that are away while a worker hands over, and storages that choose names."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from django.core.files.storage import FileSystemStorage
from django.db import connection

import django_dbos as dbos
from django_dbos import offloading
from django_dbos.executor import Executor
from django_dbos.models import Checkpoint, Event, StreamEntry, Workflow
from django_dbos.operations import sweeping
from django_dbos.store import get_store
from django_dbos.testing import run_until_idle
from tests.waiting import LIMIT, eventually

pytestmark = pytest.mark.django_db(transaction=True, databases=["default", "other"])
LARGE = "large value " * 200
EXECUTED: list[str] = []


class Storage(FileSystemStorage):
    """A storage that can be away, and that can give other names than it is asked for."""

    is_away = False
    attempts = 0
    rename: Callable[[str], str] | None = None

    def _save(self, name: str, content: Any) -> str:
        Storage.attempts += 1
        if Storage.is_away:
            raise OSError("the storage is away")
        rename = Storage.rename
        return super()._save(name if rename is None else rename(name), content)


@pytest.fixture(autouse=True)
def folder(settings: Any, tmp_path: Path) -> Path:
    settings.STORAGES = {
        **settings.STORAGES,
        "values": {
            "BACKEND": "tests.payloads.test_storages.Storage",
            "OPTIONS": {"location": str(tmp_path)},
        },
    }
    settings.DBOS = {**settings.DBOS, "OFFLOAD": {"STORAGE": "values", "ABOVE": 1_024}}
    Storage.is_away, Storage.attempts, Storage.rename = False, 0, None
    EXECUTED.clear()
    return tmp_path


def objects(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file())


# --- A hand-over while the storage is away -----------------------------------------------


@dbos.step
def note(name: str) -> None:
    EXECUTED.append(name)


@dbos.step
def writes_in_step(times: int) -> None:
    EXECUTED.append("step")
    dbos.write_stream("texts", LARGE * times)


@dbos.workflow(name="storages.sync")
def writes(times: int) -> str:
    note("before")
    dbos.write_stream("texts", LARGE * times)
    dbos.set_event("text", LARGE * times)
    note("after")
    return "done"


@dbos.workflow(name="storages.async")
async def awrites(times: int) -> str:
    await note.acall("before")
    await dbos.awrite_stream("texts", LARGE * times)
    await dbos.aset_event("text", LARGE * times)
    await note.acall("after")
    return "done"


@dbos.workflow(name="storages.end")
async def writes_last(times: int) -> str:
    """Have its end wait for the write that nothing else has waited for."""
    await note.acall("before")
    await note.acall("after")
    await dbos.awrite_stream("texts", LARGE * times)
    await dbos.aset_event("text", LARGE * times)
    return "done"


def handed_over(workflow: Any) -> dbos.WorkflowHandle[str]:
    """Start a workflow that comes to wait for the storage, and stop its worker."""
    Storage.is_away = True
    executor = Executor()
    executor.start()
    handle: dbos.WorkflowHandle[str] = workflow.start(1)
    eventually(lambda: Storage.attempts > 2)
    # It doesn't wait for the storage, nor for the grace period of steps.
    stopping = threading.Thread(target=executor.stop, kwargs={"grace": 10 * LIMIT})
    stopping.start()
    stopping.join(LIMIT)
    assert not stopping.is_alive()
    return handle


@pytest.mark.rule(11)
@pytest.mark.parametrize("workflow", [writes, awrites, writes_last], ids=lambda one: one.name)
def test_a_worker_hands_over_while_the_storage_is_away(workflow: Any) -> None:
    handle = handed_over(workflow)

    row = Workflow.objects.get()
    assert (row.status, row.recovery_attempts, row.is_quarantined) == ("ENQUEUED", 0, False)
    assert not StreamEntry.objects.exists()
    assert not Event.objects.exists()
    # Nothing that came after the write is recorded.
    assert not Checkpoint.objects.filter(step_name__contains="write_stream").exists()

    Storage.is_away = False
    with Executor():
        assert handle.get_result(LIMIT) == "done"
    assert list(handle.read_stream("texts", wait=False)) == [LARGE]
    assert handle.get_event("text") == LARGE
    assert EXECUTED.count("before") == 1


@dbos.workflow(name="storages.step")
def writes_in_its_step(times: int) -> str:
    writes_in_step(times)
    return "done"


def test_a_step_that_waits_for_the_storage_is_handed_over_too() -> None:
    handle = handed_over(writes_in_its_step)
    assert not StreamEntry.objects.exists()

    Storage.is_away = False
    with Executor():
        assert handle.get_result(LIMIT) == "done"
    assert list(handle.read_stream("texts", wait=False)) == [LARGE]


# --- Names -------------------------------------------------------------------------------


def test_a_name_that_is_taken_gets_a_suffix(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As FileSystemStorage does."""
    same = UUID("00000000-0000-4000-8000-000000000000")
    with monkeypatch.context() as patch:
        patch.setattr(offloading.uuid, "uuid4", lambda: same)
        texts = [offloading.offload(f'"{number} {LARGE}"') for number in range(3)]

    assert len(objects(folder)) == len(set(texts)) == 3
    assert [offloading.fetch(text) for text in texts] == [f'"{n} {LARGE}"' for n in range(3)]


def test_a_storage_may_choose_another_name_in_the_folder(folder: Path) -> None:
    Storage.rename = lambda name: f"{name}.v2"
    handle = awrites.start(1)
    run_until_idle()

    assert list(handle.read_stream("texts", wait=False)) == [LARGE]
    assert {path.suffix for path in objects(folder)} == {".v2"}
    assert sweeping._without_row(get_store(), names_of(folder), time.sleep) == set()


@pytest.mark.parametrize(
    "name", ["elsewhere/{}", "{}", "dbos/2026-01-01/sub/{}", "dbos/with space"]
)
def test_a_name_where_the_sweep_would_not_find_it_is_refused(folder: Path, name: str) -> None:
    Storage.rename = lambda given: name.format(given.rpartition("/")[2])

    with pytest.raises(dbos.OffloadFailed, match="in that folder, of ASCII letters") as caught:
        dbos.workflow(name="storages.refused")(print).start(LARGE)

    assert "it has named an object" in str(caught.value)
    assert objects(folder) == []
    assert not Workflow.objects.exists()


def test_a_run_waits_until_the_storage_gives_a_good_name(
    folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    handle = writes.start(1)
    bad = iter(["elsewhere/a", "elsewhere/b"])
    Storage.rename = lambda given: next(bad, given)
    run_until_idle()

    assert handle.get_result(0) == "done"
    assert list(handle.read_stream("texts", wait=False)) == [LARGE]
    assert not [path for path in objects(folder) if "elsewhere" in path.parts]
    assert "waits for the storage of large values, which is unavailable" in caplog.text


@pytest.mark.rule(97)
def test_an_object_that_is_listed_under_another_path_is_no_orphan(folder: Path) -> None:
    """References of an earlier version may have the path that a storage had given."""
    awrites.start(1)
    run_until_idle()
    offloading.offload(f'"{LARGE} without a row"')
    with connection.cursor() as cursor:
        for table in ("dbos_stream_entry", "dbos_event", "dbos_event_version"):
            cursor.execute(f"UPDATE {table} SET value = replace(value, ':dbos/', ':media/dbos/')")

    assert len(objects(folder)) > 1
    assert len(sweeping._without_row(get_store(), names_of(folder), time.sleep)) == 1


def names_of(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in objects(folder)}
