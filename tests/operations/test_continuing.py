"""Workflows that continue as new: one id, run after run, each with a history of its own."""

from __future__ import annotations

import asyncio
import gc
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from django.db import connection, transaction

import django_dbos as dbos
from django_dbos.core.records import Continue
from django_dbos.executor import Executor
from django_dbos.models import (
    AtomicCheckpoint,
    Checkpoint,
    EventVersion,
    Message,
    PastRun,
    Workflow,
)
from django_dbos.operations.run import Run
from django_dbos.store import errors, get_store
from django_dbos.testing import advance, run_until_idle
from tests.crashing import Crash, crash_after, recover

pytestmark = pytest.mark.django_db

done: Counter[str] = Counter()


@pytest.fixture(autouse=True)
def _forget() -> None:
    done.clear()


@dbos.step
def works(name: str) -> str:
    done[name] += 1
    return name


@dbos.workflow
def counts(number: int, last: int) -> str:
    works(f"a{number}")
    works(f"b{number}")
    if number < last:
        dbos.continue_as_new(number + 1, last=last)
    return f"{number} of {last}"


@dbos.workflow
async def acounts(number: int, last: int) -> str:
    await works.acall(f"a{number}")
    await works.acall(f"b{number}")
    if number < last:
        await dbos.acontinue_as_new(number + 1, last=last)
    return f"{number} of {last}"


both = pytest.mark.parametrize("workflow", [counts, acounts], ids=["sync", "async"])


@both
def test_the_next_run_begins_with_its_arguments_and_no_history(workflow: Any) -> None:
    handle = workflow.start(1, last=3)
    run_until_idle()

    assert handle.get_result() == "3 of 3"
    assert done == Counter(["a1", "b1", "a2", "b2", "a3", "b3"])
    assert [step.output for step in handle.steps()] == ["a3", "b3"]
    row = Workflow.objects.get()
    assert row.input == {"args": [3], "kwargs": {"last": 3}}
    assert handle.describe().run_number == 3


@both
def test_past_runs_are_a_chain(workflow: Any) -> None:
    handle = workflow.start(1, last=3)
    run_until_idle()

    first, second = PastRun.objects.filter(workflow_id=handle.workflow_id).order_by("run_number")
    assert (first.run_number, first.steps_before, first.steps) == (1, 0, 2)
    assert (second.run_number, second.steps_before, second.steps) == (2, 2, 2)
    assert first.input == {"args": [1], "kwargs": {"last": 3}}
    assert second.input == {"args": [2], "kwargs": {"last": 3}}
    row = Workflow.objects.get()
    assert row.created_at <= first.started_at <= first.ended_at
    assert first.ended_at <= second.started_at <= second.ended_at <= row.started_at


def test_a_call_returns_the_result_of_the_last_run() -> None:
    assert counts(1, 4) == "4 of 4"
    assert done.total() == 8


@pytest.mark.django_db(transaction=True)
async def test_an_async_call_returns_the_result_of_the_last_run(async_db: None) -> None:
    assert await acounts(1, 4) == "4 of 4"
    assert await counts.acall(1, 3) == "3 of 3"


def test_a_child_may_continue_as_new() -> None:
    @dbos.workflow
    def parent() -> list[str]:
        handle = counts.start(1, last=3)
        return [counts(1, last=2), handle.get_result()]

    assert parent() == ["2 of 2", "3 of 3"]
    handle = parent.start()
    run_until_idle()
    assert handle.get_result() == ["2 of 2", "3 of 3"]


@pytest.mark.django_db(transaction=True)
def test_a_worker_runs_many_runs_of_many_workflows(worker: Executor) -> None:
    handles = [workflow.start(1, last=10) for workflow in (counts, acounts) for _ in range(10)]

    assert {handle.get_result(timeout=60) for handle in handles} == {"10 of 10"}
    assert set(done.values()) == {20}
    assert PastRun.objects.count() == 180
    assert Checkpoint.objects.count() == 40


