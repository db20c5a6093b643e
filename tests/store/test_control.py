"""Cancelling, resuming and hastening workflows: many in batches, whatever their relations."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from django.db import connection, transaction
from django.db.models import QuerySet

from django_dbos.models import Workflow
from django_dbos.store import errors
from django_dbos.store.base import Store
from django_dbos.store.control import BATCH
from tests.store.conftest import new_workflow

Note = Callable[[str], list[int]]


@pytest.fixture
def note(monkeypatch: pytest.MonkeyPatch, store: Store) -> Note:
    """Collect the number of workflows in each call of a method of the store."""

    def noted(method: str) -> list[int]:
        sizes: list[int] = []
        do = getattr(type(store), method)

        def noting(self: Store, workflow_ids: Any, *more: Any) -> Any:
            sizes.append(len(workflow_ids))
            return do(self, workflow_ids, *more)

        monkeypatch.setattr(type(store), method, noting)
        return sizes

    return noted


def start(store: Store, count: int, **options: Any) -> list[str]:
    new = [new_workflow(**options) for _ in range(count)]
    store.start_workflows(new)
    return [one.workflow_id for one in new]


def statuses() -> set[str]:
    return set(Workflow.objects.values_list("status", flat=True))


def test_many_are_cancelled_and_resumed_in_batches(store: Store, note: Note) -> None:
    ids = start(store, 2 * BATCH + 1)
    cancels, resumes = note("_cancel"), note("_resume")

    assert all(store.cancel_workflows([*ids, ids[0]]).values())
    assert statuses() == {"CANCELLED"}
    assert all(store.resume_workflows([*ids, ids[0]]).values())

    assert statuses() == {"ENQUEUED"}
    assert cancels == resumes == [BATCH, BATCH, 1]


def test_children_are_cancelled_in_batches_at_any_depth(store: Store, note: Note) -> None:
    """On SQLite, more children than a statement has parameters made the whole call fail."""
    (parent,) = start(store, 1)
    children = start(store, BATCH + 3, parent_id=parent)
    start(store, 2, parent_id=children[-1])
    cancels = note("_cancel")

    assert store.cancel_workflows([parent], children=True) == {parent: True}

    assert statuses() == {"CANCELLED"}
    assert cancels == [1, BATCH, 3, 2]


def test_children_of_finished_workflows_are_cancelled_too(store: Store) -> None:
    (parent,) = start(store, 1)
    start(store, 2, parent_id=parent)
    store.cancel_workflows([parent])

    assert store.cancel_workflows([parent], children=True) == {parent: False}

    assert statuses() == {"CANCELLED"}


@pytest.mark.parametrize("length", [1, 2, 3])
def test_a_circle_of_descendants_ends_the_search(store: Store, length: int) -> None:
    """An id can be used again once retention has deleted its workflow."""
    ids = start(store, length)
    for child, parent in zip(ids, ids[1:] + ids[:1], strict=True):
        QuerySet(Workflow).filter(pk=child).update(parent_id=parent)

    assert store.cancel_workflows(ids[:1], children=True) == {ids[0]: True}

    assert statuses() == {"CANCELLED"}


def test_each_batch_is_committed_unless_the_caller_has_a_transaction(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    ids = start(store, BATCH + 1)
    cancel = type(store)._cancel

    def fail(self: Store, workflow_ids: Any, *more: Any) -> Any:
        if len(workflow_ids) == 1:
            raise errors.Unavailable("gone")
        return cancel(self, workflow_ids, *more)

    monkeypatch.setattr(type(store), "_cancel", fail)

    with pytest.raises(errors.Unavailable), transaction.atomic():
        store.cancel_workflows(ids)
    assert statuses() == {"ENQUEUED"}

    with pytest.raises(errors.Unavailable):
        store.cancel_workflows(ids)
    assert Workflow.objects.filter(status="CANCELLED").count() == BATCH


def test_a_workflow_whose_deduplication_id_is_taken_is_not_resumed(store: Store) -> None:
    first, second = (start(store, 1, deduplication_id=one)[0] for one in ("a", "b"))
    store.cancel_workflows([first, second])
    (holder,) = start(store, 1, deduplication_id="a")

    assert store.resume_workflows([first, second]) == {first: False, second: True}
    assert store.resume_workflows([first]) == {first: False}

    store.cancel_workflows([holder])
    assert store.resume_workflows([first]) == {first: True}


@pytest.mark.parametrize("is_in_transaction", [True, False])
def test_only_the_first_with_a_deduplication_id_is_resumed(
    store: Store, is_in_transaction: bool
) -> None:
    twins = []
    for _ in range(2):
        twins += start(store, 1, deduplication_id="a")
        store.cancel_workflows(twins)
    (other,) = start(store, 1)
    store.cancel_workflows([other])

    if is_in_transaction:
        with transaction.atomic():
            found = store.resume_workflows([*twins, other])
            connection.cursor().execute("SELECT 1")
    else:
        found = store.resume_workflows([*twins, other])

    assert found == {twins[0]: True, twins[1]: False, other: True}


def test_a_delayed_workflow_is_run_now(store: Store) -> None:
    delayed = new_workflow(delay=3600.0)
    store.start_workflows([delayed])

    assert store.run_now(delayed.workflow_id)

    assert Workflow.objects.get().status == "ENQUEUED"
    assert not store.run_now(delayed.workflow_id)
