"""The liveness of executors: what other processes read of it, heartbeats, recovery."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import pytest
from django.db.models import QuerySet

from django_dbos.core.records import Claim, RecordWait, Suspend, Wake
from django_dbos.fields import DatabaseNow
from django_dbos.models import Event, Executor, Message, StreamEntry, Workflow
from django_dbos.store.base import Store
from django_dbos.store.sessions import Session
from tests.store.conftest import age, checkpoint, declare_dead, register

LONG_AGO = datetime(2020, 1, 1, tzinfo=UTC)


def is_served(store: Store, queue_name: str) -> bool:
    reason = store.reader.why_unclaimed(queue_name, "shop.checkout", None)
    assert reason in ("", f"no live worker serves queue {queue_name!r}; run dbos_worker")
    return not reason


def test_only_an_executor_within_its_lease_serves_a_queue(store: Store) -> None:
    """A killed worker used to count as live until another executor declared it dead."""
    assert not is_served(store, "default")

    executor_id = register(store, lease=20.0)
    assert is_served(store, "default")

    age(executor_id, timedelta(seconds=21))
    assert not is_served(store, "default")


def test_an_executor_that_was_declared_dead_can_be_read(store: Store) -> None:
    """PostgreSQL's -infinity is out of Python's range; reading such a row raised an error."""
    executor_id = register(store)
    declare_dead(store, executor_id)

    (row,) = Executor.objects.all().judged()

    assert row.heard_at is None
    assert not row.is_live
    assert not is_served(store, "default")


def test_an_executor_serves_its_queues(store: Store) -> None:
    register(store, queue_names='["mail"]')
    register(store, is_inline=True)

    assert is_served(store, "mail")
    assert not is_served(store, "default")


def test_a_worker_without_the_function_does_not_count(store: Store) -> None:
    register(store, workflow_names='["shop.old"]')

    reason = store.reader.why_unclaimed("default", "shop.checkout", None)
    assert reason.startswith(
        "no live worker of queue 'default' knows its function 'shop.checkout';"
    )

    register(store, workflow_names='["shop.checkout"]')
    assert store.reader.why_unclaimed("default", "shop.checkout", None) == ""


def test_a_misspelt_function_is_told_of_the_one_that_a_worker_knows(store: Store) -> None:
    register(store, workflow_names='["shop.checkout", "shop.refund"]')

    reason = store.reader.why_unclaimed("default", "shop.chekout", None)

    assert "knows its function 'shop.chekout', but one knows 'shop.checkout'; deploy" in reason


@pytest.mark.rule(4)
def test_a_heartbeat_of_a_deregistered_executor_reports_it(
    store: Store, session: Session, executor_id: str
) -> None:
    assert store.heartbeat(session, executor_id, None).is_registered
    store.deregister_executor(session, executor_id)

    assert not store.heartbeat(session, executor_id, None).is_registered


@pytest.mark.rule(4)
def test_an_executor_within_its_lease_is_not_recovered(
    store: Store, session: Session, executor_id: str, claim: Callable[..., Claim]
) -> None:
    held = claim()

    assert store.recover_executor(session, executor_id, is_unlocked=False) is None

    assert store.list_held(session, executor_id).claims == {held.workflow_id: held.claim_number}


@pytest.mark.rule(5)
def test_an_executor_whose_lock_is_free_is_recovered_after_its_silence(
    store: Store, session: Session
) -> None:
    """It may just have lost the connection that held the lock, and is about to take it again."""
    other, silence = register(store, lease=7_200.0), 3_600.0

    assert store.recover_executor(session, other, is_unlocked=True, silence=silence) is None
    age(other, timedelta(seconds=silence + 1))
    assert store.recover_executor(session, other, is_unlocked=False, silence=silence) is None
    assert store.recover_executor(session, other, is_unlocked=True, silence=silence) is not None


@pytest.mark.rule(1)
def test_the_workflows_of_an_executor_without_a_row_are_enqueued(
    store: Store, session: Session, executor_id: str, claim: Callable[..., Claim]
) -> None:
    held = claim(queue_name="a")
    assert store.list_orphans(session) == []
    store.deregister_executor(session, executor_id)
    assert store.list_orphans(session) == [executor_id]

    recovered = store.recover_executor(session, executor_id, is_unlocked=False, is_orphaned=True)

    assert recovered is not None
    assert (recovered.enqueued, recovered.lanes) == ([held.workflow_id], [("a", 0)])
    assert store.list_orphans(session) == []
    assert Workflow.objects.get().claim_number > held.claim_number


def _write_silently(what: str, receiver_id: str, other_id: str) -> None:
    """Write what is awaited, a while ago, and wake nobody."""
    match what:
        case "message":
            sent = Message(
                workflow_id=receiver_id, topic="paid", message_text="1", created_at=DatabaseNow()
            )
            QuerySet(Message).bulk_create([sent])
        case "event":
            event = Event(
                workflow_id=other_id,
                key="paid",
                value_text="1",
                version=1,
                updated_at=DatabaseNow(),
            )
            QuerySet(Event).bulk_create([event])
        case "entry":
            entries = [
                StreamEntry(
                    workflow_id=other_id,
                    key="paid",
                    offset=offset,
                    value_text="1",
                    step_number=1,
                    write_id=uuid4(),
                    created_at=LONG_AGO,
                )
                for offset in range(2)
            ]
            QuerySet(StreamEntry).bulk_create(entries)
        case _:
            ended = QuerySet(Workflow).filter(pk=other_id)
            ended.update(status="SUCCESS", finished_at=LONG_AGO, executor_id=None)


@pytest.mark.rule(16)
@pytest.mark.parametrize("what", ["message", "event", "result", "entry", "stream's end"])
@pytest.mark.parametrize("of_several", [False, True], ids=["alone", "of several"])
def test_a_heartbeat_reports_a_lost_wake_up(
    store: Store,
    session: Session,
    executor_id: str,
    claim: Callable[..., Claim],
    what: str,
    of_several: bool,
) -> None:
    held, other = claim(), claim(workflow_id="other")
    wake = {
        "message": Wake.of_message(held.workflow_id, "paid"),
        "event": Wake.of_event(other.workflow_id, "paid"),
        "result": Wake.of_result(other.workflow_id),
        "entry": Wake.of_stream(other.workflow_id, "paid", 1),
        "stream's end": Wake.of_stream(other.workflow_id, "paid", 1),
    }[what]
    if of_several:
        wake = Wake.of_any(held.workflow_id, [wake], "something")
    values: dict[str, Any] = {"workflow_id": held.workflow_id, "claim_number": held.claim_number}
    look = RecordWait(checkpoint=checkpoint(held), wake=wake, timeout=None, **values)
    store.apply(session, executor_id, [look], is_repeat=False)
    suspend = Suspend(wake=wake, step_number=1, **values)
    store.apply(session, executor_id, [suspend], is_repeat=False)
    report = store.heartbeat(session, executor_id, None)
    report = store.heartbeat(session, executor_id, report)
    assert not report.has_lost_wakeup

    # Its sender dies between its commit and the wake-up.
    _write_silently(what, held.workflow_id, other.workflow_id)

    assert store.heartbeat(session, executor_id, report).has_lost_wakeup
