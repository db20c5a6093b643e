"""The executor's connections after errors, and the meaning of these errors."""

from __future__ import annotations

import errno
import threading
from collections.abc import Callable
from typing import Any

import pytest
from django.conf import settings as django_settings
from django.db import DatabaseError, connection, connections, transaction

from django_dbos.conf import get_settings
from django_dbos.core.records import Claim, RecordStart, Refusal, Verdict
from django_dbos.models import Checkpoint, Workflow
from django_dbos.store import errors, get_store
from django_dbos.store.base import Store
from django_dbos.store.group_commit import BatchWriter
from django_dbos.store.sessions import translated_errors
from tests.store.conftest import checkpoint, entry, new_workflow, step
from tests.waiting import LIMIT

Claims = Callable[..., Claim]
postgresql = pytest.mark.skipif(connection.vendor != "postgresql", reason="PostgreSQL's own")


def start_child(held: Claim, **options: Any) -> RecordStart:
    child = new_workflow(parent_id=held.workflow_id, parent_step_number=1, **options)
    return RecordStart(
        workflow_id=held.workflow_id,
        claim_number=held.claim_number,
        checkpoint=checkpoint(held),
        workflows=(child,),
    )


@pytest.mark.rule(13)
@pytest.mark.rule(30)
@pytest.mark.parametrize("options", [{"workflow_id": "same"}, {"deduplication_id": "d"}])
def test_an_id_that_is_taken_between_lookup_and_write_is_detected(
    store: Any, session: Any, executor_id: str, claim: Claims, options: dict[str, Any]
) -> None:
    held, taken = claim(), new_workflow(**options)

    def read_facts(*args: Any) -> Any:
        facts = type(store).read_facts(store, *args)
        del store.read_facts
        thread = threading.Thread(target=take)
        thread.start()
        thread.join(LIMIT)
        return facts

    def take() -> None:
        store.start_workflows([taken])
        connections.close_all()

    if connection.vendor == "sqlite":
        # There the transaction of the batch excludes other writers.
        take()
    else:
        store.read_facts = read_facts
    plan = store.apply(session, executor_id, [start_child(held, **options)], is_repeat=False)

    (answer,) = plan.answers
    assert answer.refusal in (Refusal.ID_TAKEN, Refusal.DUPLICATE)
    assert taken.workflow_id in (answer.existing_id, answer.subject)
    assert not plan.workflows
    assert not Checkpoint.objects.exists()
    assert Workflow.objects.count() == 2


@postgresql
@pytest.mark.rule(10)
def test_a_batch_that_fails_leaves_its_connection_usable(
    store: Store, session: Any, executor_id: str, claim: Claims
) -> None:
    held = claim()
    bad = [entry(held, "0"), step(held, attempts=10**30), entry(held, "1")]

    for _ in range(3):
        with pytest.raises(errors.BadStatement):
            store.apply(session, executor_id, bad, is_repeat=False)
    pid = session.connection.info.backend_pid
    plan = store.apply(session, executor_id, [entry(held, "2")], is_repeat=False)

    assert plan.answers[0].verdict is Verdict.DONE
    assert [entry.offset for entry in plan.entries] == [0]
    assert session.connection.info.backend_pid == pid
    assert not Checkpoint.objects.exists()


@postgresql
@pytest.mark.rule(10)
@pytest.mark.parametrize("text", ["nul \0", "half a pair \ud800"])
def test_a_value_that_the_driver_refuses_is_no_outage(
    store: Store, session: Any, executor_id: str, claim: Claims, text: str
) -> None:
    held = claim()

    for write in (step(held, output=text), entry(held, text)):
        with pytest.raises((errors.BadStatement, UnicodeEncodeError)):
            store.apply(session, executor_id, [write], is_repeat=False)

    (answer,) = store.apply(session, executor_id, [step(held)], is_repeat=False).answers
    assert answer.verdict is Verdict.DONE


