"""Alerts: each problem is told once over all workers, and once more when it is over."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

import pytest
from django.db import connection, connections

from django_dbos import alerts, signals
from django_dbos.alerts import Alert
from django_dbos.executor.duties import retention
from django_dbos.executor.executor import Executor
from django_dbos.health import Problem
from django_dbos.models import AlertEpisode, Workflow
from django_dbos.store import get_store
from django_dbos.testing import run_until_idle
from tests.observability import traced
from tests.waiting import LIMIT, eventually

pytestmark = pytest.mark.django_db(transaction=True)

called: list[Alert] = []


def note(alert: Alert) -> None:
    called.append(alert)


def fail(alert: Alert) -> None:
    raise RuntimeError("broken")


@pytest.fixture(autouse=True)
def _none_called() -> Iterator[None]:
    called.clear()
    yield
    called.clear()


def problem(subject: str = "queue") -> Problem:
    return Problem(kind="no_worker", subject=subject, value=1, text=f"{subject} has no worker.")


def test_a_problem_is_told_once_and_when_it_is_over(settings: Any) -> None:
    settings.DBOS = {**settings.DBOS, "ALERTS": f"{__name__}.note"}
    raised: list[Alert] = []

    def receive(alert: Alert, **kwargs: Any) -> None:
        raised.append(alert)

    signals.alert_raised.connect(receive)
    try:
        for problems in ([problem()], [problem()], [problem(), problem("other")], []):
            alerts.tell(get_store(), problems)
    finally:
        signals.alert_raised.disconnect(receive)

    assert [alert.is_resolved for alert in called] == [False, False, True, True]
    assert sorted(alert.subject for alert in called if alert.is_resolved) == ["other", "queue"]
    assert [alert.subject for alert in raised] == ["queue", "other"]
    assert not AlertEpisode.objects.exists()


def test_a_problem_that_returns_is_told_again(settings: Any) -> None:
    settings.DBOS = {**settings.DBOS, "ALERTS": note}

    for problems in ([problem()], [], [problem()]):
        alerts.tell(get_store(), problems)

    assert [alert.is_resolved for alert in called] == [False, True, False]


def test_a_function_that_fails_is_logged(settings: Any, caplog: Any) -> None:
    settings.DBOS = {**settings.DBOS, "ALERTS": fail}

    assert len(alerts.tell(get_store(), [problem()])) == 1
    assert "DBOS['ALERTS'] failed" in caplog.text
    assert alerts.tell(get_store(), [problem()]) == []


@pytest.mark.rule(100)
@pytest.mark.parametrize("is_over", [False, True])
def test_of_many_workers_one_tells(settings: Any, is_over: bool) -> None:
    """All of them have read the episodes before one of them writes."""
    if connection.vendor == "sqlite" and get_store().is_private:
        pytest.skip("threads can't share it")
    settings.DBOS = {**settings.DBOS, "ALERTS": note}
    store = get_store()
    if is_over:
        alerts.tell(store, [problem()])
        called.clear()
    barrier = threading.Barrier(4)

    def work() -> None:
        try:
            rows = list(AlertEpisode.objects.all())
            barrier.wait(LIMIT)
            assert len(rows) == int(is_over)
            alerts.tell(store, [] if is_over else [problem()])
        finally:
            connections.close_all()

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(LIMIT)

    assert [alert.is_resolved for alert in called] == [is_over]


def test_workers_look(settings: Any) -> None:
    settings.DBOS = {**settings.DBOS, "ALERTS": note, "ALERT_INTERVAL": 0.05}
    traced.child.using(queue_name="lonely").start()

    with Executor(["other"]), Executor(["another"]):
        eventually(lambda: called)
        assert [(alert.kind, alert.subject) for alert in called] == [("no_worker", "lonely")]
        run_until_idle()
        eventually(lambda: len(called) == 2)

    assert called[1].is_resolved


def test_a_function_that_blocks_holds_up_nothing_else(
    settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It asks a server that doesn't answer: workflows run, ended ones go, and the worker stops."""
    entered, release = threading.Event(), threading.Event()

    def block(alert: Any) -> None:
        entered.set()
        release.wait(LIMIT)

    monkeypatch.setattr(retention, "PERIOD", 0.05)
    options = {"RETENTION": 0.01, "ALERTS": block, "ALERT_INTERVAL": 0.05}
    settings.DBOS = {**settings.DBOS, **options, "STEP_DATABASES": []}
    traced.child.using(queue_name="lonely").start()
    try:
        with Executor(["default"]):
            eventually(entered.is_set)
            handle = traced.child.start()
            eventually(lambda: not Workflow.objects.filter(pk=handle.workflow_id).exists())
        assert not release.is_set()
    finally:
        release.set()


def test_without_the_setting_and_receivers_no_thread_looks(settings: Any) -> None:
    settings.DBOS = {**settings.DBOS, "STEP_DATABASES": []}
    with Executor() as executor:
        assert executor.alerts.is_empty
