"""Rewinds, forks and deletions beside claims, writes, wake-ups and deaths of workers."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from django.db import connection, connections, transaction
from django.test import Client

import django_dbos as dbos
from django_dbos.core.records import Finish, Lane, Verdict
from django_dbos.core.status import Status
from django_dbos.exceptions import ChangeRefused
from django_dbos.executor import Executor
from django_dbos.models import Checkpoint, Inquiry, Message, StreamEntry, Workflow
from django_dbos.store.base import Store
from django_dbos.store.sessions import Session
from django_dbos.testing import run_until_idle
from tests.lifecycle.workflows import everything, recorded
from tests.process import workflows as gated
from tests.process.conftest import Worker, start_worker
from tests.process.workflows import Gate
from tests.store.conftest import claim, entry, executor_id, session, step, store
from tests.waiting import LIMIT, eventually

__all__ = ["claim", "executor_id", "session", "start_worker", "store"]
pytestmark = pytest.mark.django_db(transaction=True)
many_writers = pytest.mark.skipif(
    connection.vendor != "postgresql", reason="SQLite has one writer at a time"
)
Claims = Callable[..., Any]


def end(held: Any, status: Status = Status.SUCCESS) -> Finish:
    return Finish(
        workflow_id=held.workflow_id, claim_number=held.claim_number, status=status, output="1"
    )


def apply(store: Store, session: Session, executor_id: str, *writes: Any) -> list[Verdict]:
    plan = store.apply(session, executor_id, list(writes), is_repeat=False)
    return [plan.answers[number].verdict for number in range(len(writes))]


@pytest.mark.rule(92)
def test_a_claim_that_came_first_refuses_the_rewind(
    store: Store, session: Session, executor_id: str, claim: Claims
) -> None:
    held = claim()
    apply(store, session, executor_id, step(held, 1))

    with pytest.raises(ChangeRefused, match="is running it"):
        store.rewind_workflow(held.workflow_id, 1)
    with pytest.raises(ChangeRefused, match="hasn't ended"):
        store.delete_workflow(held.workflow_id)

    assert apply(store, session, executor_id, step(held, 2)) == [Verdict.DONE]


@pytest.mark.rule(92)
@many_writers
def test_a_claim_that_comes_during_a_rewind_gets_nothing_and_returns(
    store: Store, session: Session, executor_id: str, claim: Claims
) -> None:
    held = claim(name="tests.work")
    apply(store, session, executor_id, step(held, 1), step(held, 2), end(held))
    lane, options = Lane("default", 0), {"names": ["tests.work"], "above": -1, "limit": 5}
    with transaction.atomic():
        store.rewind_workflow(held.workflow_id, 2)
        assert store.claim_workflows(session, executor_id, lane, **options)[0] == []

    (again,), *_ = store.claim_workflows(session, executor_id, lane, **options)
    assert again.claim_number > held.claim_number + 1
    assert again.token != held.token
    assert again.has_history


@pytest.mark.rule(92)
def test_a_stalled_executor_writes_nothing_after_a_rewind(
    store: Store, session: Session, executor_id: str, claim: Claims
) -> None:
    held = claim()
    apply(store, session, executor_id, step(held, 1), step(held, 2))
    store.cancel_workflows([held.workflow_id])
    store.rewind_workflow(held.workflow_id, 2)

    verdicts = apply(store, session, executor_id, step(held, 2), entry(held, "1"), end(held))

    assert verdicts == [Verdict.CLAIM_LOST] * 3
    assert Checkpoint.objects.count() == 1
    assert not StreamEntry.objects.exists()
    again = store.claim_workflow(store.session(), executor_id, held.workflow_id)
    assert again is not None
    # The same executor holds it again, under another number.
    assert apply(store, session, executor_id, step(held, 2)) == [Verdict.CLAIM_LOST]
    assert apply(store, session, executor_id, step(again, 2)) == [Verdict.DONE]


@pytest.mark.rule(92)
@many_writers
def test_a_write_of_the_group_commit_skips_a_workflow_that_is_being_rewound(
    store: Store, session: Session, executor_id: str, claim: Claims
) -> None:
    """It finds the row locked, tries again after the commit, and has lost its claim."""
    held, other = claim(), claim()
    apply(store, session, executor_id, step(held, 1))
    store.cancel_workflows([held.workflow_id])
    with transaction.atomic():
        store.rewind_workflow(held.workflow_id, 1)
        plan = store.apply(session, executor_id, [step(held, 2), step(other, 1)], is_repeat=False)
        # Nobody waits for the rewind.
        assert plan.answers[1].verdict is Verdict.DONE

    assert apply(store, session, executor_id, step(held, 2)) == [Verdict.CLAIM_LOST]
    assert not Checkpoint.objects.filter(workflow_id=held.workflow_id).exists()


def is_any_blocked() -> bool:
    """Return whether a session of this database waits; other test runs may share the server."""
    with connection.cursor() as cursor:
        # In a transaction the view would always be the same.
        cursor.execute("SELECT pg_stat_clear_snapshot()")
        cursor.execute(
            "SELECT count(*) FROM pg_stat_activity "
            "WHERE wait_event_type = 'Lock' AND datname = current_database()"
        )
        return bool(cursor.fetchone()[0])


@dbos.workflow
def calls_back() -> Any:
    dbos.set_event("url", dbos.callback_url("paid"))
    pause()
    return dbos.recv("paid", timeout=None)


@pytest.fixture
def called_back(settings: Any) -> dbos.WorkflowHandle[Any]:
    """Return a workflow that has a callback in step 1, and waits in step 4."""
    settings.DBOS = {**settings.DBOS, "BASE_URL": "https://shop.example"}
    handle = calls_back.start()
    run_until_idle()
    return handle


@pytest.mark.rule(93)
@many_writers
@pytest.mark.parametrize("to_step", [1, 3])
def test_a_rewind_waits_for_an_answer_that_is_being_given(
    store: Store, called_back: dbos.WorkflowHandle[Any], to_step: int
) -> None:
    """The answer goes with its callback, or stays with it."""
    asked = Inquiry.objects.get()

    def rewind() -> None:
        try:
            called_back.rewind(to_step)
        finally:
            connections.close_all()

    thread = threading.Thread(target=rewind)
    with transaction.atomic():
        assert store.answer_inquiry(asked.pk, message="1", answer="1")
        thread.start()
        eventually(is_any_blocked)
    thread.join(LIMIT)

    assert Message.objects.count() == Inquiry.objects.count() == (0 if to_step == 1 else 1)
    run_until_idle()
    assert called_back.get_status() == ("WAITING" if to_step == 1 else "SUCCESS")


@pytest.mark.rule(93)
@many_writers
@pytest.mark.parametrize("to_step", [1, 3])
def test_an_answer_that_waits_for_a_rewind_is_given_after_it(
    called_back: dbos.WorkflowHandle[Any], to_step: int
) -> None:
    """The sender is told the truth: it counts, or its address is unknown now."""
    path = called_back.get_event("url").removeprefix("https://shop.example")
    answers: list[Any] = []

    def answer() -> None:
        try:
            answers.append(Client().post(path, "1", content_type="application/json"))
        finally:
            connections.close_all()

    thread = threading.Thread(target=answer)
    with transaction.atomic():
        called_back.rewind(to_step)
        thread.start()
        eventually(is_any_blocked)
    thread.join(LIMIT)

    assert [response.status_code for response in answers] == [404 if to_step == 1 else 200]
    assert Message.objects.count() == (0 if to_step == 1 else 1)
    run_until_idle()
    assert called_back.get_status() == ("WAITING" if to_step == 1 else "SUCCESS")


@pytest.mark.rule(92)
def test_a_wake_up_after_a_rewind_wakes_nothing(store: Store) -> None:
    handle = everything.start()
    run_until_idle()
    assert handle.get_status() == "WAITING"
    handle.rewind(2)
    number = Workflow.objects.get().claim_number

    handle.send(1, "go")
    store.wake_satisfied(store.session())

    row = Workflow.objects.get()
    assert (row.status, row.claim_number) == ("ENQUEUED", number)


@pytest.mark.rule(94)
@many_writers
def test_a_deletion_and_a_resumption_come_one_after_the_other(store: Store, claim: Claims) -> None:
    held = claim()
    store.cancel_workflows([held.workflow_id])
    resumed: list[bool] = []

    def resume() -> None:
        try:
            resumed.append(store.resume_workflows([held.workflow_id])[held.workflow_id])
        finally:
            connections.close_all()

    thread = threading.Thread(target=resume)
    with transaction.atomic():
        store.delete_workflow(held.workflow_id)
        thread.start()
    thread.join()

    assert resumed == [False]
    assert not Workflow.objects.exists()


@pytest.mark.rule(91)
@many_writers
@pytest.mark.parametrize("change", ["rewind", "delete"])
def test_a_fork_copies_no_half_of_a_rewind(
    store: Store,
    session: Session,
    executor_id: str,
    claim: Claims,
    change: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The rewind, or deletion, commits between the copies and the check."""
    held = claim()
    writes = [step(held, 1), step(held, 2), entry(held, "1"), step(held, 3), end(held)]
    apply(store, session, executor_id, *writes)
    check = type(store)._check_unchanged
    left = [1]

    def meanwhile() -> None:
        try:
            if change == "rewind":
                store.rewind_workflow(held.workflow_id, 2)
            else:
                store.delete_workflow(held.workflow_id)
        finally:
            connections.close_all()

    def check_later(self: Any, source: Workflow) -> None:
        if left:
            left.pop()
            thread = threading.Thread(target=meanwhile)
            thread.start()
            thread.join()
        check(self, source)

    monkeypatch.setattr(type(store), "_check_unchanged", check_later)
    original = dbos.WorkflowHandle[Any](held.workflow_id)
    if change == "rewind":
        with pytest.raises(ChangeRefused, match="They are 1 to 1"):
            original.fork(from_step=3)
        assert Workflow.objects.count() == 1
        fork = original.fork(from_step=2)
        assert recorded(fork.workflow_id) == recorded(held.workflow_id)
    else:
        with pytest.raises(dbos.WorkflowDoesNotExist):
            original.fork(from_step=3)
        assert not Workflow.objects.exists()
        assert not Checkpoint.objects.exists()


