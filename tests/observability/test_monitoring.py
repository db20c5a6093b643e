"""Health and metrics: what counts as a problem, the command, the views, Prometheus's format."""

from __future__ import annotations

import json
import threading
import urllib.request
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.contrib.auth.models import Permission, User
from django.core.management import CommandError, call_command
from django.db import connection, transaction
from django.db.models import QuerySet
from django.test import Client

import django_dbos as dbos
from django_dbos import health
from django_dbos.executor.executor import Executor
from django_dbos.fields import DatabaseNow
from django_dbos.health import check_health
from django_dbos.models import Executor as ExecutorRow
from django_dbos.models import Workflow
from django_dbos.monitoring import views
from django_dbos.store import figures, get_store
from django_dbos.store.statistics import Statistics
from django_dbos.testing import run_until_idle
from tests.observability import traced
from tests.waiting import LIMIT, eventually

pytestmark = pytest.mark.django_db(transaction=True)

TOKEN = "a-token-of-a-monitoring-system"
LONG_AGO = datetime(2020, 1, 1, tzinfo=UTC)


@pytest.fixture(autouse=True)
def _afresh(settings: Any) -> Iterator[None]:
    settings.DBOS = {**settings.DBOS, "MONITORING_TOKEN": TOKEN}
    views.recent.forget()
    yield
    views.recent.forget()


@pytest.fixture
def allowed() -> Client:
    return Client(headers={"Authorization": f"Bearer {TOKEN}"})


def kinds() -> list[tuple[str, str]]:
    return sorted((problem.kind, problem.subject) for problem in check_health().problems)


def test_an_empty_database_is_healthy() -> None:
    found = check_health()

    assert found.is_live
    assert found.is_ready
    assert found.as_json()["active"]["ENQUEUED"] == 0


def test_a_queue_without_a_worker_is_a_problem(settings: Any) -> None:
    traced.child.using(queue_name="lonely").start()
    assert kinds() == [("no_worker", "lonely")]

    with Executor(["other"]):
        assert kinds() == [("no_worker", "lonely")]
    dbos.queues.set("lonely", concurrency=1)
    dbos.queues.pause("lonely")
    assert kinds() == []


def test_a_workflow_that_waits_for_too_long_is_a_problem(worker: Executor, settings: Any) -> None:
    dbos.queues.set("slow", concurrency=1)
    dbos.queues.pause("slow")
    traced.child.using(workflow_id="late", queue_name="slow").start()
    # No worker knows such a function.
    QuerySet(Workflow).filter(workflow_id="late").update(name="vanished", created_at=LONG_AGO)
    assert kinds() == []

    dbos.queues.resume("slow")
    assert kinds() == [("oldest_enqueued", "slow")]
    (problem,) = check_health().problems
    assert "in queue 'slow' that never ran has been enqueued for " in problem.text
    settings.DBOS = {**settings.DBOS, "HEALTH": {"oldest_enqueued": 1e9}}
    assert kinds() == []


def test_failures_count_from_a_number_and_a_rate_on(settings: Any) -> None:
    settings.DBOS = {**settings.DBOS, "HEALTH": {"min_failures": 2, "failure_rate": 0.5}}
    traced.fails.start_many([()] * 2)
    traced.child.start_many([()] * 2)
    run_until_idle()
    assert kinds() == []

    traced.fails.start()
    run_until_idle()
    assert kinds() == [("failing", "")]


def test_what_a_silent_executor_holds_is_stuck() -> None:
    handle = traced.child.start()
    QuerySet(Workflow).filter(workflow_id=handle.workflow_id).update(
        status="PENDING", executor_id="gone", started_at=LONG_AGO
    )

    assert kinds() == [("stuck", "")]


@pytest.mark.rule(102)
def test_an_executor_that_registers_while_figures_are_read_is_not_missed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    handle = traced.child.start()
    row = QuerySet(Workflow).filter(workflow_id=handle.workflow_id)
    read = Statistics.read_executors

    def read_before(self: Statistics) -> Any:
        found = read(self)
        executor = ExecutorRow(
            executor_id="vm:1:late",
            hostname="vm",
            pid=1,
            concurrency=1,
            lock_key=1,
            lease=timedelta(seconds=20),
            started_at=DatabaseNow(),
            heartbeat_at=DatabaseNow(),
        )
        QuerySet(ExecutorRow).bulk_create([executor])
        row.update(status="PENDING", executor_id="vm:1:late", started_at=LONG_AGO)
        return found

    monkeypatch.setattr(Statistics, "read_executors", read_before)
    assert figures.read_figures(get_store(), window=60.0).stuck == 0
    monkeypatch.undo()
    QuerySet(ExecutorRow).filter(executor_id="vm:1:late").delete()
    assert figures.read_figures(get_store(), window=60.0).stuck == 1


