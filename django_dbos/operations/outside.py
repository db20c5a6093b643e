"""Operations called from outside of workflow code: from views, commands, tests and steps.

They use Django's connection of the calling thread, and take part in its transaction.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from asgiref.sync import sync_to_async

from django_dbos import offloading
from django_dbos.core import durations
from django_dbos.core.records import NewMessage, NewWorkflow
from django_dbos.operations import client, context, events, inline_calls, limits, permissions
from django_dbos.store import get_store


async def asend(new: Sequence[NewMessage]) -> None:
    """Send messages: all of them, or none."""
    await sync_to_async(_send)(_sent_by_step(new))


async def aget_event(workflow_id: str, key: str, timeout: Any, default: Any) -> Any:  # noqa: ASYNC109
    """Wait until a workflow has set an event; return its latest value."""
    workflow_id, key, seconds = events.checked(workflow_id, key, timeout)
    return await client.aget_event(get_store(), workflow_id, key, seconds, default)


async def astart(new: Sequence[NewWorkflow]) -> list[str]:
    """Start workflows: all of them, or none. Return their ids."""
    return await sync_to_async(_start)(new)


async def astart_many(like: NewWorkflow, inputs: Sequence[str]) -> list[str]:
    """Start a workflow like this one for each input, and return their ids."""
    return await sync_to_async(_start_many)(like, inputs) if inputs else []


async def acall(new: NewWorkflow) -> Any:
    """Run a workflow inline, to its end; return its result or raise its error."""
    store = get_store()
    await sync_to_async(store.refuse_in_transaction)(new.name)
    await sync_to_async(permissions.check)([new])
    workflow_id, ran = await inline_calls.acall(store, new)
    if ran is not None and inline_calls.has_outcome(ran):
        return inline_calls.outcome(ran)
    # It or its duplicate exists already, or another executor has recovered the workflow: the
    # recorded outcome counts.
    return await client.aget_result(store, workflow_id, None)


async def aget_result(workflow_id: str, timeout: Any) -> Any:  # noqa: ASYNC109
    """Wait until a workflow has ended; return its result or raise its error."""
    seconds = durations.to_seconds(timeout, label="timeout")
    return await client.aget_result(get_store(), workflow_id, seconds)


async def aget_results(
    workflow_ids: Sequence[str],
    timeout: Any,  # noqa: ASYNC109
    return_exceptions: bool,
) -> list[Any]:
    """Wait until workflows have ended; return their results, or raise the first of their errors."""
    seconds = durations.to_seconds(timeout, label="timeout")
    return await client.aget_results(get_store(), workflow_ids, seconds, return_exceptions)


def _send(new: Sequence[NewMessage]) -> None:
    store = get_store()
    store.refuse_in_atomic_elsewhere("send")
    store.send_messages([offloading.offloaded(message) for message in new])


def _sent_by_step(new: Sequence[NewMessage]) -> list[NewMessage]:
    scope = context.current()
    if scope is None:
        return list(new)
    limits.count_messages(scope.run, len(new))
    return [replace(message, sender_id=scope.run.workflow_id) for message in new]


def _start(new: Sequence[NewWorkflow]) -> list[str]:
    store = get_store()
    store.refuse_in_atomic_elsewhere("start")
    permissions.check(new)
    new = [offloading.offloaded(workflow) for workflow in new]
    return [started.workflow_id for started in store.start_workflows(new)]


def _start_many(like: NewWorkflow, inputs: Sequence[str]) -> list[str]:
    store = get_store()
    store.refuse_in_atomic_elsewhere("start")
    permissions.check([like])
    return store.start_many(like, [offloading.offload(text) for text in inputs])
