"""Claims and fences: which runs may write, and which may no longer."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import pytest
from django.db import connection, connections, transaction

from django_dbos.core.records import (
    Claim,
    Finish,
    Lane,
    NewMessage,
    RecordEvent,
    RecordWait,
    Refusal,
    Release,
    Suspend,
    Verdict,
    Wake,
    Write,
)
from django_dbos.core.status import Status
from django_dbos.models import Checkpoint, Executor, Workflow
from django_dbos.store.base import Store
from django_dbos.store.sessions import Session
from tests.capabilities import many_writers
from tests.store.conftest import checkpoint, entry, new_workflow, register, step
from tests.waiting import LIMIT, eventually

Claims = Callable[..., Claim]


def verdicts(store: Store, session: Session, executor_id: str, *writes: Write) -> list[Verdict]:
    plan = store.apply(session, executor_id, list(writes), is_repeat=False)
    return [answer.verdict for answer in plan.answers]


@pytest.mark.rule(1)
@pytest.mark.parametrize("take", ["cancel", "cancel and resume", "release", "suspend"])
def test_every_loss_of_a_claim_fences_its_run(
    store: Store, session: Session, executor_id: str, claim: Claims, take: str
) -> None:
    held = claim()
    if take == "release":
        store.release_workflows(session, executor_id, [held.workflow_id])
    elif take == "suspend":
        wait = _begin_wait(store, session, executor_id, held)
        verdicts(store, session, executor_id, wait)
    else:
        store.cancel_workflows([held.workflow_id])
    if "resume" in take:
        store.resume_workflows([held.workflow_id])
        assert store.claim_workflow(store.session(), executor_id, held.workflow_id)

    found = verdicts(store, session, executor_id, step(held, 2))

    # Even if the same executor claims the workflow again, under another number.
    assert found == [Verdict.CLAIM_LOST]
    assert not Checkpoint.objects.filter(step_number=2).exists()


def _begin_wait(store: Store, session: Session, executor_id: str, held: Claim) -> Suspend:
    wake = Wake.of_message(held.workflow_id, "")
    values: dict[str, Any] = {"workflow_id": held.workflow_id, "claim_number": held.claim_number}
    look = RecordWait(checkpoint=checkpoint(held), wake=wake, timeout=None, **values)
    store.apply(session, executor_id, [look], is_repeat=False)
    return Suspend(wake=wake, step_number=1, **values)


@pytest.mark.rule(7)
def test_another_executor_cannot_write(
    store: Store, session: Session, executor_id: str, claim: Claims
) -> None:
    held, other = claim(), register(store)

    assert verdicts(store, session, other, step(held)) == [Verdict.CLAIM_LOST]
    assert verdicts(store, session, executor_id, step(held)) == [Verdict.DONE]


@pytest.mark.rule(7)
def test_an_existing_checkpoint_is_adopted_and_never_overwritten(
    store: Store, session: Session, executor_id: str, claim: Claims
) -> None:
    held = claim()
    verdicts(store, session, executor_id, step(held, output='"first"'))

    plan = store.apply(session, executor_id, [step(held, output='"second"')], is_repeat=False)

    assert plan.answers[0].verdict is Verdict.FOUND
    assert plan.answers[0].checkpoint is not None
    assert plan.answers[0].checkpoint.output == '"first"'
    assert Checkpoint.objects.get().output == "first"


@many_writers
@pytest.mark.rule(2)
def test_an_open_transaction_with_a_cancel_delays_no_other_workflow(
    store: Store, session: Session, executor_id: str, claim: Claims
) -> None:
    cancelled, other = claim(), claim()
    with transaction.atomic():
        store.cancel_workflows([cancelled.workflow_id])
        answered: list[Any] = []

        def write() -> None:
            writes = [step(cancelled), step(other), entry(other, "1")]
            answered.append(store.apply(session, executor_id, writes, is_repeat=False))

        thread = threading.Thread(target=write)
        thread.start()
        thread.join(LIMIT)
        # During the transaction.
        (plan,) = answered
    connections.close_all()

    # The workflow with the locked row is neither written nor lost: its write is retried.
    assert plan.deferred == [0]
    assert [one.verdict for one in plan.answers[1:]] == [Verdict.DONE, Verdict.DONE]
    assert verdicts(store, session, executor_id, step(cancelled)) == [Verdict.CLAIM_LOST]


@pytest.mark.rule(32)
def test_past_the_deadline_a_run_may_only_end(
    store: Store, session: Session, executor_id: str, claim: Claims
) -> None:
    held = claim()
    with connection.cursor() as cursor:
        cursor.execute("UPDATE dbos_workflow SET deadline_at = '2020-01-01 00:00:00'")

    assert verdicts(store, session, executor_id, step(held)) == [Verdict.PAST_DEADLINE]
    assert Workflow.objects.get().status == "CANCELLED"
    assert not Checkpoint.objects.exists()


@pytest.mark.rule(29)
def test_claims_come_in_the_order_of_the_queue(store: Store, executor_id: str) -> None:
    new = [new_workflow() for _ in range(6)]
    store.start_workflows(new)
    args: dict[str, Any] = {"names": ["tests.work"], "limit": 4}

    first, last = store.claim_workflows(
        store.session(), executor_id, Lane("default", 0), above=-1, **args
    )
    second, _ = store.claim_workflows(
        store.session(), executor_id, Lane("default", 0), above=last, **args
    )

    assert [one.workflow_id for one in first + second] == [one.workflow_id for one in new]


@many_writers
@pytest.mark.rule(49)
def test_a_locked_workflow_is_passed_over(store: Store, session: Session, executor_id: str) -> None:
    locked, other = new_workflow(), new_workflow()
    store.start_workflows([locked, other])

    with transaction.atomic():
        Workflow.objects.select_for_update().get(pk=locked.workflow_id)
        claims, _ = store.claim_workflows(
            session, executor_id, Lane("default", 0), names=["tests.work"], above=-1, limit=1
        )

    assert [claim.workflow_id for claim in claims] == [other.workflow_id]


@pytest.mark.rule(9)
def test_only_registered_functions_are_claimed(store: Store, executor_id: str) -> None:
    store.start_workflows([new_workflow(name="unknown"), new_workflow()])

    claims, _ = store.claim_workflows(
        store.session(), executor_id, Lane("default", 0), names=["tests.work"], above=-1, limit=10
    )

    assert [claim.name for claim in claims] == ["tests.work"]
    assert store.find_unknown("default", ["tests.work"]) is not None


@pytest.mark.rule(4)
def test_an_executor_that_was_declared_dead_claims_nothing(store: Store, executor_id: str) -> None:
    store.start_workflows([new_workflow()])
    assert store.recover_executor(store.session(), executor_id, is_unlocked=True)

    claims, _ = store.claim_workflows(
        store.session(), executor_id, Lane("default", 0), names=["tests.work"], above=-1, limit=10
    )

    assert claims == []
    assert not store.heartbeat(store.session(), executor_id, None).is_registered


@many_writers
@pytest.mark.rule(4)
def test_an_executor_is_not_declared_dead_while_it_claims(
    store: Store, session: Session, executor_id: str
) -> None:
    """Recovery would look for its workflows before the claim is committed, and find none."""
    new = [new_workflow() for _ in range(2)]
    store.start_workflows(new)
    lane = Lane("default", 0)
    options: dict[str, Any] = {"names": ["tests.work"], "above": -1, "limit": 1}
    signs = {"executor_id": executor_id, "is_unlocked": True, "silence": -1.0}

    with transaction.atomic():
        claims, _ = store.claim_workflows(store.session(), executor_id, lane, **options)
        assert session.run("declare_dead", signs) == []
    with transaction.atomic():
        assert store.session().run("declare_dead", signs)
        # Nor does a claim wait for that.
        assert store.claim_workflows(session, executor_id, lane, **options)[0] == []
    recovered = store.recover_executor(session, executor_id, is_unlocked=True, silence=-1.0)

    assert recovered is not None
    assert recovered.enqueued == [claim.workflow_id for claim in claims] == [new[0].workflow_id]


@pytest.mark.rule(8)
def test_a_checkpoint_since_the_claim_resets_the_count(
    store: Store, executor_id: str, claim: Claims
) -> None:
    stuck, moving = claim(), claim()
    for attempt in range(1, 4):
        # Not on a session of the dead executor, which recovery terminates.
        verdicts(store, store.session(), executor_id, step(moving, attempt))
        store.recover_executor(store.session(), executor_id, is_unlocked=True)
        attempts = dict(Workflow.objects.values_list("workflow_id", "recovery_attempts"))
        assert attempts == {stuck.workflow_id: attempt, moving.workflow_id: 1}
        executor_id = register(store)
        for one in (stuck, moving):
            found = store.claim_workflow(store.session(), executor_id, one.workflow_id)
            assert found is not None
            stuck, moving = (found, moving) if one is stuck else (stuck, found)


@pytest.mark.rule(8)
def test_a_checkpoint_of_an_earlier_claim_does_not_reset_the_count(
    store: Store, executor_id: str, claim: Claims
) -> None:
    held = claim()
    verdicts(store, store.session(), executor_id, step(held))

    for attempt in range(1, 4):
        store.recover_executor(store.session(), executor_id, is_unlocked=True)
        assert Workflow.objects.get().recovery_attempts == attempt
        executor_id = register(store)
        assert store.claim_workflow(store.session(), executor_id, held.workflow_id)


@pytest.mark.rule(8)
def test_a_workflow_is_given_up_after_too_many_dead_claims(store: Store, claim: Claims) -> None:
    held = claim(max_recovery_attempts=2)
    executor_id = str(Workflow.objects.get().executor_id)

    for _ in range(3):
        recovered = store.recover_executor(store.session(), executor_id, is_unlocked=True)
        executor_id = register(store)
        store.claim_workflow(store.session(), executor_id, held.workflow_id)

    assert recovered is not None
    assert recovered.given_up == [held.workflow_id]
    assert Workflow.objects.get().status == "MAX_RECOVERY_ATTEMPTS_EXCEEDED"


@pytest.mark.rule(8)
def test_suspects_are_claimed_one_at_a_time(store: Store, executor_id: str) -> None:
    store.start_workflows([new_workflow() for _ in range(3)])
    with connection.cursor() as cursor:
        cursor.execute("UPDATE dbos_workflow SET recovery_attempts = 3")
    names = ["tests.work"]

    normal, _ = store.claim_workflows(
        store.session(), executor_id, Lane("default", 0), names=names, above=-1, limit=10
    )
    suspects = store.claim_suspect(
        store.session(), executor_id, queue_names=["default"], names=names
    )

    assert normal == []
    assert len(suspects) == 1


@pytest.mark.rule(3)
def test_executors_without_a_row_are_found(store: Store, claim: Claims) -> None:
    held = claim()
    executor_id = str(Workflow.objects.get().executor_id)
    store.deregister_executor(store.session(), executor_id)

    assert store.list_orphans(store.session()) == [executor_id]
    recovered = store.recover_executor(
        store.session(), executor_id, is_unlocked=True, is_orphaned=True
    )

    assert recovered is not None
    assert recovered.enqueued == [held.workflow_id]


@pytest.mark.rule(5)
def test_a_held_lock_shows_that_an_executor_lives(store: Store, executor_id: str) -> None:
    other = register(store)
    holder = store.connect(other, "housekeeping")
    assert store.hold_lock(holder, other)
    store.mark_locked(holder, other)
    looks = [store.heartbeat(store.session(), executor_id, None).unlocked_executors]

    # The process dies: its connection is closed, or its file lock released.
    store.release_lock(holder, other)
    holder.close()
    _eventually_unlocked(store, executor_id, looks)

    assert looks[0] == {}
    assert list(looks[-1]) == [other]


def _eventually_unlocked(store: Store, executor_id: str, looks: list[dict[str, float]]) -> None:
    def look() -> dict[str, float]:
        looks.append(store.heartbeat(store.session(), executor_id, None).unlocked_executors)
        return looks[-1]

    eventually(look)


def test_finishing_and_releasing(
    store: Store, session: Session, executor_id: str, claim: Claims
) -> None:
    done, released = claim(), claim()
    finish = Finish(
        workflow_id=done.workflow_id,
        claim_number=done.claim_number,
        status=Status.SUCCESS,
        output="1",
    )
    release = Release(workflow_id=released.workflow_id, claim_number=released.claim_number)

    assert verdicts(store, session, executor_id, finish, release) == [Verdict.DONE] * 2
    assert verdicts(store, session, executor_id, finish, release) == [Verdict.CLAIM_LOST] * 2

    rows = {str(row.workflow_id): row for row in Workflow.objects.all()}
    assert rows[done.workflow_id].status == "SUCCESS"
    assert rows[released.workflow_id].status == "ENQUEUED"
    assert {row.executor_id for row in rows.values()} == {None}
    assert Executor.objects.count() == 1


@pytest.mark.rule(11)
def test_offsets_are_consecutive_and_the_end_is_final(
    store: Store, session: Session, executor_id: str, claim: Claims
) -> None:
    held = claim()
    writes = [entry(held, "0"), entry(held, "1"), entry(held, None), entry(held, "2")]

    plan = store.apply(session, executor_id, writes, is_repeat=False)

    assert [entry.offset for entry in plan.entries] == [0, 1, 2]
    assert plan.answers[3].refusal is Refusal.STREAM_CLOSED


@pytest.mark.rule(12)
def test_a_repeated_batch_recognizes_its_own_rows(
    store: Store, session: Session, executor_id: str, claim: Claims
) -> None:
    held = claim()
    writes = [entry(held, "0"), entry(held, "1")]
    store.apply(session, executor_id, writes, is_repeat=False)

    # The answer to COMMIT was lost: the same writes are sent again.
    plan = store.apply(session, executor_id, writes, is_repeat=True)

    assert [answer.verdict for answer in plan.answers] == [Verdict.DONE, Verdict.DONE]
    page = store.reader.read_entries(held.workflow_id, "s", 0, 10)
    assert page.entries == [(0, "0"), (1, "1")]


@pytest.mark.rule(13)
def test_two_of_a_kind_in_one_batch(
    store: Store, session: Session, executor_id: str, claim: Claims
) -> None:
    held = claim()
    values: dict[str, Any] = {"workflow_id": held.workflow_id, "claim_number": held.claim_number}
    events = [
        RecordEvent(checkpoint=None, key="k", value=str(n), step_number=1, **values)
        for n in range(3)
    ]
    store.send_messages(
        [NewMessage(workflow_id=held.workflow_id, topic="", message=str(n)) for n in range(2)]
    )
    wake = Wake.of_message(held.workflow_id, "")
    waits = [
        RecordWait(checkpoint=checkpoint(held, n), wake=wake, timeout=0.0, **values) for n in (1, 2)
    ]

    plan = store.apply(session, executor_id, [*events, *waits], is_repeat=False)

    assert store.reader.read_events(held.workflow_id) == [("k", "2", 3)]
    received = [one.checkpoint.output for one in plan.answers[3:] if one.checkpoint]
    assert received == ["0", "1"]
