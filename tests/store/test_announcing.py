"""Wake-ups and notifications: none is lost, whichever process dies in between."""

from __future__ import annotations

import os
import threading
import uuid
from collections.abc import Callable
from typing import Any

import pytest
from django.db import connection, transaction

from django_dbos.core.batch.notifications import Notifications
from django_dbos.core.records import (
    Claim,
    Finish,
    NewMessage,
    RecordWait,
    Suspend,
    Wake,
    WakeKind,
)
from django_dbos.core.status import Status
from django_dbos.models import Workflow
from django_dbos.operations.quarantine import quarantine
from django_dbos.store.base import Store
from django_dbos.store.pubsub import EVERYTHING
from django_dbos.store.sessions import Session
from tests.capabilities import many_writers, notifies, polls
from tests.store.conftest import checkpoint, entry, new_workflow
from tests.waiting import LIMIT

Claims = Callable[..., Claim]


def suspend(store: Store, session: Session, executor_id: str, held: Claim, **options: Any) -> None:
    """Wait for a message, and give the claim up."""
    wake = options.pop("wake", Wake.of_message(held.workflow_id, ""))
    values: dict[str, Any] = {"workflow_id": held.workflow_id, "claim_number": held.claim_number}
    look = RecordWait(checkpoint=checkpoint(held), wake=wake, timeout=None, **values)
    store.apply(session, executor_id, [look], is_repeat=False)
    plan = store.apply(
        session, executor_id, [Suspend(wake=wake, step_number=1, **values)], is_repeat=False
    )
    if not options.pop("dies", False):
        store.announce_plans(session, [plan])


def message_to(claim: Claim) -> NewMessage:
    return NewMessage(workflow_id=claim.workflow_id, topic="", message="1")


def status() -> str:
    return str(Workflow.objects.get().status)


def append_without_notification(offset: int, *, is_end: bool = False) -> None:
    """Append as a writer does that dies between its commit and its notification."""
    with connection.cursor() as cursor:
        cursor.execute(
            "INSERT INTO dbos_stream_entry "
            '(workflow_id, key, "offset", value, is_end, step_number, write_id, created_at) '
            "VALUES ('other', 'k', %s, %s, %s, 1, %s, '2026-01-01 00:00:00')",
            [offset, None if is_end else "1", is_end, uuid.uuid4().hex],
        )


@many_writers
@pytest.mark.rule(15)
def test_a_message_sent_in_an_open_transaction_wakes_after_its_commit(
    store: Store, session: Session, executor_id: str, claim: Claims
) -> None:
    held = claim()
    # The receiver is still running when the message is sent, and suspends before the commit.
    with transaction.atomic():
        store.send_messages([message_to(held)])
        other = threading.Thread(target=suspend, args=(store, session, executor_id, held))
        other.start()
        other.join(LIMIT)
        assert status() == "WAITING"

    assert status() == "ENQUEUED"


@pytest.mark.rule(15)
def test_the_suspender_looks_after_its_commit(
    store: Store, session: Session, executor_id: str, claim: Claims
) -> None:
    held = claim()
    values: dict[str, Any] = {"workflow_id": held.workflow_id, "claim_number": held.claim_number}
    wake = Wake.of_message(held.workflow_id, "")
    look = RecordWait(checkpoint=checkpoint(held), wake=wake, timeout=None, **values)
    store.apply(session, executor_id, [look], is_repeat=False)

    # The message comes between its look and its suspension, whose sender finds nobody waiting.
    store.send_messages([message_to(held)])
    plan = store.apply(
        session, executor_id, [Suspend(wake=wake, step_number=1, **values)], is_repeat=False
    )
    if connection.vendor == "postgresql":
        assert status() == "WAITING"
        store.announce_plans(session, [plan])

    # SQLite's transactions come one after the other: there it looks in that of its suspension.
    assert status() == "ENQUEUED"