@postgresql
@pytest.mark.rule(12)
def test_a_transaction_that_a_step_broke_is_no_outage(
    store: Store, executor_id: str, claim: Claims
) -> None:
    held = claim()

    with transaction.atomic():
        with pytest.raises(DatabaseError, match="division"), connection.cursor() as cursor:
            cursor.execute("SELECT 1/0")
        with pytest.raises(errors.BadStatement, match="aborted"):
            store.record_atomic_step(executor_id, held.claim_number, checkpoint(held))
        transaction.set_rollback(True)


@postgresql
def test_a_failed_statement_outside_a_transaction_leaves_its_connection_usable(
    session: Any,
) -> None:
    notify = ("notify", {"channels": ["dbos_changed"], "payloads": ["x"]})

    with pytest.raises(errors.BadStatement):
        session.run_apart([notify, ("load_checkpoints", {"workflow_ids": "no array"}), notify])

    assert len(session.run_apart([notify, notify])) == 2


@pytest.mark.rule(10)
@pytest.mark.parametrize(
    ("sqlstate", "kind"),
    [
        (None, errors.Unavailable),
        ("08006", errors.Unavailable),
        ("40P01", errors.Unavailable),
        ("53300", errors.Unavailable),
        ("57P01", errors.Unavailable),
        ("25006", errors.Unavailable),
        ("55P03", errors.LockTimeout),
        ("22003", errors.BadStatement),
        ("23505", errors.BadStatement),
        ("25P02", errors.BadStatement),
        ("42P01", errors.BadStatement),
    ],
)
def test_the_meaning_of_an_error(sqlstate: str | None, kind: type[Exception]) -> None:
    assert type(errors.of_sqlstate(sqlstate, "why")) is kind


@pytest.mark.rule(12)
def test_after_a_lost_connection_the_outcome_of_a_commit_is_unknown() -> None:
    for sqlstate, is_unknown in [(None, True), ("08006", True), ("57P01", True), ("40001", False)]:
        error: Any = errors.of_sqlstate(sqlstate, "why")
        assert error.is_outcome_unknown is is_unknown


@pytest.mark.skipif(connection.vendor != "sqlite", reason="SQLite's own")
@pytest.mark.rule(38)
def test_a_locked_database_is_an_outage_and_a_mistake_is_not(store: Store) -> None:
    session = store.session()
    with connection.cursor() as cursor:
        cursor.execute("PRAGMA busy_timeout = 50")
    locked, done = threading.Event(), threading.Event()

    def lock() -> None:
        with transaction.atomic():
            locked.set()
            done.wait(LIMIT)
        connections.close_all()

    thread = threading.Thread(target=lock)
    thread.start()
    locked.wait(LIMIT)
    try:
        params = {"executor_id": "e", "workflow_id": "w", "adopted": "{}"}
        with pytest.raises(errors.Unavailable, match="locked"):
            session.run("claim_workflow", params)
        with pytest.raises(errors.Unavailable, match="locked"), session.transaction():
            pass
    finally:
        done.set()
        thread.join(LIMIT)
    with pytest.raises(errors.BadStatement, match="no such table"):
        ping()
    connection.close()


def ping() -> None:
    with translated_errors(), connection.cursor() as cursor:
        cursor.execute("SELECT 1 FROM nowhere")


@postgresql
@pytest.mark.rule(43)
@pytest.mark.parametrize("is_pooled", [False, True])
def test_a_batch_reads_committed_rows_and_limits_its_waits_for_locks(
    store: Store,
    executor_id: str,
    claim: Claims,
    monkeypatch: pytest.MonkeyPatch,
    settings: Any,
    is_pooled: bool,
) -> None:
    settings.DBOS = {**settings.DBOS, "TRANSACTION_POOLER": is_pooled}
    options = {"options": "-c default_transaction_isolation=serializable"}
    monkeypatch.setitem(connections["default"].settings_dict, "OPTIONS", options)
    assert get_settings().transaction_pooler is is_pooled
    session: Any = store.connect(executor_id, "test")
    held = claim()

    with session.transaction():
        shown = [
            session.connection.execute(f"SHOW {name}")
            for name in ("transaction_isolation", "lock_timeout")
        ]
        session._pipeline.sync()
        found = [cursor.fetchone()[0] for cursor in shown]
    (answer,) = store.apply(session, executor_id, [entry(held, "0")], is_repeat=False).answers
    session.close()

    assert found == ["read committed", "100ms"]
    assert answer.verdict is Verdict.DONE


