"""Recovery continues past locked rows, and past sessions of other roles."""

from __future__ import annotations

import logging
import secrets
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

import pytest
from django.db import connection, connections, transaction

import django_dbos as dbos
from django_dbos.conf import get_settings
from django_dbos.core.records import Claim
from django_dbos.executor import Executor
from django_dbos.executor.clock import Clock
from django_dbos.executor.duties.recovery import TIME_LIMIT, Recovery
from django_dbos.executor.identity import Identity
from django_dbos.models import Executor as ExecutorRow
from django_dbos.models import Workflow
from django_dbos.store import errors, get_store
from django_dbos.store.base import Store
from django_dbos.store.sessions import Session
from tests.executors import StoppedClock
from tests.store.conftest import new_workflow, register
from tests.waiting import LIMIT, eventually

pytestmark = [
    # Step databases too, where the sessions of a dead executor are also terminated.
    pytest.mark.django_db(transaction=True, databases=["default", "other"]),
    pytest.mark.skipif(connection.vendor != "postgresql", reason="SQLite has one writer, one role"),
]


may_end = threading.Event()


@dbos.step
def waits_for_gate() -> None:
    may_end.wait(LIMIT)


@dbos.workflow
def gated() -> None:
    waits_for_gate()


@pytest.fixture
def store() -> Store:
    return get_store()


@pytest.fixture
def session(store: Store) -> Iterator[Session]:
    """Yield the session of the executor that recovers."""
    session = store.connect(register(store), "test")
    yield session
    session.close()


def dead_with(store: Store, count: int) -> tuple[str, list[str]]:
    """Return the id of a dead executor, and those of `count` workflows that it holds."""
    executor_id = register(store)
    new = [new_workflow() for _ in range(count)]
    store.start_workflows(new)
    for workflow in new:
        claim = store.claim_workflow(store.session(), executor_id, workflow.workflow_id)
        assert isinstance(claim, Claim)
    _silence(executor_id)
    return executor_id, [workflow.workflow_id for workflow in new]


@contextmanager
def cancelled_in_an_open_transaction(workflow_id: str) -> Iterator[None]:
    """Cancel a workflow on another session, which commits at the end of the block."""
    is_locked, may_end = threading.Event(), threading.Event()

    def cancel() -> None:
        with transaction.atomic():
            get_store().cancel_workflows([workflow_id])
            is_locked.set()
            may_end.wait(LIMIT)
        connections.close_all()

    thread = threading.Thread(target=cancel)
    thread.start()
    assert is_locked.wait(LIMIT)
    try:
        yield
    finally:
        may_end.set()
        thread.join()


def recovery(store: Store, clock: Clock = time.monotonic) -> Recovery:
    """Return a recovery whose executor's heartbeats have been on time for an hour."""
    identity = Identity(store, None, 1, owns_process=False)
    heartbeat: Any = SimpleNamespace(hurry=lambda seconds: None)
    judging = Recovery(
        identity, get_settings(), clock, heartbeat=heartbeat, on_recovered=lambda: None
    )
    judging.attendance.add(clock() - 3_600, clock())
    return judging


def statuses() -> dict[str, str]:
    return dict(Workflow.objects.values_list("workflow_id", "status"))


@pytest.mark.rule(49)
def test_a_locked_row_delays_neither_other_rows_nor_other_executors(
    store: Store, session: Session, caplog: pytest.LogCaptureFixture
) -> None:
    first, ids = dead_with(store, 3)
    _, others = dead_with(store, 2)
    judging, me = recovery(store), register(store)

    with cancelled_in_an_open_transaction(ids[0]):
        for _ in range(3):
            judging.judge(session, store.heartbeat(session, me, None))
        held = statuses()
        # Each report has the dead executor again; it is logged once.
        assert [row.executor_id for row in ExecutorRow.objects.filter(pk=first)] == [first]
        assert not judging.suspects_any
    judging.judge(session, store.heartbeat(session, me, None))

    assert {held[workflow_id] for workflow_id in [*ids[1:], *others]} == {"ENQUEUED"}
    assert held[ids[0]] == "PENDING"
    assert caplog.text.count(f"{first} is dead; workflows enqueued again: 2") == 1
    assert caplog.text.count(f"{first} is dead") == 1
    assert statuses()[ids[0]] == "CANCELLED"
    assert not ExecutorRow.objects.filter(pk=first).exists()


