"""The columns of records: declared once, as the fields of their dataclasses."""

from __future__ import annotations

import re
import uuid
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from django_dbos.core.batch.plan import EventValue
from django_dbos.core.records import (
    Checkpoint,
    Claim,
    Finish,
    RecordEntry,
    State,
    Suspend,
    Wake,
    WakeKind,
)
from django_dbos.core.status import Status
from django_dbos.models import Checkpoint as CheckpointModel
from django_dbos.models import EventVersion, Message, StreamEntry, Workflow
from django_dbos.store import statements
from django_dbos.store.columns import (
    CHECKPOINT,
    CLAIM,
    ENTRY,
    EVENT,
    FINISH,
    FOUND_WORKFLOW,
    MESSAGE,
    NEW_WORKFLOW,
    SUSPEND,
)
from django_dbos.store.rows import Rows, fast_path_rows

STEP = Checkpoint(
    workflow_id="order-7", step_number=3, step_name="pay", record_order=4, claim_number=2
)


def test_parameters_have_the_values_of_enumerations() -> None:
    params = CHECKPOINT.params(replace(STEP, state=State.TIMED_OUT, output="7"))

    assert type(params["state"]) is int
    assert params["state"] == State.TIMED_OUT.value
    assert (params["workflow_id"], params["output"], params["attempts"]) == ("order-7", "7", 1)


def test_a_list_has_the_values_of_one_column() -> None:
    steps = [STEP, replace(STEP, step_number=4, output='"a"', state=State.WAITING)]

    lists = CHECKPOINT.lists(steps)

    assert set(lists) == set(CHECKPOINT.params(STEP))
    assert lists["step_number"] == [3, 4]
    assert lists["state"] == [0, 1]
    assert lists["output"] == [None, '"a"']


def test_a_record_is_read_from_the_row_that_its_select_returns() -> None:
    step = replace(STEP, state=State.WAITING, attempt_errors="[]")
    row = [CHECKPOINT.params(step)[name] for name in CHECKPOINT.returned]

    assert CHECKPOINT.read([*row, 2.5]) == step
    assert type(CHECKPOINT.read(row).state) is State


def test_booleans_are_read_from_numbers() -> None:
    claim = Claim(workflow_id="a", claim_number=1, name="b", input="{}", token=uuid.uuid4())
    row = [CLAIM.params(claim)[name] for name in CLAIM.returned]

    row[CLAIM.returned.index("has_history")] = 1
    assert CLAIM.read(row).has_history is True


def test_an_unknown_member_of_an_enumeration_is_refused() -> None:
    row = [CHECKPOINT.params(STEP)[name] for name in CHECKPOINT.returned]
    row[CHECKPOINT.returned.index("state")] = 99

    with pytest.raises(ValueError, match="99"):
        CHECKPOINT.read(row)


def test_a_column_may_be_a_value_inside_a_record() -> None:
    wake = Wake(kind=WakeKind.EVENT, workflow_id="order-7", name="paid")

    params = SUSPEND.params(Suspend(workflow_id="a", claim_number=1, wake=wake, step_number=2))

    assert params == {
        "workflow_id": "a",
        "step_number": 2,
        "kind": "event",
        "target_id": "order-7",
        "name": "paid",
        "offset": None,
    }


def test_rows_have_further_columns_besides_those_of_records() -> None:
    ends = [
        Finish(workflow_id=workflow_id, claim_number=1, status=Status.SUCCESS)
        for workflow_id in ("a", "b")
    ]
    rows = Rows(FINISH, ends, after_step=[7, None])

    assert (rows.first()["status"], rows.first()["after_step"]) == ("SUCCESS", 7)
    assert [row["after_step"] for row in rows.each()] == [7, None]
    assert rows.lists()["after_step"] == [7, None]
    assert rows.lists()["workflow_id"] == ["a", "b"]


def test_an_entry_inside_a_step_has_no_columns_of_a_checkpoint() -> None:
    entry = RecordEntry(
        workflow_id="a", claim_number=1, checkpoint=None, key="log", value="1", step_number=3
    )

    inside, own = (
        fast_path_rows([write])["append_entries"].first()
        for write in (entry, replace(entry, checkpoint=STEP))
    )

    assert (inside["step_name"], inside["fingerprint"], inside["record_order"]) == (None,) * 3
    assert (own["step_name"], own["record_order"]) == ("pay", 4)


# The records and the tables


TABLES: list[tuple[Any, Any, set[str]]] = [
    (CHECKPOINT, CheckpointModel, {"duration"}),
    (CLAIM, Workflow, {"remaining", "has_history"}),
    (
        NEW_WORKFLOW,
        Workflow,
        {"after", "delay", "inherits_deadline", "max_delay", "run_at", "unique_for"},
    ),
    (FOUND_WORKFLOW, Workflow, set()),
    (FINISH, Workflow, set()),
    (MESSAGE, Message, set()),
    (EVENT, EventVersion, set()),
    (ENTRY, StreamEntry, set()),
]


@pytest.mark.parametrize(("columns", "model", "apart"), TABLES)
def test_columns_match_the_tables(columns: Any, model: Any, apart: set[str]) -> None:
    table = {field.column for field in model._meta.local_fields}

    assert set(columns.names) - table == apart


def test_event_values_and_entries_are_parameters_unchanged() -> None:
    write_id = uuid.uuid4()
    value = EventValue(
        workflow_id="a", key="paid", version=2, value="1", step_number=3, write_id=write_id
    )

    assert EVENT.params(value) == {
        "workflow_id": "a",
        "key": "paid",
        "version": 2,
        "value": "1",
        "step_number": 3,
        "write_id": write_id,
    }


# The price of a column


PACKAGE = Path(statements.__file__).parent.parent


def files_that_name(column: str, folder: Path) -> list[str]:
    word = re.compile(rf"\b{column}\b")
    return sorted(path.name for path in folder.rglob("*.py") if word.search(path.read_text()))


@pytest.mark.parametrize(
    "column",
    [
        "attempt_errors",
        "attempts",
        "idempotency_key",
        "inherits_deadline",
        "parent_step_number",
        "sender_id",
        "wake_offset",
    ],
)
def test_the_store_s_code_names_no_column_that_it_only_keeps(column: str) -> None:
    # The functions for clients of SQL take statements with columns that such a start doesn't have.
    names = {*files_that_name(column, PACKAGE / "store")} - {"client_functions.py"}
    assert names == set()


def test_a_nullable_column_takes_few_files() -> None:
    """The migration, the model, the record, and the code that has a use for the column."""
    assert len(files_that_name("wake_offset", PACKAGE)) <= 6


def test_an_instant_is_read_from_a_text_in_utc() -> None:
    claim = Claim(workflow_id="a", claim_number=1, name="b", input="{}", token=uuid.uuid4())
    row = [CLAIM.params(claim)[name] for name in CLAIM.returned]
    row[CLAIM.returned.index("scheduled_at")] = "2026-03-29 01:00:00.000000"

    assert CLAIM.read(row).scheduled_at == datetime(2026, 3, 29, 1, tzinfo=UTC)
