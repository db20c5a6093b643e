"""A row that can't be claimed or loaded is quarantined, without harm to other workflows."""

from __future__ import annotations

from typing import Any

import pytest
from django.db import connection

import django_dbos as dbos
from django_dbos.core.status import ACTIVE
from django_dbos.models import Workflow
from django_dbos.store import errors, get_store
from django_dbos.store.base import Store
from django_dbos.testing import run_until_idle
from tests.executor import workflows
from tests.executors import Start
from tests.waiting import LIMIT, eventually

pytestmark = pytest.mark.django_db(transaction=True)

IS_SQLITE = connection.vendor == "sqlite"


@dbos.step
def looks() -> str:
    return "looked"


@dbos.workflow
def remembers() -> str:
    return looks() + str(dbos.recv("go"))


# Values that PostgreSQL stores, but that break claims, computations, reads or replays.
ON_POSTGRESQL = [
    ("dbos_workflow", "claim_number", "2147483647"),
    ("dbos_workflow", "recovery_attempts", "2147483647"),
    ("dbos_workflow", "max_recovery_attempts", "-2147483648"),
    ("dbos_workflow", "timeout", "'178000000 years'"),
    ("dbos_workflow", "timeout", "'-178000000 years'"),
    ("dbos_workflow", "deadline_at", "'infinity'"),
    ("dbos_workflow", "deadline_at", "'-infinity'"),
    ("dbos_workflow", "started_at", "'infinity'"),
    ("dbos_workflow", "input", "'{'"),
    ("dbos_workflow", "input", "'[]'"),
    ("dbos_workflow", "user_id", "''"),
    ("dbos_checkpoint", "step_number", "step_number - 100"),
    ("dbos_checkpoint", "step_name", "''"),
    ("dbos_checkpoint", "state", "77"),
    ("dbos_checkpoint", "state", "-32768"),
    ("dbos_checkpoint", "fingerprint", "'other'"),
    ("dbos_checkpoint", "output", "'{'"),
    ("dbos_checkpoint", "error", "'{'"),
    ("dbos_checkpoint", "related_workflow_id", "''"),
    ("dbos_checkpoint", "record_order", "2147483647"),
    ("dbos_checkpoint", "claim_number", "-2147483648"),
    ("dbos_checkpoint", "attempts", "-1"),
    ("dbos_checkpoint", "deadline_at", "'infinity'"),
    ("dbos_checkpoint", "recorded_at", "'infinity'"),
]
# SQLite's columns store values of any type, and text that isn't valid Unicode.
NO_TEXT, TEXT = "CAST(X'FFFE' AS TEXT)", "'text'"
ON_SQLITE = [
    *(
        ("dbos_workflow", column, value)
        for value in (NO_TEXT, TEXT)
        for column in (
            "token", "input", "user_id", "claim_number", "recovery_attempts",
            "max_recovery_attempts", "timeout", "deadline_at", "started_at",
        )
    ),
    *(
        ("dbos_checkpoint", column, value)
        for value in (NO_TEXT, TEXT)
        for column in (
            "step_name", "state", "fingerprint", "output", "error", "related_workflow_id",
            "record_order", "claim_number", "attempts", "deadline_at", "recorded_at",
        )
    ),
    *(
        (f"dbos_{table}", column, "9223372036854775807")
        for table, column in (
            ("workflow", "claim_number"), ("workflow", "recovery_attempts"),
            ("workflow", "timeout"), ("checkpoint", "state"), ("checkpoint", "record_order"),
        )
    ),
]  # fmt: skip


@pytest.mark.rule(46)
@pytest.mark.parametrize(("table", "column", "value"), ON_SQLITE if IS_SQLITE else ON_POSTGRESQL)
def test_an_unreadable_value_harms_no_other_workflow(
    table: str, column: str, value: str, start_executor: Start, caplog: pytest.LogCaptureFixture
) -> None:
    handles = [remembers.start() for _ in range(6)]
    run_until_idle()
    for handle in handles:
        handle.send("!", topic="go")
    culprit, *healthy = handles
    with connection.cursor() as cursor:
        cursor.execute(
            f"UPDATE {table} SET {column} = {value} WHERE workflow_id = %s", [culprit.workflow_id]
        )

    executor = start_executor(concurrency=8)

    assert [one.get_result(timeout=LIMIT) for one in healthy] == ["looked!"] * 5
    late = workflows.counts.start(1)
    assert late.get_result(timeout=LIMIT) == 1
    eventually(lambda: _status(culprit) not in ACTIVE)
    eventually(lambda: not executor.runs and executor.runs.slots.free == 8)
    if Workflow.objects.filter(pk=culprit.workflow_id, is_quarantined=True).exists():
        assert repr(culprit.workflow_id) in caplog.text


def _status(handle: dbos.WorkflowHandle[Any]) -> str:
    return str(Workflow.objects.values_list("status", flat=True).get(pk=handle.workflow_id))


