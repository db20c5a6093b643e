"""Keys are rotated beside workers, and the command can be stopped and started again."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from io import StringIO
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.db import connections

import django_dbos as dbos
from django_dbos import encryption
from django_dbos.core import compound
from django_dbos.executor import Executor
from django_dbos.models import Checkpoint, Event, Inquiry, Schedule, Workflow
from django_dbos.operations.rotation import rotate
from django_dbos.store import get_store
from django_dbos.store.values import VALUE_COLUMNS, databases_of, texts_of
from django_dbos.testing import run_until_idle
from tests.payloads.workflows import SECRET, ask_somebody, begin_again, fail, pay, wait_for_note
from tests.waiting import LIMIT, eventually

pytestmark = pytest.mark.django_db(transaction=True, databases=["default", "other"])
UseKeys = Callable[..., None]


def run(*arguments: str) -> Any:
    out = StringIO()
    call_command("dbos_rotate_keys", *arguments, "--format", "json", stdout=out)
    return {found["table"]: found for found in json.loads(out.getvalue())}


def text_of(*arguments: str) -> str:
    out = StringIO()
    call_command("dbos_rotate_keys", *arguments, stdout=out)
    return out.getvalue()


def key_ids() -> set[str]:
    """Return the keys by which anything is encrypted."""
    return {
        key_id
        for model in VALUE_COLUMNS
        for alias in databases_of(model, "default")
        for row in model._base_manager.using(alias).all()
        for text in texts_of(row)
        for key_id in encryption.key_ids_in(text)
    }


def plain_texts() -> list[str]:
    """Return the plain values; a compound text is as plain as its parts."""
    return [
        part
        for model in VALUE_COLUMNS
        for alias in databases_of(model, "default")
        for row in model._base_manager.using(alias).all()
        for text in texts_of(row)
        for part in (compound.parts_of(text) if compound.is_compound(text) else [text])
        if not part.startswith(encryption.PREFIX)
    ]


@dbos.workflow
def start_three() -> list[Any]:
    handles = [begin_again.start(SECRET) for _ in range(3)]
    name, _ = dbos.wait_any(result=handles[0], none=dbos.until(3_600))
    return [name, dbos.get_results(handles)]


def fill() -> None:
    paid, _, asked = pay.start(SECRET), fail.start(SECRET), ask_somebody.start(SECRET)
    paid.send("x", topic="note")
    begin_again.start(SECRET)
    run_until_idle()
    (form,) = Inquiry.objects.pending()
    dbos.answer_form(form.pk, {"note": SECRET})
    run_until_idle()
    assert asked.get_result(0) == SECRET
    dbos.schedules.create("nightly", fail, args=[SECRET], every=86_400)


def test_all_values_come_under_the_new_key(use_keys: UseKeys) -> None:
    use_keys("2025")
    fill()
    assert key_ids() == {"2025"}
    use_keys("2026", "2025")
    trial = run("--dry-run")
    heading, *lines = text_of("--dry-run").splitlines()
    assert heading.split()[2:] == ["ROWS", "TO", "CHANGE", "LEFT"]
    assert {tuple(line.split()[2:]) for line in lines} == {
        (str(found["rows"]), str(found["rows"]), "0") for found in trial.values()
    }
    assert key_ids() == {"2025"}
    done = run("--batch", "2")
    assert {name: found["rows"] for name, found in trial.items()} == {
        name: found["changed"] for name, found in done.items()
    }
    assert {"dbos_workflow", "dbos_checkpoint", "dbos_inquiry", "dbos_schedule"} <= set(done)
    assert key_ids() == {"2026"}
    assert run() == {}

    use_keys("2026")
    assert Workflow.objects.filter(name=pay.name).get().output["charged"] == SECRET
    assert Event.objects.get(key="card").value == SECRET
    assert Schedule.objects.get().name == "nightly"


def test_plain_values_are_encrypted_on_request(use_keys: UseKeys) -> None:
    fill()
    use_keys("2025")
    run()
    assert plain_texts()
    run("--plain")
    assert plain_texts() == []
    assert Checkpoint.objects.get(step_name__endswith="decline").attempt_errors


def test_values_are_decrypted_without_a_primary_key(use_keys: UseKeys) -> None:
    use_keys("2025")
    fill()
    use_keys("2025", PRIMARY=None)
    run()
    use_keys()
    assert key_ids() == set()
    assert Event.objects.get(key="card").value == SECRET


def test_a_rotation_that_was_stopped_goes_on(use_keys: UseKeys) -> None:
    use_keys("2025")
    fill()
    use_keys("2026", "2025")
    states = rotate(get_store(), batch=1)
    next(states)
    next(states)
    states.close()
    assert key_ids() == {"2025", "2026"}
    run()
    assert key_ids() == {"2026"}


def test_values_without_their_key_are_left_and_named(use_keys: UseKeys) -> None:
    use_keys("2025")
    fill()
    use_keys("2026")
    with pytest.raises(CommandError, match=r"\d+ rows are encrypted with key '2025'"):
        run()
    assert key_ids() == {"2025"}


def test_an_altered_value_is_left_and_counted(use_keys: UseKeys) -> None:
    use_keys("2025")
    handle = fail.start(SECRET)
    with connections["default"].cursor() as cursor:
        cursor.execute("UPDATE dbos_workflow SET input = '!encrypted:2025:AAAA'")
    use_keys("2026", "2025")
    with pytest.raises(CommandError, match="1 rows aren't as they were written"):
        run()
    assert Workflow.objects.get(pk=handle.workflow_id).input_text == "!encrypted:2025:AAAA"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--batch", "0"], "--batch must be at least 1"),
        (["--pause", "-1"], r"--pause at least 0, not \d+ and -1\."),
    ],
)
def test_impossible_options_are_refused(encrypted: None, arguments: list[str], words: str) -> None:
    with pytest.raises(CommandError, match=words):
        run(*arguments)


def test_the_command_needs_keys(use_keys: UseKeys) -> None:
    with pytest.raises(CommandError, match="is not set"):
        run()
    use_keys("2025", PRIMARY=None)
    with pytest.raises(CommandError, match="PRIMARY"):
        run("--plain")


def test_results_of_several_workflows_are_rotated_inside_of_their_record(
    use_keys: UseKeys,
) -> None:
    use_keys("2025")
    handle = start_three.start()
    run_until_idle()
    use_keys("2026", "2025")
    run("--plain")
    assert key_ids() == {"2026"}
    assert plain_texts() == []
    use_keys("2026")
    assert handle.get_result(0) == ["result", [SECRET] * 3]
    # A replay reads all of them.
    with connections["default"].cursor() as cursor:
        cursor.execute(
            "UPDATE dbos_workflow SET status = 'CANCELLED', output = NULL WHERE workflow_id = %s",
            [handle.workflow_id],
        )
    handle.resume()
    run_until_idle()
    assert handle.get_result(0) == ["result", [SECRET] * 3]


@dbos.workflow
def give(value: Any) -> Any:
    return value


@dbos.workflow
def give_each(values: list[Any]) -> list[Any]:
    return give.map([(value,) for value in values])


@pytest.mark.parametrize(
    "text",
    [
        "!encrypted:2019:AAAA",
        "!encrypted:2026:AAAA",
        f"!offloaded:2019:1:{'a' * 32}:dbos/x",
        '{"winner": 0, "text": "!encrypted:2019:AAAA"}',
    ],
)
def test_texts_of_users_that_look_encrypted_are_values_like_any_other(
    use_keys: UseKeys, text: str
) -> None:
    handles = [give.start(text), give_each.start([text, {text: [text]}])]
    run_until_idle()
    results = [text, [text, {text: [text]}]]
    documents = [handle.export(decrypt=True) for handle in handles]
    use_keys("2026")
    assert run() == {}
    run("--plain")
    assert plain_texts() == []
    assert [handle.get_result(0) for handle in handles] == results
    use_keys("2026", PRIMARY=None)
    run()
    assert [handle.export(decrypt=True)["workflows"] for handle in handles] == [
        document["workflows"] for document in documents
    ]


@pytest.mark.rule(96)
def test_a_value_that_changes_meanwhile_is_not_overwritten(use_keys: UseKeys) -> None:
    use_keys("2025")
    handle = pay.start(SECRET)
    run_until_idle()
    row = Event.objects.get(workflow_id=handle.workflow_id, key="card")
    use_keys("2026", "2025")
    later = encryption.protect('"later"')
    with connections["default"].cursor() as cursor:
        cursor.execute("UPDATE dbos_event SET value = %s", [later])
    from django_dbos.store.values import rewrite

    assert not rewrite(row, "default", encryption.encrypt_again)
    assert Event.objects.get(pk=row.pk).value_text == later


@pytest.mark.rule(96)
def test_keys_are_rotated_while_workflows_run(use_keys: UseKeys, worker: Executor) -> None:
    use_keys("2026", "2025", PRIMARY="2025")
    handles = [wait_for_note.start(SECRET) for _ in range(40)]
    stop = threading.Event()
    failures: list[BaseException] = []

    def turn() -> None:
        try:
            while not stop.is_set():
                list(rotate(get_store(), batch=5))
        except BaseException as error:
            failures.append(error)
        finally:
            connections.close_all()

    thread = threading.Thread(target=turn)
    thread.start()
    try:
        use_keys("2026", "2025")
        for number, handle in enumerate(handles):
            handle.send(number, topic="note")
        results = [handle.get_result(LIMIT) for handle in handles]
    finally:
        stop.set()
        thread.join()
    assert failures == []
    assert results == [f"{SECRET} {number}" for number in range(40)]
    eventually(lambda: worker.runs.is_idle)
    list(rotate(get_store()))
    assert key_ids() == {"2026"}
