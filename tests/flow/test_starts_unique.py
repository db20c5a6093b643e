"""unique_for: a deduplication id that stays taken after the end of its workflow."""

from __future__ import annotations

from contextlib import nullcontext
from typing import Any

import pytest
from django.db import transaction

import django_dbos as dbos
from django_dbos.models import Workflow
from django_dbos.store import get_store
from django_dbos.testing import advance, run_until_idle
from tests.flow.concurrency import together
from tests.flow.workflows import anotes, astarts, fails, notes, ran, starts, starts_many
from tests.keeping.marking import mark

pytestmark = pytest.mark.django_db
HOUR = 3_600
ONCE = dbos.StartOptions(deduplication_id="d", unique_for=HOUR)


def test_the_id_is_taken_for_the_whole_time() -> None:
    first = notes.using(**ONCE).start(1)
    run_until_idle()
    assert first.get_result() == 1

    advance(HOUR - 60)
    assert notes.using(**ONCE).start(2) == first
    advance(120)
    second = notes.using(**ONCE).start(3)

    assert second != first
    run_until_idle()
    assert ran == [1, 3]


def test_it_is_taken_for_starts_without_the_option_and_for_other_functions() -> None:
    first = notes.using(**ONCE).start(1)
    run_until_idle()

    assert anotes.using(deduplication_id="d").start(2) == first
    assert notes.using(deduplication_id="d", queue_name="other").start(3) != first


def test_an_active_one_keeps_it_for_longer() -> None:
    first = notes.using(**ONCE, run_after=2 * HOUR).start(1)

    advance(HOUR + 60)
    assert notes.using(**ONCE).start(2) == first
    advance(HOUR)
    run_until_idle()

    assert notes.using(**ONCE).start(3) != first


@pytest.mark.parametrize("status", ["CANCELLED", "ERROR"])
def test_it_is_taken_however_the_workflow_ended(status: str) -> None:
    first = fails.using(**ONCE).start()
    if status == "CANCELLED":
        first.cancel()
    run_until_idle()
    assert first.get_status() == status

    assert notes.using(**ONCE).start(2) == first


def test_a_start_may_be_rejected_instead() -> None:
    first = notes.using(**ONCE).start(1)
    run_until_idle()

    with pytest.raises(dbos.DuplicateWorkflow, match="was started with unique_for") as caught:
        notes.using(**ONCE, on_duplicate="reject").start(2)

    assert caught.value.workflow_id == first.workflow_id


@pytest.mark.rule(30)
def test_another_users_result_is_withheld() -> None:
    notes.using(**ONCE, user="ada").start(1)
    run_until_idle()

    with pytest.raises(dbos.UserConflict):
        notes.using(**ONCE, user="bob").start(2)


@pytest.mark.parametrize("parent", [starts, astarts, starts_many])
def test_children_obey_it(parent: Any) -> None:
    ids = []
    for number in range(3):
        handle = parent.start(ONCE, number)
        run_until_idle()
        ids.append(handle.get_result())
        if number == 1:
            advance(HOUR + 1)

    assert ids[0] == ids[1] != ids[2]
    assert ran == [0, 2]


def test_a_call_returns_the_first_result() -> None:
    assert notes.using(**ONCE)(1) == 1
    assert notes.using(**ONCE)(2) == 1


def test_a_cancelled_one_can_be_resumed() -> None:
    first = notes.using(**ONCE).start(1)
    first.cancel()

    assert first.resume()
    run_until_idle()

    assert ran == [1]
    assert notes.using(**ONCE).start(2) == first


def test_resume_respects_the_id_of_an_ended_workflow() -> None:
    old = notes.using(deduplication_id="d").start(1)
    old.cancel()
    notes.using(**ONCE).start(2)
    run_until_idle()

    assert not old.resume()
    assert Workflow.objects.filter(pk=old.workflow_id).resume() == {old.workflow_id: False}
    advance(HOUR + 1)
    assert old.resume()


@pytest.mark.rule(63)
@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("in_transaction", [False, True])
def test_of_many_at_once_exactly_one_is_started(worker: Any, in_transaction: bool) -> None:
    """Also while the first of them ends, and when the time of the last one is over."""

    def start(number: int) -> str:
        with transaction.atomic() if in_transaction else nullcontext():
            return notes.using(**ONCE).start(number).workflow_id

    for turn in range(1, 4):
        ids = together(8, start) + together(8, start)

        assert len(set(ids)) == 1
        worker.wait_until_idle()
        assert len(ran) == turn
        advance(HOUR + 1)


@pytest.mark.rule(63)
@pytest.mark.django_db(transaction=True)
def test_starts_with_and_without_the_option_meet() -> None:
    """The ended one stays in the index that starts meet in: no look-up could come too early."""
    first = notes.using(**ONCE).start(0)
    run_until_idle()
    plain = notes.using(deduplication_id="d")

    ids = together(8, lambda number: plain.start(number).workflow_id)

    assert set(ids) == {first.workflow_id}


@pytest.mark.django_db(transaction=True)
def test_retention_keeps_it_as_long() -> None:
    first = notes.using(**ONCE).start(1)
    other = notes.start(2)
    run_until_idle()
    store = get_store()

    marked = mark(store, store.session())

    assert marked == [other.workflow_id]
    advance(HOUR + 1)
    assert first.workflow_id in mark(store, store.session())
