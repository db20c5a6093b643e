"""Large values are in a storage, written before their rows, and swept after them."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from django.contrib.auth import get_user_model
from django.core.files.storage import FileSystemStorage, storages
from django.core.management import CommandError, call_command
from django.db import connection, transaction
from django.test import Client
from django.urls import reverse

import django_dbos as dbos
from django_dbos import offloading, serializers
from django_dbos.conf import setting_problems
from django_dbos.models import Checkpoint, Event, Inquiry, Message, StreamEntry, Workflow
from django_dbos.operations.sweeping import GAP, Swept, sweep
from django_dbos.store import get_store
from django_dbos.testing import run_until_idle
from tests.payloads.workflows import (
    ask_somebody,
    begin_again,
    fail,
    pay,
    wait_for_callback,
    wait_for_note,
)

pytestmark = pytest.mark.django_db(transaction=True, databases=["default", "other"])
UseKeys = Callable[..., None]
LARGE = "large value " * 200


class Faulty(FileSystemStorage):
    """A storage that can be told to fail."""

    failures = 0
    saved = 0

    def _save(self, name: str, content: Any) -> str:
        if Faulty.failures:
            Faulty.failures -= 1
            raise OSError("the storage is away")
        Faulty.saved += 1
        return super()._save(name, content)

    def _open(self, name: str, mode: str = "rb") -> Any:
        if Faulty.failures:
            Faulty.failures -= 1
            raise ConnectionError("the storage is away")
        return super()._open(name, mode)


@pytest.fixture(autouse=True)
def folder(settings: Any, tmp_path: Path) -> Path:
    settings.STORAGES = {
        **settings.STORAGES,
        "values": {
            "BACKEND": "tests.payloads.test_offloading.Faulty",
            "OPTIONS": {"location": str(tmp_path)},
        },
    }
    settings.DBOS = {**settings.DBOS, "OFFLOAD": {"STORAGE": "values", "ABOVE": 1_024}}
    Faulty.failures = Faulty.saved = 0
    return tmp_path


def objects(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file()]


def is_in_rows(text: str) -> bool:
    with connection.cursor() as cursor:
        for table in ("dbos_workflow", "dbos_checkpoint", "dbos_message", "dbos_stream_entry"):
            cursor.execute(f"SELECT * FROM {table}")
            if any(text in str(value) for row in cursor.fetchall() for value in row):
                return True
    return False


def fill() -> list[dbos.WorkflowHandle[Any]]:
    paid, failed, again = pay.start(LARGE), fail.start(LARGE), begin_again.start(LARGE)
    asked = ask_somebody.start(LARGE)
    paid.send(LARGE, topic="note")
    run_until_idle()
    (form,) = Inquiry.objects.pending()
    dbos.answer_form(form.pk, {"note": LARGE})
    run_until_idle()
    return [paid, failed, again, asked]


def test_large_values_of_all_kinds_are_outside_of_the_rows(folder: Path) -> None:
    paid, failed, again, asked = fill()
    assert not is_in_rows(LARGE)
    assert len(objects(folder)) > 5
    assert paid.get_result(0)["told"] == LARGE
    assert again.get_result(0) == LARGE
    assert asked.get_result(0) == LARGE.strip()
    with pytest.raises(Exception, match="was declined"):
        failed.get_result(0)
    assert Event.objects.get().value == LARGE
    assert StreamEntry.objects.exclude(value_text=None).get().value == {"card": LARGE}
    assert Message.objects.get(topic="note").message == LARGE
    assert list(paid.read_stream("log", wait=False)) == [{"card": LARGE}]
    assert serializers.to_plain_text(Event.objects.get().value_text) == f'"{LARGE}"'


def test_a_callback_that_is_repeated_leaves_no_object(settings: Any) -> None:
    """Its address is known to others, and goes on to be genuine after the answer."""
    settings.DBOS = {**settings.DBOS, "BASE_URL": "https://shop.example"}
    handle = wait_for_callback.start()
    run_until_idle()
    path = handle.get_event("url").removeprefix("https://shop.example")

    def post(text: str) -> int:
        return Client().post(path, text, content_type="text/plain").status_code

    assert post(LARGE) == 200
    saved = Faulty.saved
    assert (post(LARGE), post(f"another {LARGE}")) == (200, 409)
    run_until_idle()
    assert post(LARGE) == 200
    assert handle.get_result() == len(LARGE)
    assert Faulty.saved == saved


def test_a_page_of_the_admin_fetches_no_object(client: Client, monkeypatch: Any) -> None:
    _, _, again, _ = fill()
    client.force_login(get_user_model().objects.create_superuser("root"))
    monkeypatch.setattr(Faulty, "_open", None)
    url = reverse("admin:django_dbos_workflow_change", args=[again.workflow_id])
    page = client.get(url).content.decode()
    assert "large value" not in page
    assert "bytes)" in page


def test_small_values_stay_in_rows(folder: Path) -> None:
    fail.start("small")
    run_until_idle()
    assert not any(path.stat().st_size < 1_024 for path in objects(folder))
    assert Workflow.objects.get().input_text.startswith("{")


def test_objects_are_encrypted_before_they_are_written(use_keys: UseKeys, folder: Path) -> None:
    use_keys("2025")
    (paid, *_) = fill()
    for path in objects(folder):
        assert path.read_text().startswith("!encrypted:2025:")
    assert paid.get_result(0)["told"] == LARGE


def test_objects_are_rotated(use_keys: UseKeys, folder: Path) -> None:
    use_keys("2025")
    (paid, *_) = fill()
    use_keys("2026", "2025")
    call_command("dbos_rotate_keys", stdout=StringIO())
    use_keys("2026")
    assert paid.get_result(0)["told"] == LARGE
    found = sweep_all()
    assert found.deleted > 0
    assert {path.read_text()[:16] for path in objects(folder)} == {"!encrypted:2026:"}


@dbos.workflow
def repeat(text: str, times: int) -> str:
    return text * times


@dbos.workflow
def repeat_each(times: list[int]) -> list[int]:
    """Have a record of many values that is large itself; some of the values are large, too."""
    made = repeat.map([("a value ", number) for number in times])
    dbos.recv("go")
    return [len(text) for text in made]


def forks_in_turn() -> dbos.WorkflowHandle[list[int]]:
    """Return a waiting workflow whose history alone still has the results of its children."""
    handle = repeat_each.start([300, 300, *[20] * 20])
    run_until_idle()
    fork = handle.fork(from_step=len(handle.steps()) + 1)
    handle.cancel()
    handle.delete(children=True)
    run_until_idle()
    return fork


def sweep_today() -> Swept:
    """Sweep, and leave the objects where they are: they name one another."""
    return sweep(get_store(), days=0, gap=0.0)


def finish(handle: dbos.WorkflowHandle[list[int]]) -> list[int]:
    handle.send(None, topic="go")
    run_until_idle()
    return handle.get_result(0)


def test_a_record_of_many_is_rotated_in_its_object(use_keys: UseKeys, folder: Path) -> None:
    use_keys("2025")
    fork = forks_in_turn()
    record = Checkpoint.objects.get(step_name__startswith="dbos.map(", related_workflow_id=None)
    assert str(record.output_text).startswith("!offloaded:2025:")
    use_keys("2026", "2025")
    call_command("dbos_rotate_keys", stdout=StringIO())
    out = StringIO()
    call_command("dbos_rotate_keys", dry_run=True, stdout=out)
    assert "Nothing to do" in out.getvalue()
    assert "stored in plain count only with --plain" in out.getvalue()
    sweep_today()
    assert not any("!encrypted:2025:" in path.read_text() for path in objects(folder))
    use_keys("2026")
    assert finish(fork) == [2_400, 2_400, *[160] * 20]


@pytest.mark.rule(97)
@pytest.mark.parametrize("keys", [(), ("2025",)])
def test_objects_that_an_object_refers_to_are_not_swept(
    use_keys: UseKeys, keys: tuple[str, ...]
) -> None:
    """The children are gone, and the record of their results is in an object of its own."""
    use_keys(*keys)
    fork = forks_in_turn()
    assert sweep_today().orphans == 0
    if not keys:
        use_keys("2026")
        call_command("dbos_rotate_keys", plain=True, stdout=StringIO())
    assert sweep_today().orphans == (0 if keys else 3)
    assert "!offloaded:" not in str(fork.export())
    assert finish(fork) == [2_400, 2_400, *[160] * 20]


def test_a_document_has_what_was_offloaded() -> None:
    (paid, *_) = fill()
    assert "!offloaded" not in str(paid.export())
    assert LARGE in str(paid.export())


def start_and_roll_back() -> None:
    with transaction.atomic():
        pay.start(LARGE)
        transaction.set_rollback(True)


@dbos.workflow
async def write_async(text: str) -> str:
    await dbos.aset_event("text", text)
    await dbos.awrite_stream("texts", text)
    return text


@dbos.workflow
def collect(count: int) -> list[str]:
    handles = [begin_again.start(LARGE) for _ in range(count)]
    name, value = dbos.wait_any(first=handles[0], late=dbos.until(3_600))
    assert value == LARGE
    return [name, *dbos.get_results(handles)]


def test_async_workflows_and_results_of_many(folder: Path) -> None:
    handles = [write_async.start(LARGE), collect.start(3)]
    run_until_idle()
    assert not is_in_rows(LARGE)
    assert handles[0].get_result(0) == LARGE
    assert handles[1].get_result(0) == ["first", *[LARGE] * 3]


def test_a_workflow_waits_for_a_storage_that_is_away(folder: Path) -> None:
    handle = pay.start(LARGE)
    handle.send(LARGE, topic="note")
    Faulty.failures = 3
    run_until_idle()
    assert Faulty.failures == 0
    assert handle.get_result(0)["told"] == LARGE
    assert Checkpoint.objects.filter(step_name__endswith="charge").count() == 1


def test_a_client_is_told_that_the_storage_failed() -> None:
    Faulty.failures = 1
    with pytest.raises(dbos.OffloadFailed, match="the storage is away"):
        pay.start(LARGE)
    assert Workflow.objects.count() == 0


def test_a_workflow_whose_object_is_gone_is_quarantined_and_can_be_resumed(folder: Path) -> None:
    handle = wait_for_note.start(LARGE)
    run_until_idle()
    kept = {path: path.read_bytes() for path in objects(folder)}
    for path in kept:
        path.unlink()
    handle.send("paid", topic="note")
    run_until_idle()
    found = handle.describe()
    assert found.is_quarantined
    assert "isn't in the storage" in (found.error or "")
    with pytest.raises(dbos.OffloadedValueMissing, match="dbos/"):
        _ = Workflow.objects.get().input
    assert "missing" in str(serializers.to_plain(Workflow.objects.get().input_text))
    for path, content in kept.items():
        path.write_bytes(content)
    handle.resume()
    run_until_idle()
    assert handle.get_result(0) == f"{LARGE} paid"


def test_an_altered_object_is_refused(folder: Path) -> None:
    handle = fail.start(LARGE)
    (path,) = objects(folder)
    path.write_bytes(path.read_bytes().replace(b"large", b"other"))
    with pytest.raises(dbos.SerializationError, match="isn't as it was written"):
        _ = Workflow.objects.get(pk=handle.workflow_id).input


def sweep_all(**options: Any) -> Any:
    """Sweep as if a week had passed."""
    folder = Path(storages["values"].location)  # type: ignore[attr-defined]
    before = (datetime.now(UTC) - timedelta(days=7)).date().isoformat()
    days = folder / "dbos"
    for day in [path for path in days.iterdir() if path.name != before]:
        (days / before).mkdir(exist_ok=True)
        for path in list(day.iterdir()):
            path.rename(days / before / path.name)
        with connection.cursor() as cursor:
            for table, column in COLUMNS:
                cursor.execute(
                    f"UPDATE {table} SET {column} = replace({column}, %s, %s)",
                    [f"dbos/{day.name}/", f"dbos/{before}/"],
                )
    return sweep(get_store(), gap=0.0, **options)


COLUMNS = [
    ("dbos_workflow", "input"),
    ("dbos_workflow", "output"),
    ("dbos_workflow", "error"),
    ("dbos_checkpoint", "output"),
    ("dbos_checkpoint", "error"),
    ("dbos_message", "message"),
    ("dbos_event", "value"),
    ("dbos_event_version", "value"),
    ("dbos_stream_entry", "value"),
    ("dbos_past_run", "input"),
    ("dbos_inquiry", "initial"),
    ("dbos_inquiry", "answer"),
]


@pytest.mark.rule(97)
def test_only_objects_without_a_row_are_swept(folder: Path) -> None:
    (paid, *_) = fill()
    handle = collect.start(3)
    run_until_idle()
    start_and_roll_back()
    count = len(objects(folder))
    assert sweep_all(is_trial=True).orphans > 0
    assert len(objects(folder)) == count
    assert sweep_all().deleted > 0
    assert sweep_all().orphans == 0
    assert paid.get_result(0)["told"] == LARGE
    assert handle.get_result(0) == ["first", *[LARGE] * 3]
    with connection.cursor() as cursor:
        for table, _ in COLUMNS:
            cursor.execute(f"DELETE FROM {table}")
    sweep_all()
    assert objects(folder) == []


@pytest.mark.rule(97)
def test_a_text_that_is_copied_between_the_two_looks_keeps_its_object(
    folder: Path,
) -> None:
    """A parent has read a result, whose row is then deleted, and records it a moment later."""
    wait_for_note.start(LARGE)
    run_until_idle()
    sweep_all()
    row = Workflow.objects.get()
    with connection.cursor() as cursor:
        cursor.execute("UPDATE dbos_workflow SET input = '{}'")
        cursor.execute("DELETE FROM dbos_checkpoint")

    def copy(seconds: float) -> None:
        if seconds != GAP:
            # Between two statements of a look.
            return
        with connection.cursor() as cursor:
            cursor.execute("UPDATE dbos_workflow SET output = %s", [row.input_text])

    sweep(get_store(), rest=copy)
    assert Workflow.objects.get().output["args"] == [LARGE]


def test_young_objects_are_kept(folder: Path) -> None:
    start_and_roll_back()
    assert sweep(get_store(), gap=0.0).objects == 0
    assert len(objects(folder)) == 1


def test_the_command_counts(folder: Path, settings: Any) -> None:
    fill()
    out = StringIO()
    call_command("dbos_sweep_offloaded", gap=0.0, stdout=out)
    assert "deleted: 0" in out.getvalue()
    with pytest.raises(CommandError, match="--days"):
        call_command("dbos_sweep_offloaded", days=0)
    settings.DBOS = {**settings.DBOS, "OFFLOAD": None}
    with pytest.raises(CommandError, match="OFFLOAD"):
        call_command("dbos_sweep_offloaded")


def test_references_are_read_from_texts() -> None:
    digest = hashlib.sha256(b"x").hexdigest()[:32]
    text = f"!offloaded:2025:5:{digest}:dbos/2026-01-01/abc"
    (found,) = offloading.references_in(f'{{"winner": 0, "text": "{text}"}}')
    assert (found.key_id, found.size, found.name) == ("2025", 5, "dbos/2026-01-01/abc")
    assert str(found) == text
    with pytest.raises(dbos.SerializationError, match="damaged"):
        offloading.fetch("!offloaded:nonsense")


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ("values", "must be a dict with 'STORAGE'"),
        ({"STORAGE": "valeus"}, "Did you mean 'values'"),
        ({"STORAGE": "values", "ABOVE": 5}, "must be at least 1024"),
        ({"STORAGE": "values", "ABOV": 5}, "Did you mean 'ABOVE'"),
    ],
)
def test_bad_settings_are_named(settings: Any, given: Any, words: str) -> None:
    settings.DBOS = {**settings.DBOS, "OFFLOAD": given}
    (problem,) = setting_problems()
    assert words in problem.message
