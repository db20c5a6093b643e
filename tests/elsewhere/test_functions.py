"""The SQL functions: refusals, results, rights, and where they are."""

from __future__ import annotations

import importlib
import json
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest
from django.apps import apps
from django.db import DatabaseError, connection, transaction
from django.db.models.signals import post_migrate

import django_dbos as dbos
from django_dbos.models import Message, Workflow
from django_dbos.store.postgresql import client_functions
from django_dbos.testing import advance, run_until_idle
from tests.elsewhere.calling import call, on_postgresql, run_on
from tests.payloads.conftest import ring

pytestmark = [on_postgresql, pytest.mark.django_db]

ELSEWHERE = "shop.elsewhere.run"
LONG = "x" * 256
HOUR = timedelta(hours=1)
BURST: dict[str, Any] = {"debounce_key": "k", "delay": HOUR}
DEEP = "[" * 101 + "]" * 101


@dbos.workflow
def give(value: Any) -> Any:
    return value


@dbos.workflow
def give_decimal() -> Decimal:
    return Decimal("1.50")


@dbos.workflow
def receive(topic: str) -> Any:
    return dbos.recv(topic)


@dbos.workflow
def fail() -> None:
    raise ValueError("no stock")


def refused(function: str, *args: Any, **options: Any) -> tuple[str, str]:
    """Return SQLSTATE and message of the refusal."""
    with pytest.raises(DatabaseError) as caught, transaction.atomic():
        call(function, *args, **options)
    cause: Any = caught.value.__cause__
    return cause.sqlstate, cause.diag.message_primary


