"""Workflows that are forked, rewound, retried and deleted."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import Any

import django_dbos as dbos
from django_dbos.models import Checkpoint, Event, EventVersion, Message, StreamEntry

done: Counter[str] = Counter()
"""How often each step has run."""
broken: set[str] = set()
"""The steps that fail."""


@dbos.step
def works(name: str) -> str:
    done[name] += 1
    dbos.write_stream("log", f"in {name}")
    if name in broken:
        raise ValueError(f"{name} is broken")
    return name


@dbos.workflow
def everything(first: str = "a") -> list[Any]:
    """Do one of each: nine steps, of which the fourth and the seventh receive messages."""
    found: list[Any] = [works(first)]
    dbos.set_event("stage", 1)
    dbos.write_stream("log", "between")
    found.append(dbos.recv("go", timeout=None))
    dbos.set_event("stage", 2)
    found.append(works("b"))
    found.append(dbos.recv("go", timeout=None))
    dbos.set_event("end", True)
    dbos.close_stream("log")
    return found


@dbos.step
async def aworks(name: str) -> str:
    done[name] += 1
    await dbos.awrite_stream("log", f"in {name}")
    return name


async def _branch(name: str, count: int) -> list[str]:
    values = []
    for number in range(count):
        values.append(await aworks(f"{name}{number}"))
        await dbos.aset_event("last", values[-1])
        await dbos.awrite_stream("log", values[-1])
    return values


@dbos.workflow
async def branches() -> list[list[str]]:
    """Run two branches at once; their steps have the numbers 1 to 15."""
    return list(await asyncio.gather(_branch("a", 3), _branch("b", 2)))


@dbos.workflow
def fails(handles: bool = False) -> str:
    works("a")
    try:
        works("b")
    except ValueError as error:
        dbos.set_event("failed", str(error))
        if not handles:
            raise RuntimeError("The order has failed.") from error
    works("c")
    if "body" in broken:
        raise RuntimeError("The body is broken.")
    return "done"


@dbos.workflow
def child(name: str) -> str:
    return works(name)


@dbos.workflow
def parent(name: str) -> list[str]:
    works("before")
    handle = child.start(name)
    result = handle.get_result()
    works("after")
    return [result, handle.workflow_id]


@dbos.workflow
def maps(count: int) -> list[str]:
    works("before")
    return child.map([f"child{number}" for number in range(count)])


def recorded(workflow_id: str, before: int = 10**6) -> dict[str, Any]:
    """Return what the tables have of a workflow's steps before one."""
    steps = Checkpoint.objects.filter(workflow_id=workflow_id, step_number__lt=before)
    numbers = set(steps.values_list("step_number", flat=True))
    entries = StreamEntry.objects.filter(workflow_id=workflow_id, step_number__in=numbers)
    versions = EventVersion.objects.filter(workflow_id=workflow_id, step_number__in=numbers)
    received = Message.objects.filter(workflow_id=workflow_id, consumed_step_number__in=numbers)
    return {
        "steps": list(
            steps.order_by("step_number").values_list(
                "step_number", "step_name", "state", "output_text", "error_text", "record_order"
            )
        ),
        "entries": list(
            entries.order_by("key", "offset").values_list(
                "key", "value_text", "is_end", "step_number", "write_id"
            )
        ),
        "versions": list(
            versions.order_by("key", "version").values_list(
                "key", "version", "value_text", "step_number"
            )
        ),
        "received": list(
            received.order_by("message_id").values_list(
                "topic", "message_text", "consumed_step_number"
            )
        ),
    }


def latest(workflow_id: str) -> dict[str, Any]:
    """Return the events of a workflow as the table has them."""
    found = Event.objects.filter(workflow_id=workflow_id)
    return {str(event.key): event.value for event in found}


def offsets(workflow_id: str, key: str = "log") -> list[int]:
    found = StreamEntry.objects.filter(workflow_id=workflow_id, key=key)
    return [int(offset) for offset in found.order_by("offset").values_list("offset", flat=True)]
