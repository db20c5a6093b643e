"""What the log says of runs and steps, under the logger `django_dbos.executor`.

A failure is an ERROR with its traceback; what an operator may have to look at (a retry, a passed
deadline, a lost claim) is a WARNING; the rest is INFO. Every record carries `workflow_id`, those of
a run `workflow_name`, a step's also `step_name`, `step_number` and `attempt`. Arguments and results
are never logged.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

from django_dbos.core.status import Status

if TYPE_CHECKING:
    from django_dbos.operations.run import Call, Run

logger = logging.getLogger("django_dbos.executor")

QUIET = frozenset({Status.SUCCESS, Status.WAITING, Status.ENQUEUED})


def run_began(run: Run) -> None:
    """Say that a run begins."""
    logger.info("Workflow %r (%s) runs", run.workflow_id, run.definition.name, extra=run.log_fields)


def is_worth_telling(run: Run) -> bool:
    """Whether anything would be logged of how this run ended."""
    return logger.isEnabledFor(_level_of(run))


def run_ended(run: Run) -> None:
    """Say how a run ended, once that is committed."""
    seconds = time.perf_counter() - run.began
    has_failed = run.ended_as == Status.ERROR
    logger.log(
        _level_of(run),
        "Workflow %r (%s)%s after %.3f s%s",
        run.workflow_id,
        run.definition.name,
        _how(run),
        seconds,
        f": {run.error!r}" if has_failed else "",
        exc_info=run.error if has_failed else None,
        extra=run.log_fields,
    )


def deadlines_passed(workflow_ids: Sequence[str]) -> None:
    """Say which workflows this executor has cancelled, wherever they run."""
    for workflow_id in workflow_ids:
        logger.warning(
            "Workflow %r is cancelled: its deadline passed",
            workflow_id,
            extra={"workflow_id": workflow_id},
        )


def given_up(workflow_ids: Sequence[str]) -> None:
    """Say which workflows are run no more, since executors died with them."""
    for workflow_id in workflow_ids:
        logger.error(
            "Workflow %r is given up: one executor after the other died while it ran. Resume it "
            "after a fix",
            workflow_id,
            extra={"workflow_id": workflow_id},
        )


def step_is_retried(call: Call, error: BaseException, attempt: int, of: int, delay: float) -> None:
    """Say that an attempt at a step failed, and that another follows in `delay` seconds."""
    run = call.run
    logger.warning(
        "Step %r (%d) of workflow %r (%s) failed in attempt %d of %d; the next follows in %.3g s: "
        "%r",
        call.step_name,
        call.step_number,
        run.workflow_id,
        run.definition.name,
        attempt,
        of,
        delay,
        error,
        extra={
            **run.log_fields,
            "step_name": call.step_name,
            "step_number": call.step_number,
            "attempt": attempt,
        },
    )


def _level_of(run: Run) -> int:
    if run.ended_as in QUIET:
        return logging.INFO
    if run.ended_as == Status.ERROR:
        return logging.ERROR
    is_asked_for = run.ended_as == Status.CANCELLED and not run.is_past_deadline
    return logging.INFO if is_asked_for else logging.WARNING


def _how(run: Run) -> str:
    if run.is_quarantined:
        return " is quarantined; fix the cause and resume it,"
    match run.ended_as:
        case Status.ERROR:
            return " failed"
        case Status.CANCELLED if run.is_past_deadline:
            return " is cancelled: its deadline passed,"
        case "":
            return " was taken from this executor"
    return f": {run.ended_as}"