@pytest.mark.parametrize(
    ("args", "options", "state", "message"),
    [
        ((None,), {}, "22023", "A name can't be NULL."),
        (("",), {}, "22023", "A name can't be empty."),
        ((LONG,), {}, "22023", "A name can't be longer than 255 characters, but has 256."),
        ((ELSEWHERE, "7"), {}, "22023", "arguments must be a JSON array of arguments"),
        ((ELSEWHERE, DEEP), {}, "22023", "nested more than 100 deep"),
        ((ELSEWHERE, '[{"a": 1, "a": 2}]'), {}, "22023", "an object has a key twice"),
        ((ELSEWHERE, "[1e999]"), {}, "22003", "out of range"),
        ((ELSEWHERE, f"[1{'0' * 4300}]"), {}, "22023", "a number has 4301 digits"),
        ((ELSEWHERE, '["\\ud800"]'), {}, "22P02", "invalid input syntax"),
        ((ELSEWHERE, "[1"), {}, "22P02", "invalid input syntax"),
        ((ELSEWHERE,), {"workflow_id": ""}, "22023", "A workflow id can't be empty."),
        ((ELSEWHERE,), {"workflow_id": LONG}, "22023", "A workflow id can't be longer"),
        ((ELSEWHERE,), {"queue_name": LONG}, "22023", "A queue name can't be longer"),
        ((ELSEWHERE,), {"partition_key": ""}, "22023", "A partition key can't be empty."),
        ((ELSEWHERE,), {"deduplication_id": LONG}, "22023", "A deduplication id can't be"),
        ((ELSEWHERE,), {"user_id": ""}, "22023", "A user's pk can't be empty."),
        ((ELSEWHERE,), {"priority": 101}, "22023", "priority must be from -100 to 100"),
        ((ELSEWHERE,), {"timeout": timedelta()}, "22023", "must be more than 0"),
        ((ELSEWHERE,), {"timeout": timedelta(days=366_000)}, "22023", "1,000 years"),
        ((ELSEWHERE,), {"run_after": "-infinity"}, "22023", "run_after must be after"),
        ((ELSEWHERE,), {"unique_for": timedelta(1)}, "22023", "needs a deduplication_id"),
        ((ELSEWHERE,), {"on_existing": "replace"}, "22023", "on_existing must be"),
        ((ELSEWHERE,), {"on_existing": None}, "22023", "not NULL"),
        ((ELSEWHERE,), {"on_duplicate": "x"}, "22023", "on_duplicate must be"),
        ((ELSEWHERE,), {"debounce_key": "", "delay": HOUR}, "22023", "can't be empty"),
        ((ELSEWHERE,), {"debounce_key": LONG, "delay": HOUR}, "22023", "A debounce key can't be"),
        ((ELSEWHERE,), {"debounce_key": "k", "delay": timedelta()}, "22023", "delay must be more"),
        ((ELSEWHERE,), {**BURST, "max_delay": -HOUR}, "22023", "max_delay must be more than 0"),
        ((ELSEWHERE,), {**BURST, "delay": 9_000_000 * HOUR}, "22023", "1,000 years"),
        ((ELSEWHERE,), {"attributes": "[1]"}, "22023", "attributes must be a JSON object"),
        ((ELSEWHERE,), {"attributes": DEEP}, "22023", "attributes must be a JSON object"),
        ((ELSEWHERE,), {"attributes": f'{{"a": {DEEP}}}'}, "22023", "nested more than 100"),
    ],
)
def test_a_bad_start_is_refused(
    args: tuple[Any, ...], options: dict[str, Any], state: str, message: str
) -> None:
    found = refused("dbos_start_workflow", *args, **options)

    assert found[0] == state
    assert message in found[1]
    assert not Workflow.objects.exists()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({**BURST, "workflow_id": "w"}, "Give debounce_key or workflow_id, not both: the starts"),
        (
            {**BURST, "run_after": "2099-01-01 00:00:00Z"},
            "Give debounce_key or run_after, not both",
        ),
        ({**BURST, "deduplication_id": "d"}, "Give debounce_key or deduplication_id, not both"),
        ({"debounce_key": "k"}, "debounce_key 'k' needs a delay."),
        ({"delay": HOUR}, "delay 01:00:00 needs a debounce_key. For a fixed delay use run_after."),
        ({"max_delay": HOUR}, "max_delay 01:00:00 needs a debounce_key."),
        ({**BURST, "max_delay": HOUR / 2}, "must be at least the delay of 01:00:00, but is 00:30"),
        ({"unique_for": HOUR}, "unique_for 01:00:00 needs a deduplication_id."),
        ({"on_duplicate": "replace"}, "on_duplicate 'replace' needs a deduplication_id."),
        ({**BURST, "on_duplicate": "replace"}, "on_duplicate 'replace' needs a deduplication_id."),
        (
            {"on_duplicate": "replace", "deduplication_id": "d", "unique_for": HOUR},
            "Give unique_for or on_duplicate 'replace', not both: with one the first",
        ),
    ],
)
def test_options_that_contradict_are_refused_here_and_in_python(
    options: dict[str, Any], message: str
) -> None:
    state, found = refused("dbos_start_workflow", ELSEWHERE, **options)

    assert state == "22023"
    assert message in found
    given: Any = options | ({"run_after": HOUR} if "run_after" in options else {})
    with pytest.raises(ValueError, match=r"not both|needs a|at least the delay"):
        dbos.start_by_name(ELSEWHERE, using=given)
    assert not Workflow.objects.exists()


def test_taken_ids_are_answered_as_python_answers_them() -> None:
    first = call("dbos_start_workflow", ELSEWHERE, workflow_id="w", user_id="7")

    assert call("dbos_start_workflow", ELSEWHERE, workflow_id="w", user_id="7") == first
    assert call("dbos_start_workflow", ELSEWHERE, workflow_id="w") == first
    options = {"workflow_id": "w", "on_existing": "reject"}
    assert refused("dbos_start_workflow", ELSEWHERE, **options)[0] == "23505"
    assert refused("dbos_start_workflow", "shop.other", workflow_id="w")[0] == "23505"
    other = {"workflow_id": "w", "user_id": "8"}
    assert refused("dbos_start_workflow", ELSEWHERE, **other)[0] == "42501"


