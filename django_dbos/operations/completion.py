"""How a run ends: what is written of it, and what became of that.

A run ends in one of these ways:

* the function returned or raised: the workflow is finished, in SUCCESS or ERROR;
* `Suspended`: it waits for something, and its row says what for;
* `HandedOver`, or an exception of the surrounding program: the claim goes back to the queue;
* `ClaimLost`, `RunCancelled`: the row is somebody else's by now, and nothing is written;
* `HistoryUnusable`: the row is quarantined, to be resumed after a fix.

Which one is decided by the run's own flag, `interruption`, whatever user code made of the
exception.
"""

from __future__ import annotations

import asyncio
import logging
from functools import partial

from django_dbos import serializers
from django_dbos.core.records import Answer, Finish, Release, Suspend, Verdict, Write
from django_dbos.core.status import Status
from django_dbos.exceptions import PayloadTooLarge, SerializationError
from django_dbos.interruptions import (
    ClaimLost,
    HandedOver,
    HistoryUnusable,
    RunCancelled,
    RunInterrupted,
    Suspended,
)
from django_dbos.operations.raised import is_foreign, stand_in
from django_dbos.operations.run import Run

logger = logging.getLogger("django_dbos.executor")


async def aend(run: Run, raised: BaseException | None) -> None:
    """Write how the function ended; raise an exception of the surrounding program."""
    write = _ending(run, raised)
    if isinstance(write, Finish):
        await run.arecord_left()
    if _leave(run, write):
        return
    while write is not None:
        write = _after(run, write, await asyncio.shield(run.host.writer.awrite(write)))
    _raise_foreign(run, raised)


# What is written


def _ending(run: Run, raised: BaseException | None) -> Write | None:
    """What is to be written of how the function ended."""
    run.is_under_way = False
    if isinstance(raised, RunInterrupted) and run.interruption is None:
        run.interruption = raised
    if isinstance(run.interruption, HandedOver) and not run.is_unwinding:
        # It was asked to stop and came to its end by itself.
        run.interruption = None
    if run.interruption is not None:
        _warn_of_swallowed(run, raised)
        return _giving_up(run, run.interruption)
    if raised is None:
        return _success(run)
    if _is_foreign(run, raised):
        return run.fenced(Release)
    return _failure(run, raised)


def _success(run: Run) -> Finish:
    what = f"The result of workflow {run.workflow_id!r} ({run.definition.name})"
    try:
        output = serializers.dumps(run.value, label=what)
    except (SerializationError, PayloadTooLarge) as error:
        return _failure(run, error)
    return run.fenced(Finish, status=Status.SUCCESS, output=output, size=len(output))


def _failure(run: Run, raised: BaseException, *, is_quarantined: bool = False) -> Finish:
    if not isinstance(raised, Exception | SystemExit):
        # Whoever asks for the result must not be stopped by it.
        raised = _standing_in(run, raised)
    text = serializers.dump_error(raised)
    run.error = serializers.round_trip_error(raised, text)
    run.is_quarantined = is_quarantined
    return run.fenced(
        Finish, status=Status.ERROR, error=text, is_quarantined=is_quarantined, size=len(text)
    )


def _standing_in(run: Run, raised: BaseException) -> Exception:
    error = stand_in(f"Workflow {run.definition.name!r}", raised)
    error.__cause__ = raised
    return error


def _giving_up(run: Run, reason: RunInterrupted) -> Write | None:
    match reason:
        case Suspended():
            return run.fenced(Suspend, **run.suspension)
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
            "Workflow %r (%s) caught %s, by which the engine stops it, and went on. Use "
            "`except Exception`, which lets it pass.",
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


# What became of it


def _leave(run: Run, write: Write | None) -> bool:
    """Leave the end of a run that went well to the writer, if the host lets it.

    The thread, or the loop, goes on with other runs; the host is told when it is written.
    """
    is_plain = isinstance(write, Finish) and not write.is_quarantined
    run.ends_later = is_plain and run.host.may_end_later()
    if run.ends_later and write is not None:
        # Not from the loop, which has others to serve, nor where others wait for the slot.
        may_write = run.loop is None and run.host.may_hold()
        leave = run.host.writer.leave if may_write else run.host.writer.post
        leave(write, partial(_settle, run, write))
    return run.ends_later


def _settle(run: Run, write: Write, answer: Answer) -> None:
    """Called by the writer."""
    following = _after(run, write, answer)
    if following is None:
        run.host.settled(run)
    else:
        run.host.writer.post(following, partial(_settle, run, following))


def _after(run: Run, write: Write, answer: Answer) -> Write | None:
    """Note what became of the last write; return another one if it was refused."""
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
            if isinstance(write, Finish) and not write.is_quarantined:
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