@pytest.mark.rule(16)
@pytest.mark.parametrize("kind", ["message", "event", "result", "stream"])
def test_the_sweep_finds_what_a_dead_sender_left(
    store: Store, session: Session, executor_id: str, claim: Claims, kind: str
) -> None:
    other = new_workflow(workflow_id="other")
    store.start_workflows([other])
    held = claim()
    target = held.workflow_id if kind == "message" else "other"
    name = "k" if kind in ("event", "stream") else ""
    wake = Wake(kind=WakeKind(kind), workflow_id=target, name=name, offset=0)
    suspend(store, session, executor_id, held, wake=wake)
    waiting = Workflow.objects.filter(workflow_id=held.workflow_id)
    assert waiting.get().status == "WAITING"

    # The sender commits and dies before it wakes anybody.
    if kind == "message":
        with transaction.atomic():
            store._insert_messages([message_to(held)], Notifications())
    elif kind == "event":
        with connection.cursor() as cursor:
            cursor.execute(
                "INSERT INTO dbos_event (workflow_id, key, value, version, updated_at) "
                "VALUES ('other', 'k', '1', 1, '2026-01-01 00:00:00')"
            )
    elif kind == "stream":
        append_without_notification(0)
    else:
        store._cancel(["other"], store.session())
    assert waiting.get().status == "WAITING"
    store.wake_satisfied(session)

    assert waiting.get().status == "ENQUEUED"


@pytest.mark.rule(16)
@pytest.mark.rule(53)
@pytest.mark.parametrize(
    ("offset", "is_end", "is_woken"), [(0, False, False), (1, False, True), (0, True, True)]
)
def test_the_sweep_wakes_a_reader_for_its_offset_or_the_end(
    store: Store,
    session: Session,
    executor_id: str,
    claim: Claims,
    offset: int,
    is_end: bool,
    is_woken: bool,
) -> None:
    store.start_workflows([new_workflow(workflow_id="other")])
    held = claim()
    suspend(store, session, executor_id, held, wake=Wake.of_stream("other", "k", 1))
    append_without_notification(offset, is_end=is_end)

    store.wake_satisfied(session)

    row = Workflow.objects.get(pk=held.workflow_id)
    assert row.status == ("ENQUEUED" if is_woken else "WAITING")


def _appends(store: Store, session: Session, executor_id: str, writer: Claim) -> None:
    write = entry(writer, "1", key="k")
    store.announce_plans(session, [store.apply(session, executor_id, [write], is_repeat=False)])


def _closes(store: Store, session: Session, executor_id: str, writer: Claim) -> None:
    write = entry(writer, None, key="k")
    store.announce_plans(session, [store.apply(session, executor_id, [write], is_repeat=False)])


def _finishes(store: Store, session: Session, executor_id: str, writer: Claim) -> None:
    values: dict[str, Any] = {"workflow_id": "other", "claim_number": writer.claim_number}
    write = Finish(status=Status.SUCCESS, output="1", **values)
    store.announce_plans(session, [store.apply(session, executor_id, [write], is_repeat=False)])


def _fails_unfixed(store: Store, session: Session, executor_id: str, writer: Claim) -> None:
    values: dict[str, Any] = {"workflow_id": "other", "claim_number": writer.claim_number}
    write = Finish(status=Status.ERROR, error="{}", is_quarantined=True, **values)
    store.announce_plans(session, [store.apply(session, executor_id, [write], is_repeat=False)])


def _is_quarantined(store: Store, session: Session, executor_id: str, writer: Claim) -> None:
    quarantine(store, session, executor_id, "other", "can't be run", ValueError("x"))


def _is_cancelled(store: Store, session: Session, executor_id: str, writer: Claim) -> None:
    store.cancel_workflows(["other"])


ENDINGS = [_appends, _closes, _finishes, _fails_unfixed, _is_quarantined, _is_cancelled]