def test_taken_deduplication_ids_are_answered_as_python_answers_them() -> None:
    options: dict[str, Any] = {"deduplication_id": "d", "unique_for": timedelta(hours=1)}
    first = call("dbos_start_workflow", ELSEWHERE, user_id="7", **options)

    assert call("dbos_start_workflow", ELSEWHERE, **options) == first
    assert call("dbos_start_workflow", ELSEWHERE, queue_name="mail", **options) != first
    state, message = refused("dbos_start_workflow", ELSEWHERE, on_duplicate="reject", **options)
    assert (state, first in message) == ("23505", True)
    assert refused("dbos_start_workflow", ELSEWHERE, user_id="8", **options)[0] == "42501"
    # It ends, and keeps the id until its time is over.
    change = "UPDATE dbos_workflow SET {} WHERE workflow_id = %s"
    run_on(connection, change.format("status = 'SUCCESS'"), first)
    assert call("dbos_start_workflow", ELSEWHERE, **options) == first
    run_on(connection, change.format("unique_until = created_at"), first)
    assert call("dbos_start_workflow", ELSEWHERE, **options) != first
    assert Workflow.objects.get(pk=first).unique_until is None


def test_another_users_workflow_is_neither_replaced_nor_changed() -> None:
    held = {"deduplication_id": "d"}
    first = call("dbos_start_workflow", ELSEWHERE, user_id="7", **held)
    burst = call("dbos_start_workflow", ELSEWHERE, [1], user_id="7", **BURST)

    other: dict[str, Any] = {"user_id": "8", "on_duplicate": "replace"}
    state, message = refused("dbos_start_workflow", ELSEWHERE, **held, **other)
    assert (state, message) == (
        "42501",
        "Deduplication id 'd' is taken by another user's workflow.",
    )
    state, message = refused("dbos_start_workflow", ELSEWHERE, [2], user_id="8", **BURST)
    assert (state, message) == ("42501", "Debounce key 'k' is taken by another user's workflow.")

    assert Workflow.objects.get(pk=first).status == "ENQUEUED"
    assert Workflow.objects.get(pk=burst).input["args"] == [1]
    assert call("dbos_start_workflow", ELSEWHERE, [3], **BURST) == burst


def test_a_start_with_a_taken_workflow_id_replaces_nothing() -> None:
    latest = {"deduplication_id": "d", "on_duplicate": "replace"}
    for one in ("a", "b", "a"):
        assert call("dbos_start_workflow", ELSEWHERE, workflow_id=one, **latest) == one

    assert Workflow.objects.get(pk="a").status == "CANCELLED"
    assert Workflow.objects.get(pk="b").status == "ENQUEUED"


def test_a_burst_is_one_run_of_the_last_arguments() -> None:
    options = {"debounce_key": "k", "delay": HOUR, "max_delay": 3 * HOUR}
    started = {call("dbos_start_workflow", give.name, [value], **options) for value in (1, 2)}
    started.add(give.using(debounce_key="k", delay=HOUR).start(3).workflow_id)
    (burst,) = started
    run_until_idle()
    assert Workflow.objects.get(pk=burst).status == "DELAYED"

    advance(HOUR + timedelta(seconds=1))
    run_until_idle()

    assert dbos.retrieve_workflow(burst).get_result() == 3
    assert call("dbos_start_workflow", give.name, [4], **options) != burst


def test_a_queue_that_is_declared_to_limit_keys_needs_one() -> None:
    dbos.queues.set("mail", concurrency=9)
    declare = "UPDATE dbos_queue SET declared = %s WHERE name = 'mail'"
    for option, limit in (("partition_concurrency", 1), ("partition_rate_limit", "5/m")):
        run_on(connection, declare, json.dumps({option: limit}))

        assert refused("dbos_start_workflow", ELSEWHERE, queue_name="mail")[0] == "22023"
        assert refused("dbos_start_workflow", ELSEWHERE, queue_name="mail", **BURST)[0] == "22023"
        assert call("dbos_start_workflow", ELSEWHERE, queue_name="mail", partition_key="a")
        assert call("dbos_start_workflow", ELSEWHERE)


