"""Workflows are exported as JSON, and imported elsewhere, all or none."""

from __future__ import annotations

import copy
import json
import threading
from collections.abc import Callable
from contextlib import suppress
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from django.apps import apps
from django.core.management import CommandError, call_command
from django.db import connection, connections
from django.db.models import QuerySet

import django_dbos as dbos
from django_dbos.exceptions import RecordedError
from django_dbos.models import (
    AtomicCheckpoint,
    Checkpoint,
    Event,
    Inquiry,
    Message,
    PastRun,
    StreamEntry,
    Workflow,
)
from django_dbos.operations import importing
from django_dbos.store import documents
from django_dbos.store.values import VALUE_COLUMNS
from django_dbos.testing import arun_until_idle, run_until_idle
from tests.payloads.workflows import (
    SECRET,
    Declined,
    ask_somebody,
    begin_again,
    fail,
    pay,
    wait_for_note,
)
from tests.waiting import LIMIT

pytestmark = pytest.mark.django_db(transaction=True, databases=["default", "other"])
UseKeys = Callable[..., None]
Document = dict[str, Any]


@dbos.workflow
def start_a_child(card: str) -> str:
    return (
        fail.using(workflow_id=f"{dbos.current_workflow().workflow_id}-child")
        .start(card)
        .workflow_id
    )


def clear() -> None:
    with connection.cursor() as cursor:
        for model in apps.get_app_config("django_dbos").get_models():
            if model is Workflow or model in documents.PARTS.values():
                cursor.execute(f"DELETE FROM {model._meta.db_table}")


def through_json(document: Document) -> Document:
    return json.loads(json.dumps(document))


def make_finished() -> dbos.WorkflowHandle[Any]:
    handle = pay.using(workflow_id="paid", user="7", attributes={"shop": 5}).start(SECRET)
    handle.send({"note": 1}, topic="note")
    run_until_idle()
    handle.send("late", topic="note")
    return handle


def everything() -> dict[str, list[dict[str, Any]]]:
    found = {}
    for model in (Workflow, *documents.PARTS.values()):
        rows = model._base_manager.order_by("pk")
        found[model.__name__] = [documents.to_json(row, lambda *given: given[-1]) for row in rows]
    for row in (*found["Workflow"], *found["Inquiry"]):
        # An import has a token of its own.
        row["token"] = None
    return found


def test_a_finished_workflow_is_the_same_afterwards() -> None:
    handle = make_finished()
    begin_again.using(workflow_id="again").start(SECRET)
    fail.using(workflow_id="failed").start(SECRET)
    run_until_idle()
    before = everything()
    document = through_json(dbos.export_workflows(Workflow.objects.order_by("pk")))
    clear()
    assert dbos.import_workflows(document) == ["again", "failed", "paid"]

    assert everything() == before
    assert handle.get_result(0)["charged"] == SECRET
    assert handle.events() == {"card": SECRET}
    assert list(handle.read_stream("log", wait=False)) == [{"card": SECRET}]
    assert [step.step_number for step in handle.steps()] == [1, 2, 3, 4, 5]
    assert PastRun.objects.get().input["args"] == [SECRET]
    with pytest.raises(Declined, match=SECRET):
        dbos.retrieve_workflow("failed").get_result(0)
    run_until_idle()
    assert everything() == before


@dbos.step
def is_noted(number: int) -> int:
    return number


@dbos.workflow
def takes_many_steps(count: int) -> int:
    return sum(is_noted(number) for number in range(count))