# What stays


def test_messages_that_are_not_consumed_stay() -> None:
    @dbos.workflow
    def collects(seen: list[int]) -> list[int]:
        seen.append(dbos.recv("item", timeout=None))
        if len(seen) < 3:
            dbos.continue_as_new(seen)
        return seen

    handle = collects.start([])
    handle.send(1, topic="item")
    handle.send(2, topic="item", idempotency_key="two")
    handle.send("other", topic="else")
    run_until_idle()
    assert handle.get_status() == "WAITING"
    # The message with the key stays, so that the next line sends nothing.
    assert list(Message.objects.values_list("topic", "consumed_at").exclude(topic="item")) == [
        ("else", None)
    ]
    handle.send(2, topic="item", idempotency_key="two")
    run_until_idle()
    assert handle.get_status() == "WAITING"
    handle.send(3, topic="item")
    run_until_idle()

    assert handle.get_result() == [1, 2, 3]
    assert Message.objects.filter(topic="item").count() == 2


def test_events_and_streams_go_on() -> None:
    @dbos.workflow
    def publishes(number: int) -> None:
        dbos.set_event("number", number)
        dbos.set_event("twice", number)
        dbos.set_event("twice", -number)
        dbos.write_stream("numbers", number)
        if number == 1:
            dbos.write_stream("short", number)
            dbos.close_stream("short")
        if number < 3:
            dbos.continue_as_new(number + 1)
        dbos.write_stream("short", number)

    handle = publishes.start(1)
    run_until_idle()

    assert handle.events() == {"number": 3, "twice": -3}
    assert list(handle.read_stream("numbers")) == [1, 2, 3]
    assert list(handle.read_stream("short")) == [1]
    assert isinstance(Workflow.objects.get().error, dbos.StreamClosed)
    # The history of the events is that of the last run.
    versions = EventVersion.objects.order_by("key", "version")
    assert list(versions.values_list("key", "version")) == [
        ("number", 3),
        ("twice", 5),
        ("twice", 6),
    ]


@pytest.mark.rule(74)
def test_children_of_past_runs_keep_their_parent_and_their_ids() -> None:
    @dbos.workflow
    def starts(number: int) -> None:
        waiting.start()
        waiting.start_many([(), ()])
        if number < 3:
            dbos.continue_as_new(number + 1)

    handle = starts.start(1)
    run_until_idle()

    children = Workflow.objects.filter(parent_id=handle.workflow_id)
    assert children.count() == len({child.workflow_id for child in children}) == 9
    handle.cancel(children=True)
    assert {child.status for child in children.all()} == {"CANCELLED"}


@dbos.workflow
def waiting() -> Any:
    return dbos.recv(timeout=None)


@pytest.mark.rule(74)
def test_a_child_of_a_past_run_is_not_adopted() -> None:
    @dbos.workflow
    def starts_by_id(number: int) -> str:
        try:
            waiting.using(workflow_id="the-child", on_existing="reject").start()
            dbos.continue_as_new(number + 1)
        except dbos.DuplicateWorkflow:
            return f"rejected in run {number}"

    handle = starts_by_id.start(1)
    run_until_idle()

    assert handle.get_result() == "rejected in run 2"


@pytest.mark.rule(74)
@pytest.mark.django_db(databases=["default", "other"])
@pytest.mark.parametrize("alias", ["default", "other"])
def test_an_atomic_step_does_not_see_the_record_of_a_past_run(alias: str) -> None:
    step: Any = {"default": writes_here, "other": writes_elsewhere}[alias]

    @dbos.workflow(name=f"test.writes.{alias}")
    def writes(number: int) -> int:
        written: int = step(number)
        if number < 3:
            dbos.continue_as_new(number + 1)
        return written

    handle = writes.start(1)
    run_until_idle()

    assert handle.get_result() == 3
    assert done["atomic"] == 3
    if alias == "other":
        assert AtomicCheckpoint.objects.using("other").count() == 3


