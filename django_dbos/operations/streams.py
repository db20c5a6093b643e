"""Streams: append-only lists of values under a key, numbered 0, 1, 2 … without gaps."""

from __future__ import annotations

from typing import Any

from django_dbos import serializers
from django_dbos.core import names
from django_dbos.core.records import RecordEntry
from django_dbos.exceptions import StreamClosed
from django_dbos.operations import step_writes
from django_dbos.operations.context import StepScope
from django_dbos.operations.run import Run, operation_name


async def awrite_stream(run: Run, step: StepScope | None, key: str, value: Any) -> None:
    """Append a value; the next write of the workflow that waits, waits for its commit too.

    In a step it has no checkpoint of its own: a step that is tried again writes it again.
    """
    values = _entry_values(run, key, value)
    if step is not None:
        _refuse_closed(run, key)
        await step_writes.apost(run, step, RecordEntry, checkpoint=None, **values)
        return
    call = run.begin("awrite_stream", operation_name("write_stream", key))
    if call.found is None:
        _refuse_closed(run, key)
        number = call.step_number
        await run.apost(RecordEntry, checkpoint=call.checkpoint(), step_number=number, **values)


async def aclose_stream(run: Run, step: StepScope | None, key: str) -> None:
    """End a stream; closing it again changes nothing."""
    values = {"key": names.check_key(key), "value": None}
    if step is not None:
        await step_writes.apost(run, step, RecordEntry, checkpoint=None, **values)
    else:
        call = run.begin("aclose_stream", operation_name("close_stream", key))
        if call.found is None:
            number = call.step_number
            await run.apost(RecordEntry, checkpoint=call.checkpoint(), step_number=number, **values)
    run.ended_streams.add(key)


def _entry_values(run: Run, key: str, value: Any) -> dict[str, Any]:
    key = names.check_key(key)
    text = serializers.dumps(
        value, label=lambda: f"A value for stream {key!r} of {run.workflow_id!r}"
    )
    return {"key": key, "value": text, "size": len(text)}


def _refuse_closed(run: Run, key: str) -> None:
    if key in run.ended_streams:
        raise StreamClosed(run.workflow_id, key)