def test_a_quarantined_workflow_is_a_problem() -> None:
    handle = traced.child.start()
    run_until_idle()
    QuerySet(Workflow).filter(workflow_id=handle.workflow_id).update(
        status="ERROR", is_quarantined=True
    )

    assert kinds() == [("quarantined", "")]


def test_a_database_that_does_not_answer_is_waited_for_a_moment_only(
    monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    answers = threading.Event()

    def hang(*args: Any, **kwargs: Any) -> Any:
        answers.wait(LIMIT)
        raise RuntimeError("gone")

    monkeypatch.setattr(health, "read_figures", hang)
    monkeypatch.setattr(health, "TIMEOUT", 0.05)
    try:
        found = check_health(timeout=0.05)
        assert not found.is_live
        assert "no answer within 0.05 s" in found.problems[0].text
        # The second one waits for the first, and starts no thread.
        assert "still waiting" in check_health(timeout=0.05).problems[0].text
        with pytest.raises(CommandError) as caught:
            call_command("dbos_health", "--timeout=0.05")
        assert caught.value.returncode == 3
    finally:
        answers.set()
    with health._checking:
        pass


def test_tables_that_are_not_migrated_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def read_missing(*args: Any, **named: Any) -> None:
        with transaction.atomic(), connection.cursor() as cursor:
            cursor.execute("SELECT * FROM dbos_not_here")

    monkeypatch.setattr(health, "read_figures", read_missing)

    found = check_health()

    assert not found.is_live
    assert "aren't migrated in database 'default'" in found.problems[0].text
    assert "Run `manage.py migrate` first." in found.problems[0].text


def test_the_command_has_codes_and_json(capsys: Any) -> None:
    call_command("dbos_health")
    assert capsys.readouterr().out == "No problems found.\n"

    traced.child.using(queue_name="lonely").start()
    with pytest.raises(CommandError) as caught:
        call_command("dbos_health", "--format=json")
    assert caught.value.returncode == 1
    shown = json.loads(capsys.readouterr().out)
    assert (shown["live"], shown["ready"]) == (True, False)
    assert shown["problems"][0]["kind"] == "no_worker"

    call_command("dbos_health", "--live")
    assert "Queue 'lonely' has 1 workflow and no live worker." in capsys.readouterr().out


def test_probes_answer_everyone_and_tell_details_to_few(allowed: Client) -> None:
    traced.child.using(queue_name="lonely").start()
    anybody = Client()

    live = anybody.get("/dbos/health/live/")
    assert (live.status_code, live.json()) == (200, {"ok": True})
    ready = anybody.get("/dbos/health/ready/")
    assert (ready.status_code, ready.json()) == (503, {"ok": False})
    assert allowed.get("/dbos/health/ready/").json()["problems"][0]["subject"] == "lonely"
    assert anybody.post("/dbos/health/live/").status_code == 405


def test_the_views_ask_outside_of_a_requests_transaction() -> None:
    """In one, a check would have to read on its connection, which may wait without a limit."""
    for view in (views.live, views.ready, views.metrics):
        assert view._non_atomic_requests == {"default"}  # type: ignore[attr-defined]


def test_many_requests_cost_one_check(monkeypatch: pytest.MonkeyPatch, allowed: Client) -> None:
    checks = []
    monkeypatch.setattr(views, "check_health", lambda: checks.append(1) or check_health())
    monkeypatch.setattr(views, "FRESH", 1e9)

    for path in ("health/live", "health/ready", "metrics"):
        allowed.get(f"/dbos/{path}/")

    assert len(checks) == 1


def test_metrics_are_for_the_token_and_for_those_who_view_workflows(allowed: Client) -> None:
    pytest.importorskip("prometheus_client")
    assert Client().get("/dbos/metrics/").status_code == 403
    wrong = Client(headers={"Authorization": "Bearer another-token-of-this-length"})
    assert wrong.get("/dbos/metrics/").status_code == 403
    user = User.objects.create_user("viewer")
    client = Client()
    client.force_login(user)
    assert client.get("/dbos/metrics/").status_code == 403
    user.user_permissions.add(Permission.objects.get(codename="view_workflow"))
    assert client.get("/dbos/metrics/").status_code == 200
    assert allowed.get("/dbos/metrics/").status_code == 200


def test_the_queues_of_metrics_have_a_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    """A project may make queues of its users' names."""
    monkeypatch.setattr(figures, "MOST_QUEUES", 2)
    for number in range(8):
        traced.child.using(queue_name=f"user-{number}", workflow_id=str(number)).start()
    running = QuerySet(Workflow).filter(workflow_id__lt="4")
    running.update(status="PENDING", executor_id="vm:1:abc", started_at=LONG_AGO)

    found = figures.read_figures(get_store(), window=60.0).queues

    assert len(found) == 4
    assert sum(queue.running for queue in found) == sum(queue.enqueued for queue in found) == 2


def test_metrics_are_in_prometheus_format(allowed: Client) -> None:
    parser = pytest.importorskip("prometheus_client.parser")
    traced.child.using(queue_name='odd "queue"\n').start()
    traced.fails.start()
    run_until_idle(queues=["default"])

    text = allowed.get("/dbos/metrics/").content.decode()
    samples = {
        (sample.name, *(value for _, value in sorted(sample.labels.items()))): sample.value
        for family in parser.text_string_to_metric_families(text)
        for sample in family.samples
    }

    assert samples["dbos_workflow_enqueued_count", 'odd "queue"\n'] == 1
    assert samples["dbos_workflow_count", "enqueued"] == 1
    assert samples["dbos_oldest_enqueued_age_seconds", 'odd "queue"\n'] >= 0
    assert samples["dbos_workflow_failed_rate",] == pytest.approx(1 / 300)
    assert samples["dbos_executor_count",] == 0


@pytest.mark.parametrize("path", ["health/live", "health/ready", "metrics"])
def test_a_down_database_is_503(
    monkeypatch: pytest.MonkeyPatch, allowed: Client, path: str
) -> None:
    if path == "metrics":
        pytest.importorskip("prometheus_client")

    def fail(*args: Any, **kwargs: Any) -> Any:
        raise RuntimeError("gone")

    monkeypatch.setattr(health, "read_figures", fail)

    assert allowed.get(f"/dbos/{path}/").status_code == 503


@pytest.mark.process
def test_a_worker_serves_its_own_measures(start_worker: Any, free_tcp_port: int) -> None:
    parser = pytest.importorskip("prometheus_client.parser")
    start_worker(f"--metrics-port={free_tcp_port}")
    assert traced.child.start().get_result(timeout=LIMIT) == 1
    with pytest.raises(ValueError, match="on purpose"):
        traced.fails.start().get_result(timeout=LIMIT)

    def counted() -> dict[tuple[str, ...], float]:
        with urllib.request.urlopen(f"http://127.0.0.1:{free_tcp_port}/metrics") as answer:
            text = answer.read().decode()
        return {
            (sample.name, *(value for _, value in sorted(sample.labels.items()))): sample.value
            for family in parser.text_string_to_metric_families(text)
            for sample in family.samples
        }

    eventually(lambda: counted().get(("dbos_workflow_ended_total", "ERROR", "traced.fails")) == 1)
    found = counted()
    assert found["dbos_workflow_ended_total", "SUCCESS", "traced.child"] == 1
    assert found["dbos_step_ended_total", "success", "traced.work"] == 1
    assert found["dbos_step_ended_total", "error", "traced.work"] == 1
    assert found["dbos_step_retried_total", "traced.work"] == 1
    assert found["dbos_step_duration_seconds_count", "traced.work"] == 2
    assert found["dbos_workflow_claimed_total", "default"] == 2
    assert found["dbos_heartbeat_duration_seconds_count",] >= 1


def test_executors_that_answer_are_counted(worker: Executor) -> None:
    assert ExecutorRow.objects.count() == 1
    figures = check_health().figures
    assert figures is not None
    assert figures.workers == 1
