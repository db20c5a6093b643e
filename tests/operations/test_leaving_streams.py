"""Workflows that leave a stream before its end: their position in it is recorded."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

import django_dbos as dbos
from django_dbos.models import Checkpoint, Workflow
from django_dbos.testing import advance, run_until_idle
from tests.operations.test_streams import write

pytestmark = pytest.mark.django_db

READ = "dbos.read_stream(s)"


@dbos.step
def note(value: Any) -> Any:
    return value


@dbos.workflow
def breaks(source: str) -> Any:
    for value in dbos.read_stream(source, "s"):
        first = value
        break
    note(first)
    dbos.sleep(60)
    return first


@dbos.workflow
def returns(source: str) -> Any:
    for _, value in dbos.read_stream(source, "s").entries():
        return value
    return None


@dbos.workflow
def raises(source: str) -> Any:
    try:
        for value in dbos.read_stream(source, "s"):
            raise ValueError(value)
    except ValueError as error:
        return note(error.args[0])


@dbos.workflow
def closes(source: str) -> Any:
    entries: Any = dbos.read_stream(source, "s").entries()
    (_, value) = next(entries)
    entries.close()
    return value


@dbos.workflow
async def abreaks(source: str) -> Any:
    async for value in dbos.aread_stream(source, "s"):
        first = value
        break
    await note.acall(first)
    await dbos.asleep(60)
    return first


@dbos.workflow
async def areturns(source: str) -> Any:
    async for _, value in dbos.aread_stream(source, "s").entries():
        return value
    return None


@dbos.workflow
async def acloses(source: str) -> Any:
    entries: Any = dbos.aread_stream(source, "s").entries()
    (_, value) = await anext(entries)
    await entries.aclose()
    return await note.acall(value)


LEAVING = [breaks, returns, raises, closes, abreaks, areturns, acloses]


def run_on() -> None:
    run_until_idle()
    advance(60)
    run_until_idle()


def ends(workflow_id: str) -> list[tuple[int, int, bool]]:
    found = Checkpoint.objects.filter(workflow_id=workflow_id, step_name=READ)
    outputs = [(one.step_number, one.output) for one in found.order_by("step_number")]
    return [(number, end["offset"], end["has_left"]) for number, end in outputs]


@pytest.mark.rule(24)
@pytest.mark.parametrize("workflow", LEAVING)
def test_the_position_at_which_a_stream_was_left_is_recorded(
    workflow: Any, run_through_crashes: Any
) -> None:
    source = write.start(["x", "y", "z"])
    run_until_idle()

    def check(handle: Any) -> None:
        run_on()
        assert handle.get_result() == "x"
        assert ends(handle.workflow_id) == [(1, 1, True)]

    run_through_crashes(lambda: workflow.start(source.workflow_id), check)


@dbos.workflow
def reads_twice(source: str) -> Any:
    reader = dbos.read_stream(source, "s")
    first = next(iter(reader))
    dbos.sleep(60)
    return [first, *reader, reader.closed]


@dbos.workflow
async def areads_twice(source: str) -> Any:
    reader = dbos.aread_stream(source, "s")
    first = await anext(aiter(reader))
    await dbos.asleep(60)
    return [first, *[value async for value in reader], reader.closed]


@pytest.mark.rule(24)
@pytest.mark.parametrize("workflow", [reads_twice, areads_twice])
def test_a_reader_that_continues_takes_another_position(
    workflow: Any, run_through_crashes: Any
) -> None:
    source = write.start(["x", "y", "z"])
    run_until_idle()

    def check(handle: Any) -> None:
        run_on()
        assert handle.get_result() == ["x", "y", "z", True]
        assert ends(handle.workflow_id) == [(1, 1, True), (3, 3, False)]

    run_through_crashes(lambda: workflow.start(source.workflow_id), check)


@dbos.workflow
def polls(source: str) -> Any:
    reader = dbos.read_stream(source, "s", wait=False)
    seen = [list(reader)]
    dbos.sleep(60)
    seen.append(list(reader))
    dbos.sleep(60)
    return seen


@dbos.workflow
def writes_two() -> None:
    dbos.write_stream("s", 1)
    dbos.recv(timeout=None)
    dbos.write_stream("s", 2)


@pytest.mark.rule(24)
def test_a_workflow_that_reads_repeatedly_gets_the_same_in_a_replay() -> None:
    source = writes_two.start()
    run_until_idle()
    handle = polls.start(source.workflow_id)
    run_until_idle()
    source.send(None)
    run_until_idle()
    for _ in range(2):
        advance(60)
        run_until_idle()

    assert handle.get_result() == [[1], [2]]


stops_after = 1


@dbos.workflow
def changes(source: str) -> Any:
    seen = []
    for value in dbos.read_stream(source, "s"):
        seen.append(value)
        if len(seen) == stops_after:
            break
    dbos.sleep(60)
    return seen


@pytest.mark.rule(23)
def test_code_that_reads_past_the_recorded_position_is_detected(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    source = write.start(["x", "y", "z"])
    handle = changes.start(source.workflow_id)
    run_until_idle()
    monkeypatch.setattr(f"{__name__}.stops_after", 2)
    run_on()

    workflow = Workflow.objects.get(pk=handle.workflow_id)
    assert workflow.is_quarantined
    assert "leaving it at offset 1" in str(workflow.error)

    monkeypatch.undo()
    handle.resume()
    run_on()
    assert handle.get_result() == ["x"]


@dbos.workflow
async def side_by_side(source: str) -> Any:
    async def one(number: int) -> Any:
        async for value in dbos.aread_stream(source, "s"):
            first = value
            break
        await note.acall(number)
        return first

    values = await asyncio.gather(*(one(number) for number in range(3)))
    await dbos.asleep(60)
    return values


@pytest.mark.rule(21)
def test_branches_that_leave_streams_replay(run_through_crashes: Any) -> None:
    source = write.start(["x", "y"])
    run_until_idle()

    def check(handle: Any) -> None:
        run_on()
        assert handle.get_result() == ["x"] * 3

    run_through_crashes(lambda: side_by_side.start(source.workflow_id), check)