UNKNOWN_STATE = "UPDATE dbos_checkpoint SET state = 77 WHERE workflow_id = %s"
NO_CLAIM = (
    "UPDATE dbos_workflow SET token = 'none' WHERE workflow_id = %s"
    if IS_SQLITE
    else "UPDATE dbos_workflow SET claim_number = 2147483647 WHERE workflow_id = %s"
)


@pytest.mark.rule(46)
@pytest.mark.parametrize("damage", [UNKNOWN_STATE, NO_CLAIM])
def test_a_quarantined_workflow_has_a_reason_and_can_be_resumed(
    damage: str, start_executor: Start, caplog: pytest.LogCaptureFixture
) -> None:
    handle = remembers.start()
    run_until_idle()
    handle.send("!", topic="go")
    _execute(damage, handle)
    start_executor()

    eventually(lambda: _status(handle) == "ERROR")
    row = Workflow.objects.filter(pk=handle.workflow_id).defer("token").get()
    assert row.is_quarantined
    assert "Find out why, then resume() it" in str(row.error)
    told = f"Workflow {handle.workflow_id!r} is quarantined, since it "
    # Logged once that is written.
    eventually(lambda: told in caplog.text)
    _execute(
        "UPDATE dbos_checkpoint SET state = 0 WHERE workflow_id = %s AND step_number = 1", handle
    )
    _execute(
        "UPDATE dbos_checkpoint SET state = 1 WHERE workflow_id = %s AND step_number = 2", handle
    )
    _execute("UPDATE dbos_workflow SET claim_number = 9 WHERE workflow_id = %s", handle)
    _execute(f"UPDATE dbos_workflow SET token = '{'0' * 32}' WHERE workflow_id = %s", handle)

    handle.resume()

    assert handle.get_result(timeout=LIMIT) == "looked!"


@pytest.mark.rule(46)
@pytest.mark.parametrize("damage", [UNKNOWN_STATE, NO_CLAIM])
def test_a_suspect_that_cannot_run_makes_room_for_the_next(
    damage: str, start_executor: Start
) -> None:
    handles = [remembers.start() for _ in range(3)]
    run_until_idle()
    for handle in handles:
        handle.send("!", topic="go")
        _execute("UPDATE dbos_workflow SET recovery_attempts = 3 WHERE workflow_id = %s", handle)
    _execute(damage, handles[0])

    start_executor()

    assert [one.get_result(timeout=LIMIT) for one in handles[1:]] == ["looked!"] * 2
    eventually(lambda: _status(handles[0]) == "ERROR")


@pytest.mark.rule(46)
def test_an_error_that_no_row_has_caused_quarantines_nothing(
    start_executor: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An outdated schema fails every claim, which used to quarantine all workflows."""
    store, failed = get_store(), []

    def fail(self: Store, *args: Any, **options: Any) -> Any:
        failed.append(args)
        with connection.cursor() as cursor:
            cursor.execute("SELECT no_such_column FROM dbos_workflow")

    monkeypatch.setattr(type(store), "claim_workflows", fail)
    monkeypatch.setattr(type(store), "claim_workflow", fail)
    handle = workflows.counts.start(1)
    start_executor()
    eventually(lambda: len(failed) > 1)
    monkeypatch.undo()

    assert handle.get_result(timeout=LIMIT) == 1


@pytest.mark.parametrize(
    ("sqlstate", "is_of_value"),
    [("22003", True), ("23514", True), ("42703", False), ("57014", False)],
)
def test_errors_of_values_are_distinguished_from_errors_of_statements(
    sqlstate: str, is_of_value: bool
) -> None:
    error, driver = errors.of_sqlstate(sqlstate, "why"), Exception()
    driver.sqlstate = sqlstate  # type: ignore[attr-defined]
    error.__cause__ = driver

    assert errors.is_of_value(error) is is_of_value


def _execute(statement: str, handle: dbos.WorkflowHandle[Any]) -> None:
    with connection.cursor() as cursor:
        cursor.execute(statement, [handle.workflow_id])


@dbos.workflow
def awaits_another(workflow_id: str) -> str:
    with pytest.raises(dbos.WaitTimeout):
        dbos.retrieve_workflow(workflow_id).get_result(timeout=0.5)
    return "waited"


@pytest.mark.rule(46)
@pytest.mark.parametrize("damage", [UNKNOWN_STATE, NO_CLAIM])
def test_an_inline_run_that_awaits_the_workflow_is_not_harmed(
    damage: str, caplog: pytest.LogCaptureFixture
) -> None:
    handle = remembers.start()
    run_until_idle()
    handle.send("!", topic="go")
    _execute(damage, handle)

    assert awaits_another(handle.workflow_id) == "waited"

    assert _status(handle) == "ERROR"
    assert f"Workflow {handle.workflow_id!r} is quarantined" in caplog.text
