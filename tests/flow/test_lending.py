"""Places that are lent: a run that can't be suspended gives its place back while it waits.

It has one again before its code goes on. In a queue with one place the steps' own log shows it.
"""

from __future__ import annotations

import asyncio
import threading
from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest
from asgiref.sync import sync_to_async
from django.db import connections

import django_dbos as dbos
from django_dbos.executor import Executor
from django_dbos.models import Workflow
from tests.flow.managed import make_queue
from tests.waiting import LIMIT

Event = tuple[str, str, str]
"""A workflow's id, a step, and whether it begins or ends."""
events: list[Event] = []
reached, go = threading.Event(), threading.Event()


@pytest.fixture(autouse=True)
def _closed_gates() -> Iterator[None]:
    events.clear()
    reached.clear()
    go.clear()
    yield
    go.set()


@pytest.fixture(autouse=True)
def _no_hold(settings: Any) -> None:
    """Places are lent at once."""
    settings.DBOS = {**settings.DBOS, "HOLD_TIME": 0}


def note(name: str, what: str) -> None:
    own = dbos.current_workflow()
    assert own is not None
    events.append((own.workflow_id, name, what))


@dbos.step
def gated(name: str) -> None:
    note(name, "begins")
    reached.set()
    go.wait(LIMIT)
    note(name, "ends")


@dbos.step
def short(name: str) -> str:
    note(name, "begins")
    note(name, "ends")
    return name


@dbos.step
async def ashort(name: str) -> str:
    note(name, "begins")
    await asyncio.sleep(0)
    note(name, "ends")
    return name


@dbos.workflow(queue_name="mail")
def child(name: str) -> str:
    return short(name)


@dbos.workflow(queue_name="mail")
def holder() -> None:
    gated("holder")


@dbos.workflow(queue_name="mail")
async def gathers(count: int = 3) -> list[str]:
    handles = [await child.astart(str(number)) for number in range(count)]
    found = await asyncio.gather(*(handle.aget_result() for handle in handles))
    return [await ashort(f"after {name}") for name in found]


@dbos.workflow(queue_name="mail")
async def has_steps_in_branches(count: int = 3) -> list[str]:
    """Each branch takes a step before and after its wait."""

    async def branch(number: int) -> str:
        await ashort(f"before {number}")
        handle = await child.astart(str(number))
        name = await handle.aget_result()
        return await short.acall(f"after {name}")

    return list(await asyncio.gather(*map(branch, range(count))))


@dbos.workflow(queue_name="mail")
async def waits_for_two() -> list[Any]:
    """Wait on two branches for messages, and take a step after each."""

    async def branch(topic: str) -> Any:
        message = await dbos.arecv(topic, timeout=None)
        await ashort(f"got {topic}")
        return message

    short_name = await short.acall("parent")
    assert short_name == "parent"
    return list(await asyncio.gather(branch("one"), branch("two")))


@dbos.workflow(queue_name="mail")
def calls(name: str) -> str:
    short(f"before {name}")
    found = child(name)
    return short(f"after {found}")


@dbos.workflow(queue_name="mail")
async def acalls(name: str) -> str:
    await short.acall(f"before {name}")
    found = await child.acall(name)
    return await short.acall(f"after {found}")


def place_of(handle: Any) -> int:
    return int(Workflow.objects.get(pk=handle.workflow_id).place)


def most_at_once() -> int:
    """Return the largest number of workflows that were in steps at once."""
    inside: Counter[str] = Counter()
    most = 0
    for workflow_id, _, what in events:
        inside[workflow_id] += 1 if what == "begins" else -1
        most = max(most, sum(count > 0 for count in inside.values()))
    return most


def names() -> list[str]:
    return [name for _, name, what in events if what == "begins"]


in_workers = pytest.mark.django_db(transaction=True)


@in_workers
@pytest.mark.parametrize("parent", [gathers, has_steps_in_branches])
def test_branches_wait_for_workflows_of_their_own_full_queue(parent: Any, worker: Executor) -> None:
    make_queue(concurrency=1)

    handles = [parent.start() for _ in range(2)]

    for handle in handles:
        assert handle.get_result(timeout=LIMIT) == ["after 0", "after 1", "after 2"]
    assert most_at_once() == 1
    assert set(Workflow.objects.values_list("status", "place")) == {("SUCCESS", 0)}


@in_workers
@pytest.mark.parametrize("workflow", [calls, acalls])
def test_a_called_workflow_waits_for_a_child_of_its_own_full_queue(
    workflow: Any, transactional_db: None
) -> None:
    make_queue(concurrency=1)

    if workflow is calls:
        assert workflow("x") == "after x"
    else:
        asyncio.run(closing(workflow.acall("x"), expected="after x"))

    assert most_at_once() == 1
    assert names() == ["before x", "x", "after x"]
    assert set(Workflow.objects.values_list("status", "place")) == {("SUCCESS", 0)}


async def closing(call: Any, expected: Any) -> None:
    """Await a call, and close the connection of asgiref's thread."""
    try:
        assert await call == expected
    finally:
        await sync_to_async(connections.close_all)()
