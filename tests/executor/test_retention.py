"""Retention deletes a few rows at a time, beside the heartbeat, and no resumable workflow."""

from __future__ import annotations

import threading
import time
import uuid
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import pytest
from django.apps import apps
from django.db.models import QuerySet

import django_dbos as dbos
from django_dbos.core.retention import RetentionRule
from django_dbos.executor.clock import Clock
from django_dbos.executor.duties.retention import Retention
from django_dbos.executor.pruning import Pruning
from django_dbos.fields import DatabaseNow
from django_dbos.models import (
    AtomicCheckpoint,
    Event,
    Inquiry,
    Message,
    PastRun,
    StreamEntry,
    Wake,
    Workflow,
)
from django_dbos.models import Executor as ExecutorRow
from django_dbos.store import errors, get_store
from django_dbos.store.base import Store
from django_dbos.store.sessions import Session
from django_dbos.testing import run_until_idle
from tests.executors import Start, StoppedClock
from tests.keeping.marking import mark
from tests.waiting import LIMIT, eventually

pytestmark = pytest.mark.django_db(transaction=True, databases=["default", "other"])

LONG_AGO = datetime(2020, 1, 1, tzinfo=UTC)


@dbos.step
def works() -> None:
    for number in range(7):
        dbos.write_stream("progress", number)


@dbos.workflow
def has_rows(is_first: bool = True) -> None:
    if is_first:
        dbos.continue_as_new(is_first=False)
    works()
    for number in range(3):
        dbos.set_event("state", number)


@dbos.workflow
def is_endless(number: int) -> None:
    dbos.recv(timeout=None)
    dbos.continue_as_new(number + 1)


@dbos.workflow
def starts_waiting() -> None:
    waits.using(workflow_id="child").start()


@dbos.workflow
def waits() -> None:
    dbos.recv(timeout=None)


@pytest.fixture(autouse=True)
def _retention(settings: Any) -> None:
    settings.DBOS = {**settings.DBOS, "RETENTION": 3_600}


@pytest.fixture
def store() -> Store:
    return get_store()


def make(count: int) -> list[str]:
    """Make `count` workflows that finished long ago, with rows in every table."""
    handles = has_rows.start_many([()] * count)
    run_until_idle()
    for handle in handles:
        handle.send("late")
        # Left behind by a wait that was cut off.
        Wake(
            workflow_id=handle.workflow_id,
            part=0,
            claim_number=1,
            wake_kind="event",
            wake_workflow_id="other",
            wake_name="key",
        ).save_base(force_insert=True)
        Inquiry(
            kind=Inquiry.Kind.CALLBACK,
            workflow_id=handle.workflow_id,
            token=uuid.uuid4(),
            step_number=1,
            secret=uuid.uuid4(),
            topic="topic",
            created_at=DatabaseNow(),
        ).save_base(force_insert=True)
    age()
    return [handle.workflow_id for handle in handles]


def age(**which: Any) -> None:
    """Have workflows be years old."""
    rows = QuerySet(Workflow).filter(**which)
    rows.update(created_at=LONG_AGO)
    rows.filter(finished_at__isnull=False).update(finished_at=LONG_AGO)


def rows_left() -> dict[str, int]:
    """Return the number of rows in each table with rows of workflows."""
    models = [
        model
        for model in apps.get_app_config("django_dbos").get_models()
        if hasattr(model, "workflow_id") and model is not AtomicCheckpoint
    ]
    return {model.__name__: model._default_manager.count() for model in models}


# By this clock statements take no time; tests of their duration use another one.
stopped_clock = StoppedClock()


def retention(store: Store, clock: Clock = stopped_clock, **options: Any) -> Retention:
    """Return the duty of a worker, to be run by the test."""
    options = {"rules": (RetentionRule(age=3_600.0),), "patience": 0.05, **options}
    return Retention(clock, Pruning(store, clock, **options))


def run_to_the_end(store: Store, *several: Retention) -> None:
    """Run each duty in turn until nothing is left to delete."""
    sessions = {
        duty: store.connect(f"test {number}", "test") for number, duty in enumerate(several)
    }
    left = list(several)
    while left:
        left = [duty for duty in left if duty.run(sessions[duty]) is not None]
    for session in sessions.values():
        session.close()


def test_all_rows_of_old_workflows_are_deleted(store: Store) -> None:
    make(3)
    young = has_rows.using(workflow_id="young").start()
    run_until_idle()
    before = rows_left()
    assert all(before.values())

    run_to_the_end(store, retention(store))

    assert [row.workflow_id for row in Workflow.objects.all()] == [young.workflow_id]
    assert StreamEntry.objects.count() == 7
    assert not Message.objects.exists()
    assert set(Event.objects.values_list("workflow_id", flat=True)) == {"young"}
    assert {name for name, count in rows_left().items() if count} == before.keys() - {
        "Inquiry",
        "Message",
        "Wake",
    }


def test_past_runs_of_an_active_workflow_are_deleted_at_their_age(store: Store) -> None:
    handle = is_endless.start(1)
    for _ in range(5):
        handle.send(None)
    run_until_idle()
    QuerySet(PastRun).filter(run_number__lte=3).update(ended_at=LONG_AGO)

    run_to_the_end(store, retention(store, rows=1))

    assert handle.get_status() == "WAITING"
    assert list(PastRun.objects.order_by("run_number").values_list("run_number", flat=True)) == [
        4,
        5,
    ]


