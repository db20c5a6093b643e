"""Telemetry: the only doors by which the engine reports events, in the process of the event.

Each function here reports one kind of event, once it is committed. Behind it are the log line, the
signal of `django_dbos.signals` and the subscribers. A subscriber, for example an exporter of
metrics, overrides the methods of the events that it needs::

    class ClaimCounter(Subscriber):
        def claimed(self, queue_name, count):
            claims.labels(queue_name).inc(count)


    subscribe(ClaimCounter())

The engine's own faults and outages aren't events: the module that meets them logs them.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Any

from django.apps import apps
from django.dispatch import Signal

from django_dbos import signals
from django_dbos.core.batch.plan import Plan
from django_dbos.core.records import Checkpoint, Lane
from django_dbos.core.schedules import Plan as SchedulePlan
from django_dbos.core.status import Status
from django_dbos.telemetry import log_lines
from django_dbos.telemetry.subscribers import (
    ObservedRun,
    ObservedStep,
    Subscriber,
    around,
    is_taken,
    publish,
    subscribe,
    traceparent,
    unsubscribe,
)

__all__ = [
    "ObservedRun",
    "ObservedStep",
    "Subscriber",
    "alert_told",
    "around",
    "arun_ended",
    "arun_started",
    "claimed",
    "committed",
    "deadlines_passed",
    "executor_died",
    "executor_started",
    "executor_stopped",
    "form_reminded",
    "has_finish_receivers",
    "heartbeat",
    "is_end_observed",
    "keys_changed",
    "quarantined",
    "run_ended",
    "run_started",
    "schedule_started",
    "step_put_off",
    "step_recorded",
    "step_retried",
    "subscribe",
    "suspect_claimed",
    "traceparent",
    "unsubscribe",
]

# The ends of which `workflow_finished` is sent.
FINAL = frozenset({Status.SUCCESS, Status.ERROR, Status.CANCELLED})


# Forms


def form_reminded(form: Any, number: int) -> None:
    """Report that a form is still unanswered; `form` is its row, and the first number is 1."""
    signals.form_reminder.send_robust(sender=type(form), form=form, number=number)


# Alerts


def alert_told(sender: type, alert: Any, *, is_resolved: bool) -> None:
    """Report that a problem of the system has come, or is over; `sender` is the alert's class."""
    signal = signals.alert_resolved if is_resolved else signals.alert_raised
    signal.send_robust(sender, alert=alert)
    log_lines.alert_told(alert.text, is_resolved=is_resolved)
    publish("alert_told", alert)


# Executors


def executor_started(sender: type, executor_id: str, description: str) -> None:
    """Report that an executor has begun to claim; `sender` is its class."""
    signals.executor_started.send_robust(sender, executor_id=executor_id)
    log_lines.executor_started(executor_id, description)
    publish("executor_started", executor_id)


def executor_stopped(sender: type, executor_id: str) -> None:
    """Report that an executor has stopped; `sender` is its class."""
    signals.executor_stopped.send_robust(sender, executor_id=executor_id)
    log_lines.executor_stopped(executor_id)
    publish("executor_stopped", executor_id)


def executor_died(
    executor_id: str, enqueued: Sequence[str], given_up: Sequence[str], left: int
) -> None:
    """Report that this process has recovered another executor's workflows.

    They are enqueued again or given up; `left` of them are recovered later.
    """
    log_lines.executor_died(executor_id, enqueued, given_up, left)
    publish("executor_died", executor_id, enqueued, given_up)


def heartbeat(executor_id: str, seconds: float) -> None:
    """Report that the database has answered a heartbeat after `seconds`."""
    publish("heartbeat", executor_id, seconds)


# Claims and commits


def claimed(lane: Lane, count: int) -> None:
    """Report that this process has claimed workflows from a lane."""
    publish("claimed", lane.queue_name, count)


def suspect_claimed(workflow_id: str, name: str, deaths: int) -> None:
    """Report that a suspect was claimed: `deaths` executors have died with it."""
    log_lines.suspect_claimed(workflow_id, name, deaths)


