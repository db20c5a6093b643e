"""Starts and messages by SQL against suspensions, aborted transactions, and each other."""

from __future__ import annotations

import random
import threading
from collections.abc import Callable
from typing import Any

import pytest
from django.db import connection
from django.db.utils import OperationalError

import django_dbos as dbos
from django_dbos.core.records import Claim, RecordWait, Suspend, Wake
from django_dbos.executor.duties.sweep import Sweep
from django_dbos.models import Message, Workflow
from django_dbos.store.base import Store
from django_dbos.store.sessions import Session
from tests.elsewhere.calling import another_session, call, listening, on_postgresql, run_on
from tests.store.conftest import checkpoint
from tests.store.test_announcing import status, suspend
from tests.waiting import LIMIT, eventually

pytestmark = [on_postgresql, pytest.mark.django_db(transaction=True)]

ELSEWHERE = "shop.elsewhere.run"
SEND = "SELECT dbos_send_message(%s, '1')"
START = "SELECT dbos_start_workflow(%s, workflow_id => %s)"
Claims = Callable[..., Claim]


@dbos.workflow
def payment(topic: str | None = None) -> Any:
    return dbos.recv(topic)


@pytest.mark.rule(88)
def test_a_message_wakes_a_receiver_that_was_suspended_before(
    store: Store, session: Session, executor_id: str, claim: Claims
) -> None:
    held = claim()
    suspend(store, session, executor_id, held)
    assert status() == "WAITING"

    with listening("dbos_enqueued") as lanes, listening("dbos_changed") as changes:
        call("dbos_send_message", held.workflow_id, "1")
        assert status() == "ENQUEUED"
        assert lanes() == [[Workflow.objects.get().queue_name, 0]]
        assert changes() == [[Wake.of_message(held.workflow_id, "").key]]


@pytest.mark.rule(88)
def test_a_message_wakes_a_receiver_that_was_suspended_before_its_commit(
    store: Store, session: Session, executor_id: str, claim: Claims
) -> None:
    held = claim()
    with another_session() as sender:
        run_on(sender, SEND, held.workflow_id)
        # The message can't be seen yet, and its open transaction holds up nothing.
        suspend(store, session, executor_id, held)
        assert status() == "WAITING"

        sender.commit()

    assert status() == "ENQUEUED"


@pytest.mark.rule(88)
def test_a_suspension_during_the_commit_comes_after_it(
    store: Store, session: Session, executor_id: str, claim: Claims
) -> None:
    held = claim()
    values: dict[str, Any] = {"workflow_id": held.workflow_id, "claim_number": held.claim_number}
    wake = Wake.of_message(held.workflow_id, "")
    look = RecordWait(checkpoint=checkpoint(held), wake=wake, timeout=None, **values)
    store.apply(session, executor_id, [look], is_repeat=False)
    with another_session() as sender:
        run_on(sender, SEND, held.workflow_id)
        # As far as a commit gets before it can be seen: the trigger found nobody who waits.
        run_on(sender, "SET CONSTRAINTS ALL IMMEDIATE")

        plan = store.apply(
            session, executor_id, [Suspend(wake=wake, step_number=1, **values)], is_repeat=False
        )
        store.announce_plans(session, [plan])
        # Rule 2: the writer skips the locked row, and comes back.
        assert status() == "PENDING"
        sender.commit()

    suspend(store, session, executor_id, held, dies=False)
    assert status() == "ENQUEUED" or Message.objects.get().consumed_at is not None


@pytest.mark.rule(88)
@pytest.mark.parametrize("isolation", ["REPEATABLE READ", "SERIALIZABLE"])
def test_in_an_older_snapshot_the_commit_succeeds_and_the_sweep_wakes(
    store: Store, session: Session, executor_id: str, claim: Claims, isolation: str
) -> None:
    held = claim()
    with another_session(isolation) as sender:
        run_on(sender, SEND, held.workflow_id)
        suspend(store, session, executor_id, held)
        sender.commit()

    assert Message.objects.count() == 1
    assert status() == "WAITING"
    store.wake_satisfied(session)
    assert status() == "ENQUEUED"


@pytest.mark.rule(88)
@pytest.mark.parametrize("isolation", ["REPEATABLE READ", "SERIALIZABLE"])
def test_in_a_newer_snapshot_the_commit_wakes(
    store: Store, session: Session, executor_id: str, claim: Claims, isolation: str
) -> None:
    held = claim()
    suspend(store, session, executor_id, held)
    with another_session(isolation) as sender:
        run_on(sender, SEND, held.workflow_id)
        sender.commit()

    assert status() == "ENQUEUED"


@pytest.mark.rule(88)
def test_a_sender_doesnt_wait_long_for_a_locked_row(
    store: Store, session: Session, executor_id: str, claim: Claims
) -> None:
    held = claim()
    suspend(store, session, executor_id, held)
    with another_session() as holder, another_session() as sender:
        run_on(
            holder,
            "SELECT 1 FROM dbos_workflow WHERE workflow_id = %s FOR UPDATE",
            held.workflow_id,
        )
        run_on(sender, SEND, held.workflow_id)
        sender.commit()
        holder.rollback()

    assert Message.objects.count() == 1
    store.wake_satisfied(session)
    assert status() == "ENQUEUED"