@dbos.step(atomic=True)
def writes_here(number: int) -> int:
    done["atomic"] += 1
    return number


@dbos.step(atomic=True, using="other")
def writes_elsewhere(number: int) -> int:
    done["atomic"] += 1
    return number


# What begins anew


def test_limits_count_the_steps_of_a_run(settings: Any, caplog: pytest.LogCaptureFixture) -> None:
    settings.DBOS = {**settings.DBOS, "STEP_LIMITS": (2, 2), "EVENT_LIMITS": (2, 2)}

    @dbos.workflow
    def sets(number: int) -> str:
        dbos.set_event("number", number)
        works(f"s{number}")
        if number < 4:
            dbos.continue_as_new(number + 1)
        works("one too many")
        return "done"

    handle = sets.start(1)
    run_until_idle()

    row = Workflow.objects.get()
    assert row.is_quarantined
    assert isinstance(row.error, dbos.LimitReached)
    assert "continue_as_new()" in str(row.error)
    assert handle.describe().run_number == 4
    assert done == Counter(["s1", "s2", "s3", "s4"])


def test_a_timeout_counts_for_each_run() -> None:
    @dbos.workflow(timeout=100)
    def sleeps(number: int) -> str:
        dbos.sleep(60)
        if number < 3:
            dbos.continue_as_new(number + 1)
        dbos.sleep(60)
        return "never"

    handle = sleeps.start(1)
    for _ in range(4):
        run_until_idle()
        advance(61)
    run_until_idle()

    assert handle.get_status() == "CANCELLED"
    assert handle.describe().run_number == 3


def test_an_inherited_deadline_stays() -> None:
    @dbos.workflow
    def endless(number: int) -> None:
        dbos.sleep(60)
        dbos.continue_as_new(number + 1)

    @dbos.workflow(timeout=150)
    def parent() -> Any:
        return endless.using(workflow_id="endless").start(1).get_result()

    parent.start()
    for _ in range(4):
        run_until_idle()
        advance(61)
    run_until_idle()

    row = Workflow.objects.get(pk="endless")
    assert (row.status, row.run_number) == ("CANCELLED", 3)


def test_deaths_in_a_row_count_anew() -> None:
    handle = counts.start(1, last=2)
    for _ in range(2):
        with pytest.raises(Crash), crash_after(0):
            run_until_idle()
        recover()
    assert handle.describe().recovery_attempts == 2

    with pytest.raises(Crash), crash_after(3):
        run_until_idle()
    assert handle.describe().recovery_attempts == 0
    recover()
    run_until_idle()
    assert handle.get_result() == "2 of 2"


def test_the_next_run_queues_behind_the_others() -> None:
    first, second = counts.start(1, last=2), counts.start(11, last=12)
    run_until_idle()

    assert [first.get_result(), second.get_result()] == ["2 of 2", "12 of 12"]
    assert list(done) == ["a1", "b1", "a11", "b11", "a2", "b2", "a12", "b12"]


def test_others_run_between_two_runs_under_a_limit() -> None:
    dbos.queues.set("narrow", concurrency=1)
    for number in (1, 11):
        counts.using(queue_name="narrow").start(number, last=number + 1)
    run_until_idle()

    assert list(done) == ["a1", "b1", "a11", "b11", "a2", "b2", "a12", "b12"]


def test_a_place_that_is_held_until_the_end_is_held_from_run_to_run() -> None:
    dbos.queues.set("mutex", concurrency=1, hold_while_waiting=True)
    for number in (1, 11):
        counts.using(queue_name="mutex").start(number, last=number + 1)
    run_until_idle()

    assert list(done) == ["a1", "b1", "a2", "b2", "a11", "b11", "a12", "b12"]


