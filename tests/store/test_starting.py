"""Starting workflows: ids, rows, order, and all or nothing."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest
from django.db import DatabaseError, connection, transaction
from django.utils import timezone

import django_dbos as dbos
from django_dbos.core.ids import child_workflow_id
from django_dbos.core.records import (
    Claim,
    Lane,
    NewWorkflow,
    RecordStart,
    Refusal,
)
from django_dbos.exceptions import WorkflowIdConflict
from django_dbos.models import Workflow
from django_dbos.store.base import Store
from django_dbos.store.sessions import Session
from tests.store.conftest import checkpoint, new_workflow

Claims = Callable[..., Claim]
TEXTS = [f'{{"args":[{number},"\\"ü\'%s\\\\"],"kwargs":{{}}}}' for number in range(300)]
NEVER_EQUAL = {"workflow_id", "token", "queue_sequence", "created_at", "due_at"}


def like(**options: Any) -> NewWorkflow:
    return new_workflow(**{"workflow_id": "", "input": "", **options})


@contextmanager
def told(store: Store) -> Iterator[list[Lane]]:
    """Collect the notifications of this process's executors."""
    lanes: list[Lane] = []

    def hear(some: list[Lane] | None) -> None:
        lanes.extend(some or [])

    store.wakeups.add_lane_listener(hear)
    yield lanes
    store.wakeups.remove_lane_listener(hear)


@pytest.mark.rule(29)
def test_workflows_are_enqueued_in_order_under_new_ids(store: Store) -> None:
    with told(store) as lanes:
        ids = store.start_many(like(queue_name="q", priority=3), TEXTS)

    rows = list(Workflow.objects.order_by("queue_sequence"))
    assert [row.workflow_id for row in rows] == ids
    assert [row.input_text for row in rows] == TEXTS
    assert {UUID(one).version for one in ids} == {7}
    assert len({row.token for row in rows}) == len(set(ids)) == len(TEXTS)
    assert lanes == [("q", 3)]


@pytest.mark.parametrize(
    "options",
    [
        {},
        {
            "priority": -3,
            "queue_name": "größe %s",
            "timeout": timedelta(days=1, microseconds=5),
            "user_id": "7",
            "attributes": '{"a": [1, "%s"]}',
            "max_recovery_attempts": 9,
        },
        {"delay": 3600.0},
        {"delay": 0.0},
        {"run_at": timezone.now() + timedelta(days=1)},
        {"run_at": timezone.now() - timedelta(days=1)},
    ],
)
@pytest.mark.parametrize("settings_of_connection", [{}, {"server_side_binding": True}])
def test_each_row_equals_that_of_a_single_start(
    store: Store, options: dict[str, Any], settings_of_connection: dict[str, Any]
) -> None:
    if "run_at" in options and not timezone.is_aware(options["run_at"]):
        options = {"run_at": timezone.make_aware(options["run_at"])}
    alone = new_workflow(**options, input="{}")
    store.start_workflows([alone])

    with connected_with(settings_of_connection):
        first, second = store.start_many(like(**options), ["{}", "{}"])

    rows: dict[str, Any] = {one["workflow_id"]: one for one in Workflow.objects.values()}
    for workflow_id in (first, second):
        assert without(rows[workflow_id], NEVER_EQUAL) == (
            without(rows[alone.workflow_id], NEVER_EQUAL)
        )
        for name in ("created_at", "due_at"):
            one, other = rows[workflow_id][name], rows[alone.workflow_id][name]
            assert (one is None) is (other is None)
            assert one is None or abs(one - other) < timedelta(seconds=10)


@contextmanager
def connected_with(options: dict[str, Any]) -> Iterator[None]:
    if connection.vendor != "postgresql" or not options:
        yield
        return
    connection.close()
    before = connection.settings_dict["OPTIONS"]
    connection.settings_dict["OPTIONS"] = {**before, **options}
    try:
        yield
    finally:
        connection.close()
        connection.settings_dict["OPTIONS"] = before


def without(row: dict[str, Any], names: set[str]) -> dict[str, Any]:
    return {name: value for name, value in row.items() if name not in names}


def test_a_single_workflow_may_have_a_given_id(store: Store) -> None:
    given = like(workflow_id="given")

    assert store.start_many(given, ["1"]) == store.start_many(given, ["2"]) == ["given"]
    assert [workflow.input_text for workflow in Workflow.objects.all()] == ["1"]


def test_only_the_first_with_a_deduplication_id_is_started(store: Store) -> None:
    first, *others = store.start_many(like(deduplication_id="d"), ["1", "2", "3"])

    assert set(others) == {first}
    assert [workflow.input_text for workflow in Workflow.objects.all()] == ["1"]


def test_nothing_is_started_if_one_start_is_invalid(store: Store) -> None:
    bad: list[tuple[NewWorkflow, list[str]]] = [(like(attributes="no JSON"), ["1", "2"])]
    if connection.vendor == "postgresql":
        bad += [
            (like(name="n" * 300), ["1", "2"]),
            # Refused by the driver, before the server.
            (like(), [*TEXTS, "nul \0 in the middle", *TEXTS]),
        ]

    for refused, inputs in bad:
        with told(store) as lanes, pytest.raises(DatabaseError):
            store.start_many(refused, inputs)

        assert not lanes
        assert not Workflow.objects.exists()


