"""The rows of queues: declared by workers, changed through the API, followed at once."""

from __future__ import annotations

import logging
import threading
from typing import Any

import pytest
from django.db import connection, connections, transaction
from django.db.models import QuerySet
from django.test.utils import CaptureQueriesContext

import django_dbos as dbos
from django_dbos import queues
from django_dbos.core.records import Lane
from django_dbos.executor import Executor, declared_queues
from django_dbos.fields import DatabaseNow
from django_dbos.models import Queue, Workflow
from django_dbos.store import get_store
from django_dbos.store.base import Store
from django_dbos.testing import run_until_idle

pytestmark = pytest.mark.django_db(transaction=True)


@dbos.workflow
def noop() -> None: ...


@dbos.workflow
def waits() -> Any:
    return dbos.recv("go", timeout=None)


def row(name: str) -> Queue:
    return Queue.objects.get(pk=name)


def change(workflow_id: str, **columns: Any) -> None:
    QuerySet(Workflow).filter(workflow_id=workflow_id).update(**columns)


def places() -> dict[str, int]:
    return dict(Workflow.objects.values_list("workflow_id", "place"))


# Declared by workers


def test_a_worker_writes_what_is_declared_and_rows_for_the_other_known_queues(
    settings: Any,
) -> None:
    settings.DBOS = {"QUEUES": {"mail": {"concurrency": 3, "rate_limit": (9, 60)}}}

    with Executor(queues=["mail", "served"], concurrency=1):
        mail = row("mail")

    assert mail.declared == {"concurrency": 3, "rate_limit": "9/m"}
    assert (mail.concurrency, mail.rate_count, mail.rate_period) == (3, 9, 60.0)
    assert mail.is_managed
    for name in ("served", "default"):
        assert row(name).declared is None
        assert not row(name).is_managed


@pytest.mark.rule(76)
def test_a_start_that_changes_nothing_writes_nothing(store: Store) -> None:
    declared = {"mail": {"concurrency": 3}}
    assert [queue.name for queue in store.declare_queues(declared, {"other"})] == ["mail"]
    before = list(Queue.objects.values_list())

    with CaptureQueriesContext(connection) as queries:
        changed = store.declare_queues(declared, {"other"})

    assert changed == []
    assert len(queries) == 1
    assert list(Queue.objects.values_list()) == before


def test_a_queue_that_is_no_longer_declared_loses_its_declared_options(store: Store) -> None:
    store.declare_queues({"mail": {"concurrency": 3}, "slow": {"concurrency": 1}}, ())
    queues.set("slow", rate_limit="5/s")

    store.declare_queues({}, ())

    assert (row("mail").declared, row("mail").concurrency) == (None, None)
    assert not row("mail").is_managed
    assert (row("slow").declared, row("slow").concurrency, row("slow").rate_count) == (
        None,
        None,
        5,
    )


def test_what_was_edited_survives_a_new_declaration_until_reset(store: Store) -> None:
    store.declare_queues({"mail": {"concurrency": 3, "rate_limit": "9/m"}}, ())
    queues.set("mail", concurrency=7)

    store.declare_queues({"mail": {"concurrency": 4, "rate_limit": "8/m"}}, ())

    assert (row("mail").concurrency, row("mail").rate_count) == (7, 8)
    assert queues.reset("mail").options == {"concurrency": 4, "rate_limit": "8/m"}
    assert row("mail").concurrency == 4


def test_a_declaration_that_contradicts_an_edit_is_logged(
    settings: Any, caplog: pytest.LogCaptureFixture
) -> None:
    queues.set("mail", worker_concurrency=8)
    settings.DBOS = {"QUEUES": {"mail": {"concurrency": 5}}}

    with caplog.at_level(logging.INFO, logger="django_dbos.executor"), Executor(concurrency=1):
        pass

    lines = [record.getMessage() for record in caplog.records]
    assert "Queue 'mail' is declared as {'concurrency': 5}" in lines
    assert any("worker_concurrency of queue 'mail' is 8, above concurrency" in it for it in lines)