@pytest.mark.parametrize("holds", [False, True])
@pytest.mark.parametrize("rate", ["rate_limit", "partition_rate_limit"])
def test_the_next_run_counts_as_a_start_for_a_rate(rate: Any, holds: bool) -> None:
    dbos.queues.set("rated", concurrency=1, hold_while_waiting=holds, **{rate: "2/h"})
    handle = counts.using(queue_name="rated", partition_key="k").start(1, last=3)
    run_until_idle()
    assert (handle.get_status(), handle.describe().run_number) == ("ENQUEUED", 3)
    assert str(handle.describe().why_not_running).startswith("Rate limit")
    assert dbos.queues.depth("rated").places == 0

    advance(3_601)
    run_until_idle()

    assert handle.get_result() == "3 of 3"


@pytest.mark.django_db(transaction=True)
def test_a_called_workflow_waits_for_the_place_of_its_next_run(worker: Executor) -> None:
    """Others of the queue run in between, here in a worker."""
    dbos.queues.set("narrow", concurrency=1)
    waiting = [counts.using(queue_name="narrow").start(10 * n, last=10 * n) for n in range(1, 4)]

    assert counts.using(queue_name="narrow")(1, last=4) == "4 of 4"
    assert [handle.get_result(timeout=60) for handle in waiting] == [
        "10 of 10",
        "20 of 20",
        "30 of 30",
    ]
    assert set(done.values()) == {1}


def test_hundreds_of_runs_take_no_more_memory_than_one() -> None:
    runs: list[int] = []

    @dbos.workflow
    def entity(number: int) -> int:
        dbos.set_event("number", number)
        if number % 50 == 0:
            runs.append(live_runs(str(dbos.current_workflow().workflow_id)))
        if number < 200:
            dbos.continue_as_new(number + 1)
        return number

    assert entity(1) == 200
    assert runs == runs[:1] * 4 != []
    assert Checkpoint.objects.count() == 1
    assert EventVersion.objects.count() == 1
    assert PastRun.objects.count() == 199


def live_runs(workflow_id: str) -> int:
    """Return the number of a workflow's runs in memory; earlier tests may have left others."""
    gc.collect()
    runs = [found for found in gc.get_objects() if type(found) is Run]
    return sum(run.workflow_id == workflow_id for run in runs)


# How it ends


@pytest.mark.rule(18)
def test_nothing_after_the_call_runs_but_finally_blocks() -> None:
    @dbos.workflow
    def cleans_up(number: int) -> int:
        if number == 2:
            return number
        try:
            dbos.continue_as_new(number + 1)
        except Exception:
            done["caught"] += 1
        finally:
            done["finally"] += 1
            dbos.set_event("cleaned", True)
        return -1

    handle = cleans_up.start(1)
    run_until_idle()

    assert handle.get_result() == 2
    assert done == Counter({"finally": 1})
    assert handle.events() == {}


@pytest.mark.rule(18)
def test_a_bare_except_cannot_stop_it(caplog: pytest.LogCaptureFixture) -> None:
    @dbos.workflow
    def swallows(number: int) -> int:
        if number == 1:
            try:
                dbos.continue_as_new(2)
            except BaseException:
                return -1
        return number

    handle = swallows.start(1)
    run_until_idle()

    assert handle.get_result() == 2
    assert "Catch Exception instead of BaseException" in caplog.text


@pytest.mark.rule(23)
def test_a_replay_that_continues_before_its_last_recorded_step_has_diverged() -> None:
    waits = [True]

    @dbos.workflow
    def diverges(number: int) -> None:
        works(str(number))
        if waits[0]:
            dbos.recv(timeout=None)
        dbos.continue_as_new(number + 1)

    handle = diverges.start(1)
    run_until_idle()
    waits[0] = False
    handle.send(None)
    run_until_idle()

    row = Workflow.objects.get(pk=handle.workflow_id)
    assert row.is_quarantined
    assert isinstance(row.error, dbos.NondeterminismError)
    assert "continue_as_new()" in str(row.error)
    assert (row.run_number, Checkpoint.objects.count()) == (1, 2)
    waits[0] = True
    handle.resume()
    run_until_idle()
    assert handle.describe().run_number == 2