def test_infinity_is_the_last_instant_there_is() -> None:
    started = call("dbos_start_workflow", ELSEWHERE, run_after="infinity")

    row = Workflow.objects.get(pk=started)
    assert (row.status, row.due_at.year) == ("DELAYED", 9998)


@pytest.mark.parametrize(
    ("args", "state", "message"),
    [
        ((None, "1"), "22023", "A workflow id can't be NULL."),
        (("missing", "1"), "P0002", "There is no workflow 'missing'."),
        (("w", "1", ""), "22023", "A topic can't be empty."),
        (("w", "1", "dbos.form:x"), "22023", "A topic can't begin with 'dbos.form:'"),
        (("w", "1", None, LONG), "22023", "An idempotency key can't be longer"),
        (("w", DEEP), "22023", "nested more than 100 deep"),
    ],
)
def test_a_bad_message_is_refused(args: tuple[Any, ...], state: str, message: str) -> None:
    dbos.start_by_name(ELSEWHERE, using={"workflow_id": "w"})

    found = refused("dbos_send_message", *args)

    assert found[0] == state
    assert message in found[1]
    assert not Message.objects.exists()


def test_a_message_with_a_key_is_sent_once() -> None:
    dbos.start_by_name(ELSEWHERE, using={"workflow_id": "w"})

    for number in range(2):
        call("dbos_send_message", "w", json.dumps(number), idempotency_key="k")

    assert Message.objects.get().message == 0


def test_values_that_look_tagged_come_back_as_they_were() -> None:
    value = {"$date": "2026-03-01"}

    started = call("dbos_start_workflow", give.name, [value])
    run_until_idle()

    assert dbos.retrieve_workflow(started).get_result() == value
    assert call("dbos_get_result", started)["output_format"] == "tagged"


def test_attributes_are_replaced_or_merged() -> None:
    started = call("dbos_start_workflow", ELSEWHERE, attributes={"a": 1, "b": {"c": 2}})

    def attributes() -> Any:
        return Workflow.objects.get(pk=started).attributes

    call("dbos_set_attributes", started, {"b": {}}, True)
    assert attributes() == {"a": 1, "b": {}}
    call("dbos_set_attributes", started, {"d": None})
    assert attributes() == {"d": None}
    assert refused("dbos_set_attributes", "missing", {})[0] == "P0002"
    assert refused("dbos_set_attributes", started, None)[0] == "22023"
    assert refused("dbos_set_attributes", started, [])[0] == "22023"
    assert refused("dbos_set_attributes", started, '{"a": "\\u0000"}')[0] == "22P05"


def test_results_are_portable_or_say_that_they_are_not(settings: Any) -> None:
    plain, tagged, failed = give.start({"a": [1]}), give_decimal.start(), fail.start()
    cancelled = give.start(1)
    cancelled.cancel()
    run_until_idle()
    settings.DBOS = {**settings.DBOS, "SERIALIZER": "pickle"}
    pickled = give.start(1)
    run_until_idle()

    def result(handle: Any) -> Any:
        return call("dbos_get_result", handle.workflow_id)

    assert result(plain)["output"] == {"a": [1]}
    assert (result(plain)["status"], result(plain)["output_format"]) == ("SUCCESS", "json")
    assert result(tagged)["output"] == {"$decimal": "1.50"}
    assert result(tagged)["output_format"] == "tagged"
    assert (result(pickled)["output"], result(pickled)["output_format"]) == (None, "pickle")
    assert result(failed)["error"] == {"class": "builtins:ValueError", "message": "no stock"}
    assert result(cancelled) | {"created_at": 0, "finished_at": 0} == {
        "workflow_id": cancelled.workflow_id,
        "name": give.name,
        "status": "CANCELLED",
        "has_ended": True,
        "is_quarantined": False,
        "output": None,
        "output_format": None,
        "error": None,
        "attributes": None,
        "created_at": 0,
        "finished_at": 0,
    }
    assert call("dbos_get_result", "missing") is None