@pytest.mark.rule(76)
def test_workers_may_start_at_once(store: Store) -> None:
    declared = {f"queue-{number}": {"concurrency": number + 1} for number in range(10)}
    barrier = threading.Barrier(4)
    errors: list[BaseException] = []

    def declare() -> None:
        barrier.wait()
        try:
            get_store().declare_queues(declared, {"other"})
        except BaseException as error:
            errors.append(error)
        finally:
            connections.close_all()

    threads = [threading.Thread(target=declare) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert errors == []
    assert (
        dict(Queue.objects.filter(declared__isnull=False).values_list("name", "declared"))
        == declared
    )


def test_a_declaration_is_committed_where_django_does_not_commit(
    settings: Any, store: Store
) -> None:
    settings.DBOS = {"QUEUES": {"mail": {"concurrency": 5}}}
    transaction.set_autocommit(False)
    try:
        declared_queues.declare(store, None)
        transaction.rollback()
    finally:
        transaction.set_autocommit(True)

    assert row("mail").concurrency == 5


# Changed through the API


def test_a_queue_is_set_reset_paused_and_resumed() -> None:
    queue = queues.set("mail", concurrency=5, rate_limit="100/m")
    assert queue.options == queue.edited == {"concurrency": 5, "rate_limit": "100/m"}
    assert queue.declared is None

    assert queues.set("mail", concurrency=None).options == {"rate_limit": "100/m"}
    paused = queues.pause("mail", by="ada")
    assert (paused.is_paused, paused.paused_by) == (True, "ada")
    assert queues.pause("mail", by="bob").paused_by == "ada"
    assert queues.get("mail") == paused
    assert queues.reset("mail").options == {}
    assert row("mail").is_managed
    resumed = queues.resume("mail")
    assert (resumed.is_paused, resumed.paused_by) == (False, None)
    assert not row("mail").is_managed


async def test_the_twins_do_the_same(async_db: None) -> None:
    queue = await queues.aset("mail", concurrency=5)

    assert await queues.aget("mail") == queue
    assert queue in await queues.alist()
    assert (await queues.apause("mail")).is_paused
    assert not (await queues.aresume("mail")).is_paused
    assert (await queues.areset("mail")).options == {}
    assert (await queues.adepth("mail")).queued == 0


async def test_a_sync_call_on_a_loop_names_its_twin() -> None:
    with pytest.raises(Exception, match=r"Use `await queues\.apause\(\.\.\.\)`"):
        queues.pause("mail")


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({}, TypeError),
        ({"concurrency": 0}, ValueError),
        ({"wat": 1}, TypeError),
        ({"rate_limit": "x"}, ValueError),
    ],
)
def test_an_impossible_change_leaves_nothing(options: Any, error: type[Exception]) -> None:
    with pytest.raises(error):
        queues.set("mail", **options)

    assert not Queue.objects.exists()


def test_a_change_that_contradicts_what_is_in_force_leaves_it(store: Store) -> None:
    store.declare_queues({"mail": {"concurrency": 5, "worker_concurrency": 4}}, ())

    with pytest.raises(ValueError, match="worker_concurrency is 4, above concurrency, which is 3"):
        queues.set("mail", concurrency=3)

    assert row("mail").edited is None
    assert queues.set("mail", concurrency=3, worker_concurrency=2).options["concurrency"] == 3


def test_an_unknown_queue_is_refused_with_a_suggestion(settings: Any) -> None:
    settings.DBOS = {"QUEUES": {"mail": {}}}

    for act in (queues.get, queues.pause, queues.resume, queues.reset):
        with pytest.raises(dbos.QueueDoesNotExist, match="Did you mean 'mail'"):
            act("mial")

    assert not Queue.objects.exists()


def test_known_are_declared_named_and_used_queues_even_before_a_worker_starts(
    settings: Any,
) -> None:
    settings.DBOS = {"QUEUES": {"mail": {"concurrency": 1}}}
    noop.using(queue_name="used").start()

    assert {"mail", "default"} <= {queue.name for queue in queues.list()}
    assert queues.get("used").options == {}
    assert queues.get("mail").options == queues.get("mail").declared == {"concurrency": 1}
    assert queues.pause("used").is_paused


