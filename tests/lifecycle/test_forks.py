"""Forks: new workflows with the history of others before a step."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from asgiref.sync import sync_to_async
from django.db import transaction

import django_dbos as dbos
from django_dbos.exceptions import ChangeRefused
from django_dbos.models import Checkpoint, EventVersion, Message, Workflow
from django_dbos.store import get_store
from django_dbos.testing import arun_until_idle, run_until_idle
from tests.lifecycle.workflows import (
    aworks,
    branches,
    broken,
    child,
    done,
    everything,
    fails,
    latest,
    maps,
    offsets,
    parent,
    recorded,
    works,
)

pytestmark = pytest.mark.django_db(databases=["default", "other"])

EVERYTHING = ["a", "one", "b", "two"]


@pytest.fixture
def original() -> dbos.WorkflowHandle[Any]:
    handle = everything.start()
    handle.send("one", "go")
    handle.send("two", "go")
    run_until_idle()
    assert handle.get_result() == EVERYTHING
    return handle


@pytest.mark.rule(90)
@pytest.mark.parametrize("step", range(1, 10))
def test_a_fork_from_any_step_replays_what_came_before(
    original: dbos.WorkflowHandle[Any], step: int
) -> None:
    before, kept = recorded(original.workflow_id), recorded(original.workflow_id, step)
    done.clear()

    fork = original.fork(from_step=step)

    assert recorded(fork.workflow_id) == kept
    fork.send("one", "go")
    fork.send("two", "go")
    run_until_idle()
    # Messages that the steps before have received are the fork's; the others are sent again.
    texts = {name for name, number in (("one", 4), ("two", 7)) if number < step}
    assert fork.get_result()[::2] == ["a", "b"]
    assert fork.get_result()[1] == "one"
    assert fork.get_result()[3] == ("one" if texts == {"one"} else "two")
    assert done == {name: 1 for name, number in (("a", 1), ("b", 6)) if number >= step}
    assert offsets(fork.workflow_id) == list(range(len(offsets(fork.workflow_id))))
    assert latest(fork.workflow_id) == latest(original.workflow_id)
    assert recorded(original.workflow_id) == before


@pytest.mark.rule(90)
@pytest.mark.parametrize("step", range(1, 17))
def test_a_fork_in_the_middle_of_branches_replays_what_came_before(step: int) -> None:
    handle = branches.start()
    run_until_idle()
    result, kept = handle.get_result(), recorded(handle.workflow_id, step)
    ran_before = {output for _, name, _, output, *_ in kept["steps"] if "aworks" in name}
    done.clear()

    fork = handle.fork(from_step=step)

    assert recorded(fork.workflow_id) == kept
    assert offsets(fork.workflow_id) == list(range(len(kept["entries"])))
    run_until_idle()
    assert fork.get_result() == result
    assert sum(done.values()) == 5 - len(ran_before)
    assert offsets(fork.workflow_id) == list(range(10))


def test_the_original_and_the_fork_know_each_other(original: dbos.WorkflowHandle[Any]) -> None:
    fork = original.fork(from_step=4, workflow_id="fork")

    assert fork.workflow_id == "fork"
    row = Workflow.objects.get(pk="fork")
    assert (row.forked_from, row.forked_at_step) == (original.workflow_id, 4)
    assert fork.describe().forked_from == original.workflow_id
    assert fork.describe().forked_at_step == 4
    assert original.describe().forked_from is None
    assert list(Workflow.objects.filter(forked_from=original.workflow_id)) == [row]


def test_a_fork_has_the_options_of_its_original_unless_others_are_given(
    django_user_model: Any,
) -> None:
    user = django_user_model.objects.create(username="kim")
    options: Any = {"queue_name": "mail", "priority": 3, "timeout": 60, "partition_key": "k"}
    options |= {"user": user, "attributes": {"order": 7, "name": "Zoë"}, "deduplication_id": "d"}
    handle = works_once.using(**options).start()
    columns = ("queue_name", "priority", "timeout", "partition_key", "user_id", "attributes")

    same = handle.fork(from_step=1)
    other = handle.fork(
        1, queue_name="slow", priority=0, timeout=None, partition_key=None, user=None,
        attributes=None, deduplication_id="e",
    )  # fmt: skip

    def row(found: dbos.WorkflowHandle[Any]) -> Any:
        return Workflow.objects.values_list(*columns, "deduplication_id").get(pk=found.workflow_id)

    assert row(same) == (*row(handle)[:-1], None)
    assert row(other) == ("slow", 0, None, "", None, None, "e")


@dbos.workflow
def works_once(name: str = "a") -> str:
    return works(name)


def test_a_fork_may_have_other_arguments(original: dbos.WorkflowHandle[Any]) -> None:
    fork = original.fork(from_step=1, kwargs={"first": "z"})
    fork.send(1, "go")
    fork.send(2, "go")
    run_until_idle()

    assert fork.get_result() == ["z", 1, "b", 2]
    with pytest.raises(TypeError, match="unexpected keyword"):
        original.fork(from_step=1, kwargs={"frist": "z"})


def test_other_arguments_that_lead_to_other_steps_quarantine_the_fork() -> None:
    handle = takes_either.start(True)
    run_until_idle()
    fork = handle.fork(from_step=2, args=[False])
    run_until_idle()

    assert fork.describe().is_quarantined
    assert "NondeterminismError" in str(fork.describe().error)


@dbos.workflow
def takes_either(is_first: bool) -> None:
    if is_first:
        works("a")
    else:
        dbos.set_event("b", 1)
    works("c")


def test_a_fork_of_a_failed_workflow_from_its_failure() -> None:
    broken.add("b")
    handle = fails.start()
    run_until_idle()
    broken.clear()

    fork = handle.fork(from_failure=True)
    run_until_idle()

    assert fork.get_result() == "done"
    assert done == {"a": 1, "b": 2, "c": 1}
    assert handle.get_status() == "ERROR"


def test_many_are_forked_from_their_failures() -> None:
    broken.add("b")
    failed = [fails.start() for _ in range(3)]
    run_until_idle()
    broken.clear()
    healthy = works_once.start()
    run_until_idle()

    forks = dbos.fork_many(Workflow.objects.all(), from_failure=True, queue_name="repairs")
    run_until_idle()

    assert forks.pop(healthy.workflow_id) is None
    assert set(forks) == {handle.workflow_id for handle in failed}
    assert [fork and fork.get_result() for fork in forks.values()] == ["done"] * 3
    assert Workflow.objects.filter(queue_name="repairs").count() == 3
    again = Workflow.objects.filter(status="ERROR").fork(from_step=1)
    assert all(again.values())
    assert dbos.fork_many([healthy, healthy.workflow_id], from_step=1)[healthy.workflow_id]


@pytest.mark.asyncio
@pytest.mark.usefixtures("async_db")
async def test_the_async_twins_do_the_same() -> None:
    handle = await works_once.astart()
    await arun_until_idle()

    fork = await handle.afork(from_step=1)
    many = await dbos.afork_many([handle.workflow_id], from_step=1)
    await arun_until_idle()

    assert await fork.aget_result() == "a"
    other = many[handle.workflow_id]
    assert other is not None
    assert await other.aget_result() == "a"
    await handle.arewind(1)
    await arun_until_idle()
    assert done["a"] == 4
    await handle.adelete()
    with pytest.raises(dbos.WorkflowDoesNotExist):
        await handle.aget_status()
    with pytest.raises(ChangeRefused):
        await sync_to_async(fork.retry)()


# Children


def test_the_children_from_before_stay_those_of_the_original() -> None:
    handle = parent.start("x")
    run_until_idle()
    result = handle.get_result()

    fork = handle.fork(from_step=4)
    anew = handle.fork(from_step=2)
    run_until_idle()

    assert fork.get_result() == result
    assert anew.get_result() == ["x", f"{anew.workflow_id}-2"]
    assert done == {"before": 1, "x": 2, "after": 3}
    assert not Workflow.objects.filter(parent_id=fork.workflow_id).exists()


def test_a_fork_in_the_middle_of_a_map_is_refused() -> None:
    handle = maps.start(3)
    run_until_idle()

    with pytest.raises(ChangeRefused, match="middle of a map"):
        handle.fork(from_step=3)

    forks = [handle.fork(from_step=step) for step in (1, 2, 4)]
    run_until_idle()
    assert [fork.get_result() for fork in forks] == [handle.get_result()] * 3
    assert done["child0"] == 3


# Refusals


def test_a_step_that_the_history_has_not_is_refused(original: dbos.WorkflowHandle[Any]) -> None:
    with pytest.raises(ChangeRefused, match="They are 1 to 9; 10 continues"):
        original.fork(from_step=11)
    assert Workflow.objects.count() == 1

    assert original.fork(from_step=10).get_status() == "ENQUEUED"


@pytest.mark.parametrize(
    ("arguments", "error", "text"),
    [
        ({}, TypeError, "from_step=N or from_failure=True"),
        ({"from_step": 1, "from_failure": True}, TypeError, "from_step=N or from_failure=True"),
        ({"from_step": True}, TypeError, "must be an int"),
        ({"from_step": 0}, ValueError, "at least 1"),
        ({"from_step": 1, "args": "abc"}, TypeError, "args must be"),
        ({"from_step": 1, "kwargs": []}, TypeError, "kwargs must be"),
        ({"from_step": 1, "debounce_key": "k"}, TypeError, "debounce_key"),
        ({"from_step": 1, "unique_for": 5}, ValueError, "deduplication_id"),
    ],
)
def test_impossible_arguments_are_refused(
    original: dbos.WorkflowHandle[Any], arguments: Any, error: type[Exception], text: str
) -> None:
    with pytest.raises(error, match=text):
        original.fork(**arguments)

    assert Workflow.objects.count() == 1


def test_unknown_workflows_and_taken_ids_are_refused(original: dbos.WorkflowHandle[Any]) -> None:
    with pytest.raises(dbos.WorkflowDoesNotExist):
        dbos.WorkflowHandle[Any]("nothing").fork(from_step=1)
    with pytest.raises(dbos.DuplicateWorkflow):
        original.fork(from_step=1, workflow_id=original.workflow_id)
    works_once.using(deduplication_id="d").start()
    with pytest.raises(dbos.DuplicateWorkflow):
        original.fork(from_step=1, deduplication_id="d")
    with pytest.raises(ValueError, match="several forks"):
        dbos.fork_many([original], from_step=1, workflow_id="one")
    with pytest.raises(TypeError, match="takes a list"):
        dbos.fork_many("abc", from_step=1)

    assert Workflow.objects.count() == 2
    assert not Checkpoint.objects.exclude(workflow_id=original.workflow_id).exists()


def test_a_run_that_continued_as_new_is_forked_from_its_own_steps() -> None:
    handle = counts.start(1)
    run_until_idle()

    with pytest.raises(ChangeRefused, match="They are 4 to 5: its steps before were"):
        handle.fork(from_step=2)
    with pytest.raises(ChangeRefused, match="'old' before step 4 is gone"):
        handle.fork(from_step=4)
    fork = handle.fork(from_step=6)
    assert latest(fork.workflow_id) == {"old": 2, "older": 1}
    assert offsets(fork.workflow_id) == [0, 1]
    run_until_idle()

    assert fork.get_result() == "done"
    assert done == {"run1": 1, "run2": 1}
    assert fork.describe().run_number == 2


@dbos.workflow
def counts(number: int) -> str:
    works(f"run{number}")
    dbos.set_event("old", number)
    if number == 1:
        dbos.set_event("older", 1)
        dbos.continue_as_new(2)
    return "done"


answers: list[str] = []


@dbos.step
async def hangs(until: int) -> None:
    while len(answers) < until:  # noqa: ASYNC110
        await asyncio.sleep(0.001)


@dbos.step
async def tries_forks(workflow_id: str) -> None:
    def fork(step: int) -> str:
        try:
            return dbos.WorkflowHandle[Any](workflow_id).fork(step, run_after=60).workflow_id
        except ChangeRefused as error:
            return error.reason

    answers.extend(await sync_to_async(lambda: [fork(step) for step in (1, 2, 3)])())


async def works_and_tries(workflow_id: str) -> None:
    await aworks("x")
    await tries_forks(workflow_id)


@dbos.workflow
async def tries_meanwhile(workflow_id: str) -> None:
    await asyncio.gather(hangs(3), works_and_tries(workflow_id))


@pytest.mark.rule(91)
def test_a_running_workflow_is_forked_where_that_runs_nothing_twice() -> None:
    answers.clear()
    tries_meanwhile.using(workflow_id="w").start("w")
    run_until_idle()

    # Step 1 hangs in one branch, steps 2 and 3 are the other's.
    from_first, from_second, from_third = answers
    assert Workflow.objects.filter(forked_from="w").count() == 1
    assert Workflow.objects.get(forked_from="w").workflow_id == from_first
    for reason in (from_second, from_third):
        assert "it runs, and a step before" in reason


# What happens meanwhile


@pytest.mark.rule(91)
def test_a_fork_begins_again_if_the_original_is_rewound_meanwhile(
    original: dbos.WorkflowHandle[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    store: Any = get_store()
    check = type(store)._check_unchanged
    left = [1]

    def rewind_and_check(self: Any, source: Workflow) -> None:
        if left:
            left.pop()
            self.rewind_workflow(str(source.pk), 3)
        check(self, source)

    monkeypatch.setattr(type(store), "_check_unchanged", rewind_and_check)
    # The rewind is undone together with the copy that it spoils.
    fork = original.fork(from_step=5)

    assert not left
    assert recorded(fork.workflow_id) == recorded(original.workflow_id, 5)
    assert Checkpoint.objects.filter(workflow_id=original.workflow_id).count() == 9


def test_a_fork_is_part_of_the_callers_transaction(original: dbos.WorkflowHandle[Any]) -> None:
    with transaction.atomic():
        original.fork(from_step=5)
        transaction.set_rollback(True)

    assert Workflow.objects.count() == 1
    assert not EventVersion.objects.exclude(workflow_id=original.workflow_id).exists()
    assert not Message.objects.exclude(workflow_id=original.workflow_id).exists()


# In workflow code


@dbos.workflow
def forks(source_id: str) -> str:
    works("before")
    fork = dbos.WorkflowHandle[Any](source_id).fork(from_step=1)
    works("after")
    return fork.workflow_id


@dbos.workflow
async def aforks(source_id: str) -> str:
    fork = await dbos.WorkflowHandle[Any](source_id).afork(from_step=1)
    return fork.workflow_id


@pytest.mark.rule(94)
@pytest.mark.parametrize("workflow", [forks, aforks])
def test_workflow_code_forks_once_through_crashes(
    workflow: Any, run_through_crashes: Callable[..., int]
) -> None:
    handle = child.start("x")
    run_until_idle()

    def check(found: dbos.WorkflowHandle[str]) -> None:
        (fork,) = Workflow.objects.filter(forked_from=handle.workflow_id)
        assert found.get_result() == fork.workflow_id
        assert str(fork.workflow_id).startswith(found.workflow_id)
        fork.handle.delete()

    assert run_through_crashes(lambda: workflow.start(handle.workflow_id), check) > 1


def test_wrong_arguments_of_many_forks_are_refused_also_if_there_is_no_workflow() -> None:
    nothing = Workflow.objects.none()
    with pytest.raises(TypeError, match="takes either from_step=N or from_failure=True"):
        dbos.fork_many(nothing)
    with pytest.raises(TypeError, match="has no option 'queue'"):
        nothing.fork(1, queue="repairs")
    with pytest.raises(TypeError, match="from_failure must be True or False, not str 'no'"):
        dbos.fork_many(nothing, from_failure="no")  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="takes a list of workflows, not WorkflowHandle Work"):
        dbos.fork_many(dbos.WorkflowHandle("one"), from_step=1)  # type: ignore[arg-type]
    assert dbos.fork_many(nothing, from_step=1) == {}
