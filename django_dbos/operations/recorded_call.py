"""Read or change other workflows from workflow code: once, with the answer recorded."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from django_dbos import serializers
from django_dbos.core.records import RecordStep
from django_dbos.operations import reads
from django_dbos.operations.run import Run, operation_name

T = TypeVar("T")


async def aperform(run: Run, operation: str, do: Callable[[], T]) -> T:
    """Call `do` and record its outcome; in a replay, return the recorded outcome."""
    call = run.begin(operation, operation_name(operation))
    if call.found is not None:
        await run.turn(call.found)
        return await run.aoutcome(call.found)  # type: ignore[no-any-return]
    await run.aensure_claim()
    # What is read may be the workflow's own.
    await run.aflush()
    try:
        value = await reads.apatiently(run, do)
    except Exception as error:
        # Whatever it is, workflow code may handle it, and a replay has to go the same way.
        await run.afail(call, error)
    output = serializers.dumps(value, label=f"The answer to {call.label}")
    answer = await run.asubmit(RecordStep, call, checkpoint=call.checkpoint(output=output))
    return value if answer.checkpoint is None else await run.aoutcome(answer.checkpoint)
