"""Streams: consecutive offsets, an end for readers, and no traces of crashes."""

from __future__ import annotations

import threading
from typing import Any

import pytest

import django_dbos as dbos
from django_dbos.executor import Executor
from django_dbos.models import StreamEntry
from django_dbos.testing import run_until_idle
from tests.waiting import LIMIT

pytestmark = pytest.mark.django_db


@dbos.workflow
def write(values: list[Any], close: bool = True) -> None:
    for value in values:
        dbos.write_stream("s", value)
    if close:
        dbos.close_stream("s")


@dbos.workflow
async def awrite(values: list[Any], close: bool = True) -> None:
    for value in values:
        await dbos.awrite_stream("s", value)
    if close:
        await dbos.aclose_stream("s")


@pytest.mark.parametrize("workflow", [write, awrite])
def test_every_entry_is_written_once_and_in_order(workflow: Any, run_through_crashes: Any) -> None:
    def check(handle: Any) -> None:
        reader = handle.read_stream("s")
        assert list(reader.entries()) == [(0, "a"), (1, None), (2, "c")]
        assert reader.closed

    run_through_crashes(lambda: workflow.start(["a", None, "c"]), check)


def test_a_reader_begins_at_the_given_offset() -> None:
    handle = write.start([10, 11, 12])
    run_until_idle()

    assert list(dbos.read_stream(handle.workflow_id, "s", offset=2)) == [12]
    assert list(dbos.read_stream(handle.workflow_id, "s", offset=9)) == []


def test_a_stream_ends_with_its_workflow() -> None:
    handle = write.start([1], close=False)
    run_until_idle()

    reader = handle.read_stream("s")

    assert list(reader) == [1]
    assert reader.closed


@pytest.mark.rule(32)
def test_the_stream_of_a_cancelled_workflow_stays_open_and_may_continue() -> None:
    @dbos.workflow
    def writes_twice() -> None:
        dbos.write_stream("s", "before")
        dbos.recv(timeout=None)
        dbos.write_stream("s", "after")

    handle = writes_twice.start()
    run_until_idle()
    handle.cancel()
    reader = handle.read_stream("s")
    assert list(reader) == ["before"]
    assert not reader.closed

    handle.resume()
    handle.send("go on")
    run_until_idle()

    assert list(handle.read_stream("s")) == ["before", "after"]


def test_writing_after_the_end_is_an_error(run_through_crashes: Any) -> None:
    @dbos.workflow
    def writes_on() -> str:
        dbos.write_stream("s", 1)
        dbos.close_stream("s")
        dbos.close_stream("s")
        try:
            dbos.write_stream("s", 2)
        except dbos.StreamClosed as error:
            return str(error)
        return "written"

    def check(handle: Any) -> None:
        assert "'s'" in handle.get_result()
        assert list(handle.read_stream("s")) == [1]

    run_through_crashes(writes_on.start, check)


def test_without_waiting_a_reader_gets_the_existing_values() -> None:
    @dbos.workflow
    def waits_after_one() -> None:
        dbos.write_stream("s", 1)
        dbos.recv(timeout=None)

    handle = waits_after_one.start()
    run_until_idle()

    reader = dbos.read_stream(handle.workflow_id, "s", wait=False)

    assert list(reader) == [1]
    assert not reader.closed


@pytest.mark.rule(24)
def test_a_replayed_reader_ends_at_the_recorded_position(run_through_crashes: Any) -> None:
    source = write.start(["x", "y"])
    run_until_idle()

    @dbos.workflow
    def reads() -> list[Any]:
        reader = dbos.read_stream(source.workflow_id, "s")
        values = list(reader)
        return [*values, reader.closed]

    run_through_crashes(reads.start, lambda handle: _assert_result(handle, ["x", "y", True]))


def _assert_result(handle: Any, expected: Any) -> None:
    assert handle.get_result() == expected


@pytest.mark.rule(25)
def test_a_retried_step_writes_again() -> None:
    tries: list[int] = []

    @dbos.step(max_attempts=2, interval=0)
    def writes_and_fails_once() -> None:
        tries.append(1)
        dbos.write_stream("s", len(tries))
        if len(tries) == 1:
            raise ValueError("again")

    @dbos.workflow
    def streams_in_step() -> None:
        writes_and_fails_once()

    handle = streams_in_step.start()
    run_until_idle()

    assert list(handle.read_stream("s").entries()) == [(0, 1), (1, 2)]


@pytest.mark.rule(25)
def test_an_open_atomic_step_can_write_to_a_stream() -> None:
    @dbos.step(atomic=True)
    def writes_in_transaction() -> None:
        dbos.write_stream("s", "inside")
        dbos.set_event("e", "inside")

    @dbos.workflow
    def writes_inside() -> None:
        dbos.write_stream("s", "before")
        writes_in_transaction()
        dbos.write_stream("s", "after")

    handle = writes_inside.start()
    run_until_idle()

    assert list(handle.read_stream("s")) == ["before", "inside", "after"]
    assert handle.events() == {"e": "inside"}


@pytest.mark.django_db(transaction=True)
def test_a_reader_follows_a_running_workflow(worker: Executor) -> None:
    goes_on = threading.Event()

    @dbos.step
    def waits() -> None:
        goes_on.wait(LIMIT)

    @dbos.workflow
    def writes_slowly() -> None:
        dbos.write_stream("s", 1)
        waits()
        dbos.write_stream("s", 2)

    reader = writes_slowly.start().read_stream("s", timeout=LIMIT)
    values = iter(reader)
    assert next(values) == 1
    goes_on.set()

    assert list(values) == [2]
    assert reader.closed


async def test_an_async_reader_follows_a_running_workflow(async_db: None, worker: Executor) -> None:
    handle = await awrite.astart(["a", "b"])

    reader = dbos.aread_stream(handle.workflow_id, "s", timeout=LIMIT)

    assert [entry async for entry in reader.entries()] == [(0, "a"), (1, "b")]
    assert reader.closed


@pytest.mark.django_db(transaction=True)
def test_a_value_that_comes_too_late_raises(worker: Executor) -> None:
    @dbos.workflow
    def silent() -> None:
        dbos.recv(timeout=None)

    handle = silent.start()

    with pytest.raises(dbos.WaitTimeout, match="next value of stream 's'"):
        next(iter(handle.read_stream("s", timeout=0.05)))


@pytest.mark.django_db(transaction=True)
@pytest.mark.rule(11)
def test_many_streams_at_once_have_no_gap(worker: Executor) -> None:
    handles = write.start_many([(list(range(50)),) for _ in range(10)])

    for handle in handles:
        assert list(handle.read_stream("s", timeout=LIMIT).entries()) == [(n, n) for n in range(50)]
    assert StreamEntry.objects.count() == 10 * 51


@pytest.mark.parametrize("offset", [-1, "0", None, True, 2**31])
def test_a_bad_offset_is_refused(offset: Any) -> None:
    with pytest.raises(ValueError, match="offset"):
        dbos.read_stream("x", "s", offset=offset)
