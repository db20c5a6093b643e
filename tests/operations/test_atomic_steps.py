"""Atomic steps: exactly once, regardless of the fate of a COMMIT, on both databases."""

from __future__ import annotations

import errno
import logging
import os
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from django.db import (
    IntegrityError,
    InternalError,
    OperationalError,
    ProgrammingError,
    connection,
    connections,
    transaction,
)

import django_dbos as dbos
from django_dbos.core import registry
from django_dbos.executor import Executor
from django_dbos.models import AtomicCheckpoint, Checkpoint, Workflow
from django_dbos.operations import repeats as repeating
from django_dbos.store import elsewhere, errors, get_store, sessions_elsewhere
from tests.waiting import LIMIT, eventually

pytestmark = pytest.mark.django_db(transaction=True, databases=["default", "other"])
postgresql = pytest.mark.skipif(
    connection.vendor != "postgresql", reason="SQLite has no connection to lose"
)
everywhere = pytest.mark.parametrize("alias", ["default", "other"])

GATE = 4711
"""The key of the advisory lock that each COMMIT of a purse waits for."""

calls: list[str] = []
sockets: list[int] = []


@pytest.fixture(autouse=True)
def _forget() -> None:
    calls.clear()
    sockets.clear()


@pytest.fixture
def purse() -> Iterator[None]:
    """Create a purse with 10 in it on both databases; a lock can hold back COMMITs of changes."""
    for alias in ("default", "other"):
        with connections[alias].cursor() as cursor:
            cursor.execute("CREATE TABLE purse (balance integer)")
            cursor.execute("INSERT INTO purse VALUES (10)")
            if connections[alias].vendor == "postgresql":
                cursor.execute(
                    "CREATE FUNCTION pass_gate() RETURNS trigger LANGUAGE plpgsql AS "
                    f"$$ BEGIN PERFORM pg_advisory_xact_lock({GATE}); RETURN NULL; END $$"
                )
                cursor.execute(
                    "CREATE CONSTRAINT TRIGGER gate AFTER UPDATE ON purse DEFERRABLE INITIALLY "
                    "DEFERRED FOR EACH ROW EXECUTE FUNCTION pass_gate()"
                )
    yield
    for alias in ("default", "other"):
        with connections[alias].cursor() as cursor:
            cursor.execute("DROP TABLE purse")
            if connections[alias].vendor == "postgresql":
                cursor.execute("DROP FUNCTION pass_gate")


class Insufficient(Exception):
    """The purse has too little money."""


def spend(alias: str) -> int:
    """Spend all the money, and fail if it was spent before."""
    calls.append(alias)
    with connections[alias].cursor() as cursor:
        lock = " FOR UPDATE" if connections[alias].vendor == "postgresql" else ""
        cursor.execute(f"SELECT balance FROM purse{lock}")
        (balance,) = cursor.fetchone()
        if balance < 10:
            raise Insufficient
        cursor.execute("UPDATE purse SET balance = balance - 10")
        if connections[alias].vendor == "postgresql":
            sockets.append(os.dup(connections[alias].connection.fileno()))
    return 10


def balance(alias: str) -> int:
    with connections[alias].cursor() as cursor:
        cursor.execute("SELECT balance FROM purse")
        return int(cursor.fetchone()[0])


@dbos.step(atomic=True, name="spend_here")
def spend_here() -> int:
    return spend("default")


@dbos.step(atomic=True, using="other", name="spend_elsewhere")
def spend_elsewhere() -> int:
    return spend("other")


@dbos.workflow
def spends(alias: str) -> int:
    return spend_here() if alias == "default" else spend_elsewhere()


@contextmanager
def gate_closed(alias: str) -> Iterator[Callable[[str], bool]]:
    """Block COMMITs of a purse; yield a function that returns whether a statement waits."""
    with connections[alias].cursor() as cursor:
        cursor.execute("SELECT pg_advisory_lock(%s)", [GATE])

        def is_waiting(beginning: str) -> bool:
            # Outside of transactions, in which this view would always be the same.
            name = connections[alias].settings_dict["NAME"]
            with connection.cursor() as own:
                own.execute(
                    "SELECT count(*) FROM pg_stat_activity WHERE datname = %s "
                    "AND wait_event_type = 'Lock' AND query LIKE %s",
                    [name, f"{beginning}%"],
                )
                return bool(own.fetchone()[0])

        try:
            yield is_waiting
        finally:
            cursor.execute("SELECT pg_advisory_unlock(%s)", [GATE])