def test_a_dead_executor_without_workflows_is_logged_in_few_words(
    store: Store, session: Session, caplog: pytest.LogCaptureFixture
) -> None:
    dead, _ = dead_with(store, 0)
    recovery(store).judge(session, store.heartbeat(session, register(store), None))

    assert f"{dead} is dead; it had no workflows" in caplog.text


@pytest.mark.rule(49)
def test_a_locked_row_is_recovered_once_it_is_free_again(store: Store, session: Session) -> None:
    dead, ids = dead_with(store, 2)
    judging, me = recovery(store), register(store)

    with transaction.atomic():
        store.cancel_workflows([ids[0]])
        judging.judge(session, store.heartbeat(session, me, None))
        transaction.set_rollback(True)
    assert ExecutorRow.objects.filter(pk=dead).exists()
    judging.judge(session, store.heartbeat(session, me, None))

    assert set(statuses().values()) == {"ENQUEUED"}
    assert not ExecutorRow.objects.filter(pk=dead).exists()


@pytest.mark.rule(49)
def test_workflows_beyond_the_limit_are_recovered_after_the_next_heartbeats(
    store: Store, session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Recovery runs between heartbeats, and must not delay them."""
    _, ids = dead_with(store, 5)
    judging, me = recovery(store), register(store)
    monkeypatch.setattr("django_dbos.store.postgresql.liveness.RECOVERY_LIMIT", 2)
    monkeypatch.setattr("django_dbos.store.postgresql.liveness.RECOVERY_SHARE", 0.0)

    judging.judge(session, store.heartbeat(session, me, None))
    assert sorted(statuses().values()) == ["ENQUEUED"] * 2 + ["PENDING"] * 3
    assert judging.suspects_any
    for _ in range(2):
        judging.judge(session, store.heartbeat(session, me, None))

    assert {statuses()[workflow_id] for workflow_id in ids} == {"ENQUEUED"}
    assert not judging.suspects_any


@pytest.mark.rule(4)
def test_recovery_of_many_dead_does_not_delay_the_next_heartbeat(
    store: Store, session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    """For each dead executor it waits up to 2 s for sessions that don't end."""
    clock = StoppedClock(time.monotonic())
    end_sessions = type(store)._end_sessions  # type: ignore[attr-defined]

    def end_slowly(*arguments: Any) -> None:
        clock.sleep(TIME_LIMIT)
        end_sessions(*arguments)

    monkeypatch.setattr(type(store), "_end_sessions", end_slowly)
    dead = [dead_with(store, 1)[0] for _ in range(3)]
    judging, me = recovery(store, clock), register(store)

    for left in (2, 1, 0):
        judging.judge(session, store.heartbeat(session, me, None))
        # The next heartbeat comes soon, and before the next executor is recovered.
        assert ExecutorRow.objects.filter(pk__in=dead).count() == left
        assert judging.suspects_any is (left > 0)

    assert set(statuses().values()) == {"ENQUEUED"}


@pytest.fixture
def role() -> Iterator[str]:
    """Yield a role that may use the tables, and end no sessions of others."""
    name = f"test_dbos_{secrets.token_hex(4)}"
    with connection.cursor() as cursor:
        cursor.execute(f"CREATE ROLE {name}")
        cursor.execute(f"GRANT ALL ON ALL TABLES IN SCHEMA public TO {name}")
        cursor.execute(f"GRANT ALL ON ALL SEQUENCES IN SCHEMA public TO {name}")
    yield name
    with connection.cursor() as cursor:
        cursor.execute(f"DROP OWNED BY {name}")
        cursor.execute(f"DROP ROLE {name}")


@pytest.mark.rule(6)
def test_a_session_that_cannot_be_terminated_stops_no_recovery(
    store: Store, role: str, caplog: pytest.LogCaptureFixture
) -> None:
    dead, ids = dead_with(store, 2)
    left = store.connect(dead, "left")
    left.run("read_status", {"workflow_id": ids[0]})
    session: Any = store.connect(register(store), "test")
    session.connection.execute(f"SET ROLE {role}")
    judging = recovery(store)
    try:
        for _ in range(2):
            judging.judge(session, store.heartbeat(session, register(store), None))
        user = connection.settings_dict["USER"]

        assert set(statuses().values()) == {"ENQUEUED"}
        assert not ExecutorRow.objects.filter(pk=dead).exists()
        assert caplog.text.count(f"left under role {user!r} can't be ended") == 1
        assert left.run("read_status", {"workflow_id": ids[0]})
    finally:
        session.close()
        left.close()


@pytest.mark.rule(49)
def test_an_error_in_one_recovery_stops_no_other(
    store: Store, session: Session, monkeypatch: pytest.MonkeyPatch, caplog: Any
) -> None:
    caplog.set_level(logging.WARNING)
    first, _ = dead_with(store, 1)
    _, others = dead_with(store, 1)
    deregister = type(store).deregister_executor

    def fail(self: Store, asked: Session, executor_id: str) -> None:
        if executor_id == first:
            raise errors.LockTimeout("somebody has it")
        deregister(self, asked, executor_id)

    monkeypatch.setattr(type(store), "deregister_executor", fail)
    judging = recovery(store)
    judging.judge(session, store.heartbeat(session, register(store), None))

    assert f"Executor {first} can't be recovered yet: LockTimeout('somebody has it')" in caplog.text
    assert statuses()[others[0]] == "ENQUEUED"
    assert [row.pk for row in ExecutorRow.objects.filter(pk=first)] == [first]


@pytest.mark.rule(37)
@pytest.mark.rule(49)
def test_a_stopping_worker_leaves_a_locked_row_to_others(
    store: Store, caplog: pytest.LogCaptureFixture
) -> None:
    first, second = Executor(), Executor()
    first.start()
    gates = [gated.start(), gated.start()]
    eventually(lambda: len(first.runs) == 2)
    with cancelled_in_an_open_transaction(gates[0].workflow_id):
        first.stop(grace=0.0)
        held = statuses()
        left = set(ExecutorRow.objects.values_list("executor_id", flat=True))
    may_end.set()

    assert held == {gates[0].workflow_id: "PENDING", gates[1].workflow_id: "ENQUEUED"}
    assert first.executor_id in left
    assert "couldn't deregister" not in caplog.text
    with second:
        assert gates[1].get_result(timeout=LIMIT) is None
        now = time.monotonic()
        second.housekeeping.recovery.attendance.add(now - 3_600, now)
        _silence(first.executor_id)
        eventually(lambda: not ExecutorRow.objects.filter(pk=first.executor_id).exists())
    assert gates[0].get_status() == "CANCELLED"


@pytest.mark.rule(49)
def test_a_locked_row_delays_no_other_release(store: Store, session: Session) -> None:
    dead, ids = dead_with(store, 3)
    with cancelled_in_an_open_transaction(ids[0]):
        assert store.release_workflows(session, dead, ids) == [("default", 0)]
        held = statuses()

    assert [held[workflow_id] for workflow_id in ids] == ["PENDING", "ENQUEUED", "ENQUEUED"]


def _silence(executor_id: str) -> None:
    with connection.cursor() as cursor:
        cursor.execute(
            "UPDATE dbos_executor SET heartbeat_at = '2020-01-01' WHERE executor_id = %s",
            [executor_id],
        )
