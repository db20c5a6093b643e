"""The writer: one thread, one transaction for all queued writes, and isolated failures."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from itertools import pairwise
from typing import Any

import pytest
from asgiref.sync import sync_to_async
from django.db import connection, transaction

from django_dbos.core.batch.plan import Plan
from django_dbos.core.records import (
    DONE,
    Claim,
    Finish,
    RecordStart,
    RecordStep,
    Refusal,
    Verdict,
    Write,
)
from django_dbos.core.status import Status
from django_dbos.models import Checkpoint, StreamEntry, Workflow
from django_dbos.store import errors
from django_dbos.store import group_commit as writer_module
from django_dbos.store.base import Store
from django_dbos.store.group_commit import BatchWriter
from django_dbos.store.submissions import FIRST_DEFERRAL
from django_dbos.store.writer import MAX_BATCH_BYTES
from tests.capabilities import many_writers
from tests.store.conftest import checkpoint, entry, new_workflow, step
from tests.waiting import LIMIT, aeventually, eventually

Claims = Callable[..., Claim]


class Committed:
    """Collect the committed writes, batch by batch."""

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
    """Wrap the store's `apply`, the place where a database fails."""

    def put(before: Callable[..., Any]) -> None:
        store.apply = before

    yield put
    if "apply" in vars(store):
        del store.apply


def test_queued_writes_are_one_transaction(
    store: Any, writer: BatchWriter, claim: Claims, committed: Committed, applying: Any
) -> None:
    held = claim()
    first, may_go_on = threading.Event(), threading.Event()

    def slow(*args: Any, **options: Any) -> Plan:
        if not first.is_set():
            first.set()
            may_go_on.wait(LIMIT)
        return type(store).apply(store, *args, **options)  # type: ignore[no-any-return]

    applying(slow)
    writer.post(step(held, 1))
    first.wait(LIMIT)
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

    # A number that exceeds its column; only the database detects this.
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
def test_after_a_refusal_a_run_may_only_be_quarantined(
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
            is_quarantined=True,
        )
    )

    assert [one.verdict for one in answers] == [Verdict.DONE, Verdict.REFUSED, Verdict.REFUSED]
    assert refused.refusal is Refusal.DATABASE
    assert aside.verdict is Verdict.DONE
    assert Workflow.objects.get().is_quarantined


