"""Values are encrypted wherever they are stored, and read by those who have the key."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from django.apps import apps
from django.core.exceptions import ImproperlyConfigured
from django.db import connection, models

import django_dbos as dbos
from django_dbos import encryption, serializers
from django_dbos.conf import get_settings, setting_problems
from django_dbos.live.looks import ValueLook, answer_all
from django_dbos.models import Checkpoint, Event, Inquiry, Message, Workflow
from django_dbos.store import get_store
from django_dbos.store.records import PageWanted
from django_dbos.testing import run_until_idle
from tests.payloads.conftest import KEYS, ring
from tests.payloads.workflows import (
    SECRET,
    Declined,
    ask_somebody,
    begin_again,
    charge_twice,
    fail,
    pay,
    wait_for_note,
)

pytestmark = pytest.mark.django_db(transaction=True)
UseKeys = Callable[..., None]


def stored_texts() -> list[str]:
    """Return everything that the tables of the engine hold, as text."""
    found = []
    for model in apps.get_app_config("django_dbos").get_models():
        with connection.cursor() as cursor:
            if model._meta.db_table not in connection.introspection.table_names():
                continue
            cursor.execute(f"SELECT * FROM {model._meta.db_table}")
            found += [str(value) for row in cursor.fetchall() for value in row]
    return found


def secrets_in_tables() -> list[str]:
    return [text for text in stored_texts() if SECRET in text]


def test_no_table_holds_a_value_in_plain_text(encrypted: None) -> None:
    paid, failed, again = pay.start(SECRET), fail.start(SECRET), begin_again.start(SECRET)
    asked = ask_somebody.start(SECRET)
    paid.send({"note": SECRET}, topic="note")
    run_until_idle()
    (form,) = Inquiry.objects.pending()
    assert form.initial == {"note": SECRET}
    dbos.answer_form(form.pk, {"note": f"answer {SECRET}"})
    run_until_idle()

    assert paid.get_result(0)["told"] == {"note": SECRET}
    with pytest.raises(Declined, match=SECRET):
        failed.get_result(0)
    assert again.get_result(0) == SECRET
    assert asked.get_result(0) == f"answer {SECRET}"
    assert secrets_in_tables() == []
    assert Workflow.objects.get(pk=paid.workflow_id).input["args"] == [SECRET]
    assert Event.objects.get(key="card").value == SECRET
    assert (
        SECRET in Checkpoint.objects.get(step_name__endswith="decline").attempt_errors[0]["error"]
    )
    assert Message.objects.get(topic="note").message == {"note": SECRET}


def test_the_test_finds_a_value_in_plain_text() -> None:
    charged = fail.start(SECRET)
    run_until_idle()
    assert len(secrets_in_tables()) > 2
    with pytest.raises(Declined):
        charged.get_result(0)


def test_equal_values_have_different_texts(encrypted: None) -> None:
    first, second = (serializers.dumps("same", label="it") for _ in range(2))
    assert first != second
    assert serializers.loads(first) == serializers.loads(second) == "same"
    assert serializers.are_alike(first, second)
    assert not serializers.are_alike(first, serializers.dumps("other", label="it"))


def test_plain_and_encrypted_values_are_read_side_by_side(use_keys: UseKeys) -> None:
    plain = serializers.dumps("plain", label="it")
    use_keys("2025")
    old = serializers.dumps("old", label="it")
    use_keys("2026", "2025")
    new = serializers.dumps("new", label="it")
    assert [serializers.loads(text) for text in (plain, old, new)] == ["plain", "old", "new"]
    assert [encryption.key_ids_in(text) for text in (plain, old, new)] == [
        set(),
        {"2025"},
        {"2026"},
    ]


def test_without_a_primary_key_new_values_are_plain_and_old_ones_readable(
    use_keys: UseKeys,
) -> None:
    use_keys("2025")
    old = serializers.dumps("old", label="it")
    use_keys("2025", PRIMARY=None)
    assert serializers.dumps("new", label="it") == '"new"'
    assert serializers.loads(old) == "old"


@pytest.mark.parametrize("position", range(0, 90, 7))
def test_an_altered_value_is_refused(encrypted: None, position: int) -> None:
    text = serializers.dumps("a value of a certain length", label="it")
    start = len("!encrypted:2025:")
    at = start + position
    other = "A" if text[at] != "A" else "B"
    with pytest.raises(dbos.SerializationError) as caught:
        serializers.loads(text[:at] + other + text[at + 1 :])
    assert "2025" in str(caught.value)


@pytest.mark.parametrize("text", ["!encrypted:2025:", "!encrypted:2025:?", "!encrypted:2025:AAAA"])
def test_a_cut_value_is_refused(encrypted: None, text: str) -> None:
    with pytest.raises(dbos.SerializationError, match="isn't as it was written"):
        serializers.loads(text)


def test_another_key_under_the_same_id_counts_as_missing(encrypted: None, settings: Any) -> None:
    text = serializers.dumps("it", label="it")
    settings.DBOS = {**settings.DBOS, "ENCRYPTION": {"KEYS": {"2025": KEYS["2026"]}}}
    with pytest.raises(dbos.EncryptionKeyMissing, match="'2025'"):
        serializers.loads(text)


def test_a_client_without_the_key_is_told_its_id(use_keys: UseKeys) -> None:
    use_keys("2025")
    handle, failed = wait_for_note.start(SECRET), fail.start(SECRET)
    handle.send("paid", topic="note")
    run_until_idle()
    use_keys("2026")
    for waiting in (handle, failed):
        with pytest.raises(dbos.EncryptionKeyMissing) as caught:
            waiting.get_result(0)
        assert caught.value.key_id == "2025"
        assert "DBOS['ENCRYPTION']['KEYS']" in str(caught.value)
    assert "2025" in (failed.describe().error or "")
    use_keys("2026", "2025")
    assert handle.get_result(0) == f"{SECRET} paid"


@pytest.mark.rule(95)
def test_a_workflow_without_its_key_waits_and_loses_nothing(use_keys: UseKeys) -> None:
    use_keys("2025")
    handle = wait_for_note.start(SECRET)
    run_until_idle()
    assert handle.get_status() == "WAITING"
    use_keys("2026")
    handle.send("paid", topic="note")
    run_until_idle()

    found = handle.describe()
    assert (found.status, found.error) == ("WAITING", None)
    assert found.waits_for == "a worker with encryption key '2025'"
    assert Checkpoint.objects.filter(workflow_id=handle.workflow_id).count() == 2
    use_keys("2026", "2025")
    get_store().wake_for_keys(get_store().session(), ["2025", "2026"])
    run_until_idle()
    assert handle.get_result(0) == f"{SECRET} paid"


@pytest.mark.rule(95)
def test_a_message_without_its_key_is_kept_for_those_who_have_it(use_keys: UseKeys) -> None:
    use_keys("2025")
    handle = wait_for_note.start(SECRET)
    run_until_idle()
    use_keys("2026", "2025")
    handle.send("paid", topic="note")
    use_keys("2025")
    run_until_idle()
    assert handle.describe().waits_for == "a worker with encryption key '2026'"
    use_keys("2025", "2026")
    get_store().wake_for_keys(get_store().session(), ["2025", "2026"])
    run_until_idle()
    assert handle.get_result(0) == f"{SECRET} paid"


def test_live_pages_decrypt_for_those_who_may_read(use_keys: UseKeys) -> None:
    use_keys("2025")
    handle = pay.start(SECRET)
    run_until_idle()
    store = get_store()
    page = store.reader.read_entries(handle.workflow_id, "log", 0, 10)
    wanted = [PageWanted(handle.workflow_id, "log", 0, 10, None)]
    events = [ValueLook(handle.workflow_id, ("card",))]
    assert SECRET not in str(page.entries)

    def shown() -> list[str]:
        entries, values = answer_all([*wanted, *events])
        return [entries.frames[0].json_text, values[0].json_text]  # type: ignore[union-attr,index]

    assert shown() == [f'{{"card":"{SECRET}"}}', f'"{SECRET}"']
    use_keys("2026")
    assert shown() == ['"<encrypted with key 2025, which is missing here>"'] * 2


def test_fingerprints_tell_nothing_about_the_arguments(use_keys: UseKeys) -> None:
    def made() -> set[str]:
        found = Checkpoint.objects.exclude(fingerprint=None)
        return set(found.values_list("fingerprint", flat=True))

    charge_twice.start("1", "2")
    run_until_idle()
    plain = made()
    use_keys("2025")
    charge_twice.start("1", "2")
    run_until_idle()
    keyed = made() - plain
    assert plain
    assert len(keyed) == len(plain)
    assert {text[:4] for text in keyed} == {serializers.fingerprint("any")[:4]}
    use_keys("2026", "2025")
    assert {text[:4] for text in keyed} != {serializers.fingerprint("any")[:4]}


def test_a_key_is_in_no_message(settings: Any) -> None:
    settings.DBOS = {**settings.DBOS, "ENCRYPTION": {"KEYS": {"2025": "not a key at all"}}}
    (problem,) = setting_problems()
    assert "'2025'" in problem.message
    assert "not a key" not in problem.message
    settings.DBOS = {**settings.DBOS, "ENCRYPTION": ring("2025")}
    assert KEYS["2025"] not in repr(get_settings())
    assert "of the tests" not in repr(get_settings().encryption)


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ("key", "must be a dict with 'KEYS'"),
        ({}, "must be a dict of at least one key"),
        ({"KEYS": {}}, "must be a dict of at least one key"),
        ({"KEYS": {"a b": KEYS["2025"]}}, "has the id 'a b'"),
        ({"KEYS": {"2025": b"short"}}, "must be 32 bytes"),
        ({"KEYS": {"2025": 5}}, "must be 32 bytes"),
        ({"KEYS": KEYS, "PRIMARY": "2024"}, "must be the id of one of the keys"),
        ({"KEYS": KEYS, "PRIMAY": "2025"}, "Did you mean 'PRIMARY'"),
    ],
)
def test_bad_keys_are_named(settings: Any, given: Any, words: str) -> None:
    settings.DBOS = {**settings.DBOS, "ENCRYPTION": given}
    with pytest.raises(ImproperlyConfigured, match="ENCRYPTION") as caught:
        get_settings()
    assert words in str(caught.value)


def test_keys_may_be_bytes(settings: Any) -> None:
    settings.DBOS = {**settings.DBOS, "ENCRYPTION": {"KEYS": {"2025": b"x" * 32}}}
    assert serializers.loads(serializers.dumps(5, label="it")) == 5


def test_values_are_written_under_more_than_one_salt(
    encrypted: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(encryption, "_VALUES_PER_SALT", 2)
    texts = [serializers.dumps(number, label="it") for number in range(5)]
    salts = {text[len("!encrypted:2025:") :][:20] for text in texts}
    assert len(salts) == 3
    assert [serializers.loads(text) for text in texts] == [0, 1, 2, 3, 4]


def test_all_columns_of_values_are_known() -> None:
    """A new column of text for values is to be encrypted, rotated and exported."""
    from django_dbos.store.values import VALUE_COLUMNS

    known = {
        (model.__name__, column) for model, columns in VALUE_COLUMNS.items() for column in columns
    }
    found = {
        (model.__name__, field.name)
        for model in apps.get_app_config("django_dbos").get_models()
        for field in model._meta.get_fields()
        if isinstance(field, models.TextField) and field.name.endswith("_text")
    }
    assert found <= known