def test_a_change_takes_effect_with_the_callers_transaction(notified: list[Lane]) -> None:
    def fail() -> None:
        with transaction.atomic():
            queues.set("mail", concurrency=5)
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    assert not Queue.objects.exists()
    assert notified == []

    with transaction.atomic():
        queues.set("mail", concurrency=5)
        assert notified == []

    assert notified == [Lane("mail", None)]


@pytest.mark.rule(76)
def test_every_change_notifies_the_workers_and_no_other_call_does(notified: list[Lane]) -> None:
    acts = [
        lambda: queues.set("mail", concurrency=5),
        lambda: queues.pause("mail"),
        lambda: queues.resume("mail"),
        lambda: queues.reset("mail"),
    ]
    for act in acts:
        act()
        assert notified == [Lane("mail", None)]
        act()
        assert notified == [Lane("mail", None)]
        notified.clear()


def test_the_lanes_of_an_unlimited_queue_are_notified_again(notified: list[Lane]) -> None:
    noop.using(queue_name="mail", priority=7).start()
    queues.pause("mail")
    notified.clear()

    queues.resume("mail")

    assert Lane("mail", 7) in notified


def test_a_workflow_records_the_answer() -> None:
    @dbos.workflow
    def operates() -> Any:
        return dbos.queues.set("mail", concurrency=2), dbos.queues.get("mail").options

    queue, options = operates()

    assert queue.options == options == {"concurrency": 2}


def test_depth_counts_workflows_by_status() -> None:
    for _ in range(3):
        noop.using(queue_name="mail").start()
    waits.using(queue_name="mail", workflow_id="w").start()
    noop.using(queue_name="other").start()

    before = queues.depth("mail")
    run_until_idle(queues=["mail"])
    after = queues.depth("mail")

    assert (before.queued, before.running, before.waiting, before.places) == (4, 0, 0, 0)
    assert before.oldest_age is not None
    assert (after.queued, after.waiting, after.oldest_age) == (0, 1, None)


# Places when a queue becomes managed


@pytest.mark.rule(75)
def test_workflows_that_run_already_count_once_the_queue_has_a_limit() -> None:
    for workflow_id, status in [("runs", "PENDING"), ("rests", "WAITING"), ("queued", "ENQUEUED")]:
        noop.using(queue_name="mail", workflow_id=workflow_id).start()
        change(workflow_id, status=status)
    change("rests", wake_kind="message", wake_workflow_id="rests", wake_name="go")
    change("rests", started_at=DatabaseNow())
    noop.using(queue_name="other", workflow_id="elsewhere").start()
    change("elsewhere", status="PENDING")

    queues.set("mail", concurrency=1)
    assert places() == {"runs": 1, "rests": 0, "queued": 0, "elsewhere": 0}

    queues.set("mail", hold_while_waiting=True)
    assert places() == {"runs": 2, "rests": 2, "queued": 0, "elsewhere": 0}

    queues.set("mail", hold_while_waiting=False)
    assert places() == {"runs": 1, "rests": 0, "queued": 0, "elsewhere": 0}


@pytest.mark.rule(75)
def test_a_pause_manages_a_queue_without_limits() -> None:
    noop.using(queue_name="mail", workflow_id="runs").start()
    change("runs", status="PENDING")

    queues.pause("mail")

    assert row("mail").is_managed
    assert places() == {"runs": 1}


@pytest.mark.rule(76)
def test_a_change_waits_for_a_claim_and_a_claim_for_a_change() -> None:
    """Both lock the queue's row first, so no claim counts by limits that have just changed."""
    queues.set("mail", concurrency=1)
    if connection.vendor == "sqlite":
        with CaptureQueriesContext(connection) as queries:
            queues.set("mail", concurrency=2)
        assert queries[0]["sql"].startswith("BEGIN IMMEDIATE")
        return
    order: list[str] = []
    has_lock, may_end = threading.Event(), threading.Event()

    def claim() -> None:
        with transaction.atomic():
            QuerySet(Queue).select_for_update().get(name="mail")
            has_lock.set()
            may_end.wait()
            order.append("claim")
        connections.close_all()

    thread = threading.Thread(target=claim)
    thread.start()
    has_lock.wait()
    threading.Timer(0.05, may_end.set).start()
    queues.set("mail", concurrency=2)
    order.append("change")
    thread.join()

    assert order == ["claim", "change"]