def cut() -> None:
    """Cut the connection while the server continues its statement."""
    lost = socket.socket(fileno=sockets[0])
    lost.shutdown(socket.SHUT_RDWR)
    lost.close()


@contextmanager
def lost_commit(alias: str) -> Iterator[tuple[Any, Callable[[str], bool]]]:
    """Cut the connection of a step during its COMMIT, which the server completes afterwards.

    Yields the workflow's handle and the function of gate_closed().
    """
    with gate_closed(alias) as is_waiting:
        handle = spends.start(alias)
        eventually(lambda: is_waiting("COMMIT"))
        cut()
        yield handle, is_waiting


@pytest.fixture
def lost(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Collect lost sessions instead of terminating them, as if a pooler hid their state."""
    sessions: list[Any] = []
    monkeypatch.setattr(
        sessions_elsewhere, "end_lost_session", lambda alias, backend: sessions.append(backend)
    )
    return sessions


@postgresql
@pytest.mark.rule(12)
@pytest.mark.rule(27)
@everywhere
def test_a_commit_under_way_decides_before_the_step_is_called_again(
    alias: str, purse: None, worker: Executor, lost: list[Any]
) -> None:
    with lost_commit(alias) as (handle, is_waiting):
        eventually(lambda: lost)
        if alias == "other":
            eventually(lambda: is_waiting("INSERT INTO"))

    assert handle.get_result(timeout=LIMIT) == 10
    assert calls == [alias]
    assert balance(alias) == 0


@pytest.fixture
def tree() -> Iterator[None]:
    """Create a table of nodes whose COMMIT fails if a parent is missing."""
    for alias in ("default", "other"):
        with connections[alias].cursor() as cursor:
            cursor.execute(
                "CREATE TABLE node (id integer PRIMARY KEY, parent integer REFERENCES node "
                "DEFERRABLE INITIALLY DEFERRED)"
            )
    yield
    for alias in ("default", "other"):
        with connections[alias].cursor() as cursor:
            cursor.execute("DROP TABLE node")


def grow(alias: str) -> None:
    with connections[alias].cursor() as cursor:
        cursor.execute("INSERT INTO node VALUES (1, 2)")


@dbos.step(atomic=True, name="grow_here")
def grow_here() -> None:
    grow("default")


@dbos.step(atomic=True, using="other", name="grow_elsewhere")
def grow_elsewhere() -> None:
    grow("other")


@dbos.workflow
def grows(alias: str) -> None:
    return grow_here() if alias == "default" else grow_elsewhere()


@pytest.mark.rule(12)
@everywhere
def test_the_session_of_a_refused_commit_is_not_terminated(
    alias: str, tree: None, worker: Executor, lost: list[Any]
) -> None:
    """With a pool, it may already serve another thread."""
    with pytest.raises(IntegrityError):
        grows.start(alias).get_result(timeout=LIMIT)

    assert lost == []


@postgresql
@pytest.mark.rule(12)
@pytest.mark.rule(27)
@everywhere
def test_a_lost_session_that_stays_is_terminated_and_the_step_repeated(
    alias: str, purse: None, worker: Executor, monkeypatch: Any
) -> None:
    monkeypatch.setattr(sessions_elsewhere, "OWN_END", 0.0)

    with lost_commit(alias) as (handle, _):
        # Its COMMIT was rolled back with it.
        eventually(lambda: len(calls) == 2)

    assert handle.get_result(timeout=LIMIT) == 10
    assert balance(alias) == 0


@postgresql
def test_a_lost_session_that_cannot_be_terminated_blocks_nothing_else(
    caplog: Any, monkeypatch: Any
) -> None:
    def refuse(*_: Any) -> Any:
        raise ProgrammingError("permission denied to terminate process")

    backend = sessions_elsewhere.backend_of("other") or sessions_elsewhere.Backend(
        1, "dbos:", "nobody"
    )
    monkeypatch.setattr(sessions_elsewhere.DjangoSession, "run", refuse)

    sessions_elsewhere.end_lost_session("other", backend)

    assert "couldn't be ended" in caplog.text


@postgresql
@pytest.mark.rule(27)
def test_a_failure_waits_for_the_commit_of_an_earlier_claim(purse: None, worker: Executor) -> None:
    @dbos.step(atomic=True, using="other", name="refuses")
    def refuses() -> None:
        calls.append("refused")
        raise Insufficient

    @dbos.workflow
    def once() -> Any:
        return refuses()

    handle = once.using(run_after=3600).start()
    token = Workflow.objects.get().token
    with transaction.atomic(using="other"), gate_closed("other") as is_waiting:
        # The transaction of the earlier claim, which lives on as a zombie.
        assert elsewhere.record("other", token, _checkpoint(handle.workflow_id, "refuses", "7"))
        handle.run_now()
        eventually(lambda: is_waiting("INSERT INTO"))

    assert handle.get_result(timeout=LIMIT) == 7
    assert calls == ["refused"]
    assert Checkpoint.objects.get().output == 7


@pytest.mark.rule(27)
def test_a_failure_on_another_database_fences_a_late_commit(purse: None, worker: Executor) -> None:
    with connections["other"].cursor() as cursor:
        cursor.execute("UPDATE purse SET balance = 5")
    handle = spends.start("other")
    with pytest.raises(Insufficient):
        handle.get_result(timeout=LIMIT)

    token = Workflow.objects.get().token
    late = _checkpoint(handle.workflow_id, "spend_elsewhere", "10")
    assert not elsewhere.record("other", token, late)
    assert isinstance(AtomicCheckpoint.objects.using("other").get().error, Insufficient)
    assert isinstance(Checkpoint.objects.get().error, Insufficient)


@pytest.mark.rule(27)
def test_a_failure_recorded_on_another_database_is_adopted_by_the_next_claim(
    worker: Executor,
) -> None:
    handle = spends.using(run_after=3600).start("other")
    row = Workflow.objects.get()
    error = dbos.serializers.dump_error(Insufficient())
    failure = _checkpoint(handle.workflow_id, "spend_elsewhere", None, error)
    assert elsewhere.record("other", row.token, failure)
    with connection.cursor() as cursor:
        cursor.execute("UPDATE dbos_workflow SET claim_number = 3")

    handle.run_now()

    with pytest.raises(Insufficient):
        handle.get_result(timeout=LIMIT)
    assert calls == []


def _checkpoint(workflow_id: str, name: str, output: str | None, error: str | None = None) -> Any:
    from django_dbos.core.records import Checkpoint as Record

    return Record(
        workflow_id=workflow_id, step_number=1, step_name=name, record_order=1, claim_number=1,
        output=output, error=error,
    )  # fmt: skip


@pytest.mark.rule(12)
@everywhere
def test_an_error_in_on_commit_does_not_undo_the_step(
    alias: str, worker: Executor, caplog: Any
) -> None:
    def fail() -> None:
        raise RuntimeError("the hook failed")

    def body() -> str:
        calls.append(alias)
        transaction.on_commit(fail, using=alias)
        return "done"

    hooked = dbos.step(atomic=True, using=alias, max_attempts=3, name=f"hooked_{alias}")(body)

    @dbos.workflow
    def hooks() -> str:
        return hooked()

    try:
        assert hooks.start().get_result(timeout=LIMIT) == "done"
    finally:
        del registry.step_aliases[f"hooked_{alias}"]

    assert calls == [alias]
    assert "the hook failed" in caplog.text


@pytest.mark.rule(27)
@pytest.mark.rule(32)
@pytest.mark.parametrize("attempts", [1, 2])
def test_a_cancel_after_the_commit_leaves_a_correct_history(
    attempts: int, worker: Executor
) -> None:
    cancelled = threading.Event()

    @dbos.step(atomic=True, using="other", name="is_cancelled", max_attempts=2, interval=0)
    def is_cancelled(workflow_id: str) -> str:
        calls.append("other")
        if len(calls) < attempts:
            raise Insufficient

        def cancel() -> None:
            get_store().cancel_workflows([workflow_id])
            cancelled.set()

        transaction.on_commit(cancel, using="other")
        return "done"

    @dbos.workflow
    def once(workflow_id: str) -> str:
        return is_cancelled(workflow_id)

    handle = once.using(workflow_id="cancelled").start("cancelled")
    assert cancelled.wait(LIMIT)

    eventually(lambda: Checkpoint.objects.filter(state=Checkpoint.State.RECORDED).exists())
    assert handle.get_status() == "CANCELLED"
    assert Checkpoint.objects.get().output == "done"
    handle.resume()
    assert handle.get_result(timeout=LIMIT) == "done"
    assert calls == ["other"] * attempts


@postgresql
@pytest.mark.rule(12)
@pytest.mark.rule(27)
@pytest.mark.rule(32)
@everywhere
def test_a_cancel_during_a_commit_leaves_a_correct_history(
    alias: str, purse: None, worker: Executor, lost: list[Any]
) -> None:
    with lost_commit(alias) as (handle, _):
        eventually(lambda: lost)
        backends: list[int] = []
        cancelling = threading.Thread(target=cancel, args=[handle.workflow_id, backends])
        cancelling.start()
        if alias == "other":
            cancelling.join(LIMIT)
        else:
            # The fence of the step has locked the workflow's row.
            eventually(lambda: backends and waits_for_lock(backends[0]))
    cancelling.join(LIMIT)

    eventually(Checkpoint.objects.exists)
    assert handle.get_status() == "CANCELLED"
    assert Checkpoint.objects.get().output == 10
    assert balance(alias) == 0
    assert handle.resume()
    assert handle.get_result(timeout=LIMIT) == 10
    assert calls == [alias]


def cancel(workflow_id: str, backends: list[int]) -> None:
    connection.ensure_connection()
    backends.append(connection.connection.info.backend_pid)
    get_store().cancel_workflows([workflow_id])
    connections.close_all()


def waits_for_lock(backend: int) -> bool:
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT wait_event_type = 'Lock' FROM pg_stat_activity WHERE pid = %s", [backend]
        )
        return bool(cursor.fetchone()[0])


@pytest.mark.rule(27)
@pytest.mark.rule(32)
def test_a_deadline_after_the_commit_leaves_a_correct_history(worker: Executor) -> None:
    def body() -> str:
        calls.append("other")
        transaction.on_commit(pass_deadline, using="other")
        return "done"

    def pass_deadline() -> None:
        with connection.cursor() as cursor:
            cursor.execute("UPDATE dbos_workflow SET deadline_at = created_at")

    is_late = dbos.step(atomic=True, using="other", name="is_late")(body)

    @dbos.workflow
    def once() -> str:
        return is_late()

    handle = once.using(timeout=3600).start()
    with pytest.raises(dbos.WorkflowCancelled):
        handle.get_result(timeout=LIMIT)

    eventually(Checkpoint.objects.exists)
    assert Checkpoint.objects.get().output == "done"


@pytest.mark.rule(27)
@pytest.mark.rule(32)
def test_a_cancel_before_the_commit_on_another_database_rolls_it_back(
    purse: None, worker: Executor
) -> None:
    @dbos.step(atomic=True, using="other", name="spend_too_late")
    def spend_too_late(workflow_id: str) -> int:
        spent = spend("other")
        get_store().cancel_workflows([workflow_id])
        return spent

    @dbos.workflow
    def once(workflow_id: str) -> int:
        return spend_too_late(workflow_id)

    handle = once.using(workflow_id="cancelled").start("cancelled")
    with pytest.raises(dbos.WorkflowCancelled):
        handle.get_result(timeout=LIMIT)

    eventually(lambda: not worker.runs)
    assert balance("other") == 10
    assert not AtomicCheckpoint.objects.using("other").exists()
    assert not Checkpoint.objects.exists()


@pytest.mark.rule(26)
@pytest.mark.rule(27)
@everywhere
def test_an_atomic_step_is_refused_in_a_transaction_that_could_roll_it_back(alias: str) -> None:
    @dbos.workflow
    def encloses() -> str:
        with transaction.atomic(using=alias), pytest.raises(dbos.NotAllowedInAtomic):
            spends_on(alias)
        return "went on"

    def spends_on(alias: str) -> int:
        return spend_here() if alias == "default" else spend_elsewhere()

    assert encloses() == "went on"
    assert calls == []


# The meaning of errors


def raised_by_database(alias: str, kind: type[Exception], sqlstate: str | None) -> Exception:
    """Return an error as Django raises it for a statement on a database."""
    error, driver = kind("why"), Exception("why")
    driver.sqlstate = sqlstate  # type: ignore[attr-defined]
    error.__cause__ = driver
    connections[alias].errors_occurred = True
    return error


def fails_with(alias: str, times: int, make: Callable[[], Exception], **options: Any) -> Any:
    """Return a workflow whose atomic step fails a number of times with an error."""

    def body() -> int:
        calls.append(alias)
        if len(calls) <= times:
            raise make()
        return len(calls)

    step = dbos.step(atomic=True, using=alias, interval=0, name="fails", **options)(body)

    @dbos.workflow
    def fails() -> int:
        return step()

    return fails


@pytest.fixture(autouse=True)
def _soon(monkeypatch: Any) -> Iterator[None]:
    monkeypatch.setattr(repeating, "FIRST_REPEAT", 0.001)
    monkeypatch.setattr(repeating, "LAST_REPEAT", 0.01)
    yield
    registry.step_aliases.pop("fails", None)


@pytest.mark.rule(10)
@pytest.mark.parametrize(
    ("kind", "sqlstate"),
    [
        (InternalError, "25006"),
        (OperationalError, "53100"),
        (OperationalError, "40001"),
        (OperationalError, "57P03"),
        (OperationalError, "58030"),
    ],
)
@everywhere
def test_a_transient_error_is_waited_out_and_logged(
    alias: str, kind: type[Exception], sqlstate: str, worker: Executor, caplog: Any
) -> None:
    workflow = fails_with(alias, 15, lambda: raised_by_database(alias, kind, sqlstate))

    assert workflow.start().get_result(timeout=LIMIT) == 16

    repeats = [
        record for record in caplog.records if "without counting an attempt" in record.getMessage()
    ]
    assert len(repeats) == 15
    assert {repeat.levelno for repeat in repeats} == {logging.WARNING}
    assert Checkpoint.objects.get().attempts == 1


@pytest.mark.rule(10)
@pytest.mark.parametrize(
    ("kind", "sqlstate", "max_attempts", "runs"),
    [
        (OperationalError, "57014", 1, 1),
        (OperationalError, "57014", 3, 3),
        (OperationalError, "53400", 2, 2),
        (OperationalError, "55P03", 2, 2),
        (InternalError, "25P03", 1, 2),
        (InternalError, "25P03", 3, 3),
        (OperationalError, "57P01", 1, 11),
        (OperationalError, None, 2, 12),
    ],
)
@everywhere
def test_an_error_that_the_step_may_have_caused_counts_as_an_attempt(
    alias: str,
    kind: type[Exception],
    sqlstate: str | None,
    max_attempts: int,
    runs: int,
    worker: Executor,
) -> None:
    workflow = fails_with(
        alias,
        100,
        lambda: raised_by_database(alias, kind, sqlstate),
        max_attempts=max_attempts,
    )
    if connection.vendor == "sqlite":
        # There the state of the session is unknown.
        pytest.skip("PostgreSQL's own") if sqlstate in (None, "57P01") else None

    with pytest.raises(kind):
        workflow.start().get_result(timeout=LIMIT)

    assert len(calls) == runs


@pytest.mark.rule(10)
def test_an_error_of_another_database_is_the_steps_own(worker: Executor) -> None:
    workflow = fails_with(
        "default", 100, lambda: raised_by_database("other", OperationalError, None)
    )

    with pytest.raises(OperationalError):
        workflow.start().get_result(timeout=LIMIT)

    assert len(calls) == 1


@pytest.mark.rule(10)
@everywhere
def test_a_process_without_descriptors_waits_for_one(
    alias: str, worker: Executor, monkeypatch: Any
) -> None:
    refused: list[str] = []
    thread_of_step: list[int] = []

    def body() -> int:
        calls.append(alias)
        return 1

    @dbos.step(name="before")
    def before() -> None:
        connections[alias].close()
        thread_of_step.append(threading.get_ident())

    step = dbos.step(atomic=True, using=alias, name="fails")(body)
    real = type(connections[alias]).get_new_connection

    def get_new_connection(wrapper: Any, params: Any) -> Any:
        is_steps = wrapper.alias == alias and threading.get_ident() in thread_of_step
        if is_steps and len(refused) < 3:
            refused.append(alias)
            raise OSError(errno.EMFILE, "Too many open files")
        return real(wrapper, params)

    @dbos.workflow
    def needs_descriptors() -> int:
        before()
        return step()

    monkeypatch.setattr(type(connections[alias]), "get_new_connection", get_new_connection)

    assert needs_descriptors.start().get_result(timeout=LIMIT) == 1
    assert len(refused) == 3
    assert calls == [alias]


def test_the_error_names_a_step_database_without_migrations() -> None:
    rename("dbos_atomic_checkpoint", "put_away")
    try:
        with pytest.raises(errors.NotMigrated, match="migrate --database other"):
            idles_elsewhere()
    finally:
        rename("put_away", "dbos_atomic_checkpoint")

    # The other database can't record the failure, so the workflow database does.
    assert isinstance(Checkpoint.objects.get().error, dbos.RecordedError | errors.NotMigrated)


@dbos.step(atomic=True, using="other", name="idle_elsewhere")
def idle_elsewhere() -> None:
    calls.append("other")


@dbos.workflow
def idles_elsewhere() -> None:
    idle_elsewhere()


def rename(table: str, other: str) -> None:
    with connections["other"].cursor() as cursor:
        cursor.execute(f"ALTER TABLE {table} RENAME TO {other}")
