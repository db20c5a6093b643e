"""The engine's own reads in a run wait out a database outage."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from django.contrib.auth.models import Group, User
from django.db import OperationalError, connection, connections
from django.db.backends.base.base import BaseDatabaseWrapper

import django_dbos as dbos
from django_dbos.executor import Executor
from django_dbos.models import Workflow
from tests.waiting import LIMIT, eventually

pytestmark = pytest.mark.django_db(transaction=True)

postgresql = pytest.mark.skipif(connection.vendor != "postgresql", reason="PostgreSQL's own")
gates: dict[str, threading.Event] = {}


@dbos.workflow
def other() -> str:
    dbos.set_event("colour", "red")
    dbos.write_stream("numbers", 1)
    dbos.close_stream("numbers")
    return "done"


@dbos.workflow
def never() -> None:
    dbos.recv(timeout=None)


@dbos.step
def until_away() -> None:
    gates["there"].set()
    gates["away"].wait(LIMIT)


def status(other_id: str) -> Any:
    return str(dbos.retrieve_workflow(other_id).get_status())


def cancel(other_id: str) -> Any:
    return dbos.WorkflowHandle(other_id).cancel()


def resume(other_id: str) -> Any:
    return dbos.WorkflowHandle(other_id).resume()


def user(_: str) -> Any:
    found = dbos.current_workflow()
    assert found is not None
    return found.user.username


def numbers(other_id: str) -> Any:
    return list(dbos.read_stream(other_id, "numbers"))


ASKED: dict[str, tuple[Callable[[str], Any], Any]] = {
    "status": (status, "SUCCESS"),
    "events": (dbos.get_all_events, {"colour": "red"}),
    "stream": (numbers, [1]),
    "cancel": (cancel, False),
    "resume": (resume, False),
    "user": (user, "somebody"),
}


@dbos.workflow
def asks(what: str, other_id: str) -> Any:
    until_away()
    return ASKED[what][0](other_id)


@dbos.workflow
async def aasks(what: str, other_id: str) -> Any:
    await until_away.acall()
    handle = dbos.WorkflowHandle[Any](other_id)
    match what:
        case "status":
            await dbos.aretrieve_workflow(other_id)
            return str(await handle.aget_status())
        case "events":
            return await dbos.aget_all_events(other_id)
        case "stream":
            return [one async for one in dbos.aread_stream(other_id, "numbers")]
        case "cancel":
            return await handle.acancel()
        case "resume":
            return await handle.aresume()
    return None


@dbos.workflow
def greets(group: Group) -> str:
    return f"hello {group.name}"


@dbos.workflow
async def agreets(group: Group) -> str:
    return f"hello {group.name}"


class Lost(Exception):
    """Return a driver's error for a lost connection."""

    sqlstate = None


def refused() -> OperationalError:
    error = OperationalError("the database is away")
    error.__cause__ = Lost()
    return error


@pytest.fixture
def outage(monkeypatch: pytest.MonkeyPatch) -> Iterator[threading.Event]:
    """Yield an event; while it is set, only the thread of the test reaches the database."""
    away, here, cursor = threading.Event(), threading.current_thread(), BaseDatabaseWrapper.cursor

    def open_cursor(self: Any, *args: Any, **options: Any) -> Any:
        if away.is_set() and threading.current_thread() is not here:
            self.errors_occurred = True
            raise refused()
        return cursor(self, *args, **options)

    monkeypatch.setattr(BaseDatabaseWrapper, "cursor", open_cursor)
    gates.update(there=threading.Event(), away=threading.Event())
    yield away
    gates["away"].set()


def waits_for_database(caplog: pytest.LogCaptureFixture) -> int:
    return sum("waits for the database" in record.getMessage() for record in caplog.records)


