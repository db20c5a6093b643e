"""Places: what frees one, what keeps it, and who is notified, statement by statement."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.db.models import QuerySet
from django.utils import timezone

from django_dbos.core.batch.notifications import Notifications
from django_dbos.core.records import (
    Claim,
    Finish,
    Lane,
    NewMessage,
    RecordStart,
    RecordWait,
    Release,
    State,
    Suspend,
    Verdict,
    Wake,
    Write,
)
from django_dbos.core.status import Status
from django_dbos.models import Message, Queue, Workflow
from django_dbos.store.base import Store
from django_dbos.store.sessions import Session
from tests.flow.managed import make_queue
from tests.keeping.marking import mark
from tests.store.conftest import checkpoint, new_workflow, register

pytestmark = pytest.mark.django_db(transaction=True)

ALL = Lane("mail", None)


@pytest.fixture(autouse=True)
def _managed_queue() -> None:
    make_queue(concurrency=1)


@pytest.fixture
def hold(store: Store, executor_id: str) -> Callable[..., Claim]:
    """Start a workflow in the managed queue and claim it with a place."""

    def make(place: int = 1, **options: Any) -> Claim:
        new = new_workflow(queue_name="mail", **options)
        store.start_workflows([new])
        changes = {"status": "PENDING", "executor_id": executor_id, "place": place}
        changes |= {"claim_number": 1, "started_at": timezone.now()}
        rows_of(new.workflow_id).update(**changes)
        return Claim(
            workflow_id=new.workflow_id,
            claim_number=1,
            name=new.name,
            input=new.input,
            token=new.token,
            queue_name="mail",
            place=place,
        )

    return make


Hold = Callable[..., Claim]


def rows_of(workflow_id: str) -> QuerySet[Workflow]:
    return QuerySet(Workflow).filter(pk=workflow_id)


def state(workflow_id: str) -> tuple[str, int, bool]:
    """Return the status, the place, and whether an executor holds it."""
    row = Workflow.objects.get(pk=workflow_id)
    return str(row.status), int(row.place), row.executor_id is not None


def position(workflow_id: str) -> int:
    return int(Workflow.objects.get(pk=workflow_id).queue_sequence)


def written(store: Store, session: Session, executor_id: str, *writes: Write) -> list[Lane]:
    """Write a batch; return the lanes that are notified after its commit."""
    plan = store.apply(session, executor_id, writes, is_repeat=False)
    assert all(answer.verdict is Verdict.DONE for answer in plan.answers)
    return Notifications.of_plan(plan).lanes


def finish(claim: Claim, **values: Any) -> Finish:
    return Finish(
        workflow_id=claim.workflow_id,
        claim_number=claim.claim_number,
        status=values.pop("status", Status.SUCCESS),
        queue_name=claim.ending_frees,
        **values,
    )


def suspension(store: Store, session: Session, executor_id: str, claim: Claim) -> Suspend:
    """Record the beginning of a wait for a message; return its suspension."""
    wake = Wake.of_message(claim.workflow_id, "")
    point = checkpoint(claim, state=State.WAITING)
    wait = RecordWait(
        workflow_id=claim.workflow_id, claim_number=1, checkpoint=point, wake=wake, timeout=None
    )
    store.apply(session, executor_id, [wait], is_repeat=False)
    return Suspend(
        workflow_id=claim.workflow_id,
        claim_number=1,
        wake=wake,
        step_number=1,
        queue_name=claim.waiting_frees,
    )


def send(store: Store, claim: Claim) -> None:
    store.send_messages([NewMessage(workflow_id=claim.workflow_id, topic="", message="1")])


# Ends


@pytest.mark.rule(61)
@pytest.mark.parametrize("place", [1, 2])
@pytest.mark.parametrize("count", [1, 3])
def test_an_end_frees_the_place_and_notifies_the_whole_queue(
    store: Store, session: Session, executor_id: str, hold: Hold, place: int, count: int
) -> None:
    claims = [hold(place) for _ in range(count)]

    lanes = written(store, session, executor_id, *map(finish, claims))

    assert lanes == [ALL]
    assert [state(claim.workflow_id) for claim in claims] == [("SUCCESS", 0, False)] * count


def test_a_quarantine_by_the_run_frees_the_place(
    store: Store, session: Session, executor_id: str, hold: Hold
) -> None:
    claim = hold()
    end = finish(claim, status=Status.ERROR, error="{}", is_quarantined=True)

    assert written(store, session, executor_id, end) == [ALL]
    assert state(claim.workflow_id) == ("ERROR", 0, False)


def test_an_end_without_a_place_notifies_no_queue(
    store: Store, session: Session, executor_id: str, hold: Hold
) -> None:
    claim = hold(0)

    assert written(store, session, executor_id, finish(claim)) == []


# Waits


@pytest.mark.rule(60)
def test_a_suspension_frees_the_place_and_a_wake_up_comes_first(
    store: Store, session: Session, executor_id: str, hold: Hold
) -> None:
    claim = hold()
    suspended = suspension(store, session, executor_id, claim)

    assert written(store, session, executor_id, suspended) == [ALL]
    assert state(claim.workflow_id) == ("WAITING", 0, False)

    store.start_workflows([new := new_workflow(queue_name="mail")])
    send(store, claim)

    assert state(claim.workflow_id) == ("ENQUEUED", 0, False)
    assert position(claim.workflow_id) < 0 < position(new.workflow_id)


@pytest.mark.rule(60)
def test_a_place_until_the_end_is_kept_while_the_workflow_waits(
    store: Store, session: Session, executor_id: str, hold: Hold
) -> None:
    claim = hold(2)
    suspended = suspension(store, session, executor_id, claim)

    assert written(store, session, executor_id, suspended) == []
    assert state(claim.workflow_id) == ("WAITING", 2, False)

    send(store, claim)

    assert state(claim.workflow_id) == ("ENQUEUED", 2, False)


@pytest.mark.rule(60)
def test_a_wait_that_times_out_comes_first_and_a_delayed_start_last(
    store: Store, session: Session, executor_id: str, hold: Hold
) -> None:
    claim = hold()
    written(store, session, executor_id, suspension(store, session, executor_id, claim))
    delayed = new_workflow(queue_name="mail", delay=100.0)
    store.start_workflows([delayed])
    past = timezone.now() - timedelta(seconds=1)
    QuerySet(Workflow).update(due_at=past)

    assert store.enqueue_due(session, 10) == [Lane("mail", 0)]

    assert position(claim.workflow_id) < 0 < position(delayed.workflow_id)


@pytest.mark.rule(60)
def test_a_lost_wake_up_comes_first_when_it_is_found(
    store: Store, session: Session, executor_id: str, hold: Hold
) -> None:
    claim = hold()
    written(store, session, executor_id, suspension(store, session, executor_id, claim))
    insert_message(claim.workflow_id)

    store.wake_satisfied(session)

    assert position(claim.workflow_id) < 0


def insert_message(workflow_id: str) -> None:
    message = Message(
        workflow_id=workflow_id, topic="", message_text="1", created_at=timezone.now()
    )
    QuerySet(Message).bulk_create([message])


@pytest.mark.rule(60)
def test_a_woken_workflow_of_an_unlimited_queue_queues_at_the_end(
    store: Store, session: Session, executor_id: str, hold: Hold
) -> None:
    QuerySet(Queue).update(is_managed=False)
    claim = hold(0)
    written(store, session, executor_id, suspension(store, session, executor_id, claim))
    store.start_workflows([new := new_workflow(queue_name="mail")])

    send(store, claim)

    assert position(claim.workflow_id) > position(new.workflow_id)


@pytest.mark.rule(60)
def test_a_resumed_wait_keeps_its_place_until_the_end_and_comes_first(
    store: Store, session: Session, executor_id: str, hold: Hold
) -> None:
    claim = hold(2)
    written(store, session, executor_id, suspension(store, session, executor_id, claim))

    assert store.resume_workflows([claim.workflow_id]) == {claim.workflow_id: True}

    assert state(claim.workflow_id) == ("ENQUEUED", 2, False)
    assert position(claim.workflow_id) < 0


# Releases and recovery


def release(store: Store, session: Session, executor_id: str, claim: Claim) -> list[Lane]:
    end = Release(workflow_id=claim.workflow_id, claim_number=1)
    return written(store, session, executor_id, end)


def recover(store: Store, session: Session, executor_id: str, _claim: Claim) -> list[Lane]:
    recovered = store.recover_executor(session, executor_id, is_unlocked=True, silence=-1.0)
    assert recovered is not None
    return recovered.lanes


@pytest.mark.rule(60)
@pytest.mark.parametrize("give_back", [release, recover])
@pytest.mark.parametrize(("place", "kept"), [(1, 0), (2, 2)])
def test_a_claim_given_back_frees_the_place_unless_it_is_kept_until_the_end(
    store: Store,
    session: Session,
    executor_id: str,
    hold: Hold,
    give_back: Callable[..., list[Lane]],
    place: int,
    kept: int,
) -> None:
    claim = hold(place)

    assert give_back(store, session, executor_id, claim) == [Lane("mail", 0)]

    assert state(claim.workflow_id) == ("ENQUEUED", kept, False)
    assert position(claim.workflow_id) < 0


def test_a_given_up_workflow_frees_its_place(
    store: Store, session: Session, executor_id: str, hold: Hold
) -> None:
    claim = hold(2, max_recovery_attempts=0)

    recovered = store.recover_executor(session, executor_id, is_unlocked=True, silence=-1.0)

    assert recovered is not None
    assert recovered.given_up == [claim.workflow_id]
    assert state(claim.workflow_id) == ("MAX_RECOVERY_ATTEMPTS_EXCEEDED", 0, False)


def test_a_quarantined_claim_frees_its_place(
    store: Store, session: Session, executor_id: str, hold: Hold
) -> None:
    claim = hold(2)

    assert store.quarantine(session, executor_id, claim.workflow_id, "{}") == [ALL]
    assert state(claim.workflow_id) == ("ERROR", 0, False)


# Claims that are taken while a function runs


def cancel(store: Store, claim: Claim) -> None:
    assert store.cancel_workflows([claim.workflow_id]) == {claim.workflow_id: True}


def pass_deadline(store: Store, claim: Claim) -> None:
    rows_of(claim.workflow_id).update(deadline_at=timezone.now() - timedelta(seconds=1))
    expired, freed = store.expire_deadlines(store.session(), 10)
    assert (expired, freed) == ([claim.workflow_id], [])


def find_past_deadline(store: Store, claim: Claim) -> None:
    """The run finds out at its next write that the deadline has passed."""
    row = Workflow.objects.get(pk=claim.workflow_id)
    rows_of(claim.workflow_id).update(deadline_at=timezone.now() - timedelta(seconds=1))
    write = Write(workflow_id=claim.workflow_id, claim_number=1)
    plan = store.apply(store.session(), str(row.executor_id), [write], is_repeat=False)
    assert plan.answers[0].verdict is Verdict.PAST_DEADLINE
    assert Notifications.of_plan(plan).lanes == []


TAKEN = [cancel, pass_deadline, find_past_deadline]


@pytest.mark.rule(58)
@pytest.mark.parametrize("take", TAKEN)
@pytest.mark.parametrize("place", [1, 2])
def test_a_place_lingers_until_the_executor_frees_it(
    store: Store, session: Session, executor_id: str, hold: Hold, place: int, take: Any
) -> None:
    claim = hold(place)

    take(store, claim)

    assert state(claim.workflow_id) == ("CANCELLED", place, True)
    lingering = store.list_held(session, executor_id).lingering
    assert list(lingering) == [claim.workflow_id]

    assert store.free_places(session, executor_id, lingering) == (1, [ALL])
    assert state(claim.workflow_id) == ("CANCELLED", 0, False)
    assert store.free_places(session, executor_id, lingering) == (0, [])


@pytest.mark.rule(58)
def test_a_resumed_workflow_keeps_its_lingering_place(
    store: Store, session: Session, executor_id: str, hold: Hold
) -> None:
    claim = hold()
    cancel(store, claim)
    listed = store.list_held(session, executor_id).lingering

    assert store.resume_workflows([claim.workflow_id]) == {claim.workflow_id: True}

    assert state(claim.workflow_id) == ("ENQUEUED", 1, True)
    # The row has changed since it was listed.
    assert store.free_places(session, executor_id, listed) == (0, [])
    lingering = store.list_held(session, executor_id).lingering
    assert store.free_places(session, executor_id, lingering) == (1, [ALL])
    assert state(claim.workflow_id) == ("ENQUEUED", 0, False)


@pytest.mark.rule(58)
def test_a_resumed_workflow_that_is_cancelled_again_keeps_its_lingering_place(
    store: Store, session: Session, executor_id: str, hold: Hold
) -> None:
    claim = hold()
    cancel(store, claim)
    store.resume_workflows([claim.workflow_id])

    cancel(store, claim)

    assert state(claim.workflow_id) == ("CANCELLED", 1, True)


@pytest.mark.rule(58)
def test_a_late_request_to_free_a_place_does_not_free_that_of_a_later_claim(
    store: Store, session: Session, executor_id: str, hold: Hold
) -> None:
    claim = hold()
    cancel(store, claim)
    late = store.list_held(session, executor_id).lingering
    store.resume_workflows([claim.workflow_id])
    rows_of(claim.workflow_id).update(status="PENDING", claim_number=4, place=1)
    cancel(store, claim)

    assert store.free_places(session, executor_id, late) == (0, [])

    assert state(claim.workflow_id) == ("CANCELLED", 1, True)


@pytest.mark.rule(61)
@pytest.mark.parametrize("is_woken", [False, True])
def test_a_cancelled_wait_frees_its_place_at_once(
    store: Store,
    session: Session,
    executor_id: str,
    hold: Hold,
    is_woken: bool,
    notified: list[Lane],
) -> None:
    claim = hold(2)
    written(store, session, executor_id, suspension(store, session, executor_id, claim))
    if is_woken:
        send(store, claim)
    notified.clear()

    cancel(store, claim)

    assert state(claim.workflow_id) == ("CANCELLED", 0, False)
    assert notified == [ALL]


@pytest.mark.rule(61)
def test_a_workflow_that_is_resumed_in_another_queue_frees_its_place(
    store: Store, session: Session, executor_id: str, hold: Hold, notified: list[Lane]
) -> None:
    claim = hold(2)
    written(store, session, executor_id, suspension(store, session, executor_id, claim))
    notified.clear()

    store.resume_workflows([claim.workflow_id], queue_name="other")

    assert state(claim.workflow_id) == ("ENQUEUED", 0, False)
    assert sorted(notified, key=str) == [ALL, Lane("other", 0)]


@pytest.mark.rule(61)
def test_the_cancellation_of_a_workflow_without_a_place_notifies_no_queue(
    store: Store, notified: list[Lane]
) -> None:
    store.start_workflows([new := new_workflow(queue_name="mail")])
    notified.clear()

    assert store.cancel_workflows([new.workflow_id]) == {new.workflow_id: True}

    assert notified == []


@pytest.mark.rule(58)
def test_the_lingering_place_of_a_dead_executor_is_freed_with_its_recovery(
    store: Store, session: Session, executor_id: str, hold: Hold
) -> None:
    claim = hold()
    cancel(store, claim)

    recovered = store.recover_executor(session, executor_id, is_unlocked=True, silence=-1.0)

    assert recovered is not None
    assert (recovered.lanes, recovered.left) == ([ALL], 0)
    assert state(claim.workflow_id) == ("CANCELLED", 0, False)


@pytest.mark.rule(58)
def test_the_lingering_place_of_an_executor_without_a_row_is_found(
    store: Store, session: Session, executor_id: str, hold: Hold
) -> None:
    cancel(store, hold())
    assert store.list_orphans(session) == []
    store.deregister_executor(session, executor_id)

    assert store.list_orphans(session) == [executor_id]


@pytest.mark.rule(58)
def test_a_heartbeat_counts_lingering_places_among_the_held_workflows(
    store: Store, session: Session, executor_id: str, hold: Hold
) -> None:
    hold()
    cancel(store, hold())

    assert store.heartbeat(session, executor_id, None).held_count == 2


@pytest.mark.rule(58)
def test_retention_keeps_a_workflow_while_its_place_lingers(
    store: Store, session: Session, executor_id: str, hold: Hold
) -> None:
    claim = hold()
    cancel(store, claim)
    long_ago = timezone.now() - timedelta(days=2)
    rows_of(claim.workflow_id).update(created_at=long_ago, finished_at=long_ago)

    def delete() -> None:
        store.delete_marked(session, mark(store, session, 86_400.0))

    delete()
    assert state(claim.workflow_id) == ("CANCELLED", 1, True)

    lingering = store.list_held(session, executor_id).lingering
    store.free_places(session, executor_id, lingering)
    delete()
    assert not Workflow.objects.exists()


# Functions that outlast their executor's claims


@pytest.mark.rule(59)
def test_the_place_of_a_function_that_still_runs_passes_to_the_heir(
    store: Store, session: Session, executor_id: str, hold: Hold
) -> None:
    running, over, heir = hold(), hold(), register(store)
    ids = [running.workflow_id, over.workflow_id]

    store.release_workflows(session, executor_id, ids, still_running=ids[:1], heir=heir)

    assert state(running.workflow_id) == ("ENQUEUED", 1, True)
    assert state(over.workflow_id) == ("ENQUEUED", 0, False)
    assert store.list_held(session, executor_id).count == 0
    assert list(store.list_held(session, heir).lingering) == [running.workflow_id]


@pytest.mark.rule(59)
@pytest.mark.rule(60)
def test_a_handed_over_workflow_keeps_its_place_until_its_end(
    store: Store, session: Session, executor_id: str, hold: Hold
) -> None:
    claim = hold(2)
    ids = [claim.workflow_id]

    store.release_workflows(session, executor_id, ids, still_running=ids)
    assert state(claim.workflow_id) == ("ENQUEUED", 2, True)
    lingering = store.list_held(session, executor_id).lingering

    assert store.free_places(session, executor_id, lingering) == (1, [ALL])
    assert state(claim.workflow_id) == ("ENQUEUED", 2, False)
    assert position(claim.workflow_id) < 0


@pytest.mark.rule(59)
def test_a_resumed_workflow_gives_up_the_place_of_its_former_run(
    store: Store, session: Session, executor_id: str, hold: Hold
) -> None:
    claim = hold(2)
    cancel(store, claim)
    store.resume_workflows([claim.workflow_id])

    store.free_places(session, executor_id, store.list_held(session, executor_id).lingering)

    assert state(claim.workflow_id) == ("ENQUEUED", 0, False)


@pytest.mark.rule(59)
def test_a_lingering_place_passes_to_the_heir(
    store: Store, session: Session, executor_id: str, hold: Hold
) -> None:
    claim, heir = hold(), register(store)
    cancel(store, claim)

    store.move_places(session, executor_id, [claim.workflow_id], heir)

    assert store.list_held(session, executor_id).count == 0
    assert list(store.list_held(session, heir).lingering) == [claim.workflow_id]


@pytest.mark.rule(59)
def test_a_release_without_a_place_leaves_nothing_with_the_heir(
    store: Store, session: Session, executor_id: str, hold: Hold
) -> None:
    claim = hold(0)

    store.release_workflows(
        session, executor_id, [claim.workflow_id], still_running=[claim.workflow_id]
    )

    assert state(claim.workflow_id) == ("ENQUEUED", 0, False)


# Children


@pytest.mark.rule(61)
@pytest.mark.parametrize(("queue_name", "is_claimed"), [("mail", False), ("default", True)])
def test_a_child_in_a_reserved_slot_needs_a_place_where_there_are_limits(
    store: Store, session: Session, executor_id: str, hold: Hold, queue_name: str, is_claimed: bool
) -> None:
    parent = hold()
    child = new_workflow(queue_name=queue_name, parent_id=parent.workflow_id)
    start = RecordStart(
        workflow_id=parent.workflow_id,
        claim_number=1,
        checkpoint=checkpoint(parent),
        workflows=(child,),
        is_reserved=True,
    )

    plan = store.apply(session, executor_id, [start], is_repeat=False)

    assert plan.workflows == [(child, is_claimed)]
    assert plan.unclaimed == ([] if is_claimed else [child.workflow_id])
    expected = ("PENDING", 0, True) if is_claimed else ("ENQUEUED", 0, False)
    assert state(child.workflow_id) == expected
    lanes = Notifications.of_plan(plan).lanes
    assert lanes == ([] if is_claimed else [Lane(queue_name, 0)])