@both
def test_a_workflow_that_is_cancelled_does_not_continue(workflow: Any) -> None:
    store: Any = get_store()

    def cancel_first(session: Any, executor_id: str, writes: Any, **options: Any) -> Any:
        if any(isinstance(write, Continue) for write in writes):
            store.cancel_workflows([write.workflow_id for write in writes])
        return type(store).apply(store, session, executor_id, writes, **options)

    store.apply = cancel_first
    try:
        handle = workflow.start(1, last=3)
        run_until_idle()
    finally:
        del store.apply

    assert handle.get_status() == "CANCELLED"
    assert [step.output for step in handle.steps()] == ["a1", "b1"]
    assert not PastRun.objects.exists()
    handle.resume()
    run_until_idle()
    assert handle.get_result() == "3 of 3"
    assert set(done.values()) == {1}


def test_a_run_whose_end_the_database_refuses_is_quarantined() -> None:
    store: Any = get_store()

    def refuse(session: Any, executor_id: str, writes: Any, **options: Any) -> Any:
        if any(isinstance(write, Continue) for write in writes):
            raise errors.BadStatement("no")
        return type(store).apply(store, session, executor_id, writes, **options)

    store.apply = refuse
    try:
        handle = counts.start(1, last=2)
        run_until_idle()
    finally:
        del store.apply

    assert handle.describe().is_quarantined
    handle.resume()
    run_until_idle()
    assert handle.get_result() == "2 of 2"


# Crashes


@pytest.mark.rule(73)
@both
def test_it_survives_a_crash_after_each_write(
    run_through_crashes: Callable[..., int], workflow: Any
) -> None:
    def check(handle: Any) -> None:
        assert handle.get_result() == "3 of 3"
        assert PastRun.objects.filter(workflow_id=handle.workflow_id).count() == 2
        assert [step.output for step in handle.steps()] == ["a3", "b3"]

    writes = run_through_crashes(lambda: workflow.start(1, last=3), check)

    # Three runs with two steps and an end each.
    assert writes == 9


@contextmanager
def crash_at_statement(number: int) -> Iterator[None]:
    """Simulate the death of the process at a statement of the write that ends a run."""
    store: Any = get_store()

    def apply(session: Any, executor_id: str, writes: Any, **options: Any) -> Any:
        if not any(isinstance(write, Continue) for write in writes):
            return type(store).apply(store, session, executor_id, writes, **options)
        with connection.execute_wrapper(count_down):
            return type(store).apply(store, session, executor_id, writes, **options)

    left = number

    def count_down(execute: Any, *args: Any) -> Any:
        nonlocal left
        left -= 1
        if left == -1:
            raise Crash
        return execute(*args)

    store.apply = apply
    try:
        yield
    finally:
        del store.apply


@pytest.mark.rule(73)
def test_a_crash_at_a_statement_leaves_the_old_run_or_the_next_one() -> None:
    old = (1, 0, [1], ["a1", "b1"], 0)
    following = (2, 2, [2], [], 1)
    seen = []
    for number in range(40):
        done.clear()
        handle = counts.start(1, last=2)
        try:
            with crash_at_statement(number):
                run_until_idle()
        except Crash:
            seen.append(state_of(handle))
            recover()
            run_until_idle()
            assert handle.get_result() == "2 of 2"
            assert done == Counter(["a1", "b1", "a2", "b2"])
        else:
            # The last one ends the transaction.
            assert seen == [old] * (number - 1) + [following]
            assert number > 5
            return
    raise AssertionError("It took more than 40 statements.")