def test_ten_thousand_steps_go_there_and_back(django_assert_max_num_queries: Any) -> None:
    handle = takes_many_steps.using(workflow_id="long").start(10_000)
    run_until_idle()
    before = everything()
    with django_assert_max_num_queries(20):
        document = through_json(handle.export())
    clear()
    # 500 rows a statement, or what SQLite allows.
    with django_assert_max_num_queries(10_000 // 50 + 20):
        dbos.import_workflows(document)

    assert len(before["Checkpoint"]) == 10_000
    assert everything() == before
    handle.rewind(10_000)
    run_until_idle()
    assert handle.get_result(0) == sum(range(10_000))


class Id(str):
    """A text that counts its comparisons."""

    __slots__ = ()
    compared = 0
    __hash__ = str.__hash__

    def __eq__(self, other: object) -> bool:
        Id.compared += 1
        return str.__eq__(self, other)


def test_an_import_does_not_compare_each_id_with_each(monkeypatch: pytest.MonkeyPatch) -> None:
    fail.using(workflow_id="one").start(SECRET)
    run_until_idle()
    document = through_json(dbos.export_workflows(["one"]))
    clear()
    (only,) = document["workflows"]
    document["workflows"] = [
        {**only, "workflow": {**only["workflow"], "workflow_id": f"one-{number}"}}
        for number in range(1_000)
    ]
    read = documents.from_json

    def counted(model: Any, given: Any, place: str) -> dict[str, Any]:
        row = read(model, given, place)
        return row if model is not Workflow else {**row, "workflow_id": Id(row["workflow_id"])}

    monkeypatch.setattr(documents, "from_json", counted)
    monkeypatch.setattr("django_dbos.operations.importing.check_workflow_id", str)
    Id.compared = 0

    assert len(dbos.import_workflows(document)) == 1_000
    # All pairs would be half a million.
    assert Id.compared < 20_000


@dbos.step(atomic=True, using="other")
def pays_elsewhere() -> str:
    PAID.append("paid")
    return "receipt"


@dbos.workflow
def pays_and_waits() -> str:
    receipt = pays_elsewhere()
    return f"{receipt} {dbos.recv('note', timeout=None)}"


PAID: list[str] = []


@pytest.mark.rule(27)
def test_an_atomic_step_that_only_its_own_database_has_comes_along() -> None:
    """Its worker died before the copy; the import must not take it again."""
    PAID.clear()
    handle = pays_and_waits.using(workflow_id="pays").start()
    run_until_idle()
    handle.cancel()
    with connection.cursor() as cursor:
        cursor.execute("DELETE FROM dbos_checkpoint")
    (elsewhere,) = AtomicCheckpoint.objects.using("other")

    document = through_json(handle.export())
    clear()
    dbos.import_workflows(document)
    QuerySet(AtomicCheckpoint, using="other").delete()

    # Not under the token of the original, which may share the step database.
    assert Workflow.objects.get().token != elsewhere.token
    handle.resume()
    handle.send("thanks", topic="note")
    run_until_idle()
    assert handle.get_result(0) == "receipt thanks"
    assert PAID == ["paid"]


def test_the_deletion_of_an_import_leaves_the_steps_of_its_original() -> None:
    handle = pays_and_waits.using(workflow_id="pays").start()
    run_until_idle()
    document = through_json(handle.export())
    clear()
    dbos.import_workflows(document)

    assert handle.delete() is None
    assert AtomicCheckpoint.objects.using("other").count() == 1


def test_an_active_workflow_arrives_as_cancelled_and_can_be_resumed() -> None:
    handle = wait_for_note.using(workflow_id="waiting", deduplication_id="one").start(SECRET)
    run_until_idle()
    handle.send("paid", topic="note")
    document = through_json(handle.export())
    clear()
    dbos.import_workflows(document)
    run_until_idle()
    assert handle.get_status() == "CANCELLED"
    assert handle.describe().waits_for is None

    assert handle.resume()
    run_until_idle()
    assert handle.get_result(0) == f"{SECRET} paid"
    assert Checkpoint.objects.filter(step_name__endswith="charge").count() == 1


def test_active_workflows_run_on_request() -> None:
    delayed = wait_for_note.using(workflow_id="delayed", run_after=3_600).start(SECRET)
    handle = wait_for_note.using(workflow_id="waiting").start(SECRET)
    run_until_idle()
    document = through_json(dbos.export_workflows([handle, "delayed"]))
    clear()
    dbos.import_workflows(document, run=True)
    for one in (handle, delayed):
        one.send("paid", topic="note")
    run_until_idle()
    assert [one.get_result(0) for one in (handle, delayed)] == [f"{SECRET} paid"] * 2


def test_children_come_along_on_request() -> None:
    parent = start_a_child.using(workflow_id="parent").start(SECRET)
    run_until_idle()
    assert len(parent.export()["workflows"]) == 1
    document = through_json(parent.export(children=True))
    clear()
    assert dbos.import_workflows(document) == ["parent", "parent-child"]
    assert Workflow.objects.get(pk="parent-child").parent_id == "parent"


def test_forms_come_along_and_can_not_be_answered() -> None:
    handle = ask_somebody.using(workflow_id="asks").start(SECRET)
    run_until_idle()
    document = through_json(handle.export())
    clear()
    dbos.import_workflows(document)
    assert Inquiry.objects.get().initial == {"note": SECRET}
    assert not Inquiry.objects.pending().exists()


@pytest.mark.parametrize("decrypt", [False, True])
def test_encrypted_values_stay_so_unless_they_are_to_be_decrypted(
    use_keys: UseKeys, decrypt: bool
) -> None:
    use_keys("2025")
    handle = make_finished()
    document = through_json(handle.export(decrypt=decrypt))
    assert (SECRET in json.dumps(document)) is decrypt
    clear()
    use_keys()
    dbos.import_workflows(document)
    if decrypt:
        assert handle.get_result(0)["charged"] == SECRET
    else:
        with pytest.raises(dbos.EncryptionKeyMissing, match="2025"):
            handle.get_result(0)


@pytest.mark.parametrize("is_encrypted", [False, True])
def test_an_import_stores_values_as_they_are_stored_here(
    use_keys: UseKeys, settings: Any, tmp_path: Path, is_encrypted: bool
) -> None:
    large = "".join(map(str, range(2_000)))
    handle = pay.using(workflow_id="paid").start(large)
    handle.send({"note": large}, topic="note")
    run_until_idle()
    result = handle.get_result(0)
    handle.send({"note": large}, topic="note")
    document = through_json(handle.export())
    clear()

    use_keys(*(["2025"] if is_encrypted else []))
    storage = {
        "BACKEND": "django.core.files.storage.FileSystemStorage",
        "OPTIONS": {"location": str(tmp_path)},
    }
    settings.STORAGES = {**settings.STORAGES, "values": storage}
    settings.DBOS = {**settings.DBOS, "OFFLOAD": {"STORAGE": "values", "ABOVE": 1_024}}
    dbos.import_workflows(document)

    # Errors of attempts stay in their rows.
    kept: set[Any] = set()
    texts: set[Any] = set()
    for model, columns in VALUE_COLUMNS.items():
        if model is Workflow or model in documents.PARTS.values():
            for column in columns:
                found = kept if column == "attempt_errors_text" else texts
                found.update(model._base_manager.values_list(column, flat=True))
    texts.discard(None)
    assert max(map(len, texts)) < 1_024
    assert sum(text.startswith("!offloaded:") for text in texts) >= 3
    if is_encrypted:
        assert all(text.startswith("!") for text in (kept | texts) - {None})
    assert handle.get_result(0) == result
    assert Workflow.objects.get(pk="paid").input["args"] == [large]
    handle.rewind(2)
    run_until_idle()
    assert handle.get_result(0) == result


def test_decryption_needs_the_key(use_keys: UseKeys) -> None:
    use_keys("2025")
    handle = make_finished()
    use_keys("2026")
    with pytest.raises(dbos.EncryptionKeyMissing, match="2025"):
        handle.export(decrypt=True)
    with pytest.raises(CommandError, match="2025"):
        call_command("dbos_export", "paid", "--decrypt", stdout=StringIO())


@pytest.mark.parametrize("is_encrypted", [False, True])
def test_redacted_parts_are_left_out(use_keys: UseKeys, settings: Any, is_encrypted: bool) -> None:
    settings.DBOS = {
        **settings.DBOS,
        "REDACT": {
            "*": ["input.args.0", "error", "attempt_errors", "output.charged", "value", "message"]
        },
    }
    if is_encrypted:
        use_keys("2025")
    make_finished()
    fail.using(workflow_id="failed").start(SECRET)
    run_until_idle()
    Workflow.objects.get(pk="paid")
    document = through_json(dbos.export_workflows(["paid", "failed"], decrypt=is_encrypted))
    text = json.dumps(document)
    # The result has the error's text in a place of its own.
    assert text.count(SECRET) == 1
    clear()
    dbos.import_workflows(document)
    failed = Workflow.objects.get(pk="failed")
    assert failed.input == {"args": ["[redacted]"], "kwargs": {}}
    assert isinstance(failed.error, RecordedError)
    assert "Declined" in str(failed.error)
    assert Event.objects.get().value == "[redacted]"
    assert Message.objects.first().message == "[redacted]"  # type: ignore[union-attr]


@pytest.mark.rule(103)
def test_of_two_imports_in_opposite_orders_one_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each inserts a row, and then waits for a moment, so that the other has one, too."""
    for name in ("a", "b"):
        wait_for_note.using(workflow_id=name).start(SECRET)
    document = dbos.export_workflows(["a", "b"])
    for name in ("a", "b"):
        dbos.retrieve_workflow(name).cancel()
        dbos.retrieve_workflow(name).delete()
    inserted = threading.Barrier(2)
    insert = importing._insert

    def insert_one_by_one(store: Any, model: Any, rows: list[Any]) -> None:
        for row in rows:
            insert(store, model, [row])
            with suppress(threading.BrokenBarrierError):
                inserted.wait(0.5)

    monkeypatch.setattr(importing, "_insert", insert_one_by_one)
    answers: list[object] = []

    def work(workflows: list[Any]) -> None:
        try:
            answers.append(dbos.import_workflows({**document, "workflows": workflows}))
        except Exception as error:
            answers.append(type(error))
        finally:
            connections.close_all()

    orders = (document["workflows"], document["workflows"][::-1])
    threads = [threading.Thread(target=work, args=(order,)) for order in orders]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(LIMIT)

    assert answers.count(dbos.ImportRefused) == 1
    assert Workflow.objects.count() == 2


def test_what_exists_is_refused_and_nothing_is_imported() -> None:
    make_finished()
    fail.using(workflow_id="failed").start(SECRET)
    run_until_idle()
    document = through_json(dbos.export_workflows(["failed", "paid"]))
    clear()
    fail.using(workflow_id="failed").start(SECRET)
    with pytest.raises(dbos.ImportRefused, match=r"'failed' already\. Nothing was imported"):
        dbos.import_workflows(document)
    assert Workflow.objects.count() == 1
    assert StreamEntry.objects.count() == 0


def at(document: Document, path: str, value: Any) -> Document:
    """Return a copy with another value at a place; the path ends with the name to be set."""
    changed = copy.deepcopy(document)
    place: Any = changed
    *way, last = [int(part) if part.isdigit() else part for part in path.split("/")]
    for part in way:
        place = place[part]
    if value is ...:
        del place[last]
    else:
        place[last] = value
    return changed


W = "workflows/0"


@pytest.mark.parametrize(
    ("path", "value", "words"),
    [
        ("format", "other", "isn't an export of workflows"),
        ("version", 99, "version 99"),
        ("workflows", {}, "must be a list"),
        (W, 5, "workflows[0] must be an object, not int"),
        (f"{W}/other", [], "workflows[0].other is unknown"),
        (f"{W}/workflow", ..., "workflows[0].workflow must be an object"),
        (f"{W}/workflow/nonsense", 1, "workflows[0].workflow.nonsense is unknown"),
        (f"{W}/workflow/name", ..., "workflows[0].workflow.name is missing"),
        (f"{W}/workflow/name", None, "workflows[0].workflow.name must not be null"),
        (f"{W}/workflow/name", "x" * 300, "has 300 characters"),
        (f"{W}/workflow/name", "a\0b", "NUL"),
        (f"{W}/workflow/workflow_id", "", "workflows[0].workflow.workflow_id: "),
        (f"{W}/workflow/status", "DONE", "workflows[0].workflow.status must be one of"),
        (f"{W}/workflow/token", "x", "workflows[0].workflow.token must be a UUID"),
        (f"{W}/workflow/created_at", "yesterday", "must be an instant"),
        (f"{W}/workflow/created_at", "2026-01-01T00:00:00", "with its offset"),
        (f"{W}/workflow/timeout", "5", "must be a number of seconds"),
        (f"{W}/workflow/timeout", 1e300, "is too long"),
        (f"{W}/workflow/priority", 70_000, "is out of range"),
        (f"{W}/workflow/priority", True, "must be a whole number"),
        (f"{W}/workflow/is_quarantined", 1, "must be true or false"),
        (f"{W}/workflow/attributes", [1], "must be an object"),
        (f"{W}/workflow/input", "{", "workflows[0].workflow.input isn't the text of a value"),
        (f"{W}/checkpoints", 5, "workflows[0].checkpoints must be a list"),
        (f"{W}/checkpoints/1/state", 9, "workflows[0].checkpoints[1].state must be one of"),
        (f"{W}/checkpoints/0/output", "nonsense", "workflows[0].checkpoints[0].output isn't"),
        (f"{W}/events/0", None, "workflows[0].events[0] must be an object"),
    ],
)
def test_damaged_documents_name_the_place(path: str, value: Any, words: str) -> None:
    make_finished()
    document = at(through_json(dbos.export_workflows(["paid"])), path, value)
    clear()
    with pytest.raises(dbos.ImportRefused) as caught:
        dbos.import_workflows(document)
    assert words in str(caught.value)
    assert not Workflow.objects.exists()


def test_a_row_that_is_there_twice_is_refused() -> None:
    make_finished()
    document = through_json(dbos.export_workflows(["paid"]))
    clear()
    twice = copy.deepcopy(document)
    twice["workflows"] *= 2
    with pytest.raises(dbos.ImportRefused, match="'paid' is in the document twice"):
        dbos.import_workflows(twice)
    document["workflows"][0]["checkpoints"] *= 2
    with pytest.raises(dbos.ImportRefused, match="The database refused a row"):
        dbos.import_workflows(document)
    assert not Workflow.objects.exists()
    assert not Message.objects.exists()


def test_an_older_document_without_new_columns_is_imported() -> None:
    make_finished()
    document = through_json(dbos.export_workflows(["paid"]))
    clear()
    for name in ("steps_before", "run_number", "unique_until"):
        del document["workflows"][0]["workflow"][name]
    dbos.import_workflows(document)
    assert Workflow.objects.get(pk="paid").run_number == 1


def test_unknown_workflows_and_wrong_arguments_are_refused() -> None:
    with pytest.raises(dbos.WorkflowDoesNotExist, match="nobody"):
        dbos.export_workflows(["nobody"])
    with pytest.raises(TypeError, match="takes ids, handles and rows"):
        dbos.export_workflows([5])  # type: ignore[list-item]
    with pytest.raises(dbos.ImportRefused):
        dbos.import_workflows([])  # type: ignore[arg-type]


@dbos.workflow
def exports_itself() -> None:
    dbos.retrieve_workflow("any").export()


def test_an_export_is_refused_in_workflow_code() -> None:
    make_finished()
    handle = exports_itself.start()
    run_until_idle()
    with pytest.raises(dbos.DbosError):
        handle.get_result(0)


def test_the_commands_write_and_read_a_file(tmp_path: Path) -> None:
    handle = make_finished()
    path = tmp_path / "paid.json"
    call_command("dbos_export", "paid", output=path, stderr=StringIO())
    with pytest.raises(CommandError, match="already"):
        call_command("dbos_import", str(path))
    clear()
    out = StringIO()
    call_command("dbos_import", str(path), "--format", "json", stdout=out)
    assert json.loads(out.getvalue()) == ["paid"]
    assert handle.get_result(0)["charged"] == SECRET
    with pytest.raises(CommandError, match="nobody"):
        call_command("dbos_export", "nobody")
    path.write_text("{")
    with pytest.raises(CommandError, match="can't be read as JSON"):
        call_command("dbos_import", str(path))
    with pytest.raises(CommandError, match="can't be read: No such file"):
        call_command("dbos_import", str(tmp_path / "nowhere"))
    with pytest.raises(CommandError, match=r"paid\.json' can't be written: No such file"):
        call_command("dbos_export", "paid", output=tmp_path / "nowhere" / "paid.json")


@pytest.mark.asyncio
async def test_async_twins(async_db: None) -> None:
    handle = await fail.using(workflow_id="failed").astart(SECRET)
    await arun_until_idle()
    one, all_of_them = await handle.aexport(), await dbos.aexport_workflows([handle])
    assert one["workflows"] == all_of_them["workflows"]
    with pytest.raises(dbos.ImportRefused, match="already"):
        await dbos.aimport_workflows(one)


def test_every_table_of_a_workflow_is_exported() -> None:
    """A new table with values belongs to a document, too."""
    left_out = {"AtomicCheckpoint", "Schedule", "Workflow"}
    exported = {model.__name__ for model in documents.PARTS.values()}
    assert {model.__name__ for model in VALUE_COLUMNS} - left_out == exported


def test_an_id_alone_is_not_taken_for_a_list_of_ids() -> None:
    with pytest.raises(TypeError, match="takes a list of workflows, not str 'order-17'"):
        dbos.export_workflows("order-17")
    with pytest.raises(TypeError, match="takes a list of workflows, not WorkflowHandle Work"):
        dbos.export_workflows(dbos.WorkflowHandle("order-17"))  # type: ignore[arg-type]


def test_a_text_does_not_decrypt_or_run_anything() -> None:
    no: Any = "no"
    with pytest.raises(TypeError, match="decrypt must be True or False, not str 'no'"):
        dbos.export_workflows([], decrypt=no)
    with pytest.raises(TypeError, match="children must be True or False, not str 'no'"):
        dbos.export_workflows([], children=no)
    with pytest.raises(TypeError, match="run must be True or False, not str 'no'"):
        dbos.import_workflows(dbos.export_workflows([]), run=no)