@pytest.mark.rule(91)
def test_a_fork_of_a_workflow_that_writes_all_the_time_has_whole_steps(worker: Executor) -> None:
    """Each fork has a checkpoint with its entry, or neither, while the group commit goes on."""
    handle = writes_on.start(60)
    forks: list[dbos.WorkflowHandle[int]] = []

    def fork() -> bool:
        count = len(handle.steps())
        if count > 1:
            forks.append(handle.fork(from_step=count, run_after=3600))
        return handle.get_status() == "SUCCESS"

    eventually(fork, every=0.001)

    assert forks
    for one in forks:
        steps = [step.step_number for step in one.steps()]
        entries = StreamEntry.objects.filter(workflow_id=one.workflow_id).order_by("offset")
        assert steps == list(range(1, len(steps) + 1))
        assert list(entries.values_list("offset", "step_number")) == [
            (offset, 2 * offset + 1) for offset in range((len(steps) + 1) // 2)
        ]


@dbos.step
def pause() -> None:
    return None


@dbos.workflow
def writes_on(count: int) -> int:
    for number in range(count):
        dbos.write_stream("made", number)
        pause()
    return count


def test_a_worker_claims_a_rewound_workflow_at_once(worker: Executor) -> None:
    handle = everything.start()
    handle.send("one", "go")
    handle.send("two", "go")
    result = handle.get_result(timeout=LIMIT)

    handle.rewind(5)

    assert handle.get_result(timeout=LIMIT) == result


@pytest.mark.process
@pytest.mark.rule(92)
def test_after_sigkill_a_rewound_workflow_goes_on_from_there(
    start_worker: Callable[..., Worker], tmp_path: Path
) -> None:
    gate = Gate(tmp_path / "gate")
    first = start_worker()
    handle = gated.works.start(5, gate.path, 5)
    eventually(lambda: gate.is_reached)
    handle.cancel()
    handle.rewind(3)
    second = start_worker()
    first.send(signal.SIGKILL)
    first.wait()
    gate.open()

    pids = handle.get_result(timeout=LIMIT)

    assert pids[:2] == [first.pid] * 2
    assert pids[-1] == second.pid
    assert Checkpoint.objects.count() == 11
    assert Workflow.objects.get().status == "SUCCESS"