@pytest.mark.rule(10)
@pytest.mark.rule(12)
def test_an_outage_fails_no_run_and_a_lost_answer_repeats_nothing(
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
    assert [one.value for one in StreamEntry.objects.order_by("offset")] == [0, 1, 2]


@pytest.mark.rule(2)
def test_a_write_to_a_locked_row_is_retried(
    store: Any, writer: BatchWriter, claim: Claims, applying: Any
) -> None:
    held, other = claim(), claim()
    tries = [3]

    def locked(session: Any, executor_id: str, writes: Any, **options: Any) -> Plan:
        if tries[0] and any(write.workflow_id == held.workflow_id for write in writes):
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

    # In order, each of them once.
    assert [answer.verdict for answer in answers] == [Verdict.DONE, Verdict.DONE]
    # Those of one batch have one time.
    orders = Checkpoint.objects.filter(workflow_id=held.workflow_id)
    orders = orders.order_by("recorded_at", "step_number")
    assert [order.step_number for order in orders] == [1, 2, 3]


class Door:
    """Wraps `apply`: logs the batches, and defers the writes of one workflow while it is closed."""

    def __init__(self, store: Any, workflow_id: str, *, waits: bool = False) -> None:
        self._store = store
        self._workflow_id = workflow_id
        self._waits = waits
        self.is_closed = True
        self.batches: list[list[Write]] = []

    def __call__(self, session: Any, executor_id: str, writes: Any, **options: Any) -> Plan:
        self.batches.append(list(writes))
        kept_out = [i for i, one in enumerate(writes) if one.workflow_id == self._workflow_id]
        if not (self.is_closed and kept_out):
            return type(self._store).apply(  # type: ignore[no-any-return]
                self._store, session, executor_id, writes, **options
            )
        if self._waits:
            raise errors.LockTimeout("somebody holds it")
        others = [write for write in writes if write.workflow_id != self._workflow_id]
        if others:
            type(self._store).apply(self._store, session, executor_id, others, **options)
        return Plan(answers=[DONE] * len(writes), deferred=kept_out)

    def tried(self) -> list[list[int]]:
        """Return the step numbers of the workflow in each batch."""
        return [
            [one.checkpoint.step_number for one in batch if isinstance(one, RecordStep)
             and one.workflow_id == self._workflow_id]
            for batch in self.batches
        ]  # fmt: skip

    def wait_for_tries(self, count: int) -> None:
        eventually(lambda: len([one for one in self.tried() if one]) >= count)


@pytest.mark.rule(11)
@pytest.mark.parametrize("waits", [False, True])
def test_deferred_writes_keep_their_order(
    store: Any, writer: BatchWriter, claim: Claims, applying: Any, waits: bool
) -> None:
    held, other = claim(), claim()
    door = Door(store, held.workflow_id, waits=waits)
    applying(door)
    answers: list[Any] = []

    # They are queued at different times, while another workflow's writes keep waking the writer.
    for number in range(1, 81):
        if number % 10 == 1:
            writer.post(step(held, number // 10 + 1), answers.append)
        writer.write(step(other, number))
        time.sleep(0.001)
    door.is_closed = False
    writer.write(step(held, 9))

    tries = [numbers for numbers in door.tried() if numbers]
    assert [answer.verdict for answer in answers] == [Verdict.DONE] * 8
    assert len(tries) > 3
    assert all(numbers == list(range(1, len(numbers) + 1)) for numbers in tries if numbers != [9])
    assert Checkpoint.objects.count() == 89


@pytest.mark.rule(2)
def test_a_wait_for_a_lock_delays_no_other_workflow(
    store: Any, writer: BatchWriter, claim: Claims, applying: Any
) -> None:
    held, other = claim(), claim()
    door = Door(store, held.workflow_id, waits=True)
    applying(door)
    writer.post(step(held))
    door.wait_for_tries(1)

    for number in range(1, 20):
        writer.write(step(other, number))
        time.sleep(0.002)
    door.is_closed = False
    writer.write(step(held, 2))

    together = [batch for batch in door.batches if len({one.workflow_id for one in batch}) > 1]
    assert together == []
    assert Checkpoint.objects.count() == 21


@pytest.mark.rule(2)
def test_a_wait_for_a_lock_does_not_spin(
    store: Any, writer: BatchWriter, claim: Claims, applying: Any
) -> None:
    held = claim()
    door = Door(store, held.workflow_id)
    applying(door)
    came_at: list[float] = []

    def note(*args: Any, **options: Any) -> Plan:
        came_at.append(time.monotonic())
        return door(*args, **options)

    applying(note)
    writer.post(step(held))
    door.wait_for_tries(4)
    door.is_closed = False
    writer.write(step(held, 2))

    # The delays between the tries grow.
    pauses = [later - one for one, later in pairwise(came_at[:4])]
    first = FIRST_DEFERRAL
    assert all(pause >= first * 2**n * 0.9 for n, pause in enumerate(pauses)), pauses


@many_writers
@pytest.mark.rule(2)
def test_an_open_transaction_that_took_an_id_delays_no_other_workflow(
    store: Store, writer: BatchWriter, claim: Claims
) -> None:
    starting, other = claim(), claim()
    answers: list[Any] = []
    child = new_workflow(deduplication_id="d", parent_id=starting.workflow_id)
    with transaction.atomic():
        (first,) = store.start_workflows([new_workflow(deduplication_id="d")])
        writer.post(
            RecordStart(
                workflow_id=starting.workflow_id,
                claim_number=starting.claim_number,
                checkpoint=checkpoint(starting),
                workflows=(child,),
            ),
            answers.append,
        )
        # The other workflow writes during the transaction; the start waits for its end.
        for number in range(1, 101):
            assert writer.write(step(other, number)).verdict is Verdict.DONE
        assert answers == []
    writer.write(Write(workflow_id=starting.workflow_id, claim_number=starting.claim_number))

    assert (answers[0].refusal, answers[0].existing_id) == (Refusal.DUPLICATE, first.workflow_id)


@pytest.mark.rule(12)
def test_a_write_that_may_be_committed_is_queried_however_long_it_is_deferred(
    store: Any, writer: BatchWriter, claim: Claims, applying: Any
) -> None:
    held = claim()
    door = Door(store, held.workflow_id)
    failures = [True]

    def lose_the_answer(*args: Any, **options: Any) -> Plan:
        if not failures:
            return door(*args, **options)
        failures.pop()
        type(store).apply(store, *args, **options)
        raise errors.Unavailable("the answer to COMMIT was lost", is_outcome_unknown=True)

    applying(lose_the_answer)
    writer.post(entry(held, "0"))
    eventually(lambda: len(door.batches) >= 2)
    door.is_closed = False
    writer.write(step(held))

    assert [stream_entry.value for stream_entry in StreamEntry.objects.all()] == [0]


@pytest.mark.rule(10)
def test_a_batch_is_limited_in_bytes(
    store: Any, writer: BatchWriter, claim: Claims, committed: Committed, applying: Any
) -> None:
    held = claim()
    door = Door(store, held.workflow_id)
    applying(door)
    writer.post(step(held))
    door.wait_for_tries(1)

    other = claim()
    may_go_on, is_stuck = threading.Event(), threading.Event()

    def stuck(*args: Any, **options: Any) -> Plan:
        is_stuck.set()
        may_go_on.wait(LIMIT)
        return door(*args, **options)

    applying(stuck)
    is_stuck.wait(LIMIT)
    writes = [entry(other, str(n), size=MAX_BATCH_BYTES // 2) for n in range(4)]
    for write in writes:
        writer.post(write)
    door.is_closed = False
    may_go_on.set()
    writer.write(step(other))

    sizes = [sum(one.size for one in batch) for batch in door.batches]
    assert max(sizes) == MAX_BATCH_BYTES
    assert StreamEntry.objects.count() == 4


def test_the_writer_survives_an_error_after_a_commit(
    store: Store, executor_id: str, claim: Claims, caplog: pytest.LogCaptureFixture
) -> None:
    held = claim()

    def fail(plan: Plan) -> None:
        raise RuntimeError("can't start new thread")

    writer = BatchWriter(store, executor_id, on_commit=fail)
    writer.start()

    answers = [writer.write(step(held, number)) for number in (1, 2)]
    writer.stop()

    assert [answer.verdict for answer in answers] == [Verdict.DONE] * 2
    assert "The work after the commit" in caplog.text


def test_a_stopping_writer_does_not_wait_forever_for_the_database(
    writer: BatchWriter, claim: Claims, applying: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    held = claim()
    monkeypatch.setattr(writer_module, "LAST_PATIENCE", 0.2)

    def fail(*args: Any, **options: Any) -> Plan:
        raise errors.Unavailable("no connection")

    applying(fail)
    answers: list[Any] = []
    writer.post(step(held), answers.append)
    writer.stop()

    assert [answer.verdict for answer in answers] == [Verdict.CLAIM_LOST]


@pytest.mark.rule(4)
def test_an_abandoned_writer_answers_and_writes_nothing(writer: BatchWriter, claim: Claims) -> None:
    held = claim()

    writer.abandon()

    assert writer.write(step(held)).verdict is Verdict.CLAIM_LOST
    assert not Checkpoint.objects.exists()


def test_a_stopped_writer_has_written_all_and_accepts_no_more(
    writer: BatchWriter, claim: Claims
) -> None:
    held = claim()
    for number in range(1, 51):
        writer.post(step(held, number))

    writer.stop()

    assert Checkpoint.objects.count() == 50
    assert writer.write(step(held, 51)).verdict is Verdict.CLAIM_LOST


async def test_async_callers_are_woken_once_per_batch(
    async_db: None,
    store: Any,
    writer: BatchWriter,
    claim: Claims,
    committed: Committed,
    applying: Any,
) -> None:
    held = await sync_to_async(claim)()
    all_queued, taken = threading.Event(), []

    def wait_for_all(*args: Any, **options: Any) -> Plan:
        taken.extend(args[2])
        all_queued.wait(LIMIT)
        return type(store).apply(store, *args, **options)  # type: ignore[no-any-return]

    async def let_go() -> None:
        await aeventually(lambda: len(taken) + len(writer._queue) == 100)
        all_queued.set()

    applying(wait_for_all)
    loop = asyncio.get_running_loop()
    wake, woken = loop.call_soon_threadsafe, 0

    def count(callback: Any, *args: Any, **options: Any) -> Any:
        nonlocal woken
        woken += 1
        return wake(callback, *args, **options)

    loop.call_soon_threadsafe = count  # type: ignore[method-assign]
    try:
        *answers, _ = await asyncio.gather(
            *(writer.awrite(step(held, n)) for n in range(1, 101)), let_go()
        )
    finally:
        del loop.call_soon_threadsafe
    await sync_to_async(writer.stop)()

    assert {answer.verdict for answer in answers} == {Verdict.DONE}
    assert woken == len(committed.plans) <= 3


postgresql = pytest.mark.skipif(
    connection.vendor != "postgresql", reason="SQLite's connections are each one thread's"
)


class Threads:
    """Counts the writes per thread, and has a gate before the first write."""

    def __init__(self, store: Any) -> None:
        self.store = store
        self.wrote: list[tuple[bool, int]] = []
        self.began, self.may_go_on = threading.Event(), threading.Event()
        self.may_go_on.set()

    def __call__(self, *args: Any, **options: Any) -> Plan:
        is_writer = threading.current_thread().name == "dbos-writer"
        self.wrote.append((is_writer, len(args[2])))
        self.began.set()
        self.may_go_on.wait(LIMIT)
        return type(self.store).apply(self.store, *args, **options)  # type: ignore[no-any-return]


@pytest.fixture
def threads(store: Any, applying: Any) -> Threads:
    threads = Threads(store)
    applying(threads)
    return threads


@postgresql
def test_a_single_caller_writes_on_its_own_thread(
    writer: BatchWriter, claim: Claims, threads: Threads
) -> None:
    held = claim()

    for number in (1, 2, 3):
        assert writer.write(step(held, number)).verdict is Verdict.DONE

    assert threads.wrote == [(False, 1)] * 3


def let_go_when_queued(writer: BatchWriter, threads: Threads) -> None:
    eventually(lambda: len(writer._queue) > 0, every=0.001)
    threads.may_go_on.set()


@postgresql
@pytest.mark.rule(11)
def test_no_write_overtakes_a_queued_one(
    writer: BatchWriter, claim: Claims, threads: Threads
) -> None:
    held = claim()
    threads.may_go_on.clear()
    writer.post(entry(held, "1"))
    threads.began.wait(LIMIT)
    threading.Thread(target=let_go_when_queued, args=(writer, threads)).start()

    # The leader lock is held; once it is free, the posted write is written.
    writer.write(step(held, 1))
    assert StreamEntry.objects.count() == 1
    writer.post(entry(held, "2"))
    writer.write(step(held, 2))

    assert StreamEntry.objects.count() == 2
    assert threads.wrote[:2] == [(True, 1), (True, 1)]


@postgresql
def test_a_single_caller_that_leaves_its_end_writes_it_on_its_own_thread(
    writer: BatchWriter, claim: Claims, threads: Threads
) -> None:
    held, crowd, answers = claim(), [claim(), claim()], []
    end = Finish(
        workflow_id=held.workflow_id, claim_number=held.claim_number, status=Status.SUCCESS
    )

    writer.leave(end, answers.append)
    assert [answer.verdict for answer in answers] == [Verdict.DONE]
    assert threads.wrote == [(False, 1)]

    # During a batch, the caller doesn't wait for it.
    threads.may_go_on.clear()
    for one in crowd:
        writer.post(step(one))
    writer.leave(replace(end, workflow_id=crowd[0].workflow_id), answers.append)
    assert len(answers) == 1
    threads.may_go_on.set()
    assert writer.write(step(crowd[1], 2)).verdict is Verdict.DONE
    assert len(answers) == 2


@postgresql
def test_callers_that_arrive_during_a_write_are_written_together_by_the_writer(
    writer: BatchWriter, claim: Claims, threads: Threads
) -> None:
    held = claim()
    threads.may_go_on.clear()
    writes = [step(held), step(claim()), step(claim())]
    others = [threading.Thread(target=writer.write, args=(one,)) for one in writes]
    others[0].start()
    threads.began.wait(LIMIT)
    for other in others[1:]:
        other.start()
    eventually(lambda: len(writer._queue) >= 2)
    threads.may_go_on.set()
    for other in others:
        other.join(LIMIT)

    assert threads.wrote == [(False, 1), (True, 2)]
    # Under load the next caller queues too, until a batch has a single workflow again.
    writer.write(step(held, 4))
    writer.write(step(held, 5))
    assert threads.wrote[2:] == [(True, 1), (False, 1)]


@postgresql
def test_a_stopping_writer_waits_for_callers_that_write_themselves(
    writer: BatchWriter, claim: Claims, threads: Threads
) -> None:
    held = claim()
    threads.may_go_on.clear()
    answers: list[Any] = []
    other = threading.Thread(target=lambda: answers.append(writer.write(step(held, 1))))
    other.start()
    threads.began.wait(LIMIT)
    threading.Timer(0.1, threads.may_go_on.set).start()
    writer.stop()
    other.join(LIMIT)

    assert [answer.verdict for answer in answers] == [Verdict.DONE]
    assert writer.write(step(held, 2)).verdict is Verdict.CLAIM_LOST


@postgresql
@pytest.mark.rule(12)
def test_an_end_is_notified_though_a_lookup_beside_it_fails(
    store: Any,
    claim: Claims,
    executor_id: str,
    committed: Committed,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    held, other = claim(), claim()
    end = Finish(
        workflow_id=held.workflow_id, claim_number=held.claim_number, status=Status.SUCCESS
    )
    late = step(replace(other, claim_number=99))
    answers: dict[str, Any] = {}
    failures = [errors.Unavailable("The connection is gone.")]

    def read_facts(*args: Any) -> Any:
        if failures:
            raise failures.pop()
        return type(store).read_facts(store, *args)

    monkeypatch.setattr(store, "read_facts", read_facts)
    writer = BatchWriter(store, executor_id, on_commit=committed)
    for write in (end, late):
        writer.post(write, partial(answers.__setitem__, write.workflow_id))
    writer.start()
    writer.stop()

    assert answers[held.workflow_id].verdict is Verdict.DONE
    assert answers[other.workflow_id].verdict is Verdict.CLAIM_LOST
    assert [one for plan in committed.plans for one in plan.finished] == [end]


@postgresql
@pytest.mark.rule(10)
def test_a_write_that_is_deferred_while_the_writer_stops_is_answered(
    writer: BatchWriter, claim: Claims, threads: Threads
) -> None:
    held = claim()
    threads.may_go_on.clear()
    answers: list[Any] = []
    other = threading.Thread(
        target=lambda: answers.append(writer.write(step(held, 1))), daemon=True
    )
    with transaction.atomic():
        list(Workflow.objects.select_for_update().filter(workflow_id=held.workflow_id))
        other.start()
        threads.began.wait(LIMIT)
        stopping = threading.Thread(target=writer.stop)
        stopping.start()
        time.sleep(0.1)
        # By now the stopping thread waits for the leader lock.
        threads.may_go_on.set()
        time.sleep(0.2)
    stopping.join(LIMIT)
    other.join(LIMIT)

    assert [answer.verdict for answer in answers] == [Verdict.DONE]


@postgresql
@pytest.mark.rule(10)
def test_a_locked_row_defers_the_write_of_a_single_caller(
    writer: BatchWriter, claim: Claims, store: Store
) -> None:
    held = claim()
    answers: list[Any] = []
    other = threading.Thread(target=lambda: answers.append(writer.write(step(held, 1))))
    with transaction.atomic():
        list(Workflow.objects.select_for_update().filter(workflow_id=held.workflow_id))
        other.start()
        other.join(0.3)
        assert not answers
    other.join(LIMIT)

    assert [answer.verdict for answer in answers] == [Verdict.DONE]