def test_no_statement_deletes_more_rows_than_its_limit(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    make(2)
    monkeypatch.setattr("django_dbos.executor.pruning.FEW", 0)
    deleted: list[tuple[int, int]] = []
    delete_dependents = type(store).delete_dependents

    def note(self: Store, session: Session, part: str, ids: Sequence[str], limit: int) -> int:
        count = delete_dependents(self, session, part, ids, limit)
        if limit > 0:
            deleted.append((count, limit))
        return count

    monkeypatch.setattr(type(store), "delete_dependents", note)
    # The number of rows doesn't grow, though no statement takes long.
    monkeypatch.setattr("django_dbos.executor.pruning.MAX_ROWS", 2)

    run_to_the_end(store, retention(store, rows=2))

    assert not any(rows_left().values())
    assert all(count <= limit == 2 for count, limit in deleted)
    # 14 entries of two workflows take 7 statements, and another one that finds none.
    assert len(deleted) > 10


def test_a_statement_that_takes_too_long_is_repeated_with_fewer_rows(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With a statement_timeout, or a slow disk, nothing used to be deleted."""
    make(3)
    monkeypatch.setattr("django_dbos.executor.pruning.FEW", 0)
    delete_dependents = type(store).delete_dependents
    limits: list[int] = []

    def cancel_long_ones(
        self: Store, session: Session, part: str, ids: Sequence[str], limit: int
    ) -> int:
        limits.append(limit)
        if limit > 5:
            raise errors.Unavailable("canceling statement due to statement timeout")
        return delete_dependents(self, session, part, ids, limit)

    monkeypatch.setattr(type(store), "delete_dependents", cancel_long_ones)
    run_to_the_end(store, retention(store))

    assert max(limits) == 100
    assert not any(rows_left().values())


def test_an_outage_is_raised(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*args: Any) -> Any:
        raise errors.Unavailable("gone")

    monkeypatch.setattr(type(store), "list_finished", fail)

    with pytest.raises(errors.Unavailable):
        run_to_the_end(store, retention(store))


@pytest.mark.rule(50)
def test_a_parent_stays_while_one_of_its_children_is_active(store: Store) -> None:
    parent = starts_waiting.start()
    run_until_idle()
    assert parent.get_status() == "SUCCESS"
    age()

    run_to_the_end(store, retention(store))
    assert parent.get_status() == "SUCCESS"

    # It can still be cancelled with its children, and is then deleted with them.
    assert parent.cancel(children=True) in (False, None)
    assert dbos.retrieve_workflow("child").get_status() == "CANCELLED"
    age()
    run_to_the_end(store, retention(store))
    assert not Workflow.objects.exists()


@pytest.mark.rule(50)
def test_a_workflow_that_is_being_deleted_cannot_be_resumed(store: Store) -> None:
    """After a death of the worker half-way, a resumed workflow would lack some of its history."""
    handle = waits.start()
    run_until_idle()
    handle.cancel()
    age()
    session = store.connect("dying", "test")
    assert mark(store, session, 3_600.0) == [handle.workflow_id]
    session.close()
    assert handle.get_status() == "CANCELLED"
    assert Workflow.objects.get().finished_at is not None

    assert store.resume_workflows([handle.workflow_id]) == {handle.workflow_id: False}

    run_to_the_end(store, retention(store))
    assert not any(rows_left().values())


@pytest.mark.rule(50)
def test_workers_share_the_work(store: Store) -> None:
    make(4)
    # Each statement exceeds its time limit.
    several = [retention(store, time.monotonic, rows=3, patience=0.0) for _ in range(3)]

    run_to_the_end(store, *several)

    assert not any(rows_left().values())


@pytest.mark.rule(4)
@pytest.mark.rule(50)
def test_the_heartbeat_does_not_wait_for_retention(
    start_executor: Start, store: Store, settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings.DBOS = {**settings.DBOS, "HEARTBEAT_INTERVAL": 0.05}
    make(2)
    monkeypatch.setattr("django_dbos.executor.pruning.FEW", 0)
    delete_dependents = type(store).delete_dependents
    began, may_go_on = threading.Event(), threading.Event()

    def hang(self: Store, *args: Any) -> int:
        began.set()
        may_go_on.wait(LIMIT)
        return delete_dependents(self, *args)

    monkeypatch.setattr(type(store), "delete_dependents", hang)
    executor = start_executor()
    try:
        assert began.wait(LIMIT)
        # One heartbeat may have been under way.
        for _ in range(3):
            heard = ExecutorRow.objects.get().heartbeat_at
            eventually(lambda heard=heard: ExecutorRow.objects.get().heartbeat_at > heard)  # type: ignore[misc]
        assert ExecutorRow.objects.get().executor_id == executor.executor_id
    finally:
        may_go_on.set()

    eventually(lambda: not any(rows_left().values()))


def test_without_the_setting_nothing_is_deleted_and_no_thread_runs(
    start_executor: Start, settings: Any
) -> None:
    settings.DBOS = {**settings.DBOS, "RETENTION": None, "STEP_DATABASES": []}
    make(1)
    executor = start_executor()

    assert has_rows.start().get_result(timeout=LIMIT) is None
    assert "dbos-upkeep" not in {thread.name for thread in threading.enumerate()}
    executor.stop()
    assert Workflow.objects.count() == 2
