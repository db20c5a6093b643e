"""Durations and due times in the far future: refused as arguments, harmless in rows."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.db import connection
from django.test import Client

import django_dbos as dbos
from django_dbos.core import durations
from django_dbos.models import Checkpoint, Executor, Workflow
from django_dbos.store import get_store
from django_dbos.testing import advance, run_until_idle
from tests.store.conftest import register

pytestmark = pytest.mark.django_db

TOO_LONG = [1e12, timedelta.max, timedelta(days=365 * 9000)]


@dbos.workflow
def quick() -> str:
    return "done"


@dbos.workflow
def tries(operation: str, seconds: float) -> str:
    with pytest.raises(ValueError, match="can't be more than 1,000 years, but is "):
        OPERATIONS[operation](seconds)
    return "refused"


@dbos.workflow
def sleeps(seconds: float) -> None:
    dbos.sleep(seconds)


OPERATIONS: dict[str, Callable[[Any], Any]] = {
    "recv": lambda value: dbos.recv("topic", timeout=value),
    "sleep": lambda value: dbos.sleep(value),
    "get_event": lambda value: dbos.get_event("id", "key", timeout=value),
    "read_stream": lambda value: dbos.read_stream("id", "key", timeout=value),
    "get_result": lambda value: dbos.retrieve_workflow("id").get_result(timeout=value),
    "timeout": lambda value: quick.using(timeout=value),
    "run_after": lambda value: quick.using(run_after=value),
    "workflow": lambda value: dbos.workflow(timeout=value)(lambda: None),
    "interval": lambda value: dbos.step(interval=value),
    "max_interval": lambda value: dbos.step(max_interval=value),
    "step": lambda value: dbos.step(timeout=value),
    "advance": advance,
}
# The operations that work outside a workflow.
OUTSIDE = sorted(OPERATIONS.keys() - {"recv", "sleep"})


@pytest.mark.parametrize("value", TOO_LONG)
@pytest.mark.parametrize("operation", OUTSIDE)
def test_every_duration_has_the_same_limit(operation: str, value: Any) -> None:
    quick.using(workflow_id="id").start()

    with pytest.raises(ValueError, match="can't be more than 1,000 years, but is ") as told:
        OPERATIONS[operation](value)

    assert repr(value) in str(told.value)


@pytest.mark.parametrize("operation", ["recv", "sleep", "get_event", "get_result"])
def test_a_workflow_meets_the_same_limit(operation: str) -> None:
    quick.using(workflow_id="id").start()
    handle = tries.start(operation, 1e12)

    run_until_idle()

    assert handle.get_result() == "refused"


def test_a_start_cannot_be_due_in_the_year_1() -> None:
    with pytest.raises(ValueError, match="run_after must be after the year 1"):
        quick.using(run_after=datetime(1, 6, 1, tzinfo=UTC))


def test_a_workflow_due_never_waits_for_run_now(client: Client, admin_user: Any) -> None:
    """PostgreSQL's clients can't read `datetime.max`, Python's usual "never", in every zone."""
    handle = quick.using(run_after=datetime.max.replace(tzinfo=UTC)).start()
    client.force_login(admin_user)

    run_until_idle()
    assert handle.get_status() == "DELAYED"
    assert handle.describe().due_at is not None
    assert client.get("/admin/django_dbos/workflow/").status_code == 200

    handle.run_now()
    run_until_idle()
    assert handle.get_result() == "done"


def test_a_due_time_in_the_distant_past_is_due() -> None:
    """On SQLite the year 900 was written with three digits, and sorted after this year."""
    handle = quick.using(run_after=datetime(900, 6, 1, tzinfo=UTC)).start()

    run_until_idle()

    assert handle.get_result() == "done"


def test_the_longest_allowed_durations_work(client: Client, admin_user: Any) -> None:
    longest = durations.LONGEST
    limited = quick.using(timeout=longest).start()
    delayed = quick.using(run_after=longest).start()
    asleep = sleeps.start(longest)

    run_until_idle()

    assert limited.get_result(timeout=longest) == "done"
    assert delayed.get_status() == "DELAYED"
    assert asleep.get_status() == "WAITING"
    read_everything(client, admin_user)


STORED = (
    ["infinity", "-infinity", "294270-01-01 00:00:00+00", "4000-01-01 00:00:00+00 BC"]
    if connection.vendor == "postgresql"
    else ["10000-01-01 00:00:00.000000", "0001-01-01 00:00:00.000000", "", "never"]
)


@pytest.mark.parametrize("stored", STORED)
@pytest.mark.parametrize("column", ["due_at", "deadline_at", "created_at", "finished_at"])
def test_an_instant_that_python_cannot_show_fails_no_list(
    column: str, stored: str, client: Client, admin_user: Any
) -> None:
    """Such a row may come from an earlier release or another program."""
    asleep, other = sleeps.start(3_600), quick.start()
    run_until_idle()
    _store(f"UPDATE dbos_workflow SET {column} = %s WHERE workflow_id = %s", stored, asleep)
    _store("UPDATE dbos_checkpoint SET deadline_at = %s WHERE workflow_id = %s", stored, asleep)

    read_everything(client, admin_user)

    assert other.get_result() == "done"
    with pytest.raises(dbos.WaitTimeout):
        asleep.get_result(timeout=0)
    shown = getattr(Workflow.objects.get(pk=asleep.workflow_id), column)
    # Django reads an invalid instant of SQLite as None.
    assert shown is None if connection.vendor == "sqlite" and stored[:1] != "0" else shown.year
    # A heartbeat reads the next due time.
    executor_id = register(get_store())
    look = get_store().heartbeat(get_store().session(), executor_id, None)
    assert look.is_registered
    assert look.next_due is not None


def test_an_executor_with_an_endless_lease_fails_no_heartbeat() -> None:
    store = get_store()
    executor_id = register(store)
    other = register(store)
    endless = "178000000 years" if connection.vendor == "postgresql" else 2**63 - 1
    with connection.cursor() as cursor:
        cursor.execute(
            "UPDATE dbos_executor SET lease = %s WHERE executor_id = %s", [endless, other]
        )

    look = store.heartbeat(store.session(), executor_id, None)

    assert look.expired_executors == {}


def test_executors_that_were_declared_dead_are_listed() -> None:
    """With a naive zone neither PostgreSQL's -infinity nor SQLite's first day could be read."""
    store = get_store()
    executor_id = register(store)
    store.session().run(
        "declare_dead", {"executor_id": executor_id, "is_unlocked": True, "silence": -1.0}
    )

    (row,) = Executor.objects.all()

    assert row.heartbeat_at.year == 1


def _store(statement: str, stored: str, handle: dbos.WorkflowHandle[Any]) -> None:
    with connection.cursor() as cursor:
        cursor.execute(statement, [stored, handle.workflow_id])


def read_everything(client: Client, admin_user: Any) -> None:
    """Read all rows through the ORM and the admin."""
    client.force_login(admin_user)
    for model in (Workflow, Checkpoint):
        assert list(model.objects.all())
    pages = ["", *(f"{workflow.pk}/change/" for workflow in Workflow.objects.all())]
    for page in pages:
        response = client.get(f"/admin/django_dbos/workflow/{page}")
        assert response.status_code == 200, page


def test_a_count_that_exceeds_its_column_is_refused_by_name() -> None:
    with pytest.raises(ValueError, match=r"max_recovery_attempts must be at most 2,147,483,647"):
        dbos.workflow(max_recovery_attempts=2**31)(lambda: None)