def state_of(handle: Any) -> tuple[int, int, list[Any], list[Any], int]:
    row = Workflow.objects.get(pk=handle.workflow_id)
    past = PastRun.objects.filter(workflow_id=handle.workflow_id).count()
    steps = [step.output for step in handle.steps()]
    return row.run_number, row.steps_before, row.input["args"], steps, past


@pytest.mark.rule(73)
def test_the_answer_to_its_commit_may_be_lost() -> None:
    store: Any = get_store()
    answers = [False]

    def lose_answer(session: Any, executor_id: str, writes: Any, **options: Any) -> Any:
        plan = type(store).apply(store, session, executor_id, writes, **options)
        if any(isinstance(write, Continue) for write in writes) and not answers[0]:
            answers[0] = True
            repeated = {**options, "is_repeat": True}
            return type(store).apply(store, session, executor_id, writes, **repeated)
        return plan

    store.apply = lose_answer
    try:
        handle = counts.start(1, last=3)
        run_until_idle()
    finally:
        del store.apply

    assert answers == [True]
    assert handle.get_result() == "3 of 3"
    assert set(done.values()) == {1}


# Refusals


def test_it_is_refused_outside_of_workflows() -> None:
    with pytest.raises(dbos.NotInWorkflow, match="continue_as_new"):
        dbos.continue_as_new(1)


async def test_its_twin_is_refused_outside_of_workflows() -> None:
    with pytest.raises(dbos.NotInWorkflow, match="acontinue_as_new"):
        await dbos.acontinue_as_new(1)


def test_it_is_refused_in_a_step() -> None:
    @dbos.step
    def continues() -> None:
        dbos.continue_as_new(1)

    @dbos.workflow
    def called() -> None:
        continues()

    with pytest.raises(dbos.NotAllowedInStep, match="continue_as_new"):
        called()


def test_its_arguments_are_checked_at_the_call() -> None:
    @dbos.workflow
    def wrong(number: int) -> list[str]:
        said = []
        for args, kwargs in [((), {}), ((1, 2), {}), ((1,), {"number": 2}), ((object(),), {})]:
            try:
                dbos.continue_as_new(*args, **kwargs)
            except (TypeError, dbos.SerializationError) as error:
                said.append(f"{type(error).__name__} {error}")
        return said

    missing, many, twice, stored = wrong(1)

    assert "missing a required argument: 'number'" in missing
    assert wrong.name in missing
    assert "too many positional arguments" in many
    assert "multiple values for argument 'number'" in twice
    assert stored.startswith("SerializationError")


@pytest.mark.django_db(transaction=True)
def test_it_is_refused_in_a_transaction() -> None:
    @dbos.workflow
    def in_block() -> None:
        with transaction.atomic():
            dbos.continue_as_new()

    with pytest.raises(dbos.NotAllowedInAtomic, match="continue_as_new"):
        in_block()


def test_it_is_refused_beside_other_branches() -> None:
    @dbos.workflow
    async def concurrent(number: int) -> list[str]:
        said = []

        async def continues() -> None:
            try:
                await dbos.acontinue_as_new(2)
            except dbos.DbosError as error:
                said.append(str(error))

        other = asyncio.create_task(works.acall("other"))
        await continues()
        await other
        await asyncio.create_task(continues())
        return said

    handle = concurrent.start(1)
    run_until_idle()

    beside, inside = handle.get_result()
    assert beside == inside
    assert "other tasks" in beside
    assert handle.workflow_id in beside


def test_branches_may_have_ended_before_it() -> None:
    @dbos.workflow
    async def gathers(number: int) -> list[str]:
        found = await asyncio.gather(*(works.acall(f"{number}{name}") for name in "abc"))
        if number < 3:
            await dbos.acontinue_as_new(number + 1)
        return found

    handle = gathers.start(1)
    run_until_idle()

    assert handle.get_result() == ["3a", "3b", "3c"]
    assert set(done.values()) == {1}
