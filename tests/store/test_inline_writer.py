"""Writes of inline async workflows: grouped, each with its own answer."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from typing import Any

import pytest
from asgiref.sync import sync_to_async

import django_dbos as dbos
from django_dbos.core.records import RecordStep, Verdict, Write
from django_dbos.models import Checkpoint
from django_dbos.store import errors, get_store
from django_dbos.store.inline_writer import InlineWriter
from tests.store.conftest import checkpoint, new_workflow, register

COUNT = 50


class Recorded:
    """A store that logs its batches and refuses one write."""

    def __init__(self) -> None:
        self.store: Any = get_store()
        self.batches: list[int] = []
        self.refused = ""

    def apply(
        self, session: Any, executor_id: str, writes: Sequence[Write], *, is_repeat: bool
    ) -> Any:
        self.batches.append(len(writes))
        if any(write.workflow_id == self.refused for write in writes):
            raise errors.BadStatement("refused")
        return self.store.apply(session, executor_id, writes, is_repeat=is_repeat)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.store, name)


def held(store: Any, count: int) -> tuple[str, list[RecordStep]]:
    executor_id = register(store)
    writes = []
    for _ in range(count):
        new = new_workflow()
        store.start_workflows([new])
        claim = store.claim_workflow(store.session(), executor_id, new.workflow_id)
        writes.append(
            RecordStep(
                workflow_id=claim.workflow_id,
                claim_number=claim.claim_number,
                checkpoint=checkpoint(claim, 1),
            )
        )
    return executor_id, writes


def writer_of(store: Any, executor_id: str) -> InlineWriter:
    return InlineWriter(store, executor_id, on_commit=lambda plan: None)


async def test_simultaneous_writes_are_one_batch(async_db: None) -> None:
    store: Any = Recorded()
    executor_id, writes = await sync_to_async(held)(store.store, COUNT)
    writer = writer_of(store, executor_id)

    answers = await asyncio.gather(*(writer.awrite(write) for write in writes))

    assert {answer.verdict for answer in answers} == {Verdict.DONE}
    assert store.batches == [COUNT]


@pytest.mark.rule(10)
async def test_one_bad_write_is_refused_alone(async_db: None) -> None:
    store: Any = Recorded()
    executor_id, writes = await sync_to_async(held)(store.store, 4)
    store.refused = writes[2].workflow_id
    writer = writer_of(store, executor_id)

    answers = await asyncio.gather(*(writer.awrite(write) for write in writes))

    done, refused = Verdict.DONE, Verdict.REFUSED
    assert [answer.verdict for answer in answers] == [done, done, refused, done]
    assert await Checkpoint.objects.acount() == 3


async def test_the_cancellation_of_the_first_caller_leaves_the_others_alone(async_db: None) -> None:
    store = get_store()
    executor_id, writes = await sync_to_async(held)(store, 3)
    writer = writer_of(store, executor_id)
    first, *others = [asyncio.ensure_future(writer.awrite(write)) for write in writes]
    await asyncio.sleep(0)
    first.cancel()

    answers = await asyncio.gather(*others)

    assert [answer.verdict for answer in answers] == [Verdict.DONE] * 2
    assert (await writer.awrite(writes[0])).verdict in (Verdict.DONE, Verdict.FOUND)


class Ends(BaseException):
    pass


async def test_writes_that_are_queued_when_the_thread_ends_fail_with_it(async_db: None) -> None:
    store: Any = Recorded()
    executor_id, writes = await sync_to_async(held)(store.store, 2)
    later: list[asyncio.Future[None]] = []
    writer = writer_of(store, executor_id)

    def end(*args: Any, **kwargs: Any) -> None:
        loop.call_soon_threadsafe(lambda: later.append(asyncio.ensure_future(second())))
        while not later or not writer._queues[loop].waiting:
            time.sleep(0.001)
        raise Ends

    async def second() -> None:
        with pytest.raises(Ends):
            await writer.awrite(writes[1])

    loop, store.apply = asyncio.get_running_loop(), end

    with pytest.raises(Ends):
        await writer.awrite(writes[0])
    await later[0]


@dbos.step
async def meets(gate: Any) -> None:
    await gate.wait()


async def test_steps_that_end_simultaneously_are_recorded_together(
    async_db: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    store: Any = get_store()
    batches: list[int] = []

    def apply(*args: Any, **options: Any) -> Any:
        batches.append(len(args[2]))
        return type(store).apply(store, *args, **options)

    monkeypatch.setattr(store, "apply", apply)

    @dbos.workflow(name="many_steps_at_once")
    async def many() -> None:
        gate = asyncio.Barrier(COUNT)
        await asyncio.gather(*(meets(gate) for _ in range(COUNT)))

    await many()

    # If each step were written separately, there would be a batch per step.
    assert len(batches) < COUNT / 2
    assert sum(batches) >= COUNT


async def test_the_error_of_a_posted_write_is_raised_by_the_next_one(async_db: None) -> None:
    store: Any = Recorded()
    executor_id, (first,) = await sync_to_async(held)(store.store, 1)
    writer = writer_of(store, executor_id)
    answers: list[Any] = []

    def fail(*args: Any, **kwargs: Any) -> Any:
        raise RuntimeError("no answer")

    store.apply = fail
    await writer.apost(first, answers.append)
    with pytest.raises(RuntimeError, match="no answer"):
        await writer.awrite(first)
    del store.apply
    with pytest.raises(RuntimeError, match="no answer"):
        await writer.awrite(first)
    writer.forget(first.workflow_id, first.claim_number)
    assert (await writer.awrite(first)).verdict is Verdict.DONE
    await writer.apost(first, answers.append)
    await writer.awrite(first)

    assert [answer.verdict for answer in answers] == [Verdict.FOUND]
