"""Readers of streams in concurrent branches get their values in the recorded order."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

import django_dbos as dbos
from django_dbos.exceptions import WaitTimeout
from django_dbos.models import Checkpoint, Workflow
from django_dbos.testing import run_until_idle

pytestmark = pytest.mark.django_db


@dbos.workflow
def write(values: list[str], is_closed: bool = True) -> None:
    for value in values:
        dbos.write_stream("s", value)
    if is_closed:
        dbos.close_stream("s")


@dbos.workflow
def write_and_stay(values: list[str]) -> None:
    for value in values:
        dbos.write_stream("s", value)
    dbos.recv("never")


def written(*values: str) -> str:
    source = write.start(list(values))
    run_until_idle()
    return source.workflow_id


@dbos.step
async def note(text: str) -> str:
    await asyncio.sleep(0)
    return text


async def reads(source: str, name: str) -> list[str]:
    """Call a step between the values of a stream."""
    return [await note(f"{name}{value}") async for value in dbos.aread_stream(source, "s")]


async def calls(name: str, count: int) -> list[str]:
    return [await note(f"{name}{number}") for number in range(count)]


@dbos.workflow
async def side_by_side(source: str) -> list[list[str]]:
    return list(await asyncio.gather(reads(source, "a"), calls("b", 4), reads(source, "c")))


@pytest.mark.rule(21)
def test_branches_with_steps_between_values_replay(run_through_crashes: Any) -> None:
    source = written("x", "y", "z")
    expected = [["ax", "ay", "az"], ["b0", "b1", "b2", "b3"], ["cx", "cy", "cz"]]

    def check(handle: Any) -> None:
        assert handle.get_result() == expected

    writes = run_through_crashes(lambda: side_by_side.start(source), check)

    assert writes >= 10


@dbos.workflow
async def branches_off(source: str) -> list[str]:
    """Begin another branch between two values of one page."""
    values, task = [], None
    async for value in dbos.aread_stream(source, "s"):
        values.append(await note(value))
        if value == "x":
            task = asyncio.create_task(calls("b", 3))
    assert task is not None
    return [*values, *await task]


@pytest.mark.rule(21)
def test_a_branch_that_begins_between_two_values_replays(run_through_crashes: Any) -> None:
    source = written("w", "x", "y", "z")
    expected = ["w", "x", "y", "z", "b0", "b1", "b2"]

    run_through_crashes(lambda: branches_off.start(source), _has_result(expected))


@dbos.workflow
async def stops_waiting(source: str) -> tuple[list[str], list[str]]:
    async def impatient() -> list[str]:
        values = []
        try:
            async for value in dbos.aread_stream(source, "s", timeout=0.01):
                values.append(await note(value))  # noqa: PERF401
        except WaitTimeout:
            values.append("timed out")
        return values

    first, second = await asyncio.gather(impatient(), calls("b", 3))
    return first, second


@pytest.mark.rule(21)
def test_a_reader_beside_branches_times_out_in_its_turn(run_through_crashes: Any) -> None:
    source = write_and_stay.start(["x", "y"])
    run_until_idle()

    check = _has_result((["x", "y", "timed out"], ["b0", "b1", "b2"]))
    run_through_crashes(lambda: stops_waiting.start(source.workflow_id), check)


@dbos.workflow
async def leaves_early(source: str) -> tuple[list[str], list[str]]:
    async def first_two() -> list[str]:
        values: list[str] = []
        async for value in dbos.aread_stream(source, "s"):
            values.append(await note(value))
            if len(values) == 2:
                break
        values.append(await note("left"))
        return values

    first, second = await asyncio.gather(first_two(), calls("b", 3))
    return first, second


@pytest.mark.rule(21)
def test_a_reader_beside_branches_leaves_in_its_turn(run_through_crashes: Any) -> None:
    source = written("x", "y", "z")

    check = _has_result((["x", "y", "left"], ["b0", "b1", "b2"]))
    run_through_crashes(lambda: leaves_early.start(source), check)


def _has_result(expected: Any) -> Callable[[Any], None]:
    def check(handle: Any) -> None:
        assert handle.get_result() == expected

    return check


def test_a_lone_reader_takes_one_position(run_through_crashes: Any) -> None:
    @dbos.workflow
    async def alone(source: str) -> list[str]:
        return [value async for value in dbos.aread_stream(source, "s")]

    source = written("x", "y", "z")

    handle = alone.start(source)
    run_until_idle()

    assert handle.get_result() == ["x", "y", "z"]
    assert Checkpoint.objects.filter(workflow_id=handle.workflow_id).count() == 1
    assert not Workflow.objects.filter(is_quarantined=True).exists()