def test_the_session_keeps_nothing() -> None:
    """A transaction pooler gives it to another client next."""
    names = ("search_path", "lock_timeout", "dbos.sends_by_sql")
    kept = (
        f"SELECT concat_ws(';', {', '.join(f'current_setting({name!r}, true)' for name in names)})"
    )
    before = run_on(connection, kept)

    latest = {"deduplication_id": "d", "on_duplicate": "replace"}
    call("dbos_start_workflow", ELSEWHERE, **latest)
    call("dbos_start_workflow", ELSEWHERE, **BURST)
    started = call("dbos_start_workflow", ELSEWHERE, **latest)
    call("dbos_send_message", started, "1")
    run_on(connection, "SET CONSTRAINTS ALL IMMEDIATE")

    assert run_on(connection, kept).rstrip(";") == before.rstrip(";")


@pytest.mark.parametrize(
    ("options", "written"),
    [({"ENCRYPTION": ring("2026")}, "encrypted"), ({"SERIALIZER": "pickle"}, "pickle")],
)
def test_plain_values_of_clients_are_read_whatever_python_writes(
    settings: Any, options: dict[str, Any], written: str
) -> None:
    settings.DBOS = {**settings.DBOS, **options}

    started = call("dbos_start_workflow", receive.name, ["paid"])
    run_until_idle()
    call("dbos_send_message", started, {"amount": 7}, "paid")
    run_on(connection, "SET CONSTRAINTS ALL IMMEDIATE")
    run_until_idle()

    assert dbos.retrieve_workflow(started).get_result() == {"amount": 7}
    result = call("dbos_get_result", started)
    assert (result["status"], result["output"]) == ("SUCCESS", None)
    assert result["output_format"] == written


# Rights and places


@pytest.fixture
def role() -> str:
    name = "dbos_client_of_a_test"
    run_on(connection, f"CREATE ROLE {name}")
    run_on(connection, f"GRANT USAGE ON SCHEMA public TO {name}")
    return name


def grant(role: str, *functions: str) -> None:
    run_on(connection, f"GRANT EXECUTE ON FUNCTION {', '.join(functions)} TO {role}")


def test_only_a_role_with_the_right_may_call_and_it_needs_no_right_on_tables(role: str) -> None:
    grant(role, "dbos_start_workflow", "dbos_send_message", "dbos_get_result")
    run_on(connection, f"SET LOCAL ROLE {role}")

    latest = {"deduplication_id": "d", "on_duplicate": "replace"}
    first, started = (call("dbos_start_workflow", ELSEWHERE, [1], **latest) for _ in range(2))
    bursts = {call("dbos_start_workflow", ELSEWHERE, [number], **BURST) for number in range(2)}
    call("dbos_send_message", started, {"a": 1})
    assert call("dbos_get_result", first)["status"] == "CANCELLED"
    assert call("dbos_get_result", started)["status"] == "ENQUEUED"
    assert [call("dbos_get_result", burst)["status"] for burst in bursts] == ["DELAYED"]
    run_on(connection, "SET CONSTRAINTS ALL IMMEDIATE")

    assert refused("dbos_set_attributes", started, {})[0] == "42501"
    for helper in set(client_functions.NAMES) - set(client_functions.CLIENT_NAMES):
        with pytest.raises(DatabaseError, match="permission denied"), transaction.atomic():
            run_on(connection, f"SELECT {CALLS[helper]}")
    with pytest.raises(DatabaseError, match="permission denied"), transaction.atomic():
        run_on(connection, "SELECT count(*) FROM dbos_workflow")