@pytest.mark.rule(88)
def test_two_that_send_to_the_same_two_crosswise_both_commit(
    store: Store, session: Session, executor_id: str, claim: Claims
) -> None:
    receivers = [claim(), claim()]
    for held in receivers:
        suspend(store, session, executor_id, held)
    first_id, second_id = (held.workflow_id for held in receivers)
    with another_session() as one, another_session() as other:
        for sender, receiver_id in ((one, first_id), (other, second_id)):
            run_on(sender, SEND, receiver_id)
            # Each holds one row, as in the middle of its commit, and goes on to the other row.
            run_on(sender, "SET CONSTRAINTS ALL IMMEDIATE")
        threads = [
            threading.Thread(target=_send_and_commit, args=pair)
            for pair in ((one, second_id), (other, first_id))
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(LIMIT)

    assert Message.objects.count() == 4
    assert set(Workflow.objects.values_list("status", flat=True)) == {"ENQUEUED"}


def _send_and_commit(sender: Any, receiver_id: str) -> None:
    run_on(sender, SEND, receiver_id)
    sender.commit()


@pytest.mark.rule(88)
def test_messages_of_python_run_no_trigger(
    store: Store, session: Session, executor_id: str, claim: Claims
) -> None:
    """Theirs are woken after the commit, as rule 15 has it."""
    held = claim()
    suspend(store, session, executor_id, held)
    with another_session() as sender:
        run_on(sender, SEND, held.workflow_id)
        sender.rollback()
        run_on(
            sender,
            "INSERT INTO dbos_message (workflow_id, topic, message, created_at) "
            "VALUES (%s, '', '1', now())",
            held.workflow_id,
        )
        sender.commit()

    assert status() == "WAITING"


@pytest.mark.rule(89)
def test_an_aborted_transaction_leaves_neither_row_nor_notification() -> None:
    with listening("dbos_enqueued") as lanes:
        with another_session() as client:
            run_on(client, START, ELSEWHERE, "w")
            client.rollback()
        assert not Workflow.objects.exists()
        with another_session() as client:
            run_on(client, START, ELSEWHERE, "w")
            assert lanes() == []
            client.commit()
        assert lanes() == [["default", 0]]


@pytest.mark.rule(89)
@pytest.mark.parametrize("commits", [True, False])
def test_of_two_starts_with_one_id_the_second_waits_for_the_first(commits: bool) -> None:
    found: list[str] = []

    def start() -> None:
        found.append(call("dbos_start_workflow", ELSEWHERE, [2], workflow_id="w"))
        connection.close()

    with another_session() as first:
        run_on(first, "SELECT dbos_start_workflow(%s, '[1]', 'w')", ELSEWHERE)
        second = threading.Thread(target=start)
        second.start()
        eventually(lambda: waits_for_another())
        if commits:
            first.commit()
        else:
            first.rollback()
        second.join(LIMIT)

    assert found == ["w"]
    assert Workflow.objects.get().input["args"] == ([1] if commits else [2])


def waits_for_another(function: str = "dbos_start_workflow") -> bool:
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' "
            "AND datname = current_database() AND query LIKE %s",
            [f"%{function}%"],
        )
        return bool(cursor.fetchone()[0])


def test_of_two_merges_of_attributes_the_second_waits_for_the_first() -> None:
    """It would write over what it hasn't read."""
    call("dbos_start_workflow", ELSEWHERE, [1], workflow_id="w")

    def merge() -> None:
        call("dbos_set_attributes", "w", {"b": 2}, merge=True)
        connection.close()

    with another_session() as first:
        run_on(first, "SELECT dbos_set_attributes('w', '{\"a\": 1}', true)")
        second = threading.Thread(target=merge)
        second.start()
        eventually(lambda: waits_for_another("dbos_set_attributes"))
        first.commit()
        second.join(LIMIT)

    assert Workflow.objects.get().attributes == {"a": 1, "b": 2}


@pytest.mark.rule(89)
@pytest.mark.parametrize("isolation", ["REPEATABLE READ", "SERIALIZABLE"])
def test_an_id_taken_since_the_snapshot_is_a_serialization_failure(isolation: str) -> None:
    with another_session(isolation) as second:
        call("dbos_start_workflow", ELSEWHERE, workflow_id="w")
        with pytest.raises(OperationalError) as caught:
            run_on(second, START, ELSEWHERE, "w")
        second.rollback()
        # The repeat, which such transactions need anyway, finds it.
        assert run_on(second, START, ELSEWHERE, "w") == "w"

    assert getattr(caught.value.__cause__, "sqlstate", None) == "40001"


def test_a_worker_runs_what_was_started_and_sent_by_sql(settings: Any, worker: Any) -> None:
    settings.DBOS = {**settings.DBOS, "HOLD_TIME": 0}
    started = call("dbos_start_workflow", payment.name, ["paid"])
    eventually(lambda: status() == "WAITING")

    call("dbos_send_message", started, {"amount": 7}, "paid")

    assert dbos.retrieve_workflow(started).get_result(timeout=LIMIT) == {"amount": 7}


@pytest.mark.rule(88)
def test_no_wake_up_of_many_is_left_to_the_sweep(
    settings: Any, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> None:
    """Messages that meet the suspensions of their receivers at any moment."""
    settings.DBOS = {**settings.DBOS, "HOLD_TIME": 0}
    monkeypatch.setattr(Sweep, "on_heartbeat", lambda *args: None)
    request.getfixturevalue("worker")
    dice = random.Random(7)
    started = [call("dbos_start_workflow", payment.name) for _ in range(60)]
    shuffled = dice.sample(started, len(started))

    def send(some: list[str]) -> None:
        with another_session() as sender:
            for one in some:
                run_on(sender, SEND, one)
                sender.commit()

    threads = [threading.Thread(target=send, args=[shuffled[part::3]]) for part in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(LIMIT)

    results = dbos.get_results([dbos.retrieve_workflow(one) for one in started], timeout=LIMIT)
    assert results == [1] * 60
