"""Fixtures with a measured executor."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from django.db import connections

from django_dbos.executor import Executor
from django_dbos.store import get_store, statements
from tests.performance import workflows
from tests.performance.costs import Meter, come_to_rest
from tests.waiting import eventually


@pytest.fixture
def quiet(settings: Any) -> None:
    """Allow no heartbeat after the first, and no hold time for waiting runs."""
    settings.DBOS = {
        **settings.DBOS, "HEARTBEAT_INTERVAL": 600, "LEASE": 3600, "HOLD_TIME": 0,
    }  # fmt: skip


@pytest.fixture
def meter(transactional_db: None, quiet: None, monkeypatch: pytest.MonkeyPatch) -> Meter:
    sessions: dict[str, Any] = {}
    store = get_store()
    connect = type(store).connect

    def note(self: Any, executor_id: str, purpose: str) -> Any:
        sessions[purpose] = connect(self, executor_id, purpose)
        return sessions[purpose]

    monkeypatch.setattr(type(store), "connect", note)
    asker = connections["default"]
    asker.ensure_connection()
    return Meter(monkeypatch, sessions, asker)


def prepare(writer: Any) -> None:
    """Prepare both forms of each statement; concurrency decides which of them a run uses."""
    if connections["default"].vendor == "postgresql":
        from django_dbos.store.postgresql.batches import SINGLE_ROW

        for name in (*SINGLE_ROW, *SINGLE_ROW.values()):
            writer._prepare(name, statements.numbered(statements.load("postgresql", name))[0])


@pytest.fixture
def executor(meter: Meter) -> Iterator[Executor]:
    """Start an executor that has prepared all statements, in single and in concurrent runs."""
    workflows.may_go_on.clear()
    with Executor(concurrency=100) as started:

        def run(act: Callable[[], Any], ends: int = 1) -> Any:
            workflows.ended.clear()
            handle = act()
            eventually(lambda: len(workflows.ended) == ends)
            come_to_rest(started)
            return handle

        prepare(meter.sessions.get("writer"))
        receiver = workflows.goes_on.start(1)
        eventually(lambda: receiver.get_status() == "WAITING")
        run(lambda: receiver.send("message"))
        source = run(workflows.sets_event.start)
        run(lambda: workflows.gets_event.start(source.workflow_id))
        run(lambda: workflows.sends.start(source.workflow_id))
        run(lambda: workflows.writes.start(3))
        held = workflows.holds_then_receives.start()
        held.send("message")
        run(workflows.may_go_on.set)
        run(workflows.has_child.start, 2)
        workflows.may_go_on.clear()
        yield started
        workflows.may_go_on.set()
