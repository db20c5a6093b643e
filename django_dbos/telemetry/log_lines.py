"""The log lines about events, under the logger `django_dbos.executor`.

A failure is an ERROR with its traceback; an event that may need an operator's attention (a retry, a
passed deadline, a lost claim) is a WARNING; the rest is INFO. Every record about a workflow carries
`workflow_id`, those about a run `workflow_name`, a step's also `step_name`, `step_number` and
`attempt`. Arguments and results are never logged.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence

from django_dbos.core.schedules import Plan as SchedulePlan
from django_dbos.core.status import Status
from django_dbos.telemetry import concealing
from django_dbos.telemetry.subscribers import ObservedRun, ObservedStep

logger = logging.getLogger("django_dbos.executor")

QUIET = frozenset({Status.SUCCESS, Status.WAITING, Status.ENQUEUED})


def executor_started(executor_id: str, description: str) -> None:
    """Log that an executor has started."""
    logger.info("Executor %s runs %s", executor_id, description)


def executor_stopped(executor_id: str) -> None:
    """Log that an executor has stopped."""
    logger.info("Executor %s has stopped", executor_id)


def executor_died(
    executor_id: str, enqueued: Sequence[str], given_up: Sequence[str], left: int
) -> None:
    """Log the fate of a dead executor's workflows."""
    logger.warning("Executor %s is dead; %s", executor_id, _fate(enqueued, given_up, left))
    for workflow_id in given_up:
        logger.error(
            "Workflow %r is given up: several executors in a row died while running it. Resume it "
            "after fixing the cause",
            workflow_id,
            extra={"workflow_id": workflow_id},
        )


def _fate(enqueued: Sequence[str], given_up: Sequence[str], left: int) -> str:
    if not (enqueued or given_up or left):
        return "it had no workflows"
    parts = [f"workflows enqueued again: {len(enqueued)}"]
    if given_up:
        parts.append(f"given up: {len(given_up)}")
    if left:
        parts.append(f"left for the next heartbeat: {left}")
    return ", ".join(parts)


def alert_told(text: str, *, is_resolved: bool) -> None:
    """Log that a problem of the system has come, or is over."""
    if is_resolved:
        logger.info("Alert resolved: %r", text)
    else:
        logger.warning("Alert: %r", text)


def suspect_claimed(workflow_id: str, name: str, deaths: int) -> None:
    """Log that a suspect runs, while no other does."""
    logger.warning(
        "Suspect workflow %r (%r) runs, and no other suspect does: %d executors have died with it",
        workflow_id,
        name,
        deaths,
        extra={"workflow_id": workflow_id},
    )


def run_started(run: ObservedRun) -> None:
    """Log that a run begins."""
    if logger.isEnabledFor(logging.INFO):
        logger.info(
            "Workflow %r (%s) runs", run.workflow_id, run.definition.name, extra=run.log_fields
        )


def is_end_logged(run: ObservedRun) -> bool:
    """Return whether the log level lets this run's end be logged."""
    return logger.isEnabledFor(_level_of(run))


def run_ended(run: ObservedRun) -> None:
    """Log how a run ended, once that is committed."""
    if not is_end_logged(run):
        return
    seconds = time.perf_counter() - run.began
    has_failed = run.ended_as == Status.ERROR
    shown = None if run.error is None else concealing.shown(run.definition.name, run.error)
    logger.log(
        _level_of(run),
        "Workflow %r (%s)%s after %.3f s%s",
        run.workflow_id,
        run.definition.name,
        _how(run),
        seconds,
        f": {shown!r}" if has_failed else "",
        exc_info=shown if has_failed else None,
        extra=run.log_fields,
    )


def deadlines_passed(workflow_ids: Sequence[str]) -> None:
    """Log which workflows this executor has cancelled, wherever they run."""
    for workflow_id in workflow_ids:
        logger.warning(
            "Workflow %r is cancelled: its deadline passed",
            workflow_id,
            extra={"workflow_id": workflow_id},
        )


def quarantined(workflow_id: str, fault: str, error: Exception) -> None:
    """Log that a workflow was quarantined, and why."""
    logger.error(
        "Workflow %r is quarantined, since it %s: %r",
        workflow_id,
        fault,
        concealing.shown("", error),
        extra={"workflow_id": workflow_id},
    )


def step_retried(
    step: ObservedStep, error: BaseException, attempt: int, max_attempts: int, delay: float
) -> None:
    """Log that an attempt at a step failed, and that another follows in `delay` seconds."""
    run = step.run
    logger.warning(
        "Step %r (%d) of workflow %r (%s) failed in attempt %d of %d; the next follows in %.3g s: "
        "%r",
        step.step_name,
        step.step_number,
        run.workflow_id,
        run.definition.name,
        attempt,
        max_attempts,
        delay,
        concealing.shown(run.definition.name, error),
        extra={
            **run.log_fields,
            "step_name": step.step_name,
            "step_number": step.step_number,
            "attempt": attempt,
        },
    )


def schedule_started(plan: SchedulePlan) -> None:
    """Log what has become of a schedule that was due; its workflows log their own runs."""
    name = plan.schedule.name
    if plan.pause_reason is not None:
        logger.warning("Schedule %r is paused: %r", name, plan.pause_reason)
    if plan.first_missed is not None:
        logger.warning(
            "Schedule %r has missed instants from %r on; started for them: %d",
            name,
            plan.first_missed.isoformat(),
            len(plan.starts),
        )
    for instant in plan.skipped:
        logger.info(
            "Schedule %r skips %r: an earlier workflow is active", name, instant.isoformat()
        )


def step_put_off(step: ObservedStep, seconds: float) -> None:
    """Log that a step was told to try again later."""
    run = step.run
    logger.warning(
        "Step %r (%d) of workflow %r (%s) was told to try again in %.3g s",
        step.step_name,
        step.step_number,
        run.workflow_id,
        run.definition.name,
        seconds,
        extra={
            **run.log_fields,
            "step_name": step.step_name,
            "step_number": step.step_number,
        },
    )


def _level_of(run: ObservedRun) -> int:
    if run.ended_as in QUIET:
        return logging.INFO
    if run.ended_as == Status.ERROR:
        return logging.ERROR
    is_requested = run.ended_as == Status.CANCELLED and not run.is_past_deadline
    return logging.INFO if is_requested else logging.WARNING


def _how(run: ObservedRun) -> str:
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
