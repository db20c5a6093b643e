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
from tests.elsewhere.calling import call, listening, on_postgresql

pytestmark = [on_postgresql, pytest.mark.django_db]

# They differ between any two starts.
OF_EACH = {"workflow_id", "token", "queue_sequence", "created_at"}
# Computed from the clock; the function and Python begin with the same difference.
FROM_NOW = {"unique_until", "debounce_until"}
COLUMNS = {field.column for field in Workflow._meta.concrete_fields}
# The columns that a start by name, in a process without the code, never writes. A new one that it
# writes needs an option of the functions.
NOT_WRITTEN = {
    "deadline_at",
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
    "debounce_key",
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


# What a replaced workflow was doing, and the queue in which its end frees a place.
HOLDERS: list[dict[str, Any]] = [
    {"status": "ENQUEUED"},
    {"status": "DELAYED", "due_at": "2099-01-01 00:00:00Z"},
    {"status": "PENDING", "executor_id": "e", "claim_number": 3},
    {"status": "PENDING", "executor_id": "e", "claim_number": 3, "place": 1},
    {"status": "PENDING", "executor_id": "e", "claim_number": 3, "place": -1},
    {"status": "WAITING", "claim_number": 3, "place": 2, "due_at": "2099-01-01 00:00:00Z"},
    {"status": "WAITING", "wake_kind": "message", "wake_workflow_id": "w", "wake_name": "t"},
    {"status": "WAITING", "wake_kind": "stream", "wake_name": "t", "wake_offset": 7},
    {"status": "SUCCESS", "finished_at": "2026-01-01 00:00:00Z"},
]


def as_dated(row: dict[str, Any]) -> dict[str, Any]:
    """Return a row with the fact that there is a time of its end, in place of that time."""
    return {name: one for name, one in row.items() if name not in OF_EACH} | {
        "finished_at": row["finished_at"] is not None
    }


@pytest.mark.rule(104)
@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("holder", HOLDERS)
def test_a_replacement_writes_and_notifies_the_same(holder: dict[str, Any]) -> None:
    options: dict[str, Any] = {"deduplication_id": "d", "on_duplicate": "replace"}
    seen = []
    for start in (start_by_sql, start_by_python):
        options["queue_name"] = start.__name__
        held = start([1], options | {"on_duplicate": "return"})
        change = ", ".join(f"{column} = %s" for column in holder)
        with connection.cursor() as cursor:
            params = [*holder.values(), held]
            cursor.execute(f"UPDATE dbos_workflow SET {change} WHERE workflow_id = %s", params)
            cursor.execute(KEEP, [held])

        with listening("dbos_changed") as changes, listening("dbos_enqueued") as lanes:
            new = start([2], options)
            keys = {key.replace(held, "the holder") for keys in changes() for key in keys}
            told = (keys - {"cancelled:the holder"}, {priority for _, priority in lanes()})

        rows = [as_dated(row_of("dbos_workflow", "workflow_id", one)) for one in (held, new)]
        for row in rows:
            assert row.pop("queue_name") == start.__name__
        seen.append((rows, told))

    assert seen[0] == seen[1]
    assert seen[0][0][0]["status"] == ("CANCELLED" if "finished_at" not in holder else "SUCCESS")
    assert seen[0][0][1]["status"] == "ENQUEUED"


# One that has ended keeps its id, as with unique_for.
KEEP = """
UPDATE dbos_workflow SET unique_until = '2099-01-01 00:00:00Z'
WHERE workflow_id = %s AND finished_at IS NOT NULL
"""


def start_by_sql(args: list[Any], options: dict[str, Any]) -> str:
    return str(call("dbos_start_workflow", ELSEWHERE, args, **options))


def start_by_python(args: list[Any], options: dict[str, Any]) -> str:
    given: Any = {("user" if name == "user_id" else name): one for name, one in options.items()}
    return dbos.start_by_name(ELSEWHERE, *args, using=given).workflow_id


def now() -> datetime:
    with connection.cursor() as cursor:
        cursor.execute("SELECT clock_timestamp()")
        return cursor.fetchone()[0]


def between(at: datetime | None, windows: list[tuple[datetime, datetime]]) -> bool:
    """Return whether an instant is the earliest one of these, each known by its bounds."""
    if at is None or not windows:
        return at is None and not windows
    return min(first for first, _ in windows) <= at <= min(last for _, last in windows)


@pytest.mark.rule(106)
@pytest.mark.parametrize("seed", range(20))
def test_a_burst_is_the_same_row(seed: int) -> None:
    dice = random.Random(seed)
    user = dice.choice(["7", None])
    kept = {"run_after", "deduplication_id", "user_id"}
    calls: list[dict[str, Any]] = []
    for _ in range(3):
        some = options_of(dice, seed)
        burst = {name: some[name] for name in some if name not in kept} | {"user_id": user}
        burst["delay"] = timedelta(seconds=dice.choice([30, 90, 0.5]))
        if dice.random() < 0.7:
            burst["max_delay"] = burst["delay"] * dice.choice([1, 2, 100])
        calls.append(burst)
    rows = []
    for start in (start_by_sql, start_by_python):
        due, until = [], []
        for number, burst in enumerate(calls):
            before = now()
            started = start([number], burst | {"debounce_key": start.__name__})
            if "max_delay" in burst:
                until.append((before + burst["max_delay"], now() + burst["max_delay"]))
            due = [(before + burst["delay"], now() + burst["delay"])]

        row = row_of("dbos_workflow", "workflow_id", started)
        row["due_at"] = between(row["due_at"], [*due, *until])
        row["debounce_until"] = between(row["debounce_until"], until)
        assert row.pop("debounce_key") == start.__name__
        rows.append({name: one for name, one in row.items() if name not in OF_EACH})

    assert rows[0] == rows[1]
    assert (rows[0]["status"], rows[0]["due_at"]) == ("DELAYED", True)
