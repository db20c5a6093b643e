"""Workers whose database doesn't answer, pools sessions, or has unusual settings."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings as django_settings
from django.db import OperationalError, connection, connections
from django.db.backends.signals import connection_created

import django_dbos as dbos
from django_dbos.executor import Executor
from django_dbos.models import Checkpoint, Workflow
from django_dbos.models import Executor as ExecutorRow
from django_dbos.store import get_store
from tests.executor import workflows
from tests.executors import Start, claim_for, register_dead
from tests.store.proxies import Proxy, TransactionPooler, of_server, through
from tests.waiting import LIMIT, eventually

pytestmark = [
    pytest.mark.django_db(transaction=True),
    pytest.mark.skipif(connection.vendor != "postgresql", reason="SQLite has no sessions"),
]

gates: dict[str, threading.Event] = {}


@dbos.step
def passes() -> str:
    gates["there"].set()
    assert gates["pass"].wait(LIMIT)
    return "passed"


@dbos.workflow
def is_gated() -> str:
    return passes()


@pytest.fixture(autouse=True)
def new_gates() -> None:
    gates.update({"there": threading.Event(), "pass": threading.Event()})


@pytest.fixture
def impatient(settings: Any) -> None:
    """Have answers take 1 s at most."""
    settings.DBOS = {**settings.DBOS, "LEASE": 2.0, "HEARTBEAT_INTERVAL": 0.3}


@pytest.fixture
def proxy(monkeypatch: pytest.MonkeyPatch, impatient: None) -> Iterator[Proxy]:
    with through(of_server(), monkeypatch) as proxy:
        yield proxy


@contextlib.contextmanager
def stopped(session: Any) -> Iterator[None]:
    """Stop the server process of a session in the block."""
    pid = session.connection.info.backend_pid
    command = Path(f"/proc/{pid}/cmdline")
    if not command.exists() or b"postgres" not in command.read_bytes():
        pytest.skip("the server runs elsewhere")
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


@pytest.mark.rule(47)
def test_a_writer_whose_backend_is_stopped_goes_on_with_another(
    impatient: None, start_executor: Start, caplog: pytest.LogCaptureFixture
) -> None:
    executor = start_executor()
    handle = is_gated.start()
    assert gates["there"].wait(LIMIT)

    with stopped(executor.runs.writer._session):
        gates["pass"].set()
        assert handle.get_result(timeout=LIMIT) == "passed"

    assert "hasn't answered the writer" in caplog.text
    assert Checkpoint.objects.count() == 1


@dbos.workflow
def writes_when_let(count: int) -> None:
    passes()
    for number in range(count):
        dbos.write_stream("numbers", number)


@pytest.mark.rule(12)
@pytest.mark.rule(47)
def test_what_a_stopped_backend_was_given_is_written_once(
    impatient: None, start_executor: Start
) -> None:
    executor = start_executor()
    handle = writes_when_let.start(3)
    assert gates["there"].wait(LIMIT)
    session: Any = executor.runs.writer._session
    pid = session.connection.info.backend_pid

    with stopped(session):
        gates["pass"].set()
        assert handle.get_result(timeout=LIMIT) is None

    # It was terminated, and doesn't execute the statements that it had received.
    eventually(lambda: not _is_connected(pid))
    assert list(handle.read_stream("numbers").entries()) == [(0, 0), (1, 1), (2, 2)]


def _is_connected(pid: int) -> bool:
    with connection.cursor() as cursor:
        cursor.execute("SELECT FROM pg_stat_activity WHERE pid = %s", [pid])
        return cursor.rowcount > 0


@pytest.mark.rule(47)
def test_a_dispatcher_whose_backend_is_stopped_goes_on_with_another(
    impatient: None, start_executor: Start, caplog: pytest.LogCaptureFixture
) -> None:
    executor = start_executor()
    assert workflows.counts.start(1).get_result(timeout=LIMIT) == 1

    with stopped(executor.dispatcher.connection.session):
        assert workflows.counts.start(3).get_result(timeout=LIMIT) == 3

    assert "hasn't answered the dispatcher" in caplog.text


@pytest.mark.rule(47)
def test_a_network_that_swallows_everything_holds_nobody_for_ever(
    proxy: Proxy, start_executor: Start, caplog: pytest.LogCaptureFixture
) -> None:
    start_executor(concurrency=4)
    assert workflows.counts.start(1).get_result(timeout=LIMIT) == 1
    handle = is_gated.start()
    assert gates["there"].wait(LIMIT)

    proxy.swallows.set()
    gates["pass"].set()
    eventually(lambda: "hasn't answered the writer" in caplog.text)
    eventually(lambda: "hasn't answered the housekeeping" in caplog.text)
    eventually(lambda: "hasn't answered the listener" in caplog.text)
    proxy.swallows.clear()
    proxy.cut()

    assert handle.get_result(timeout=LIMIT) == "passed"
    assert workflows.counts.start(3).get_result(timeout=LIMIT) == 3


@pytest.mark.rule(47)
@pytest.mark.rule(37)
def test_stopping_does_not_wait_for_a_dead_network(
    proxy: Proxy,
    settings: Any,
    start_executor: Start,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # Only the stop shortens the wait for answers.
    monkeypatch.setattr("django_dbos.store.postgresql.worker_connection.MOST_PATIENCE", 3_600.0)
    settings.DBOS = {**settings.DBOS, "LEASE": 3600, "HEARTBEAT_INTERVAL": 0.1}
    executor = start_executor()
    assert workflows.counts.start(1).get_result(timeout=LIMIT) == 1
    proxy.swallows.set()
    line = executor.housekeeping.connection.session._line
    eventually(lambda: line.waiting_since and time.monotonic() - line.waiting_since > 1)

    stopping = threading.Thread(target=executor.stop)
    stopping.start()
    stopping.join(LIMIT)

    assert not stopping.is_alive()
    assert "couldn't deregister" in caplog.text


@pytest.fixture(params=[True, False], ids=["hides pids", "shows pids"])
def pooler(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> Iterator[TransactionPooler]:
    pooler = of_server(TransactionPooler, hides_pids=request.param)
    with through(pooler, monkeypatch):
        yield pooler  # type: ignore[misc]
    pooling = get_store()._pooling  # type: ignore[attr-defined]
    pooling.is_found = False
    # With those counted here, the next test that loses a statement would find a pooler.
    pooling._lost.clear()


@pytest.mark.rule(48)
def test_a_transaction_pooler_that_nobody_told_of_is_noticed(
    pooler: TransactionPooler, start_executor: Start, caplog: pytest.LogCaptureFixture
) -> None:
    first, second = start_executor(concurrency=4), start_executor(concurrency=4)

    handles = [workflows.counts.start(5) for _ in range(12)]

    assert {handle.get_result(timeout=120) for handle in handles} == {5}
    assert "Set DBOS['TRANSACTION_POOLER'] = True" in caplog.text
    assert get_store().is_pooled
    assert "polling" in first.identity.description
    assert not ExecutorRow.objects.filter(has_lock=True).exists()
    assert not Workflow.objects.exclude(status="SUCCESS").exists()
    assert second.executor_id != first.executor_id


@pytest.mark.rule(48)
def test_a_transaction_pooler_that_comes_later_is_noticed_by_its_errors(
    pooler: TransactionPooler,
    start_executor: Start,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(type(get_store()), "detect_pooler", lambda store: None)
    pooler.rotates = True
    start_executor(concurrency=4)

    handles = [workflows.counts.start(5) for _ in range(12)]

    assert {handle.get_result(timeout=120) for handle in handles} == {5}
    assert not Workflow.objects.exclude(status="SUCCESS").exists()
    assert "Set DBOS['TRANSACTION_POOLER'] = True" in caplog.text


ODD = {
    "idle_session_timeout": "400ms",
    "statement_timeout": "10s",
    "lock_timeout": "5s",
    "default_transaction_isolation": "serializable",
    "default_transaction_read_only": "on",
}


@pytest.mark.rule(43)
@pytest.mark.parametrize("is_pooled", [False, True])
def test_own_sessions_set_what_they_need(
    settings: Any,
    start_executor: Start,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    is_pooled: bool,
) -> None:
    settings.DBOS = {**settings.DBOS, "TRANSACTION_POOLER": is_pooled, "LISTEN": not is_pooled}
    options = dict(connections["default"].settings_dict["OPTIONS"])
    switches = " ".join(
        f"-c {name}={value}"
        for name, value in ODD.items()
        if not (is_pooled and name == "idle_session_timeout")
    )
    handle = workflows.counts.start(3)
    monkeypatch.setitem(
        connections["default"].settings_dict, "OPTIONS", {**options, "options": switches}
    )

    executor = start_executor()
    eventually(lambda: handle.get_status() == "SUCCESS")
    # This is longer than a session may be idle.
    time.sleep(1.0)

    assert "unavailable" not in caplog.text
    assert "Not listening" not in caplog.text
    assert executor.store.wakeups.is_listening is not is_pooled


# Roles belong to the server, which other test runs may share.
ROLE = f"test_dbos_worker_{django_settings.RUN}"


@pytest.mark.rule(43)
def test_own_sessions_are_made_as_the_project_makes_them(start_executor: Start) -> None:
    """A receiver sets the search path and the role."""
    seen: list[str] = []

    def set_up(sender: Any, connection: Any, **kwargs: Any) -> None:
        with connection.cursor() as cursor:
            cursor.execute("SET search_path TO %s, public", ["elsewhere"])
            cursor.execute(f"SET ROLE {ROLE}")
        seen.append(connection.settings_dict["OPTIONS"].get("application_name", ""))

    with connection.cursor() as cursor:
        cursor.execute(f"CREATE ROLE {ROLE}")
        cursor.execute(f"GRANT ALL ON ALL TABLES IN SCHEMA public TO {ROLE}")
        cursor.execute(f"GRANT ALL ON ALL SEQUENCES IN SCHEMA public TO {ROLE}")
    connection_created.connect(set_up)
    try:
        executor = start_executor()
        assert workflows.counts.start(3).get_result(timeout=LIMIT) == 3
        session: Any = executor.store.connect(executor.executor_id, "test")
        found = session.connection.execute("SELECT current_user, current_schemas(false)")
        shown = session.connection.execute("SHOW lock_timeout").fetchone()
        assert found.fetchone() == (ROLE, ["public"])
        assert shown == ("100ms",)
        session.close()
        executor.stop()
    finally:
        connection_created.disconnect(set_up)
        connections.close_all()
        with connection.cursor() as cursor:
            cursor.execute("RESET ROLE")
            cursor.execute(f"DROP OWNED BY {ROLE}")
            cursor.execute(f"DROP ROLE {ROLE}")

    assert any(name.startswith("dbos:") for name in seen)


@pytest.mark.rule(4)
@pytest.mark.django_db(transaction=True, databases=["default", "other"])
def test_a_death_beside_restarts_of_a_pooler_is_seen(
    monkeypatch: pytest.MonkeyPatch, settings: Any, start_executor: Start
) -> None:
    """Connections are lost several times within a lease."""
    settings.DBOS = {**settings.DBOS, "LEASE": 4.0, "HEARTBEAT_INTERVAL": 0.5, "LISTEN": False}
    handle = workflows.counts.start(3)
    dead = register_dead(has_lock=False)
    claim_for(dead, handle.workflow_id)
    has_ended = threading.Event()

    with through(of_server(), monkeypatch) as proxy:
        executor = start_executor()

        def restart() -> None:
            while not has_ended.wait(2.5):
                proxy.cut()

        thread = threading.Thread(target=restart)
        thread.start()
        try:
            assert handle.get_result(timeout=LIMIT) == 3
        finally:
            has_ended.set()
            thread.join()
            executor.stop()


@pytest.mark.rule(45)
def test_an_executor_that_starts_without_its_database_says_so_in_django_s_words(
    proxy: Proxy, transactional_db: None
) -> None:
    proxy.refuses.set()

    with pytest.raises(OperationalError):
        Executor().start()

    assert not get_store().is_pooled