def committed(plan: Plan) -> None:
    """Report that a batch of runs' writes was committed."""
    publish("committed", plan)


def keys_changed(keys: Sequence[str]) -> None:
    """Report that the values under these keys have changed, to wake the waits for them."""
    sender = _workflow_model()
    if signals.keys_changed.has_listeners(sender):
        signals.keys_changed.send_robust(sender, keys=keys)


# Workflows


def run_started(run: ObservedRun) -> None:
    """Report that a run begins, on its thread."""
    log_lines.run_started(run)
    _send_run(signals.workflow_started, run)
    publish("run_started", run)


async def arun_started(run: ObservedRun) -> None:
    """See run_started(). Receivers that are sync run on the run's thread for sync code."""
    log_lines.run_started(run)
    await _asend_run(signals.workflow_started, run)
    publish("run_started", run)


def run_ended(run: ObservedRun) -> None:
    """Report how a run has ended."""
    log_lines.run_ended(run)
    if run.ended_as in FINAL:
        _send_run(signals.workflow_finished, run, status=run.ended_as)
    publish("run_ended", run)


async def arun_ended(run: ObservedRun) -> None:
    """See run_ended(). To be called before the run is over: its thread ends with it."""
    log_lines.run_ended(run)
    if run.ended_as in FINAL:
        await _asend_run(signals.workflow_finished, run, status=run.ended_as)
    publish("run_ended", run)


def has_finish_receivers() -> bool:
    """Return whether a signal's receiver expects the thread or the loop that a run had."""
    return signals.workflow_finished.has_listeners(_workflow_model())


def is_end_observed(run: ObservedRun) -> bool:
    """Return whether reporting the end of a run has any effect."""
    return is_taken("run_ended") or log_lines.is_end_logged(run)


def step_retried(
    step: ObservedStep, error: BaseException, attempt: int, max_attempts: int, delay: float
) -> None:
    """Report that an attempt at a step failed; the next one follows in `delay` seconds."""
    log_lines.step_retried(step, error, attempt, max_attempts, delay)
    publish("step_retried", step, error)


def step_recorded(step: ObservedStep, checkpoint: Checkpoint) -> None:
    """Report that the outcome of a step was committed."""
    publish("step_recorded", step, checkpoint)


def step_put_off(step: ObservedStep, seconds: float) -> None:
    """Report that a step was told to try again in `seconds`."""
    log_lines.step_put_off(step, seconds)
    publish("step_put_off", step, seconds)


def deadlines_passed(workflow_ids: Sequence[str]) -> None:
    """Report that this process has cancelled workflows that were past their deadline."""
    log_lines.deadlines_passed(workflow_ids)
    publish("deadlines_passed", workflow_ids)


def schedule_started(plan: SchedulePlan) -> None:
    """Report what has become of a schedule that was due: starts, skipped instants, a pause."""
    log_lines.schedule_started(plan)
    publish("schedule_started", plan)


def quarantined(workflow_id: str, fault: str, error: Exception) -> None:
    """Report that a workflow was quarantined that can't be claimed or run."""
    log_lines.quarantined(workflow_id, fault, error)
    publish("quarantined", workflow_id)


# Signals


def _send_run(signal: Signal, run: ObservedRun, **extra: Any) -> None:
    sender = _workflow_model()
    if signal.has_listeners(sender):
        signal.send_robust(sender, **_values(run), **extra)


async def _asend_run(signal: Signal, run: ObservedRun, **extra: Any) -> None:
    sender = _workflow_model()
    if signal.has_listeners(sender):
        await signal.asend_robust(sender, **_values(run), **extra)


@cache
def _workflow_model() -> type:
    # Models must not be loaded with the package.
    return apps.get_model("django_dbos", "Workflow")


def _values(run: ObservedRun) -> dict[str, str]:
    return {"workflow_id": run.workflow_id, "name": run.definition.name}
