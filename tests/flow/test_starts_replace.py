"""on_duplicate="replace": the holder of a deduplication id is cancelled, and another is started."""

from __future__ import annotations

from contextlib import nullcontext
from typing import Any

import pytest
from asgiref.sync import async_to_sync
from django.db import connection, transaction

import django_dbos as dbos
from django_dbos.models import Workflow
from django_dbos.testing import run_until_idle
from tests.crashing import run_with_crash
from tests.flow.concurrency import open_transaction, together
from tests.flow.workflows import (
    anotes,
    astarts,
    notes,
    ran,
    starts,
    starts_in_step,
    starts_many,
    waits,
)
from tests.waiting import LIMIT, eventually

pytestmark = pytest.mark.django_db
HOLDER = dbos.StartOptions(deduplication_id="d")
LATEST = dbos.StartOptions(deduplication_id="d", on_duplicate="replace")


def active() -> list[str]:
    found = Workflow.objects.active().filter(deduplication_id="d")
    return list(found.values_list("workflow_id", flat=True))


def test_the_latest_start_replaces_the_holder() -> None:
    first = notes.using(**LATEST).start(1)

    second = notes.using(**LATEST).start(2)

    assert first.get_status() == "CANCELLED"
    assert active() == [second.workflow_id]
    run_until_idle()
    assert ran == [2]


@pytest.mark.parametrize("started", [False, True])
def test_it_replaces_a_running_and_a_delayed_one(started: bool) -> None:
    first = (
        waits.using(**HOLDER).start() if started else notes.using(**HOLDER, run_after=60).start()
    )
    run_until_idle()
    assert first.get_status() == ("WAITING" if started else "DELAYED")

    second = notes.using(**LATEST).start(2)

    assert first.get_status() == "CANCELLED"
    run_until_idle()
    assert second.get_result() == 2


def test_async_code_and_names_replace_as_well() -> None:
    first = notes.using(**HOLDER).start(1)
    second = async_to_sync(anotes.using(**LATEST).astart)(2)
    third = dbos.start_by_name(notes.name, 3, using=LATEST)
    (fourth,) = notes.using(**LATEST).start_many([(4,)])

    assert [one.get_status() for one in (first, second, third)] == ["CANCELLED"] * 3
    assert active() == [fourth.workflow_id]


def test_a_call_replaces_and_runs_here() -> None:
    first = notes.using(**HOLDER).start(1)

    assert notes.using(**LATEST)(2) == 2
    assert first.get_status() == "CANCELLED"


def test_one_that_has_ended_need_not_be_replaced() -> None:
    first = notes.using(**LATEST).start(1)
    run_until_idle()

    second = notes.using(**LATEST).start(2)

    assert first.get_status() == "SUCCESS"
    assert active() == [second.workflow_id]


def test_it_also_frees_an_id_that_an_ended_one_keeps() -> None:
    first = notes.using(**HOLDER, unique_for=3600).start(1)
    run_until_idle()
    assert notes.using(**HOLDER).start(2) == first

    second = notes.using(**LATEST).start(3)

    assert second != first
    assert first.get_status() == "SUCCESS"
    assert first.describe().unique_until is None
    assert active() == [second.workflow_id]


def start_here(options: dbos.StartOptions) -> None:
    notes.using(**options).start(2)


def start_from(parent: Any) -> Any:
    def start(options: dbos.StartOptions) -> None:
        handle = parent.start(options, 2)
        run_until_idle()
        handle.get_result()

    return start


@pytest.mark.rule(30)
@pytest.mark.parametrize("start", [start_here, start_from(starts), start_from(astarts)])
def test_another_users_workflow_is_left_alone(start: Any) -> None:
    first = waits.using(**HOLDER, user="ada").start()
    run_until_idle()

    with pytest.raises(dbos.UserConflict, match="'d' is taken"):
        start(dbos.StartOptions(**LATEST, user="bob"))

    assert first.get_status() == "WAITING"
    assert not Workflow.objects.filter(name=notes.name).exists()


def test_an_id_that_is_taken_replaces_nothing() -> None:
    """A start with the id of the last one is a repeat of it."""
    notes.using(**LATEST, workflow_id="a").start(1)
    notes.using(**LATEST, workflow_id="b").start(2)

    again = notes.using(**LATEST, workflow_id="a").start(3)

    assert again.get_status() == "CANCELLED"
    assert active() == ["b"]


