"""Forms of workflows that a worker runs, on committed data."""

from __future__ import annotations

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from asgiref.sync import sync_to_async
from django.db import connection, connections, transaction

import django_dbos as dbos
from django_dbos.core.records import State
from django_dbos.executor import Executor
from django_dbos.models import Checkpoint, Inquiry, Message
from django_dbos.store import get_store
from tests.admin.workflows import quick
from tests.people.forms import ApprovalForm, approve
from tests.waiting import LIMIT, eventually


def wait_for(**conditions: Any) -> Inquiry:
    """Return the pending form with these values, once it is there."""
    found = Inquiry.objects.pending().filter(**conditions)
    eventually(found.exists)
    return found.get()


@dbos.workflow
async def both() -> list[Any]:
    answers = await asyncio.gather(
        dbos.await_for_form(ApprovalForm, title="a"),
        dbos.await_for_form(ApprovalForm, title="b"),
    )
    return [answer.data["note"] for answer in answers]


@dbos.workflow
async def asks_again(run: int) -> None:
    asking = asyncio.create_task(dbos.await_for_form(ApprovalForm, title=f"run {run}"))
    await dbos.arecv(timeout=None)
    asking.cancel()
    await asyncio.gather(asking, return_exceptions=True)
    await dbos.acontinue_as_new(run + 1)


def test_two_forms_at_once_get_their_own_answers(worker: Executor) -> None:
    handle = both.start()
    for title in ("b", "a"):
        form = wait_for(title=title)
        dbos.answer_form(form.pk, {"amount": "1", "note": f"for {title}"})

    assert handle.get_result(LIMIT) == ["for a", "for b"]


@pytest.mark.rule(84)
def test_the_next_run_of_a_workflow_answers_to_no_earlier_form(worker: Executor) -> None:
    handle = asks_again.start(1)
    old = wait_for(title="run 1")
    handle.send("continue")
    wait_for(title="run 2")

    with pytest.raises(dbos.FormNotPending, match="'ended'"):
        dbos.answer_form(old.pk, {"amount": "1"})
    handle.cancel()