def test_earlier_writes_of_the_transaction_survive_a_failed_start(store: Store) -> None:
    with transaction.atomic():
        store.start_workflows([new_workflow(workflow_id="before")])
        with pytest.raises(DatabaseError):
            store.start_many(like(attributes="no JSON"), ["1", "2"])
        store.start_many(like(), ["3", "4"])

    assert sorted(Workflow.objects.values_list("input_text", flat=True)) == ["3", "4", "{}"]


def test_starts_are_notified_after_a_commit_and_undone_by_a_rollback(
    store: Store,
) -> None:
    with told(store) as lanes:
        with transaction.atomic():
            store.start_many(like(), ["1", "2"])
            assert not lanes
        assert lanes == [("default", 0)]

        with transaction.atomic():
            store.start_many(like(), ["3", "4"])
            transaction.set_rollback(True)

    assert lanes == [("default", 0)]
    assert sorted(Workflow.objects.values_list("input_text", flat=True)) == ["1", "2"]


@pytest.mark.skipif(
    connection.vendor == "sqlite", reason="Django says: savepoints need atomic() on SQLite"
)
def test_a_transaction_without_autocommit_is_left_to_the_caller(store: Store) -> None:
    connection.set_autocommit(False)
    try:
        store.start_many(like(), ["1", "2"])
        connection.rollback()
        store.start_many(like(), ["3", "4"])
        connection.commit()
    finally:
        connection.set_autocommit(True)

    assert sorted(Workflow.objects.values_list("input_text", flat=True)) == ["3", "4"]


@pytest.mark.parametrize("in_transaction", [False, True])
def test_an_id_collision_undoes_all_starts(
    store: Store, monkeypatch: pytest.MonkeyPatch, in_transaction: bool
) -> None:
    # The clock and the random numbers are the same.
    monkeypatch.setattr(time, "time_ns", lambda: 1_800_000_000 * 10**9)
    monkeypatch.setattr(os, "urandom", lambda count: bytes(range(1, count + 1)))
    (*_, last) = store.start_many(like(), ["1", "2"])
    with connection.cursor() as cursor:
        cursor.execute("DELETE FROM dbos_workflow WHERE workflow_id <> %s", [last])

    around = transaction.atomic() if in_transaction else nullcontext()

    with around, pytest.raises((DatabaseError, WorkflowIdConflict)):
        store.start_many(like(name="tests.other"), ["3", "4"])

    assert [workflow.workflow_id for workflow in Workflow.objects.all()] == [last]


@pytest.mark.rule(30)
def test_ids_of_children_are_cut_and_stay_apart() -> None:
    parent = "p" * 255

    first, second = (child_workflow_id(parent, number) for number in (1, 2))

    assert child_workflow_id("abc", 3) == "abc-3"
    assert len(first) == len(second) == 255
    assert first != second


@pytest.mark.rule(30)
def test_a_users_own_workflow_is_not_adopted_as_a_child(
    store: Store, session: Session, executor_id: str, claim: Claims
) -> None:
    parent = claim(workflow_id="abc")
    own = new_workflow(workflow_id="abc-1")
    store.start_workflows([own])
    child = new_workflow(workflow_id="abc-1", parent_id="abc", parent_step_number=1)

    plan = store.apply(
        session,
        executor_id,
        [
            RecordStart(
                workflow_id="abc",
                claim_number=parent.claim_number,
                checkpoint=checkpoint(parent),
                workflows=(child,),
            )
        ],
        is_repeat=False,
    )

    (answer,) = plan.answers
    assert (answer.refusal, answer.is_own) == (Refusal.ID_TAKEN, False)


@pytest.mark.rule(30)
def test_a_conflict_does_not_break_the_callers_transaction(store: Store) -> None:
    new = new_workflow(workflow_id="same")
    store.start_workflows([new])

    with transaction.atomic():
        (again,) = store.start_workflows([new_workflow(workflow_id="same")])
        with pytest.raises(dbos.WorkflowIdConflict):
            store.start_workflows([new_workflow(workflow_id="same", name="tests.other")])
        assert Workflow.objects.count() == 1

    assert not again.is_new


def test_a_deduplication_id_is_unique_among_the_active_ones_of_a_queue(store: Store) -> None:
    first, second, elsewhere = (
        new_workflow(deduplication_id="d", queue_name=queue) for queue in ("a", "a", "b")
    )

    started = [store.start_workflows([one])[0] for one in (first, second, elsewhere)]
    with pytest.raises(dbos.DuplicateWorkflow, match="'d' is taken"):
        store.start_workflows(
            [new_workflow(deduplication_id="d", queue_name="a", on_duplicate="reject")]
        )
    store.cancel_workflows([first.workflow_id])
    (after,) = store.start_workflows([new_workflow(deduplication_id="d", queue_name="a")])

    assert [one.workflow_id for one in started] == [
        first.workflow_id,
        first.workflow_id,
        elsewhere.workflow_id,
    ]
    assert after.is_new