@pytest.mark.rule(62)
@pytest.mark.django_db(transaction=True)
def test_a_rollback_undoes_both() -> None:
    first = notes.using(**HOLDER).start(1)

    with transaction.atomic():
        second = notes.using(**LATEST).start(2)
        assert active() == [second.workflow_id]
        transaction.set_rollback(True)

    assert active() == [first.workflow_id]
    assert Workflow.objects.count() == 1


@pytest.mark.rule(62)
@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("in_transaction", [False, True])
def test_of_many_at_once_exactly_one_is_left(in_transaction: bool) -> None:
    def start(number: int) -> str:
        with transaction.atomic() if in_transaction else nullcontext():
            return notes.using(**LATEST).start(number).workflow_id

    for _ in range(3):
        ids = together(8, start)

        assert len(set(ids)) == 8
        (left,) = active()
        assert left in ids
        assert Workflow.objects.exclude(pk=left).filter(status="CANCELLED").count() == (
            Workflow.objects.count() - 1
        )


@pytest.mark.rule(62)
@pytest.mark.parametrize("parent", [starts, astarts, starts_many, starts_in_step])
def test_a_child_replaces_once(parent: Any) -> None:
    first = waits.using(**HOLDER).start()
    run_until_idle()

    handle = parent.start(LATEST, 2)
    run_until_idle()

    assert first.get_status() == "CANCELLED"
    child = dbos.WorkflowHandle[Any](handle.get_result())
    assert child.get_result() == 2
    assert ran == [2]


@pytest.mark.rule(62)
@pytest.mark.parametrize("parent", [starts, astarts])
def test_a_child_replaces_once_whatever_crashes(parent: Any) -> None:
    for writes in range(1, 10):
        ran.clear()
        first = waits.using(**HOLDER).start()
        run_until_idle()
        handle = parent.start(LATEST, writes)
        has_crashed = run_with_crash(writes)
        assert first.get_status() == "CANCELLED"
        assert set(ran) == {writes}
        assert Workflow.objects.get(pk=handle.get_result()).parent_id == handle.workflow_id
        if not has_crashed:
            return
    raise AssertionError("It never ran without a crash.")


@pytest.mark.rule(62)
def test_a_child_may_replace_one_that_ran_to_its_end_beside_it() -> None:
    notes.using(**HOLDER).start(1)
    handle = starts.start(LATEST, 2)

    run_until_idle()

    assert ran == [1, 2]
    assert dbos.WorkflowHandle[Any](handle.get_result()).get_result() == 2


@pytest.mark.django_db(transaction=True)
def test_a_worker_stops_the_one_that_is_replaced(worker: Any) -> None:
    first = waits.using(**HOLDER).start()
    handles = [starts.start(LATEST, number) for number in range(5)]

    children = [dbos.WorkflowHandle[Any](one.get_result(timeout=60)) for one in handles]
    worker.wait_until_idle()

    assert first.get_status() == "CANCELLED"
    ends = [child.get_status() for child in children]
    assert set(ends) <= {"SUCCESS", "CANCELLED"}
    assert "SUCCESS" in ends
    assert active() == []


@pytest.mark.rule(2)
@pytest.mark.rule(62)
@pytest.mark.skipif(connection.vendor == "sqlite", reason="SQLite has one writer at a time")
@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("kind", ["replaced", "debounced"])
def test_a_locked_row_delays_only_the_start_that_needs_it(worker: Any, kind: str) -> None:
    """The row of the holder, or of the burst, is locked by a transaction that takes its time."""
    options = LATEST if kind == "replaced" else dbos.StartOptions(debounce_key="k", delay=3600)
    first = waits.using(**HOLDER).start() if kind == "replaced" else notes.using(**options).start(1)
    eventually(lambda: first.get_status() in ("WAITING", "DELAYED"))
    rows = Workflow.objects.select_for_update()

    with open_transaction(lambda: rows.get(pk=first.workflow_id)):
        parent = starts.start(options, 2)
        eventually(lambda: parent.get_status() == "PENDING")
        assert [notes.start(number).get_result(timeout=LIMIT) for number in range(5)] == [*range(5)]
        assert parent.get_status() == "PENDING"

    child_id = parent.get_result(timeout=LIMIT)
    if kind == "replaced":
        assert first.get_status() == "CANCELLED"
        assert dbos.WorkflowHandle[Any](child_id).get_result(timeout=LIMIT) == 2
    else:
        assert child_id == first.workflow_id
        assert Workflow.objects.get(pk=child_id).input["args"] == [2]