CALLS = {
    "dbos_new_uuid": "dbos_new_uuid()",
    "dbos_seconds": "dbos_seconds(interval '1 second', 'a')",
    "dbos_check_text": "dbos_check_text('a', 'b')",
    "dbos_check_size": "dbos_check_size('a', 'b')",
    "dbos_check_length": "dbos_check_length('{}', 'b')",
    "dbos_json_text": "dbos_json_text('1', 1, 'a')",
    "dbos_attributes": "dbos_attributes('{}')",
    "dbos_free_expired_id": "dbos_free_expired_id('a', 'b')",
    "dbos_find_deduplicated": "dbos_find_deduplicated('a', 'b')",
    "dbos_cancel_holder": "dbos_cancel_holder('a')",
    "dbos_find_debounced": "dbos_find_debounced('a', 'b')",
    "dbos_debounce_workflow": (
        "dbos_debounce_workflow(NULL, 'a', '', 'a', 0, '', 'k', 1, 1, NULL, NULL, NULL)"
    ),
    "dbos_notify_due": "dbos_notify_due(1)",
    "dbos_wake_receiver": "dbos_wake_receiver()",
}


def test_a_callers_search_path_and_temporary_tables_change_nothing() -> None:
    run_on(connection, "CREATE TEMPORARY TABLE dbos_workflow (workflow_id text)")
    run_on(connection, "SET LOCAL search_path TO pg_temp")

    started = run_on(connection, "SELECT public.dbos_start_workflow('shop.elsewhere.run')")
    run_on(connection, "SELECT public.dbos_send_message(%s, '1')", started)
    run_on(connection, "SET CONSTRAINTS ALL IMMEDIATE")

    found = run_on(connection, "SELECT workflow_id FROM public.dbos_workflow")
    assert found == started


IMPOSTORS = (
    "FUNCTION public.format(text, text) RETURNS text",
    "FUNCTION public.concat(text, text, text) RETURNS text",
    "FUNCTION public.pg_notify(text, text) RETURNS void",
    "FUNCTION public.json_typeof(jsonb) RETURNS text",
    "FUNCTION public.starts_with(text, varchar) RETURNS boolean",
    "FUNCTION public.same_text(text, varchar) RETURNS boolean",
)


def test_what_a_caller_has_made_beside_the_tables_is_not_run_by_the_owner(role: str) -> None:
    """In a schema where others may create, a better fit than a system function would be called."""
    grant(role, *client_functions.CLIENT_NAMES)
    run_on(connection, f"GRANT CREATE ON SCHEMA public TO {role}")
    run_on(connection, "CREATE TABLE found (name text)")
    run_on(connection, "GRANT INSERT ON found TO public")
    run_on(connection, f"SET LOCAL ROLE {role}")
    for number, impostor in enumerate(IMPOSTORS):
        ending = "RETURN" if impostor.endswith("void") else "RETURN NULL"
        body = f"INSERT INTO public.found VALUES ('{number}'); {ending};"
        run_on(connection, f"CREATE {impostor} LANGUAGE plpgsql AS $$ BEGIN {body} END $$")
    operator = "LEFTARG = text, RIGHTARG = varchar, FUNCTION = public.same_text"
    run_on(connection, f"CREATE OPERATOR public.= ({operator})")

    started = call("dbos_start_workflow", ELSEWHERE, [1], deduplication_id="d")
    assert call("dbos_start_workflow", ELSEWHERE, [1], deduplication_id="d") == started
    latest = {"deduplication_id": "d", "on_duplicate": "replace"}
    started = call("dbos_start_workflow", ELSEWHERE, [1], **latest)
    for number in range(2):
        call("dbos_start_workflow", ELSEWHERE, [number], **BURST)
    call("dbos_send_message", started, {"a": 1}, "topic")
    call("dbos_set_attributes", started, {"a": 1})
    assert call("dbos_get_result", started)["attributes"] == {"a": 1}
    run_on(connection, "SET CONSTRAINTS ALL IMMEDIATE")
    run_on(connection, "RESET ROLE")

    assert run_on(connection, "SELECT count(*) FROM found") == 0


