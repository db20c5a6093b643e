"""Workflows that wait for a stream: they are suspended, and read the same again."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import pytest
from asgiref.sync import async_to_sync, sync_to_async
from django.db import connections

import django_dbos as dbos
from django_dbos.executor import Executor
from django_dbos.models import Checkpoint, Workflow
from django_dbos.testing import advance, run_until_idle
from tests.crashing import run_with_crash
from tests.waiting import LIMIT, eventually

pytestmark = pytest.mark.django_db

READ = "dbos.read_stream(s)"


@dbos.workflow
def writes_messages() -> None:
    """Write a value for each message; the last message is None."""
    while (value := dbos.recv(timeout=None)) is not None:
        dbos.write_stream("s", value)


@dbos.step
def note(value: Any) -> Any:
    return value


@dbos.workflow
def reads(source: str, seconds: Any = None) -> Any:
    reader = dbos.read_stream(source, "s", timeout=seconds)
    return [*[note(value) for value in reader], reader.closed]


@dbos.workflow
async def areads(source: str, seconds: Any = None) -> Any:
    reader = dbos.aread_stream(source, "s", timeout=seconds)
    values = [await note.acall(value) async for value in reader]
    return [*values, reader.closed]


@dbos.workflow
def reads_two(source: str) -> Any:
    entries: Any = dbos.read_stream(source, "s").entries()
    values = [note(next(entries)[1]) for _ in range(2)]
    entries.close()
    dbos.sleep(60)
    return values


@dbos.workflow
async def areads_two(source: str) -> Any:
    entries: Any = dbos.aread_stream(source, "s").entries()
    values = [await note.acall((await anext(entries))[1]) for _ in range(2)]
    await entries.aclose()
    await dbos.asleep(60)
    return values


READERS = [reads, areads]


def row_of(handle: Any) -> Workflow:
    return Workflow.objects.get(pk=handle.workflow_id)


def wake_of(handle: Any) -> tuple[Any, ...]:
    row = row_of(handle)
    return (row.status, row.wake_kind, row.wake_workflow_id, row.wake_name, row.wake_offset)


def checkpoint_of(handle: Any) -> Checkpoint:
    return Checkpoint.objects.get(workflow_id=handle.workflow_id, step_name=READ)


@pytest.mark.rule(53)
@pytest.mark.parametrize("workflow", READERS)
def test_a_reader_waits_in_a_row_for_the_offset_that_comes_next(workflow: Any) -> None:
    source = writes_messages.start()
    handle = workflow.start(source.workflow_id)
    run_until_idle()
    assert wake_of(handle) == ("WAITING", "stream", source.workflow_id, "s", 0)

    for number, value in enumerate(["x", "y"], 1):
        source.send(value)
        run_until_idle()
        assert wake_of(handle) == ("WAITING", "stream", source.workflow_id, "s", number)
    source.send(None)
    run_until_idle()

    assert handle.get_result() == ["x", "y", True]
    # One for the reader, one for each step.
    assert Checkpoint.objects.filter(workflow_id=handle.workflow_id).count() == 3
    assert handle.describe().waits_for is None


@pytest.mark.rule(53)
def test_its_description_names_the_stream() -> None:
    source = writes_messages.using(workflow_id="source").start()
    handle = reads.start(source.workflow_id)
    run_until_idle()

    assert handle.describe().waits_for == "an entry of stream 's' of 'source'"
    assert checkpoint_of(handle).related_workflow_id == "source"


@dbos.workflow
def echoes() -> None:
    """Write each message to the stream, until None."""
    dbos.write_stream("s", "first")
    while (value := dbos.recv(timeout=None)) is not None:
        dbos.write_stream("s", value)


@dbos.workflow
def talks(source: str) -> Any:
    seen = []
    for value in dbos.read_stream(source, "s"):
        seen.append(value)
        answer = {"first": "second", "second": "third"}.get(value)
        dbos.send(source, answer)
    return seen


@dbos.workflow
async def atalks(source: str) -> Any:
    seen = []
    async for value in dbos.aread_stream(source, "s"):
        seen.append(value)
        answer = {"first": "second", "second": "third"}.get(value)
        await dbos.asend(source, answer)
    return seen


@pytest.mark.rule(53)
@pytest.mark.parametrize("workflow", [talks, atalks])
def test_a_reader_that_crashes_and_is_suspended_in_turn_reads_each_value_once(
    workflow: Any, run_through_crashes: Any
) -> None:
    def check(handle: Any) -> None:
        assert handle.get_result() == ["first", "second", "third"]

    writes = run_through_crashes(lambda: workflow.start(echoes.start().workflow_id), check)

    assert writes > 10


@pytest.mark.rule(53)
def test_a_long_stream_is_no_checkpoint_per_value() -> None:
    @dbos.workflow
    def writes_many() -> None:
        for number in range(1_200):
            dbos.write_stream("s", number)
        dbos.recv(timeout=None)

    @dbos.workflow
    def adds_up(source: str) -> Any:
        return sum(dbos.read_stream(source, "s"))

    source = writes_many.start()
    handle = adds_up.start(source.workflow_id)
    run_until_idle()
    assert wake_of(handle)[-1] == 1_200
    source.send(None)
    run_until_idle()

    assert handle.get_result() == sum(range(1_200))
    assert Checkpoint.objects.filter(workflow_id=handle.workflow_id).count() == 1


@pytest.mark.rule(17)
@pytest.mark.rule(53)
@pytest.mark.parametrize("workflow", READERS)
def test_each_value_has_a_deadline_that_survives_what_wakes_the_reader(workflow: Any) -> None:
    source = writes_messages.start()
    handle = workflow.start(source.workflow_id, seconds=60)
    run_until_idle()
    deadline = checkpoint_of(handle).deadline_at
    assert row_of(handle).due_at == deadline

    # It is woken for nothing, and waits the rest of its time.
    handle.resume()
    run_until_idle()
    assert checkpoint_of(handle).deadline_at == row_of(handle).due_at == deadline

    source.send("x")
    run_until_idle()
    later = checkpoint_of(handle).deadline_at
    assert later is not None
    assert later > deadline  # type: ignore[operator]
    advance(61)
    run_until_idle()

    with pytest.raises(dbos.WaitTimeout, match="next value of stream 's'"):
        handle.get_result()
    assert checkpoint_of(handle).output["timed_out"]


@pytest.mark.rule(17)
@pytest.mark.rule(53)
def test_a_value_wins_over_a_deadline_that_has_passed() -> None:
    source = writes_messages.using(queue_name="sources").start()
    handle = reads.start(source.workflow_id, seconds=60)
    run_until_idle()
    source.send("x")
    run_until_idle(["sources"])
    advance(61)
    run_until_idle()

    assert wake_of(handle)[-1] == 1


@pytest.mark.rule(17)
@pytest.mark.rule(53)
def test_a_value_that_came_during_the_loop_wins_over_a_deadline_that_has_passed() -> None:
    source = writes_messages.start()
    entries: Any = iter(source.read_stream("s", timeout=0))
    for value in ("x", "y"):
        source.send(value)
        run_until_idle()
        assert next(entries) == value
    entries.close()


@dbos.workflow
def reads_own_values(own_id: str) -> list[int]:
    dbos.write_stream("s", 0)
    seen = []
    try:
        for value in dbos.read_stream(own_id, "s", timeout=0):
            seen.append(value)
            if value < 3:
                dbos.write_stream("s", value + 1)
    except dbos.WaitTimeout:
        dbos.sleep(60)
    return seen


@dbos.workflow
async def areads_own_values(own_id: str) -> list[int]:
    await dbos.awrite_stream("s", 0)
    seen = []
    try:
        async for value in dbos.aread_stream(own_id, "s", timeout=0):
            seen.append(value)
            if value < 3:
                await dbos.awrite_stream("s", value + 1)
    except dbos.WaitTimeout:
        await dbos.asleep(60)
    return seen


@pytest.mark.rule(17)
@pytest.mark.rule(53)
@pytest.mark.parametrize("workflow", [reads_own_values, areads_own_values])
def test_a_workflow_reads_the_values_that_it_writes_in_the_loop(workflow: Any) -> None:
    handle = workflow.using(workflow_id="own").start("own")
    run_until_idle()
    advance(61)
    run_until_idle()

    assert handle.get_result() == [0, 1, 2, 3]


@pytest.mark.rule(53)
def test_a_reader_may_wait_for_the_last_possible_offset() -> None:
    @dbos.workflow
    def reads_from(source: str, offset: int) -> Any:
        return list(dbos.read_stream(source, "s", offset))

    source = writes_messages.start()
    handle = reads_from.start(source.workflow_id, 2**31 - 1)
    run_until_idle()
    assert wake_of(handle)[-1] == 2**31 - 1

    source.send(None)
    run_until_idle()
    assert handle.get_result() == []


@dbos.workflow
def times_out(source: str) -> str:
    try:
        list(dbos.read_stream(source, "s", timeout=60))
    except dbos.WaitTimeout:
        dbos.sleep(60)
        return "timed out"
    return "read"


@pytest.mark.rule(53)
def test_a_timeout_is_the_same_in_a_replay() -> None:
    source = writes_messages.start()
    handle = times_out.start(source.workflow_id)
    run_until_idle()
    advance(61)
    run_until_idle()
    source.send("late")
    run_until_idle()
    advance(61)
    run_until_idle()

    assert handle.get_result() == "timed out"


@pytest.mark.rule(24)
@pytest.mark.rule(53)
@pytest.mark.parametrize("workflow", [reads_two, areads_two])
def test_a_reader_that_has_waited_may_leave(workflow: Any) -> None:
    source = writes_messages.start()
    handle = workflow.start(source.workflow_id)
    for value in ("x", "y"):
        run_until_idle()
        source.send(value)
    run_until_idle()
    assert checkpoint_of(handle).output == {
        "offset": 2,
        "closed": False,
        "timed_out": False,
        "has_left": True,
    }
    advance(60)
    run_until_idle()

    assert handle.get_result() == ["x", "y"]


@pytest.mark.rule(53)
@pytest.mark.parametrize("workflow", READERS)
def test_a_reader_that_crashes_while_it_is_woken_goes_on(workflow: Any) -> None:
    for writes in range(1, 20):
        source = writes_messages.start()
        handle = workflow.start(source.workflow_id)
        run_until_idle()
        source.send("x")
        source.send(None)
        if not run_with_crash(writes):
            break
        assert handle.get_result() == ["x", True]
    assert writes > 3


@pytest.mark.rule(32)
@pytest.mark.rule(53)
@pytest.mark.parametrize("workflow", READERS)
def test_the_end_of_the_writer_ends_its_readers(workflow: Any) -> None:
    source = writes_messages.start()
    handle = workflow.start(source.workflow_id)
    run_until_idle()

    source.cancel()
    run_until_idle()

    assert handle.get_result() == [False]


@pytest.mark.rule(36)
def test_an_inline_reader_in_a_test_is_refused() -> None:
    source = writes_messages.start()
    run_until_idle()

    with pytest.raises(dbos.WaitInTest, match="run_until_idle"):
        reads(source.workflow_id)
    with pytest.raises(dbos.WaitInTest, match="run_until_idle"):
        async_to_sync(areads.acall)(source.workflow_id)


# With a worker


@pytest.fixture
def small_worker(transactional_db: None) -> Any:
    with Executor(concurrency=2) as executor:
        yield executor


@pytest.mark.django_db(transaction=True)
@pytest.mark.rule(19)
@pytest.mark.rule(53)
@pytest.mark.parametrize("workflow", READERS)
def test_readers_hold_no_threads(small_worker: Executor, workflow: Any) -> None:
    source = writes_messages.start()
    handles = workflow.start_many([(source.workflow_id,)] * 10)

    eventually(lambda: {row_of(handle).status for handle in handles} == {"WAITING"})
    assert sum(thread.name == "dbos-run" for thread in threading.enumerate()) <= 2

    source.send("x")
    source.send(None)
    for handle in handles:
        assert handle.get_result(timeout=LIMIT) == ["x", True]


@pytest.mark.django_db(transaction=True)
@pytest.mark.rule(53)
def test_an_inline_reader_waits_on_its_callers_thread(worker: Executor) -> None:
    source = writes_messages.start()
    result: list[Any] = []

    def read() -> None:
        result.append(reads(source.workflow_id))
        connections.close_all()

    reader = threading.Thread(target=read)
    reader.start()
    eventually(lambda: Workflow.objects.filter(name=reads.name, status="PENDING").exists())

    source.send("x")
    source.send(None)
    reader.join(LIMIT)

    assert result == [["x", True]]


@dbos.workflow
async def reads_side_by_side(sources: list[str]) -> Any:
    async def read(source: str) -> list[Any]:
        return [value async for value in dbos.aread_stream(source, "s", timeout=600)]

    return await asyncio.gather(*(read(source) for source in sources))


@pytest.mark.rule(17)
@pytest.mark.rule(19)
@pytest.mark.rule(53)
async def test_readers_side_by_side_stay_and_record_their_deadlines(
    async_db: None, worker: Executor
) -> None:
    sources = [await writes_messages.astart() for _ in range(2)]
    handle = await reads_side_by_side.astart([source.workflow_id for source in sources])
    waits = Checkpoint.objects.filter(workflow_id=handle.workflow_id, deadline_at__isnull=False)
    await sync_to_async(eventually)(lambda: waits.count() == 2)
    assert await handle.aget_status() == "PENDING"

    for source in sources:
        await source.asend("x")
        await source.asend(None)

    assert await handle.aget_result(timeout=LIMIT) == [["x"], ["x"]]
