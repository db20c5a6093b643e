"""Between two attempts at a step: record the failure, then wait for the next attempt.

The checkpoint counts the attempts, keeps their errors, and has the time of the next attempt. So a
crash costs no attempt that is known to have failed, and a run whose next attempt is far off is
suspended as in any other wait. An attempt that raised RetryAfter isn't counted.
"""

from __future__ import annotations

from django_dbos import telemetry
from django_dbos.core.records import Checkpoint, RecordRetry
from django_dbos.operations import waits
from django_dbos.operations.recorder import Recorder
from django_dbos.operations.retry_after import found_in


async def aretry(recorder: Recorder, error: BaseException) -> Checkpoint | None:
    """Return None when the next attempt is due.

    If another executor has recorded the step's outcome meanwhile, return that.
    """
    call = recorder.call
    checkpoint, delay = _postponed(recorder, error)
    answer = await call.run.asubmit(RecordRetry, call, checkpoint=checkpoint, delay=delay)
    if answer.checkpoint is None:
        await waits.apause(call, recorder.wake, delay)
    return answer.checkpoint


async def apause_until_due(recorder: Recorder) -> None:
    """Wait until the next attempt is due, after one of an earlier run."""
    if (left := recorder.call.remaining) > 0:
        await waits.apause(recorder.call, recorder.wake, left)


def _postponed(recorder: Recorder, error: BaseException) -> tuple[Checkpoint, float]:
    """Return the checkpoint of an attempt that failed, and the seconds until the next."""
    if (told := found_in(error)) is not None:
        telemetry.step_put_off(recorder.call, told.seconds)
        return recorder.told_to_wait(told), told.seconds
    attempt, step = recorder.attempt, recorder.step
    delay = step.delay_before(attempt + 1)
    checkpoint = recorder.failed(error, delay)
    telemetry.step_retried(recorder.call, error, attempt, step.max_attempts, delay)
    return checkpoint, delay
