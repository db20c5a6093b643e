"""Record the outcome of a step, and return or raise it."""

from __future__ import annotations

from typing import Any

from django_dbos import telemetry
from django_dbos.core.records import Checkpoint, RecordStep
from django_dbos.operations.recorder import Recorder


async def arecord(recorder: Recorder, checkpoint: Checkpoint, value: Any) -> Any:
    """Record a step's value and return it.

    If an earlier holder of the claim has recorded the step, its outcome is adopted.
    """
    run, size = recorder.call.run, len(checkpoint.output or "")
    answer = await run.asubmit(RecordStep, recorder.call, checkpoint=checkpoint, size=size)
    if answer.checkpoint is not None:
        return await run.aoutcome(answer.checkpoint)
    telemetry.step_recorded(recorder.call, checkpoint)
    return value


async def arecord_error(recorder: Recorder, error: BaseException) -> Any:
    """Record a step's error and raise it as a replay will; adopt as arecord() does."""
    return await arecord_failure(recorder, *recorder.raised(error))


async def arecord_failure(recorder: Recorder, checkpoint: Checkpoint, error: BaseException) -> Any:
    """Record the checkpoint of an error and raise the error; adopt as arecord() does."""
    run = recorder.call.run
    answer = await run.asubmit(RecordStep, recorder.call, checkpoint=checkpoint)
    if answer.checkpoint is not None:
        return await run.aoutcome(answer.checkpoint)
    telemetry.step_recorded(recorder.call, checkpoint)
    raise error
