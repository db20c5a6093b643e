"""Concurrent branches of async workflows replay their own outcomes in the recorded order."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import pytest
from django.contrib.auth import get_user_model

import django_dbos as dbos
from django_dbos import serializers
from django_dbos.models import Checkpoint
from django_dbos.testing import run_until_idle
from tests.crashing import Crash, crash_after, recover

pytestmark = pytest.mark.django_db


@dbos.step
async def slowly(value: str, seconds: float) -> str:
    await asyncio.sleep(seconds)
    return value


async def branch(name: str, first: float, second: float) -> list[str]:
    one = await slowly(f"{name}1", first)
    two = await slowly(f"{name}2", second)
    return [one, two]


# b's first step ends before a's first, and b's second after a's second.
TURNS = ["b1", "a1", "a2", "b2"]
returned: set[str] = set()


@dbos.step
async def in_turn(value: str) -> str:
    """Return once the branches have received the outcomes of the steps before this one."""
    while not returned.issuperset(TURNS[: TURNS.index(value)]):  # noqa: ASYNC110
        await asyncio.sleep(0.001)
    return value


async def ordered_branch(name: str) -> list[str]:
    values = []
    for number in (1, 2):
        values.append(await in_turn(f"{name}{number}"))
        returned.add(values[-1])
    return values


@dbos.workflow
async def gathers() -> list[list[str]]:
    returned.clear()
    return list(await asyncio.gather(ordered_branch("a"), ordered_branch("b")))


@dbos.workflow
async def groups() -> list[Any]:
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(branch(name, 0.0, 0.0)) for name in "abc"]
    return [task.result() for task in tasks]


@pytest.mark.rule(21)
def test_each_branch_gets_its_own_outcomes_after_a_crash_at_any_write(
    run_through_crashes: Any,
) -> None:
    def check(handle: Any) -> None:
        assert handle.get_result() == [["a1", "a2"], ["b1", "b2"]]

    writes = run_through_crashes(gathers.start, check)

    assert writes >= 5


@pytest.mark.rule(21)
def test_a_task_group_replays_too(run_through_crashes: Any) -> None:
    expected = [["a1", "a2"], ["b1", "b2"], ["c1", "c2"]]

    run_through_crashes(groups.start, lambda handle: _assert_result(handle, expected))


def _assert_result(handle: Any, expected: Any) -> None:
    assert handle.get_result() == expected


@pytest.mark.rule(21)
def test_checkpoints_keep_the_order_in_which_they_were_recorded() -> None:
    handle = gathers.start()
    run_until_idle()

    outputs = Checkpoint.objects.filter(workflow_id=handle.workflow_id).order_by("record_order")

    assert [one.output for one in outputs] == TURNS


@pytest.mark.rule(21)
async def telling_branch(name: str) -> list[str]:
    await dbos.aset_event(f"{name} began", True)
    await dbos.awrite_stream("made", name)
    one = await slowly(f"{name}1", 0)
    await dbos.awrite_stream("made", one)
    return [one, await slowly(f"{name}2", 0)]


@dbos.workflow
async def tells() -> list[list[str]]:
    return list(await asyncio.gather(telling_branch("a"), telling_branch("b")))


@pytest.mark.rule(21)
def test_a_branch_goes_on_after_a_write_that_does_not_wait_as_in_a_replay(
    run_through_crashes: Any,
) -> None:
    def check(handle: Any) -> None:
        assert handle.get_result(timeout=0) == [["a1", "a2"], ["b1", "b2"]]
        assert sorted(handle.read_stream("made")) == ["a", "a1", "b", "b1"]

    assert run_through_crashes(tells.start, check) >= 3


def test_other_arguments_at_a_position_are_never_another_branchs_value() -> None:
    runs: list[int] = []

    @dbos.workflow
    async def changes() -> list[Any]:
        runs.append(1)
        names = ("a", "b") if len(runs) == 1 else ("b", "a")
        return list(await asyncio.gather(*(branch(name, 0.0, 0.0) for name in names)))

    handle = changes.start()
    with crash_after(2), pytest.raises(Crash):
        run_until_idle()
    recover()
    run_until_idle()

    with pytest.raises(dbos.NondeterminismError, match="other arguments"):
        handle.get_result()


@dbos.step
async def in_turn_as_user(value: str) -> Any:
    """Return a value that a replay reads from the database, on a thread."""
    while not returned.issuperset(TURNS[: TURNS.index(value)]):  # noqa: ASYNC110
        await asyncio.sleep(0.001)
    user, _ = await get_user_model().objects.aget_or_create(username=value)
    return user


async def branch_of_users(name: str) -> list[str]:
    values = []
    for number in (1, 2):
        values.append((await in_turn_as_user(f"{name}{number}")).username)
        returned.add(values[-1])
    return values


@dbos.workflow
async def gathers_users() -> list[list[str]]:
    returned.clear()
    return list(await asyncio.gather(ordered_branch("a"), branch_of_users("b")))


@pytest.mark.rule(21)
def test_outcomes_that_are_read_on_a_thread_keep_their_turn(
    run_through_crashes: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    loads = serializers.loads

    def slowly_loads(text: str) -> Any:
        # The other branch would have more than enough passes of the loop to go on.
        time.sleep(0.02 if serializers.needs_thread(text) else 0)
        return loads(text)

    monkeypatch.setattr(serializers, "loads", slowly_loads)
    expected = [["a1", "a2"], ["b1", "b2"]]

    run_through_crashes(gathers_users.start, lambda handle: _assert_result(handle, expected))


@pytest.mark.rule(18)
def test_a_branch_that_fails_cancels_the_others_and_replays_so(run_through_crashes: Any) -> None:
    @dbos.step
    async def fails() -> None:
        await asyncio.sleep(0.01)
        raise LookupError("branch")

    @dbos.workflow
    async def one_fails() -> str:
        outcome = "passed"
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(branch("a", 0.0, 5.0))
                group.create_task(fails())
        except* LookupError:
            outcome = "failed"
        return outcome

    run_through_crashes(one_fails.start, lambda handle: _assert_result(handle, "failed"))


def test_branches_wait_concurrently(transactional_db: None) -> None:
    @dbos.workflow
    async def waits_twice() -> list[Any]:
        return list(await asyncio.gather(dbos.arecv("a"), dbos.arecv("b")))

    handle = waits_twice.start()
    handle.send(1, "a")
    handle.send(2, "b")
    run_until_idle()

    assert handle.get_result() == [1, 2]


def test_tasks_left_over_end_with_their_workflow(caplog: pytest.LogCaptureFixture) -> None:
    tasks: list[asyncio.Task[Any]] = []

    @dbos.workflow
    async def forgets() -> str:
        tasks.append(asyncio.create_task(slowly("late", 60)))
        await slowly("soon", 0.0)
        return "done"

    assert forgets.start().workflow_id
    run_until_idle()

    assert tasks[0].cancelled()
    assert "Await them" in caplog.text