@pytest.mark.rule(53)
@pytest.mark.parametrize("ends", ENDINGS)
def test_a_writer_wakes_the_readers_that_wait_for_it(
    store: Store, session: Session, executor_id: str, claim: Claims, ends: Any
) -> None:
    writer, bystander = claim(workflow_id="other"), claim()
    readers = [claim(), claim()]
    for reader in readers:
        suspend(store, session, executor_id, reader, wake=Wake.of_stream("other", "k", 0))
    # It waits for another workflow's stream, of the same name.
    stranger = claim()
    wake = Wake.of_stream(bystander.workflow_id, "k", 0)
    suspend(store, session, executor_id, stranger, wake=wake)

    ends(store, session, executor_id, writer)

    statuses = dict(Workflow.objects.values_list("workflow_id", "status"))
    assert {statuses[reader.workflow_id] for reader in readers} == {"ENQUEUED"}
    assert statuses[stranger.workflow_id] == "WAITING"


@pytest.mark.rule(15)
@pytest.mark.rule(53)
def test_an_entry_that_comes_while_its_reader_suspends_wakes_it(
    store: Store, session: Session, executor_id: str, claim: Claims
) -> None:
    writer, held = claim(workflow_id="other"), claim()
    values: dict[str, Any] = {"workflow_id": held.workflow_id, "claim_number": held.claim_number}
    wake = Wake.of_stream("other", "k", 0)
    look = RecordWait(checkpoint=checkpoint(held, output="0"), wake=wake, timeout=None, **values)
    store.apply(session, executor_id, [look], is_repeat=False)

    # Its writer finds nobody waiting.
    _appends(store, session, executor_id, writer)
    plan = store.apply(
        session, executor_id, [Suspend(wake=wake, step_number=1, **values)], is_repeat=False
    )
    store.announce_plans(session, [plan])

    assert Workflow.objects.get(pk=held.workflow_id).status == "ENQUEUED"


@pytest.mark.rule(16)
def test_a_suspender_that_dies_before_its_look_is_found(
    store: Store, session: Session, executor_id: str, claim: Claims
) -> None:
    held = claim()
    store.send_messages([message_to(held)])
    with connection.cursor() as cursor:
        cursor.execute("UPDATE dbos_message SET topic = 'later'")
    suspend(store, session, executor_id, held, dies=True)
    with connection.cursor() as cursor:
        cursor.execute("UPDATE dbos_message SET topic = ''")
    assert status() == "WAITING"

    store.wake_satisfied(session)

    assert status() == "ENQUEUED"


@notifies
@pytest.mark.rule(14)
def test_a_notification_reaches_another_connection_and_may_be_long(store: Store) -> None:
    long = "ü" * 255
    with store.wakeups.watch(f"event:{long}:{long}") as watch:
        until = threading.Event()
        while not store.wakeups.is_listening and not until.wait(0.01):
            pass
        watch.wait(0.2)
        # Not told here, only through the database.
        store._notify_and_wake(store.session(), [f"event:{long}:{long}"], [], [])

        assert watch.wait(LIMIT)


@pytest.mark.skipif(connection.vendor != "postgresql", reason="SQLite has no connection to lose")
@pytest.mark.rule(16)
def test_after_a_lost_connection_everybody_looks_again(store: Store) -> None:
    with store.wakeups.watch("event:x:y") as watch:
        while not store.wakeups.is_listening:
            watch.wait(0.05)
        watch.wait(0.2)
        with connection.cursor() as cursor:
            cursor.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                "WHERE query LIKE 'LISTEN%%' AND datname = current_database()"
            )

        assert watch.wait(LIMIT)


@polls
@pytest.mark.rule(38)
def test_a_change_by_another_connection_is_seen(store: Store) -> None:
    with store.wakeups.watch("anything") as watch:
        while not store.wakeups.is_listening:
            watch.wait(0.05)
        watch.wait(0.2)

        store.start_workflows([new_workflow()])

        assert watch.wait(LIMIT)


@pytest.mark.rule(35)
def test_a_forked_process_starts_a_listener_of_its_own(store: Store) -> None:
    source: Any = store.wakeups._source
    with store.wakeups.watch("x"):
        parents, stopped = source._thread, source._stopped
        source._pid = os.getpid() + 1

        source.start(store.wakeups)

        assert source._thread is not parents
    stopped.set()
    parents.join(LIMIT)


def test_a_watcher_hears_everything(store: Store) -> None:
    with store.wakeups.watch("some key") as watch:
        store.wakeups.notify([EVERYTHING])

        assert watch.wait(1)
