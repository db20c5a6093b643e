"""The writer: one thread, one transaction for what queued up, and nobody blamed for another."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from asgiref.sync import sync_to_async

from django_dbos.core.batch import Plan
from django_dbos.core.records import Claim, Finish, Refusal, Verdict
from django_dbos.core.status import Status
from django_dbos.models import Checkpoint, StreamEntry, Workflow
from django_dbos.store import errors
from django_dbos.store.base import Store
from django_dbos.store.writer import BatchWriter
from tests.store.conftest import entry, step

Claims = Callable[..., Claim]


class Committed:
    """What was committed, batch by batch."""

    def __init__(self) -> None:
        self.plans: list[Plan] = []

    def __call__(self, plan: Plan) -> None:
        self.plans.append(plan)


@pytest.fixture
def committed() -> Committed:
    return Committed()


@pytest.fixture
def writer(store: Store, executor_id: str, committed: Committed) -> Iterator[BatchWriter]:
    writer = BatchWriter(store, executor_id, on_commit=committed)
    writer.start()
    yield writer
    writer.stop()


@pytest.fixture
def applying(store: Any) -> Iterator[Callable[[Callable[..., Any]], None]]:
    """Put something in front of the store's `apply`: the seam where a database fails."""

    def put(before: Callable[..., Any]) -> None:
        store.apply = before

    yield put
    if "apply" in vars(store):
        del store.apply


def test_what_queues_up_is_one_transaction(
    store: Any, writer: BatchWriter, claim: Claims, committed: Committed, applying: Any
) -> None:
    held = claim()
    first, may_go_on = threading.Event(), threading.Event()

    def slow(*args: Any, **options: Any) -> Plan:
        if not first.is_set():
            first.set()
            may_go_on.wait(10)
        return type(store).apply(store, *args, **options)  # type: ignore[no-any-return]

    applying(slow)
    writer.post(step(held, 1))
    first.wait(10)
    for number in range(2, 11):
        writer.post(step(held, number))
    may_go_on.set()
    writer.write(step(held, 11))

    assert [len(plan.answers) for plan in committed.plans] == [1, 10]
    assert Checkpoint.objects.count() == 11


@pytest.mark.rule(10)
def test_one_bad_write_does_not_fail_its_batch(writer: BatchWriter, claim: Claims) -> None:
    good, bad = claim(), claim()
    answers: list[Any] = []

    # A number that no column holds: the database finds it, not we.
    for write in (step(good), step(bad, attempts=10**30), step(good, 2)):
        writer.post(write, answers.append)
    last = writer.write(step(good, 3))

    assert last.verdict is Verdict.DONE
    assert sorted(one.verdict for one in answers) == [
        Verdict.DONE,
        Verdict.DONE,
        Verdict.REFUSED,
    ]


@pytest.mark.rule(10)
@pytest.mark.rule(11)
def test_after_a_refusal_a_run_may_only_be_set_aside(
    store: Any, writer: BatchWriter, claim: Claims, applying: Any
) -> None:
    held = claim()

    def refuse_step_2(session: Any, executor_id: str, writes: Any, **options: Any) -> Plan:
        if any(getattr(one.checkpoint, "step_number", 0) == 2 for one in writes
               if hasattr(one, "checkpoint")):  # fmt: skip
            raise errors.BadStatement("refused")
        return type(store).apply(  # type: ignore[no-any-return]
            store, session, executor_id, writes, **options
        )

    applying(refuse_step_2)
    answers = [writer.write(step(held, number)) for number in (1, 2, 3)]
    finish = Finish(
        workflow_id=held.workflow_id, claim_number=held.claim_number, status=Status.SUCCESS
    )
    refused = writer.write(finish)
    aside = writer.write(
        Finish(
            workflow_id=held.workflow_id,
            claim_number=held.claim_number,
            status=Status.ERROR,
            error="{}",
            is_set_aside=True,
        )
    )

    assert [one.verdict for one in answers] == [Verdict.DONE, Verdict.REFUSED, Verdict.REFUSED]
    assert refused.refusal is Refusal.DATABASE
    assert aside.verdict is Verdict.DONE
    assert Workflow.objects.get().is_set_aside


@pytest.mark.rule(10)
@pytest.mark.rule(12)
def test_an_outage_blames_nobody_and_a_lost_answer_doubles_nothing(
    store: Any, writer: BatchWriter, claim: Claims, applying: Any
) -> None:
    held = claim()
    failures = ["before", "after", "before"]

    def fail(*args: Any, **options: Any) -> Plan:
        failure = failures.pop(0) if failures else ""
        if failure == "before":
            raise errors.Unavailable("no connection")
        plan = type(store).apply(store, *args, **options)
        if failure == "after":
            raise errors.Unavailable("the answer to COMMIT was lost", is_outcome_unknown=True)
        return plan  # type: ignore[no-any-return]

    applying(fail)
    for number in range(3):
        writer.post(entry(held, str(number)))
    answer = writer.write(step(held))

    assert answer.verdict in (Verdict.DONE, Verdict.FOUND)
    assert [one.value for one in StreamEntry.objects.order_by("offset")] == ["0", "1", "2"]


@pytest.mark.rule(2)
def test_a_locked_row_is_asked_again(
    store: Any, writer: BatchWriter, claim: Claims, applying: Any
) -> None:
    held, other = claim(), claim()
    tries = [3]

    def locked(session: Any, executor_id: str, writes: Any, **options: Any) -> Plan:
        if tries[0] and any(one.workflow_id == held.workflow_id for one in writes):
            tries[0] -= 1
            raise errors.LockTimeout("somebody holds it")
        return type(store).apply(  # type: ignore[no-any-return]
            store, session, executor_id, writes, **options
        )

    applying(locked)
    answers: list[Any] = []
    for number in (1, 2):
        writer.post(step(held, number), answers.append)
    assert writer.write(step(other)).verdict is Verdict.DONE
    assert writer.write(step(held, 3)).verdict is Verdict.DONE

    # In order, and each once.
    assert [one.verdict for one in answers] == [Verdict.DONE, Verdict.DONE]
    orders = Checkpoint.objects.filter(workflow_id=held.workflow_id).order_by("recorded_at")
    assert [one.step_number for one in orders] == [1, 2, 3]


@pytest.mark.rule(4)
def test_an_abandoned_writer_answers_and_writes_nothing(writer: BatchWriter, claim: Claims) -> None:
    held = claim()

    writer.abandon()

    assert writer.write(step(held)).verdict is Verdict.CLAIM_LOST
    assert not Checkpoint.objects.exists()


def test_a_stopped_writer_has_written_all_and_takes_no_more(
    writer: BatchWriter, claim: Claims
) -> None:
    held = claim()
    for number in range(1, 51):
        writer.post(step(held, number))

    writer.stop()

    assert Checkpoint.objects.count() == 50
    assert writer.write(step(held, 51)).verdict is Verdict.CLAIM_LOST


async def test_async_callers_are_answered(
    async_db: None, writer: BatchWriter, claim: Claims
) -> None:
    held = await sync_to_async(claim)()

    answers = await asyncio.gather(*(writer.awrite(step(held, n)) for n in range(1, 21)))

    assert {one.verdict for one in answers} == {Verdict.DONE}
