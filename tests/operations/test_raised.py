"""Unusual exceptions (not an Exception, or refused by a Future) end only their function."""

from __future__ import annotations

import asyncio
import threading
import warnings
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

import django_dbos as dbos
from django_dbos.executor import Executor
from django_dbos.interruptions import RunCancelled
from django_dbos.models import Checkpoint, Message, Workflow
from django_dbos.operations.raised import is_foreign
from tests.waiting import LIMIT

pytestmark = pytest.mark.django_db(transaction=True)


class Panic(BaseException):
    """An error as extension modules raise it."""


RAISED: dict[str, BaseException] = {
    "StopIteration": StopIteration("a"),
    "StopAsyncIteration": StopAsyncIteration("a"),
    "GeneratorExit": GeneratorExit(),
    "KeyboardInterrupt": KeyboardInterrupt(),
    "SystemExit": SystemExit(3),
    "CancelledError": asyncio.CancelledError(),
    "Panic": Panic(),
    "group": BaseExceptionGroup("several", [Panic(), ValueError()]),
}


@dbos.step
def step(name: str) -> None:
    raise RAISED[name]


@dbos.step(atomic=True)
def atomic_step(name: str) -> None:
    raise RAISED[name]


@dbos.step
async def async_step(name: str) -> None:
    raise RAISED[name]


@dbos.workflow
def calls_step(name: str) -> None:
    step(name)


@dbos.workflow
def raises(name: str) -> None:
    raise RAISED[name]


@dbos.workflow
async def awaits_step(name: str) -> None:
    await step.acall(name)


@dbos.workflow
async def awaits_atomic_step(name: str) -> None:
    await atomic_step.acall(name)


@dbos.workflow
async def awaits_async_step(name: str) -> None:
    await async_step(name)


@dbos.workflow
async def raises_on_loop(name: str) -> None:
    raise RAISED[name]


@dbos.workflow
async def raises_in_a_branch(name: str) -> None:
    async def branch() -> None:
        raise RAISED[name]

    await asyncio.gather(asyncio.sleep(0), branch())


@dbos.workflow
async def outlives(name: str) -> str:
    return name


@pytest.mark.parametrize("name", RAISED)
@pytest.mark.parametrize(
    "workflow",
    [
        calls_step,
        raises,
        awaits_step,
        awaits_atomic_step,
        awaits_async_step,
        raises_on_loop,
        raises_in_a_branch,
    ],
    ids=lambda one: one.__name__,
)
def test_any_exception_of_a_function_ends_it_once(
    workflow: Any, name: str, worker: Executor
) -> None:
    handle = workflow.start(name)

    with pytest.raises((Exception, SystemExit)) as caught:
        handle.get_result(timeout=LIMIT)

    assert not isinstance(caught.value, dbos.WaitTimeout)
    assert Workflow.objects.get().recovery_attempts == 0
    # It ran under its first claim, and the event loop keeps running.
    assert Workflow.objects.get().claim_number == 2
    assert outlives.start("fine").get_result(timeout=LIMIT) == "fine"


def _coroutines() -> dict[str, Callable[[], Awaitable[Any]]]:
    handle: dbos.WorkflowHandle[Any] = dbos.WorkflowHandle("other")
    return {
        "asend": lambda: dbos.asend("other", "message"),
        "arecv": lambda: dbos.arecv("topic", timeout=0),
        "aset_event": lambda: dbos.aset_event("key", 1),
        "aget_event": lambda: dbos.aget_event("other", "key", timeout=0),
        "awrite_stream": lambda: dbos.awrite_stream("key", 1),
        "aclose_stream": lambda: dbos.aclose_stream("key"),
        "asleep": lambda: dbos.asleep(0),
        "astart": lambda: outlives.astart("child"),
        "astart_many": lambda: outlives.astart_many([("child",)]),
        "acall": lambda: outlives.acall("child"),
        "aget_result": lambda: handle.aget_result(timeout=0),
        "acancel": handle.acancel,
        "step": lambda: step.acall("StopIteration"),
    }


@pytest.mark.parametrize("form", [
    "asend", "arecv", "aset_event", "aget_event", "awrite_stream", "aclose_stream", "asleep",
    "astart", "astart_many", "acall", "aget_result", "acancel", "step",
])  # fmt: skip
def test_coroutine_forms_are_refused_in_a_sync_workflow_before_anything_is_written(
    form: str,
) -> None:
    async def call() -> None:
        await _coroutines()[form]()

    @dbos.workflow
    def is_sync() -> str:
        with pytest.raises(TypeError, match=r"sync|async"):
            asyncio.run(call())
        return "went on"

    outlives.using(workflow_id="other", run_after=3600).start("other")

    assert is_sync() == "went on"

    assert not Checkpoint.objects.exists()
    assert not Message.objects.exists()
    assert Workflow.objects.count() == 2


def test_a_sync_step_awaited_outside_of_workflows_is_no_stray(worker: Executor) -> None:
    begun, go = threading.Event(), threading.Event()

    @dbos.step
    def look() -> int:
        return 1

    @dbos.workflow
    def is_busy() -> None:
        begun.set()
        go.wait(LIMIT)

    handle = is_busy.start()
    assert begun.wait(LIMIT)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert asyncio.run(look.acall()) == 1
    go.set()
    handle.get_result(timeout=LIMIT)


def test_a_step_outside_of_workflows_may_raise_errors_that_futures_refuse() -> None:
    async def call() -> None:
        await asyncio.wait_for(step.acall("StopIteration"), LIMIT)

    with pytest.raises(RuntimeError, match="StopIteration"):
        asyncio.run(call())


def test_an_interruption_is_no_outcome_even_inside_a_task_group() -> None:
    run: Any = None
    wrapped = BaseExceptionGroup("a", [ValueError(), BaseExceptionGroup("b", [RunCancelled()])])

    assert is_foreign(run, wrapped, is_coroutine=True)
    assert not is_foreign(run, BaseExceptionGroup("a", [Panic()]), is_coroutine=True)
