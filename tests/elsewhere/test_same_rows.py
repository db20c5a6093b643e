"""The functions write the rows that the Python calls write, column by column."""

from __future__ import annotations

import json
import random
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.db import connection

import django_dbos as dbos
from django_dbos.models import Message, Workflow
from tests.elsewhere.calling import call, on_postgresql

pytestmark = [on_postgresql, pytest.mark.django_db]

# They differ between any two starts.
OF_EACH = {"workflow_id", "token", "queue_sequence", "created_at"}
# Computed from the clock; the function and Python begin with the same difference.
FROM_NOW = {"unique_until"}
COLUMNS = {field.column for field in Workflow._meta.concrete_fields}
# The columns that a start by name, in a process without the code, never writes. A new one that it
# writes needs an option of the functions.
NOT_WRITTEN = {
    "deadline_at",
    "debounce_key",
    "debounce_until",
    "error",
    "executor_id",
    "finished_at",
    "forked_at_step",
    "forked_from",
    "is_quarantined",
    "max_recovery_attempts",
    "output",
    "parent_id",
    "parent_step_number",
    "place",
    "recovery_attempts",
    "run_number",
    "schedule_name",
    "scheduled_at",
    "started_at",
    "steps_before",
    "traceparent",
    "wake_kind",
    "wake_name",
    "wake_offset",
    "wake_workflow_id",
}
WRITTEN = {
    "attributes",
    "claim_number",
    "deduplication_id",
    "due_at",
    "input",
    "name",
    "partition_key",
    "priority",
    "queue_name",
    "status",
    "timeout",
    "user_id",
    "version",
}
ELSEWHERE = "shop.elsewhere.run"
TEXTS = [
    "",
    "a",
    "ä",
    "\x00",
    "\x1f",
    '"',
    "\\",
    "/",
    "$",
    "$date",
    "\u2028",
    "😀",
    "\x7f",
    "\\u0000",
]


def row_of(table: str, key: str, value: Any) -> dict[str, Any]:
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT * FROM {table} WHERE {key} = %s", [value])
        assert cursor.description is not None
        names = [column.name for column in cursor.description]
        (row,) = cursor.fetchall()
    return dict(zip(names, row, strict=True))


def value(dice: random.Random, depth: int = 3, *, nul: bool = True) -> Any:
    texts = TEXTS if nul else [text for text in TEXTS if text != "\x00"]
    kinds = ["text", "int", "float", "bool", "null"] + ["list", "dict"] * (depth > 0)
    match dice.choice(kinds):
        case "text":
            return "".join(dice.choices(texts, k=dice.randrange(4)))
        case "int":
            return dice.choice([0, -1, 7, 10**30, -(2**63)])
        case "float":
            return dice.choice([0.0, -0.5, 1e300, 1e-7, 2.5, dice.random()])
        case "bool":
            return dice.choice([True, False])
        case "list":
            return [value(dice, depth - 1, nul=nul) for _ in range(dice.randrange(4))]
        case "dict":
            return {
                "".join(dice.choices(texts, k=dice.randrange(3))): value(dice, depth - 1, nul=nul)
                for _ in range(dice.randrange(4))
            }
    return None


def options_of(dice: random.Random, number: int) -> dict[str, Any]:
    some: dict[str, Any] = {
        "queue_name": dice.choice(["mail", "ä" * 255]),
        "priority": dice.randint(-100, 100),
        "run_after": datetime(2099, 1, 1, tzinfo=UTC) + timedelta(seconds=dice.randrange(9**9)),
        "timeout": timedelta(seconds=dice.choice([0.5, 90, 86_400 * 400])),
        "partition_key": dice.choice(["a", "b b"]),
        "deduplication_id": f"d{number}",
        "user_id": dice.choice(["7", "ada"]),
        "attributes": {"n": value(dice, nul=False), "m": {}},
    }
    return {name: some[name] for name in some if dice.random() < 0.5}


def in_python(options: dict[str, Any]) -> Any:
    given = {("user" if name == "user_id" else name): one for name, one in options.items()}
    if "deduplication_id" in given:
        given["deduplication_id"] += "p"
    return given


def test_every_column_was_thought_of() -> None:
    """A new column fails this: give the functions an option for it, or list it as not written."""
    assert COLUMNS == OF_EACH | FROM_NOW | NOT_WRITTEN | WRITTEN


@pytest.mark.parametrize("seed", range(40))
def test_a_start_writes_the_same_row(seed: int) -> None:
    dice = random.Random(seed)
    options = options_of(dice, seed)
    args = [value(dice) for _ in range(dice.randrange(3))]
    kwargs = {f"k{number}": value(dice) for number in range(dice.randrange(3))}
    arguments: Any = dice.choice([args, kwargs])

    text = json.dumps(arguments, ensure_ascii=dice.random() < 0.5, indent=dice.choice([None, 2]))
    by_sql = call("dbos_start_workflow", ELSEWHERE, text, **options)
    positional, named = (arguments, {}) if isinstance(arguments, list) else ((), arguments)
    by_python = dbos.start_by_name(
        ELSEWHERE, *positional, using=in_python(options), **named
    ).workflow_id

    rows = [row_of("dbos_workflow", "workflow_id", one) for one in (by_sql, by_python)]
    if "deduplication_id" in options:
        assert rows[1].pop("deduplication_id") == f"{rows[0].pop('deduplication_id')}p"
    for row in rows:
        assert (str(row["token"]), row["unique_until"]) == (row["workflow_id"], None)
        for column in OF_EACH:
            del row[column]
    assert rows[0] == rows[1]
    assert {
        column for column in NOT_WRITTEN if rows[0][column] not in (None, 0, 1, False, "")
    } == set()
    read = Workflow.objects.get(pk=by_sql)
    assert read.input == {"args": list(positional), "kwargs": named}


@pytest.mark.parametrize("seed", range(40))
def test_a_message_is_the_same_row(seed: int) -> None:
    dice = random.Random(seed)
    receiver = dbos.start_by_name(ELSEWHERE)
    message, topic = value(dice), dice.choice([None, "paid", "ä" * 255])
    key = dice.choice([None, "k"])

    call("dbos_send_message", receiver.workflow_id, json.dumps(message), topic, key)
    receiver.send(message, topic, None if key is None else "other")

    sent = list(Message.objects.order_by("message_id"))
    rows = [row_of("dbos_message", "message_id", one.message_id) for one in sent]
    for row in rows:
        del row["message_id"], row["created_at"]
    if key is not None:
        assert [row.pop("idempotency_key") for row in rows] == ["k", "other"]
    assert rows[0] == rows[1]
    assert sent[0].message == message


@pytest.mark.parametrize("merge", [True, False])
@pytest.mark.parametrize("seed", range(10))
def test_changed_attributes_are_the_same(seed: int, merge: bool) -> None:
    dice = random.Random(seed)
    before, given = ({key: value(dice, nul=False) for key in keys} for keys in ("ab", "bc"))
    by_sql, by_python = (
        dbos.start_by_name(ELSEWHERE, using={"attributes": before}) for _ in range(2)
    )

    call("dbos_set_attributes", by_sql.workflow_id, given, merge)
    by_python.set_attributes(given, merge=merge)

    first, second = (
        row_of("dbos_workflow", "workflow_id", handle.workflow_id) for handle in (by_sql, by_python)
    )
    assert first["attributes"] == second["attributes"]
