"""Subscribers: receive the events of this process, beside the log and the signals."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any, Protocol, TypeAlias

from django_dbos.core.batch.plan import Plan
from django_dbos.core.records import Checkpoint, Claim
from django_dbos.core.registry import WorkflowDefinition
from django_dbos.core.schedules import Plan as SchedulePlan
from django_dbos.telemetry import concealing

logger = logging.getLogger("django_dbos.executor")

Taker: TypeAlias = "tuple[Subscriber, Callable[..., Any]]"
"""A subscriber to an event, with its method for it."""


class ObservedRun(Protocol):
    """A run, as events name it."""

    workflow_id: str
    claim: Claim
    definition: WorkflowDefinition
    began: float
    """When the function was called, on the clock of `time.perf_counter`."""
    ended_as: str
    """The status that the run left the workflow in; "" if it lost the workflow."""
    error: BaseException | None
    is_past_deadline: bool
    is_quarantined: bool

    @property
    def log_fields(self) -> Mapping[str, object]:
        """The fields of every log record about the run."""


class ObservedStep(Protocol):
    """A step of a run, as events name it."""

    @property
    def run(self) -> ObservedRun:
        """The run."""

    @property
    def step_number(self) -> int:
        """The position of the step in the workflow."""

    @property
    def step_name(self) -> str:
        """The name that the step is recorded under."""


class Subscriber:
    """A receiver of events; override the methods of those that matter.

    subscribe() finds out which these are, so an event that nobody overrides costs nothing. The
    methods are called on the engine's threads, and of an async run on its event loop: they must be
    quick, and wait for nothing. An exception is logged and has no other effect.
    """

    def executor_started(self, executor_id: str) -> None:
        """Note that an executor has begun to claim."""

    def executor_stopped(self, executor_id: str) -> None:
        """Note that an executor has stopped."""

    def executor_died(
        self, executor_id: str, enqueued: Sequence[str], given_up: Sequence[str]
    ) -> None:
        """Note that this process has recovered the workflows of an executor that died."""

    def alert_told(self, alert: Any) -> None:
        """Note that a problem of the system has come, or is over: see `django_dbos.alerts`."""

    def heartbeat(self, executor_id: str, seconds: float) -> None:
        """Note that the database has answered a heartbeat, and the seconds that it took."""

    def claimed(self, queue_name: str, count: int) -> None:
        """Note that `count` workflows were claimed from a queue."""

    def committed(self, plan: Plan) -> None:
        """Note that a batch was committed; `plan` holds the checkpoints, ends, … in it."""

    def run_started(self, run: ObservedRun) -> None:
        """Note that a run begins."""

    def run_ended(self, run: ObservedRun) -> None:
        """Note how a run has ended, once that is committed."""

    def step_recorded(self, step: ObservedStep, checkpoint: Checkpoint) -> None:
        """Note that the outcome of a step was committed; a replay records nothing."""

    def step_retried(self, step: ObservedStep, error: BaseException) -> None:
        """Note that an attempt at a step failed, and will be repeated."""

    def step_put_off(self, step: ObservedStep, seconds: float) -> None:
        """Note that a step raised RetryAfter, and will be repeated in `seconds`."""

    def deadlines_passed(self, workflow_ids: Sequence[str]) -> None:
        """Note that this process has cancelled workflows that were past their deadline."""

    def schedule_started(self, plan: SchedulePlan) -> None:
        """Note what has become of a schedule that was due; `plan.starts` has the workflows."""

    def quarantined(self, workflow_id: str) -> None:
        """Note that a workflow was quarantined that can't be claimed or run."""

    def traceparent(self) -> str | None:
        """Return the W3C trace context of a workflow that is started now; None if there is none."""
        return None

    def running(self, run: ObservedRun) -> AbstractContextManager[object] | None:
        """Return a context for the function's call, on its thread or its loop; or None."""
        return None

    def stepping(self, step: ObservedStep) -> AbstractContextManager[object] | None:
        """Return a context for the attempts at a step, which no earlier run has recorded."""
        return None

    def waiting(self, step: ObservedStep, kind: str) -> AbstractContextManager[object] | None:
        """Return a context for a wait, until its outcome is there or the run is suspended."""
        return None


EVENTS = tuple(name for name in vars(Subscriber) if not name.startswith("_"))

_subscribers: tuple[Subscriber, ...] = ()
_takers: dict[str, tuple[Taker, ...]] = {}
"""The takers of each event that a subscriber overrides; another event costs a look-up."""


def subscribe(subscriber: Subscriber) -> None:
    """Have a subscriber receive the events of this process from now on."""
    _set((*_subscribers, subscriber))


def unsubscribe(subscriber: Subscriber) -> None:
    """Undo subscribe()."""
    _set(tuple(other for other in _subscribers if other is not subscriber))


def _set(subscribers: tuple[Subscriber, ...]) -> None:
    global _subscribers, _takers
    takers: dict[str, tuple[Taker, ...]] = {}
    for subscriber in subscribers:
        for event in EVENTS:
            method = getattr(subscriber, event)
            if getattr(method, "__func__", method) is not getattr(Subscriber, event):
                takers[event] = (*takers.get(event, ()), (subscriber, method))
    _subscribers, _takers = subscribers, takers


def is_taken(event: str) -> bool:
    """Return whether anything in this process subscribes to an event."""
    return event in _takers


def traceparent() -> str | None:
    """Return the trace context of the caller that the first subscriber with one knows."""
    for subscriber, method in _takers.get("traceparent", ()):
        try:
            found: str | None = method()
        except Exception as failure:
            logger.error(
                "%s failed to read its context", type(subscriber).__name__, exc_info=_shown(failure)
            )
        else:
            if found is not None:
                return found
    return None


def publish(event: str, *values: object) -> None:
    """Call the method of this name on every subscriber to the event."""
    for subscriber, method in _takers.get(event, ()):
        try:
            method(*values)
        except Exception as failure:
            _log(subscriber, failure)


def around(event: str, *values: object) -> AbstractContextManager[object]:
    """Enter the contexts that subscribers put around a call; the returned one leaves them.

    Nothing in them fails the call.
    """
    entered: list[AbstractContextManager[object]] = []
    for subscriber, method in _takers.get(event, ()):
        try:
            context = method(*values)
            if context is not None:
                context.__enter__()
                entered.append(context)
        except Exception as failure:
            _log(subscriber, failure)
    return _Entered(entered) if entered else NOTHING


NOTHING: AbstractContextManager[object] = nullcontext()


class _Entered:
    """Contexts that have been entered; their errors are logged, and those of the call go on."""

    __slots__ = ("_contexts",)

    def __init__(self, contexts: list[AbstractContextManager[object]]) -> None:
        self._contexts = contexts

    def __enter__(self) -> None:
        """Nothing is left to do."""

    def __exit__(self, kind: Any, error: Any, traceback: Any) -> None:
        for context in reversed(self._contexts):
            try:
                context.__exit__(kind, error, traceback)
            except Exception as failure:
                _log(context, failure)


def _log(failed: object, failure: Exception) -> None:
    logger.error("%s failed to note an event", type(failed).__name__, exc_info=_shown(failure))


def _shown(failure: Exception) -> BaseException:
    """Return a subscriber's error: what it notes may be one of user code, its context then."""
    return concealing.shown("", failure)