@pytest.mark.rule(45)
@pytest.mark.parametrize("workflow", [asks, aasks])
@pytest.mark.parametrize("what", ASKED)
def test_the_reads_of_a_run_wait_out_an_outage(
    worker: Executor,
    outage: threading.Event,
    caplog: pytest.LogCaptureFixture,
    workflow: Any,
    what: str,
) -> None:
    if (workflow, what) == (aasks, "user"):
        pytest.skip("the ORM can't be asked on a loop")
    other_id = other.start().workflow_id
    assert dbos.WorkflowHandle[str](other_id).get_result(timeout=LIMIT) == "done"
    somebody = User.objects.create(username="somebody")
    handle = workflow.using(user=somebody).start(what, other_id)
    assert gates["there"].wait(LIMIT)

    outage.set()
    gates["away"].set()
    eventually(lambda: waits_for_database(caplog))
    # Several attempts, logged once.
    time.sleep(0.3)
    outage.clear()

    assert handle.get_result(timeout=LIMIT) == ASKED[what][1]
    assert waits_for_database(caplog) == 1
    assert "Traceback" not in caplog.text


@pytest.mark.rule(45)
@pytest.mark.parametrize("workflow", [greets, agreets])
def test_a_model_instance_among_the_arguments_waits_out_an_outage(
    worker: Executor, outage: threading.Event, caplog: pytest.LogCaptureFixture, workflow: Any
) -> None:
    group = Group.objects.create(name="all")

    outage.set()
    handle = workflow.start(group)
    eventually(lambda: waits_for_database(caplog))
    outage.clear()

    assert handle.get_result(timeout=LIMIT) == "hello all"


@pytest.mark.rule(45)
@pytest.mark.parametrize("workflow", [asks, aasks])
def test_a_run_that_waits_for_the_database_can_be_cancelled(
    worker: Executor, outage: threading.Event, caplog: pytest.LogCaptureFixture, workflow: Any
) -> None:
    caplog.set_level(logging.INFO, "django_dbos")
    handle = workflow.start("status", other.start().workflow_id)
    assert gates["there"].wait(LIMIT)
    outage.set()
    gates["away"].set()
    eventually(lambda: waits_for_database(caplog))

    assert handle.cancel()
    # The run still has no database: it ends without an answer.
    eventually(lambda: handle.workflow_id not in worker.runs)

    outage.clear()
    assert handle.get_status() == "CANCELLED"


@postgresql
@pytest.mark.rule(45)
@pytest.mark.parametrize("workflow", [greets, agreets])
def test_connections_that_were_lost_while_idle(
    monkeypatch: pytest.MonkeyPatch, transactional_db: None, workflow: Any
) -> None:
    monkeypatch.setitem(connections["default"].settings_dict, "CONN_MAX_AGE", 600)
    group = Group.objects.create(name="all")
    with Executor(concurrency=2):
        before = [workflow.start(group) for _ in range(4)]
        assert {one.get_result(timeout=LIMIT) for one in before} == {"hello all"}
        with connection.cursor() as cursor:
            # As a restart does, or a pooler that closes idle connections.
            cursor.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                "WHERE datname = current_database() AND pid <> pg_backend_pid()"
            )
        after = [workflow.start(group) for _ in range(4)]
        assert {one.get_result(timeout=LIMIT) for one in after} == {"hello all"}

    assert set(Workflow.objects.values_list("status", flat=True)) == {"SUCCESS"}


@pytest.mark.rule(45)
@pytest.mark.rule(33)
def test_the_claim_of_a_child_by_an_inline_run_waits_out_an_outage(
    transactional_db: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    from django_dbos.operations.inline import InlineHost

    made = InlineHost.make_run
    failures = iter([refused() for _ in range(3)])

    def make_run(self: InlineHost, claim: Any) -> Any:
        if claim.name == other.name:
            # The child is claimed by then, but not running.
            for error in failures:
                raise error
        return made(self, claim)

    monkeypatch.setattr(InlineHost, "make_run", make_run)

    assert calls_other() == "done"
    assert Workflow.objects.get(parent_id__isnull=False).status == "SUCCESS"


@dbos.workflow
def calls_other() -> Any:
    return other()
