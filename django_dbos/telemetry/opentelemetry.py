"""OpenTelemetry: spans and metrics of this process. It needs the extra `opentelemetry`.

    # shop/apps.py
    class ShopConfig(AppConfig):
        def ready(self):
            from django_dbos.telemetry import opentelemetry

            opentelemetry.instrument()

The context of who starts a workflow is stored with it, as a W3C traceparent, so the spans of a
worker, and of children, belong to the trace of the request. Each run is a span: a workflow that has
waited for days continues the same trace. Steps and waits are spans below that of their run; what a
replay finds recorded is none. A run that isn't sampled has no spans below it.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from contextlib import AbstractContextManager
from contextvars import ContextVar
from functools import lru_cache, partial
from threading import Lock
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

try:
    from opentelemetry import context as otel_context
    from opentelemetry import metrics, trace
    from opentelemetry.metrics import Observation
    from opentelemetry.trace import SpanKind, Status, StatusCode
    from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator
except ModuleNotFoundError as error:
    raise ModuleNotFoundError(
        f"No module named {error.name!r}. OpenTelemetry needs pip install "
        "'django-durable-workflows[opentelemetry]'.",
        name=error.name,
    ) from error

from django_dbos.interruptions import RunInterrupted
from django_dbos.telemetry import concealing
from django_dbos.telemetry.measures import ALL, MOST_NAMES, Measure, MeasuringSubscriber
from django_dbos.telemetry.subscribers import (
    ObservedRun,
    ObservedStep,
    Subscriber,
    subscribe,
    unsubscribe,
)

if TYPE_CHECKING:
    from opentelemetry.metrics import CallbackOptions, Histogram, Meter, MeterProvider
    from opentelemetry.trace import Span, Tracer, TracerProvider

__all__ = ["instrument", "uninstrument"]

SCOPE = "django_dbos"
MOST_DEFERRED = 100
"""A millisecond's work for the SDK, which an event loop may have to do at once."""
NO_SPAN = otel_context.Context()
_propagator = TraceContextTextMapPropagator()
# Set in a run whose span isn't recorded, so that its steps need not ask the SDK.
_is_unrecorded_run: ContextVar[bool] = ContextVar("_is_unrecorded_run", default=False)
_installed: list[Callable[[], None]] = []
"""The calls that undo what instrument() has installed, the last first."""
_installing = Lock()
_sinks: WeakKeyDictionary[MeterProvider, MeterSink] = WeakKeyDictionary()


def instrument(
    *,
    tracer_provider: TracerProvider | None = None,
    meter_provider: MeterProvider | None = None,
    step_durations: bool = True,
) -> None:
    """Export spans and metrics of this process from now on; a second call changes nothing.

    Args:
        tracer_provider: Where spans go. Default: OpenTelemetry's global provider.
        meter_provider: Where metrics go. Default: OpenTelemetry's global provider.
        step_durations: False leaves out the histogram of the durations of steps. The SDK takes
            about 8 µs for each, which is noticed only by thousands of steps a second.
    """
    with _installing:
        if _installed:
            return
        tracer = trace.get_tracer(SCOPE, tracer_provider=tracer_provider)
        sink = _sink_for(meter_provider or metrics.get_meter_provider())
        _installed.append(sink.flush)
        for subscriber in (
            Tracing(tracer),
            MeasuringSubscriber(sink, step_durations=step_durations),
        ):
            subscribe(subscriber)
            _installed.append(partial(unsubscribe, subscriber))


def uninstrument() -> None:
    """Undo instrument(). The meter goes on reporting what it has counted by now."""
    with _installing:
        while _installed:
            _installed.pop()()


def _sink_for(provider: MeterProvider) -> MeterSink:
    # A meter takes the callbacks of a counter once, so a provider has one sink for good.
    sink = _sinks.get(provider)
    if sink is None:
        sink = _sinks[provider] = MeterSink(provider.get_meter(SCOPE))
    return sink


class Tracing(Subscriber):
    """Makes spans of runs, steps and waits."""

    def __init__(self, tracer: Tracer) -> None:
        self._tracer = tracer

    def traceparent(self) -> str | None:
        """Return the current span's context, sampled or not, as W3C writes it."""
        carrier: dict[str, str] = {}
        _propagator.inject(carrier)
        return carrier.get("traceparent")

    def running(self, run: ObservedRun) -> AbstractContextManager[object]:
        """Open the span of a run, below the span that started the workflow."""
        claim = run.claim
        parent = otel_context.get_current()
        if claim.traceparent is not None:
            parent = _propagator.extract({"traceparent": claim.traceparent})
        attributes: dict[str, Any] = {
            "dbos.workflow.id": run.workflow_id,
            "dbos.workflow.name": run.definition.name,
            "dbos.queue.name": claim.queue_name,
            "dbos.run.is_replay": claim.has_history,
            "dbos.recovery_attempts": claim.recovery_attempts,
        }
        span = self._tracer.start_span(
            run.definition.name, parent, SpanKind.CONSUMER, attributes=attributes
        )
        return _RunSpan(span, run)

    def stepping(self, step: ObservedStep) -> AbstractContextManager[object] | None:
        """Open the span of a step, unless that of its run isn't sampled."""
        if not _is_recorded():
            return None
        return self._below(step, {})

    def waiting(self, step: ObservedStep, kind: str) -> AbstractContextManager[object] | None:
        """Open the span of a wait, unless that of its run isn't sampled."""
        if not _is_recorded():
            return None
        return self._below(step, {"dbos.wait.kind": str(kind)})

    def _below(self, step: ObservedStep, more: dict[str, Any]) -> AbstractContextManager[object]:
        attributes: dict[str, Any] = {
            "dbos.workflow.id": step.run.workflow_id,
            "dbos.step.number": step.step_number,
            "dbos.step.name": step.step_name,
            **more,
        }
        return _StepSpan(self._tracer.start_span(step.step_name, attributes=attributes), step.run)

    def step_retried(self, step: ObservedStep, error: BaseException) -> None:
        """Note a failed attempt as an event of the step's span."""
        span = trace.get_current_span()
        if span.is_recording():
            span.record_exception(_shown(step.run, error))