def test_the_functions_are_where_the_tables_are() -> None:
    place = '"Other\'s Shop"'
    run_on(connection, f"CREATE SCHEMA {place}")
    for table in ("dbos_workflow", "dbos_message", "dbos_queue", "dbos_wake"):
        run_on(connection, f"CREATE TABLE {place}.{table} (LIKE {table} INCLUDING ALL)")
    run_on(connection, f"CREATE SEQUENCE {place}.dbos_queue_sequence")
    run_on(connection, f"SET LOCAL search_path TO {place}")
    client_functions.create(connection)
    run_on(connection, "SET LOCAL search_path TO public")

    started = run_on(connection, f"SELECT {place}.dbos_start_workflow('shop.elsewhere.run')")
    run_on(connection, f"SELECT {place}.dbos_send_message(%s, '1')", started)
    run_on(connection, "SET CONSTRAINTS ALL IMMEDIATE")

    assert run_on(connection, f"SELECT workflow_id FROM {place}.dbos_workflow") == started
    assert not Workflow.objects.exists()


def migrated() -> None:
    config = apps.get_app_config("django_dbos")
    post_migrate.send(config, app_config=config, using="default", verbosity=0, interactive=False)


def test_each_migrate_writes_the_settings_and_keeps_the_rights(settings: Any, role: str) -> None:
    grant(role, "dbos_start_workflow")
    settings.DBOS = {"DEFAULT_QUEUE": "o'clock", "MAX_PAYLOAD_BYTES": 1_000}
    migrated()

    run_on(connection, f"SET LOCAL ROLE {role}")
    started = call("dbos_start_workflow", ELSEWHERE)
    state, message = refused("dbos_start_workflow", ELSEWHERE, ["x" * 1_000])
    run_on(connection, "RESET ROLE")

    assert Workflow.objects.get(pk=started).queue_name == "o'clock"
    assert (state, "the limit is 1000" in message) == ("54000", True)


def test_what_is_too_long_is_refused_before_it_is_read_as_values(settings: Any) -> None:
    """A value of some megabytes was written anew for seconds, and then refused."""
    settings.DBOS = {**settings.DBOS, "MAX_PAYLOAD_BYTES": 1_000}
    migrated()
    started = call("dbos_start_workflow", ELSEWHERE)
    # Whoever reads its values finds a key that is there twice.
    twice = '{"a": 1, "a": "' + "x" * 1_000 + '"}'

    for name, args in (
        ("dbos_start_workflow", (ELSEWHERE, twice)),
        ("dbos_send_message", (started, twice)),
        ("dbos_set_attributes", (started, twice)),
    ):
        state, message = refused(name, *args)
        assert (state, "the limit is 1000" in message) == ("54000", True), name
    assert refused("dbos_start_workflow", ELSEWHERE, '{"a": 1, "a": "x"}')[0] == "22023"


@pytest.mark.parametrize(
    ("sent", "stored"),
    [
        ("[" + " \n\t" * 700 + "1]", "[1]"),
        ('["' + "\\u0041" * 900 + '"]', '["' + "A" * 900 + '"]'),
        ('["' + "\\/" * 900 + '"]', '["' + "/" * 900 + '"]'),
        ('["' + "\\\\" * 450 + '"]', '["' + "\\\\" * 450 + '"]'),
    ],
    ids=["white space", "escapes", "slashes", "backslashes"],
)
def test_the_limit_is_that_of_what_is_stored(settings: Any, sent: str, stored: str) -> None:
    settings.DBOS = {**settings.DBOS, "MAX_PAYLOAD_BYTES": 1_000}
    migrated()

    started = call("dbos_start_workflow", ELSEWHERE, sent)

    (written,) = Workflow.objects.filter(pk=started).values_list("input_text", flat=True)
    assert written == f'{{"args":{stored},"kwargs":{{}}}}'