@pytest.mark.rule(82)
def test_of_many_answers_at_once_one_is_accepted(worker: Executor) -> None:
    handle = approve.start()
    form, count = wait_for(), 8
    barrier, accepted, refused = threading.Barrier(count), [], []

    def answer(number: int) -> None:
        barrier.wait(LIMIT)
        try:
            dbos.answer_form(form.pk, {"amount": str(number)})
            accepted.append(number)
        except dbos.FormNotPending:
            refused.append(number)
        finally:
            connection.close()

    threads = [threading.Thread(target=answer, args=(number,)) for number in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(LIMIT)

    assert (len(accepted), len(refused)) == (1, count - 1)
    assert handle.get_result(LIMIT)[0]["amount"] == accepted[0]
    assert Message.objects.count() == 1


async def answer(form_id: int) -> None:
    await dbos.aanswer_form(form_id, {"amount": "4"})
    await sync_to_async(connections.close_all)()


def test_a_form_is_answered_in_async_code_and_in_another_workflows_step(worker: Executor) -> None:
    @dbos.step
    def sign(number: int) -> None:
        dbos.answer_form(number, {"amount": "3"})

    @dbos.workflow
    def signer(number: int) -> None:
        sign(number)

    first = approve.start(title="first")
    signer(wait_for(title="first").pk)
    assert first.get_result(LIMIT)[0]["amount"] == 3

    second = approve.start(title="second")
    form = wait_for(title="second")
    asyncio.run(answer(form.pk))
    assert second.get_result(LIMIT)[0]["amount"] == 4


def test_an_answer_waits_for_a_worker(transactional_db: None) -> None:
    with Executor():
        handle = approve.start()
        form = wait_for()
        eventually(lambda: handle.get_status() == "WAITING")
    dbos.answer_form(form.pk, {"amount": "7"})

    with Executor():
        assert handle.get_result(LIMIT)[0]["amount"] == 7


@pytest.mark.rule(83)
@pytest.mark.skipif(connection.vendor == "sqlite", reason="This database has one writer at a time")
@pytest.mark.parametrize("is_committed", [True, False])
def test_the_end_of_a_form_waits_for_an_answer_that_is_being_given(
    worker: Executor, is_committed: bool
) -> None:
    """The row's lock decides; nothing else waits for it."""
    handle = approve.start(timeout=3600, default="nobody")
    form, decided = wait_for(), threading.Event()
    eventually(lambda: handle.get_status() == "WAITING")
    answered = threading.Event()

    def answer_slowly() -> None:
        try:
            with transaction.atomic():
                dbos.answer_form(form.pk, {"amount": "5"})
                answered.set()
                assert decided.wait(LIMIT)
                transaction.set_rollback(not is_committed)
        finally:
            connection.close()

    thread = threading.Thread(target=answer_slowly)
    thread.start()
    assert answered.wait(LIMIT)
    # The wait alone: the form's row is locked.
    moved = {"seconds": 7200.0}
    for name in ("advance_workflows", "advance_checkpoints"):
        get_store().session().run(name, moved)
    closing = Checkpoint.objects.filter(workflow_id=handle.workflow_id, state=State.TIMED_OUT)
    eventually(closing.exists)
    other = quick.start("done")
    assert other.get_result(LIMIT) == "done"
    assert handle.get_status() == "PENDING"
    decided.set()
    thread.join(LIMIT)

    result = handle.get_result(LIMIT)
    assert result == ([{**result[0], "amount": 5}, None] if is_committed else "nobody")


@pytest.mark.rule(2)
@pytest.mark.skipif(connection.vendor == "sqlite", reason="This database has one writer at a time")
def test_a_form_of_an_earlier_run_that_somebody_locks_delays_no_run(worker: Executor) -> None:
    """The runs after it delete its row, once nobody looks at it."""
    handle = asks_again.start(1)
    old = wait_for(title="run 1")

    with transaction.atomic():
        assert Inquiry.objects.select_for_update().get(pk=old.pk).title == "run 1"
        for run in (1, 2):
            send_elsewhere(handle.workflow_id, "continue")
            wait_for(title=f"run {run + 1}")
        assert Inquiry.objects.filter(pk=old.pk).exists()

    handle.send("continue")
    wait_for(title="run 4")
    titles = Inquiry.objects.order_by("pk").values_list("title", flat=True)
    assert list(titles) == ["run 3", "run 4"]
    handle.cancel()


def send_elsewhere(workflow_id: str, message: str) -> None:
    """Send a message outside of this thread's transaction."""
    with ThreadPoolExecutor(1) as pool:
        pool.submit(_send, workflow_id, message).result(LIMIT)


def _send(workflow_id: str, message: str) -> None:
    try:
        dbos.send(workflow_id, message)
    finally:
        connections.close_all()


@pytest.mark.rule(84)
def test_an_answer_races_with_a_cancel(worker: Executor) -> None:
    """Either the answer is accepted, or it is refused and leaves nothing."""
    outcomes = []
    for _ in range(10):
        handle = approve.start()
        form = wait_for(workflow_id=handle.workflow_id)
        barrier = threading.Barrier(2)

        def cancel(handle: Any = handle, barrier: Any = barrier) -> None:
            barrier.wait(LIMIT)
            handle.cancel()
            connection.close()

        thread = threading.Thread(target=cancel)
        thread.start()
        barrier.wait(LIMIT)
        try:
            dbos.answer_form(form.pk, {"amount": "5"})
            outcomes.append(True)
        except dbos.FormNotPending:
            outcomes.append(False)
        thread.join(LIMIT)
        sent = Message.objects.filter(workflow_id=handle.workflow_id).exists()
        is_answered = Inquiry.objects.get(pk=form.pk).answered_at is not None
        assert sent == is_answered == outcomes[-1]
        with pytest.raises(dbos.FormNotPending):
            dbos.answer_form(form.pk, {"amount": "5"})