@postgresql
@pytest.mark.rule(43)
def test_worker_connections_assume_the_role(
    store: Store, executor_id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Roles belong to the server, which other test runs may share.
    role = f"test_dbos_role_{django_settings.RUN}"
    with connection.cursor() as cursor:
        cursor.execute(f"DROP ROLE IF EXISTS {role}")
        cursor.execute(f"CREATE ROLE {role}")
    wrapper = connections["default"]
    options = {**wrapper.settings_dict["OPTIONS"], "assume_role": role}
    monkeypatch.setitem(wrapper.settings_dict, "OPTIONS", options)
    session: Any = store.connect(executor_id, "test")

    found = session.connection.execute("SELECT current_user").fetchone()
    session.close()
    with connection.cursor() as cursor:
        cursor.execute(f"DROP ROLE {role}")

    assert found == (role,)


@postgresql
def test_deallocated_statements_are_prepared_again(
    store: Any, session: Any, executor_id: str, claim: Claims
) -> None:
    held = claim()
    writer = BatchWriter(store, executor_id, on_commit=lambda plan: None)
    writer.start()
    try:
        # On another thread, since the main thread uses psycopg's prepared statements.
        assert in_thread(lambda: writer.write(step(held, 1))).verdict is Verdict.DONE
        writer._session.connection.execute("DEALLOCATE ALL")
        assert in_thread(lambda: writer.write(step(held, 2))).verdict is Verdict.DONE
        # A rollback deallocates them, too.
        writer._session._roll_back()
        assert in_thread(lambda: writer.write(step(held, 3))).verdict is Verdict.DONE
    finally:
        writer.stop()

    assert Checkpoint.objects.count() == 3


def in_thread(act: Callable[[], Any]) -> Any:
    answers: list[Any] = []
    thread = threading.Thread(target=lambda: answers.append(act()))
    thread.start()
    thread.join(LIMIT)
    return answers[0]


@postgresql
@pytest.mark.rule(10)
def test_a_session_waits_for_a_free_descriptor(session: Any, monkeypatch: Any) -> None:
    from django_dbos.store.postgresql import worker_connection

    def refuse(*args: Any, **options: Any) -> Any:
        raise OSError(errno.EMFILE, "Too many open files")

    session.close()
    with monkeypatch.context() as patched:
        patched.setattr(worker_connection, "connect", refuse)
        with pytest.raises(errors.Unavailable, match="Too many open files"):
            session.run("list_lanes")

    assert session.run("list_lanes") == []


@postgresql
@pytest.mark.parametrize("is_on_thread", [False, True])
def test_statements_that_run_as_one_commit_together(session: Any, is_on_thread: bool) -> None:
    lock = ("lock_queue", {"queue_name": "mail"})
    held = ("list_held", {"executor_id": "nobody"})
    bad = ("read_checkpoint", {"workflow_id": "w", "step_number": "no number"})
    found: list[Any] = []

    def run() -> None:
        found.append(session.run_as_one([held, lock]))
        with pytest.raises(errors.BadStatement):
            session.run_as_one([lock, bad])
        # The session goes on, outside of any transaction.
        found.append(session.run("list_lanes"))

    if is_on_thread:
        thread = threading.Thread(target=run)
        thread.start()
        thread.join(LIMIT)
    else:
        run()

    assert found == [[("", "force_generic_plan", "read committed")], []]


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("lease", [0.5, 40_000.0, 1e9])
def test_a_session_can_be_opened_with_any_lease(settings: Any, lease: float) -> None:
    """The network is asked to notice a vanished peer within a lease, which has its own limits."""
    settings.DBOS = {**settings.DBOS, "LEASE": lease, "HEARTBEAT_INTERVAL": 0.1}

    session = get_store().connect("owner", "test")

    assert session.run("list_lanes") == []
    session.close()
