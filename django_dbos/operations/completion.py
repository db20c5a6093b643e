"""The end of a run: the write that records it, and the consequences of the answer.

A run ends in one of these ways:

* the function returned or raised: the workflow is finished, in SUCCESS or ERROR;
* `ContinuedAsNew`: the run becomes a past one, and the workflow's next run is enqueued;
* `Suspended`: the workflow waits, and its row has the wake-up: also for the key of a value;
* `HandedOver`, or an exception of the surrounding program: the claim is released;
* `ClaimLost`, `RunCancelled`: the row isn't this run's any more, and nothing is written;
* `HistoryUnusable`: the workflow is quarantined, to be resumed after a fix.

The run's own `interruption` decides which one it is, whatever user code did with the exception.
"""

from __future__ import annotations

import asyncio
import logging
from functools import partial

from django_dbos import serializers
from django_dbos.core.records import Answer, Continue, Finish, Release, Suspend, Verdict, Write
from django_dbos.core.status import Status
from django_dbos.exceptions import EncryptionKeyMissing, PayloadTooLarge, SerializationError
from django_dbos.interruptions import (
    ClaimLost,
    ContinuedAsNew,
    HandedOver,
    HistoryUnusable,
    RunCancelled,
    RunInterrupted,
    Suspended,
)
from django_dbos.operations import posting
from django_dbos.operations.raised import is_foreign, stand_in
from django_dbos.operations.run import Run

logger = logging.getLogger("django_dbos.executor")


async def aend(run: Run, raised: BaseException | None) -> None:
    """Write the function's outcome; raise an exception of the surrounding program."""
    await posting.auntil_posted(run)
    write = _ending(run, raised)
    if isinstance(write, Finish):
        await run.arecord_left()
    if write is not None:
        try:
            write = await run.aready(write)
        except RunInterrupted as interruption:
            write = _giving_up(run, interruption)
    if _leave(run, write):
        return
    while write is not None:
        write = _after(run, write, await asyncio.shield(run.host.writer.awrite(write)))
    _raise_foreign(run, raised)


# The write of an end


def _ending(run: Run, raised: BaseException | None) -> Write | None:
    """Return the write that records the function's outcome; None if there is none."""
    run.is_under_way = False
    if isinstance(raised, RunInterrupted) and run.interruption is None:
        run.interruption = raised
    if isinstance(raised, EncryptionKeyMissing):
        run.note_missing_key(raised)
    if isinstance(run.interruption, HandedOver) and not run.is_unwinding:
        # The run was to stop, and came to its end by itself.
        run.interruption = None
    if run.interruption is not None:
        _warn_of_swallowed(run, raised)
        return _giving_up(run, run.interruption)
    if raised is None:
        return _success(run)
    if _is_foreign(run, raised):
        return run.fenced(Release)
    return _failure(run, raised)


def _result_label(run: Run) -> str:
    return f"The result of workflow {run.workflow_id!r} ({run.definition.name})"


def _success(run: Run) -> Finish:
    try:
        output = serializers.dumps(run.value, label=partial(_result_label, run))
    except (SerializationError, PayloadTooLarge) as error:
        return _failure(run, error)
    return run.fenced(
        Finish,
        status=Status.SUCCESS,
        output=output,
        queue_name=run.claim.ending_frees,
        size=len(output),
    )


def _failure(run: Run, raised: BaseException, *, is_quarantined: bool = False) -> Finish:
    if not isinstance(raised, Exception | SystemExit):
        # The error must not stop the callers of get_result().
        raised = _standing_in(run, raised)
    text = serializers.dump_error(raised)
    run.error = serializers.round_trip_error(raised, text)
    run.is_quarantined = is_quarantined
    return run.fenced(
        Finish,
        status=Status.ERROR,
        error=text,
        is_quarantined=is_quarantined,
        queue_name=run.claim.ending_frees,
        size=len(text),
    )


def _standing_in(run: Run, raised: BaseException) -> Exception:
    error = stand_in(f"Workflow {run.definition.name!r}", raised)
    error.__cause__ = raised
    return error


def _giving_up(run: Run, reason: RunInterrupted) -> Write | None:
    match reason:
        case ContinuedAsNew():
            text = reason.input_text
            steps_before = run.history.step_number
            return run.fenced(
                Continue,
                input=text,
                version=reason.version,
                steps_before=steps_before,
                size=len(text),
            )
        case Suspended():
            return run.fenced(Suspend, queue_name=run.claim.waiting_frees, **run.suspension)
        case HandedOver():
            return run.fenced(Release)
        case HistoryUnusable():
            return _failure(run, reason.error, is_quarantined=True)
        case RunCancelled():
            run.ended_as = Status.CANCELLED
    return None


def _warn_of_swallowed(run: Run, raised: BaseException | None) -> None:
    seen_through = RunInterrupted | asyncio.CancelledError | BaseExceptionGroup
    if run.is_unwinding and not isinstance(raised, seen_through):
        logger.warning(
            "Workflow %r (%s) caught %s, which the engine had raised to stop the run, and "
            "continued. Catch Exception instead of BaseException.",
            run.workflow_id,
            run.definition.name,
            type(run.interruption).__name__,
            extra=run.log_fields,
        )


def _is_foreign(run: Run, raised: BaseException) -> bool:
    return is_foreign(run, raised, is_coroutine=run.loop is not None)


def _raise_foreign(run: Run, raised: BaseException | None) -> None:
    if raised is None or isinstance(raised, RunInterrupted) or not _is_foreign(run, raised):
        return
    if run.interruption is None:
        raise raised


# The answer to it


def _leave(run: Run, write: Write | None) -> bool:
    """Leave the end of a run that went well to the writer, if the host allows it.

    The thread, or the loop, continues with other runs. The host is notified once the end is
    written.
    """
    run.ends_later = _is_outcome(write) and run.host.may_end_later()
    if run.ends_later and write is not None:
        # Not on a loop, which has other runs, nor while others wait for the slot.
        may_write = run.loop is None and run.host.may_hold()
        leave = run.host.writer.leave if may_write else run.host.writer.post
        leave(write, partial(_settle, run, write))
    return run.ends_later


def _is_outcome(write: Write | None) -> bool:
    """Return whether a write ends the workflow with the outcome of its function."""
    return isinstance(write, Finish) and not write.is_quarantined


def _settle(run: Run, write: Write, answer: Answer) -> None:
    """Follow the answer to a write that was left to the writer, which calls this."""
    following = _after(run, write, answer)
    if following is None:
        run.host.settled(run)
    else:
        run.host.writer.post(following, partial(_settle, run, following))


def _after(run: Run, write: Write, answer: Answer) -> Write | None:
    """Note the answer to the last write; return another write if that one was refused."""
    match answer.verdict:
        case Verdict.DONE:
            run.ended_as = _status_after(write)
        case Verdict.PAST_DEADLINE:
            run.is_past_deadline = True
            run.ended_as = Status.CANCELLED
        case Verdict.CLAIM_LOST:
            cancelled = answer.status is Status.CANCELLED
            run.ended_as = Status.CANCELLED if cancelled else ""
            run.interruption = RunCancelled() if cancelled else ClaimLost()
        case Verdict.REFUSED:
            if isinstance(write, Continue) or _is_outcome(write):
                run.error = run.refusal(answer)
                return _failure(run, run.error, is_quarantined=True)
    return None


def _status_after(write: Write) -> Status:
    match write:
        case Finish():
            return write.status
        case Suspend():
            return Status.WAITING
    return Status.ENQUEUED
