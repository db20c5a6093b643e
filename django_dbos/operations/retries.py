"""Between two attempts at a step: what failed is recorded, and the next attempt is waited for.

The row says how often the step was attempted, with which errors, and when the next attempt may
begin. So a crash costs no attempt that is known to have failed, and a run whose next attempt is
far off is suspended like any other that waits.
"""

from __future__ import annotations

from django_dbos.core.records import Checkpoint, RecordRetry, Wake, WakeKind
from django_dbos.operations import logs, waits
from django_dbos.operations.attempts import Recorder

WAKE = Wake(kind=WakeKind.RETRY)


def retry(recorder: Recorder, error: BaseException) -> Checkpoint | None:
    """Return when the next attempt is due; or return what somebody else recorded of the step."""
    call = recorder.call
    checkpoint, delay = _postponed(recorder, error)
    answer = call.run.submit(RecordRetry, call, checkpoint=checkpoint, delay=delay)
    if answer.checkpoint is None:
        waits.pause(call, WAKE, delay)
    return answer.checkpoint


async def aretry(recorder: Recorder, error: BaseException) -> Checkpoint | None:
    """See retry()."""
    call = recorder.call
    checkpoint, delay = _postponed(recorder, error)
    answer = await call.run.asubmit(RecordRetry, call, checkpoint=checkpoint, delay=delay)
    if answer.checkpoint is None:
        await waits.apause(call, WAKE, delay)
    return answer.checkpoint


def _postponed(recorder: Recorder, error: BaseException) -> tuple[Checkpoint, float]:
    """The checkpoint of an attempt that failed, and the seconds until the next."""
    attempt, step = recorder.attempt, recorder.step
    checkpoint = recorder.failed(error)
    delay = step.delay_before(recorder.attempt)
    logs.step_is_retried(recorder.call, error, attempt, step.max_attempts, delay)
    return checkpoint, delay


def wait_for_rest(recorder: Recorder) -> None:
    """Wait until the next attempt is due, if an earlier run has made one that failed."""
    if recorder.attempt > 1 and (left := recorder.call.remaining) > 0:
        waits.pause(recorder.call, WAKE, left)


async def await_rest(recorder: Recorder) -> None:
    """See wait_for_rest()."""
    if recorder.attempt > 1 and (left := recorder.call.remaining) > 0:
        await waits.apause(recorder.call, WAKE, left)
