"""Events: a key and its latest value, published by a workflow, with every version kept."""

from __future__ import annotations

from typing import Any

from django_dbos import serializers
from django_dbos.core import durations, names
from django_dbos.core.records import RecordEvent, State, Wake
from django_dbos.operations import limits, step_writes, waits
from django_dbos.operations.context import StepScope
from django_dbos.operations.run import Run, operation_name
from django_dbos.operations.timeouts import default_or_raise, event_label
from django_dbos.store import get_store


async def aset_event(run: Run, step: StepScope | None, key: str, value: Any) -> None:
    """Publish a value; the next write of the workflow that waits, waits for its commit too.

    In a step it has no checkpoint of its own: a step that is tried again sets it again.
    """
    values = _event_values(run, key, value)
    if step is not None:
        await step_writes.apost(run, step, RecordEvent, checkpoint=None, **values)
        return
    call = run.begin("aset_event", operation_name("set_event", key))
    if call.found is None:
        number = call.step_number
        await run.apost(RecordEvent, checkpoint=call.checkpoint(), step_number=number, **values)


def _event_values(run: Run, key: str, value: Any) -> dict[str, Any]:
    key = names.check_key(key)
    text = serializers.dumps(value, label=f"Event {key!r} of workflow {run.workflow_id!r}")
    limits.count_event(run)
    return {"key": key, "value": text, "size": len(text)}


async def aget_event(
    run: Run,
    workflow_id: str,
    key: str,
    timeout: Any,  # noqa: ASYNC109
    default: Any,
) -> Any:
    """Wait until a workflow has set an event; record its value and return it."""
    workflow_id, key, seconds = checked(workflow_id, key, timeout)
    call = run.begin("aget_event", operation_name("get_event", key))
    checkpoint = await waits.await_(call, Wake.of_event(workflow_id, key), seconds)
    if checkpoint.state is State.TIMED_OUT:
        return default_or_raise(event_label(workflow_id, key), seconds, default)
    return await run.aoutcome(checkpoint)


def checked(workflow_id: str, key: str, timeout: Any) -> tuple[str, str, float | None]:
    """Return the checked arguments of a wait for an event."""
    seconds = durations.to_seconds(timeout, label="timeout")
    return names.check_workflow_id(workflow_id), names.check_key(key), seconds


def read_all(workflow_id: str) -> dict[str, Any]:
    """Return the latest value of every event of a workflow, read on this thread."""
    store = get_store()
    found = store.reader.read_events(workflow_id)
    if not found:
        store.reader.read_status(workflow_id)
    return {key: serializers.loads(text) for key, text, _ in found}