def test_a_function_with_other_parameters_is_replaced_and_keeps_the_rights(role: str) -> None:
    client_functions.drop(connection)
    body = "LANGUAGE sql AS $$ SELECT name $$"
    run_on(connection, f"CREATE FUNCTION dbos_start_workflow(name text) RETURNS text {body}")
    run_on(connection, "COMMENT ON FUNCTION dbos_start_workflow IS 'django_dbos 0123456789abcdef'")
    run_on(connection, "REVOKE ALL ON FUNCTION dbos_start_workflow FROM PUBLIC")
    right = f"GRANT EXECUTE ON FUNCTION dbos_start_workflow TO {role} WITH GRANT OPTION"
    run_on(connection, right)

    for _ in range(2):
        migrated()

    found = "SELECT count(*) FROM pg_proc WHERE proname = 'dbos_start_workflow'"
    assert run_on(connection, found) == 1
    may = "has_function_privilege(%s, oid, 'EXECUTE WITH GRANT OPTION')"
    ours = f"SELECT {may} FROM pg_proc WHERE proname = 'dbos_start_workflow'"
    assert run_on(connection, ours, role)
    run_on(connection, f"SET LOCAL ROLE {role}")
    assert call("dbos_start_workflow", ELSEWHERE, **BURST)


OLD_START = "dbos_start_workflow(name text, arguments json DEFAULT '[]')"


def test_a_function_that_the_migrate_of_an_earlier_release_made_beside_ours_goes(
    role: str,
) -> None:
    """After a rollback of a deploy a call would fit both, and anyone might execute the other."""
    grant(role, "dbos_start_workflow")
    body = "LANGUAGE sql AS $$ SELECT name $$"
    run_on(connection, f"CREATE FUNCTION {OLD_START} RETURNS text {body}")
    run_on(connection, "COMMENT ON FUNCTION dbos_start_workflow(text, json) IS 'django_dbos 0'")
    assert refused("dbos_start_workflow", ELSEWHERE)[0] == "42725"

    migrated()

    may = "SELECT has_function_privilege(%s, 'dbos_start_workflow'::regproc, 'EXECUTE')"
    assert [run_on(connection, may, one) for one in (role, "public")] == [True, False]
    run_on(connection, f"SET LOCAL ROLE {role}")
    assert call("dbos_start_workflow", ELSEWHERE, **BURST)


def test_the_migration_is_reversed_beside_a_function_of_an_earlier_release() -> None:
    body = "LANGUAGE sql AS $$ SELECT name $$"
    run_on(connection, f"CREATE FUNCTION {OLD_START} RETURNS text {body}")

    client_functions.drop(connection)

    found = "SELECT count(*) FROM pg_proc WHERE proname = ANY(%s)"
    assert run_on(connection, found, list(client_functions.NAMES)) == 0


def test_the_migration_can_be_repeated_and_reversed() -> None:
    migration: Any = importlib.import_module("django_dbos.migrations.0017_client_functions")

    with connection.schema_editor() as editor:
        migration.create(None, editor)
        migration.drop(None, editor)
        migration.drop(None, editor)
        # What was taken back isn't made again at the end of `migrate`.
        migrated()
        assert run_on(connection, "SELECT to_regproc('dbos_start_workflow')") is None
        migration.create(None, editor)
    assert call("dbos_start_workflow", ELSEWHERE)


def test_tables_without_migrations_get_them() -> None:
    client_functions.drop(connection)
    run_on(connection, "DROP SEQUENCE dbos_queue_sequence")

    migrated()

    assert call("dbos_start_workflow", ELSEWHERE)
