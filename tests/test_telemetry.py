"""Telemetry: what subscribers receive, and that nothing goes past its doors."""

from __future__ import annotations

import ast
import importlib
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import django_dbos as dbos
from django_dbos import telemetry
from django_dbos.core.batch.plan import Plan
from django_dbos.executor import Executor
from django_dbos.telemetry import ObservedRun, ObservedStep, Subscriber, subscribers
from django_dbos.telemetry.subscribers import is_taken
from tests.waiting import LIMIT, eventually

PACKAGE = Path(dbos.__file__).parent
# They put something around a call, or answer, in place of noting an event.
CONTEXTS = {"running", "stepping", "traceparent", "waiting"}
EVENTS = [name for name in vars(Subscriber) if not name.startswith("_") and name not in CONTEXTS]

tries: list[int] = []


@dbos.step(max_attempts=2, interval=0.001)
def fails_once() -> str:
    tries.append(1)
    if len(tries) == 1:
        raise LookupError("not yet")
    return "done"


@dbos.workflow
def retries() -> str:
    return fails_once()


class Notes(Subscriber):
    """Keeps what happens."""

    def __init__(self) -> None:
        self.events: Counter[str] = Counter()
        self.claimed_from: Counter[str] = Counter()
        self.ended: dict[str, str] = {}
        self.checkpoints = 0

    def executor_started(self, executor_id: str) -> None:
        self.events["started"] += 1

    def executor_stopped(self, executor_id: str) -> None:
        self.events["stopped"] += 1

    def heartbeat(self, executor_id: str, seconds: float) -> None:
        assert seconds >= 0.0
        self.events["heartbeat"] += 1

    def claimed(self, queue_name: str, count: int) -> None:
        self.claimed_from[queue_name] += count

    def committed(self, plan: Plan) -> None:
        self.checkpoints += len(plan.checkpoints) + len(plan.outcomes)

    def run_ended(self, run: ObservedRun) -> None:
        self.ended[run.workflow_id] = run.ended_as

    def step_retried(self, step: ObservedStep, error: BaseException) -> None:
        assert step.step_name.endswith("fails_once")
        self.events[repr(error)] += 1


@pytest.fixture
def notes() -> Iterator[Notes]:
    tries.clear()
    notes = Notes()
    telemetry.subscribe(notes)
    yield notes
    telemetry.unsubscribe(notes)


@pytest.mark.django_db(transaction=True)
def test_a_subscriber_receives_what_a_worker_does(notes: Notes) -> None:
    with Executor(concurrency=4):
        handle = retries.start()
        assert handle.get_result(timeout=LIMIT) == "done"
        eventually(lambda: notes.ended.get(handle.workflow_id) == "SUCCESS")
        eventually(lambda: notes.events["heartbeat"])

    assert notes.claimed_from == {"default": 1}
    assert notes.checkpoints >= 1
    expected = {"started": 1, "stopped": 1, "LookupError('not yet')": 1}
    assert expected.items() <= notes.events.items()


@pytest.mark.django_db(transaction=True)
def test_the_end_of_a_run_is_reported_though_it_is_not_logged(notes: Notes, caplog: Any) -> None:
    caplog.set_level("ERROR", "django_dbos")
    with Executor(concurrency=4):
        handle = retries.start()
        handle.get_result(timeout=LIMIT)
        eventually(lambda: notes.ended.get(handle.workflow_id) == "SUCCESS")


def test_an_event_that_no_subscriber_overrides_asks_none() -> None:
    class Ends(Subscriber):
        def run_ended(self, run: ObservedRun) -> None:
            """Note it."""

    class OtherEnds(Ends):
        """Inherits what it overrides."""

    assert not any(map(is_taken, subscribers.EVENTS))
    first, second = Ends(), OtherEnds()
    telemetry.subscribe(first)
    telemetry.subscribe(second)
    try:
        assert [event for event in subscribers.EVENTS if is_taken(event)] == ["run_ended"]
        telemetry.unsubscribe(first)
        assert is_taken("run_ended")
    finally:
        telemetry.unsubscribe(first)
        telemetry.unsubscribe(second)
    assert not is_taken("run_ended")


@pytest.mark.django_db(transaction=True)
def test_an_inline_run_is_reported_too(notes: Notes) -> None:
    assert retries() == "done"

    assert list(notes.ended.values()) == ["SUCCESS"]
    assert notes.checkpoints >= 1
    assert not notes.claimed_from


class Broken(Subscriber):
    """Fails at each event."""

    def run_started(self, run: ObservedRun) -> None:
        raise LookupError("a bug of the exporter's")


@pytest.mark.django_db(transaction=True)
def test_an_error_of_a_subscriber_is_logged_and_harms_nothing(
    notes: Notes, caplog: pytest.LogCaptureFixture
) -> None:
    broken = Broken()
    telemetry.subscribe(broken)
    try:
        assert retries() == "done"
    finally:
        telemetry.unsubscribe(broken)

    assert "Broken failed to note an event" in caplog.text
    assert "a bug of the exporter's" in caplog.text
    assert list(notes.ended.values()) == ["SUCCESS"]


def test_signals_are_sent_behind_the_doors_only() -> None:
    senders = {
        path.relative_to(PACKAGE).as_posix()
        for path in PACKAGE.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Attribute) and node.attr in {"send_robust", "asend_robust"}
    }

    assert senders == {"telemetry/__init__.py"}


def test_every_event_of_a_subscriber_is_published() -> None:
    tree = ast.parse((PACKAGE / "telemetry" / "__init__.py").read_text())
    published = {
        node.args[0].value
        for node in ast.walk(tree)
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Name)
        and node.func.id == "publish"
        and isinstance(node.args[0], ast.Constant)
    }

    assert published == set(EVENTS)


def test_without_opentelemetry_the_error_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "opentelemetry", None)
    monkeypatch.delitem(sys.modules, "django_dbos.telemetry.opentelemetry", raising=False)

    with pytest.raises(ModuleNotFoundError, match=r"durable-workflows\[opentelemetry\]"):
        importlib.import_module("django_dbos.telemetry.opentelemetry")