def _is_recorded() -> bool:
    """Return whether a span is recorded here; the SDK takes a microsecond to tell."""
    return not _is_unrecorded_run.get() and trace.get_current_span().is_recording()


class _RunSpan:
    """The span of a run, which is current during the call."""

    __slots__ = ("_run", "_span", "_token", "_was_unrecorded")

    def __init__(self, span: Span, run: ObservedRun) -> None:
        self._span = span
        self._run = run

    def __enter__(self) -> None:
        self._token = otel_context.attach(trace.set_span_in_context(self._span))
        self._was_unrecorded = _is_unrecorded_run.set(not self._span.is_recording())

    def __exit__(self, kind: Any, error: BaseException | None, traceback: Any) -> None:
        otel_context.detach(self._token)
        if self._span.is_recording():
            self._note(error)
        self._span.end()
        _is_unrecorded_run.reset(self._was_unrecorded)

    def _note(self, error: BaseException | None) -> None:
        self._span.set_attribute("dbos.workflow.status", self._run.ended_as)
        if self._run.ended_as == "ERROR":
            _fail(self._span, self._run, self._run.error)


class _StepSpan(_RunSpan):
    """The span of a step or a wait."""

    __slots__ = ()

    def _note(self, error: BaseException | None) -> None:
        if isinstance(error, RunInterrupted):
            # The run ends here, to go on later: that is no failure.
            self._span.set_attribute("dbos.interrupted", type(error).__name__)
        elif error is not None:
            _fail(self._span, self._run, error)


def _fail(span: Span, run: ObservedRun, error: BaseException | None) -> None:
    if error is not None:
        span.record_exception(_shown(run, error))
        span.set_attribute("error.type", type(error).__qualname__)
    span.set_status(Status(StatusCode.ERROR))


def _shown(run: ObservedRun, error: BaseException) -> BaseException:
    return concealing.shown(run.definition.name, error)


class MeterSink:
    """Sends measures to a meter, off the path of what is measured.

    A call of the SDK takes 17 µs between other code, a sixth of a no-op step, and 7 µs in a row.
    Counts are added up here, and read when metrics are collected. What comes with each step is
    deferred, and measured in a row: before such a collection, and once there is MOST_DEFERRED.
    """

    def __init__(self, meter: Meter) -> None:
        self._lock = Lock()
        self._counts: dict[Measure, dict[tuple[str, ...], int]] = {}
        self._histograms: dict[Measure, Histogram] = {}
        self._deferred: deque[tuple[Callable[..., None], tuple[Any, ...]]] = deque()
        for measure in ALL:
            name, unit, description, _ = measure
            if measure.is_duration:
                self._histograms[measure] = meter.create_histogram(name, unit, description)
            else:
                self._counts[measure] = {}
                meter.create_observable_counter(
                    name, [self._on_collection, partial(self._read, measure)], unit, description
                )

    def add(self, measure: Measure, amount: int, labels: tuple[str, ...] = ()) -> None:
        """Count."""
        counts = self._counts[measure]
        with self._lock:
            counts[labels] = counts.get(labels, 0) + amount

    def record(self, measure: Measure, seconds: float, labels: tuple[str, ...] = ()) -> None:
        """Note a duration."""
        self._histograms[measure].record(seconds, _attributes(measure, labels))

    def defer(self, note: Callable[..., None], *values: object) -> None:
        """Call `note` at the next collection at the latest.

        It is called now within a span that is recorded: the SDK may keep an exemplar of it.
        """
        if _is_recorded():
            note(*values)
            return
        self._deferred.append((note, values))
        if len(self._deferred) >= MOST_DEFERRED:
            self.flush()

    def flush(self) -> None:
        """Make all calls that are deferred; several threads may do so at once."""
        token = otel_context.attach(NO_SPAN)
        try:
            for _ in range(len(self._deferred)):
                try:
                    note, values = self._deferred.popleft()
                except IndexError:
                    break  # Other threads have the rest.
                note(*values)
        finally:
            otel_context.detach(token)

    def _on_collection(self, options: CallbackOptions) -> list[Observation]:
        self.flush()
        return []

    def _read(self, measure: Measure, options: CallbackOptions) -> list[Observation]:
        with self._lock:
            counts = dict(self._counts[measure])
        return [
            Observation(count, _attributes(measure, labels)) for labels, count in counts.items()
        ]


@lru_cache(maxsize=4 * MOST_NAMES)
def _attributes(measure: Measure, labels: tuple[str, ...]) -> dict[str, str]:
    return {f"dbos.{name}": value for name, value in zip(measure.labels, labels, strict=True)}
