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

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from threading import Lock
from typing import TYPE_CHECKING, Any

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
from django_dbos.telemetry.measures import Measure, MeasuringSubscriber
from django_dbos.telemetry.subscribers import (
    ObservedRun,
    ObservedStep,
    Subscriber,
    subscribe,
    unsubscribe,
)

if TYPE_CHECKING:
    from opentelemetry.metrics import CallbackOptions, Meter, MeterProvider
    from opentelemetry.trace import Span, Tracer, TracerProvider

__all__ = ["instrument", "uninstrument"]

SCOPE = "django_dbos"
_propagator = TraceContextTextMapPropagator()
_installed: list[Callable[[], None]] = []
"""The calls that undo what instrument() has installed, the last first."""
_installing = Lock()


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
            about 20 µs for each, which is noticed only by thousands of steps a second.
    """
    with _installing:
        if _installed:
            return
        tracer = trace.get_tracer(SCOPE, tracer_provider=tracer_provider)
        sink = MeterSink(metrics.get_meter(SCOPE, meter_provider=meter_provider))
        _installed.append(sink.end)
        for subscriber in (
            Tracing(tracer),
            MeasuringSubscriber(sink, step_durations=step_durations),
        ):
            subscribe(subscriber)
            _installed.append(partial(unsubscribe, subscriber))


def uninstrument() -> None:
    """Undo instrument()."""
    with _installing:
        while _installed:
            _installed.pop()()


class Tracing(Subscriber):
    """Makes spans of runs, steps and waits."""

    def __init__(self, tracer: Tracer) -> None:
        self._tracer = tracer

    def traceparent(self) -> str | None:
        """Return the current span's context, sampled or not, as W3C writes it."""
        carrier: dict[str, str] = {}
        _propagator.inject(carrier)
        return carrier.get("traceparent")

    @contextmanager
    def running(self, run: ObservedRun) -> Iterator[None]:
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
        try:
            with _current(span):
                yield
        finally:
            if span.is_recording():
                span.set_attribute("dbos.workflow.status", run.ended_as)
                if run.ended_as == "ERROR":
                    _fail(span, run, run.error)
            span.end()

    def stepping(self, step: ObservedStep) -> AbstractContextManager[object] | None:
        """Open the span of a step, unless that of its run isn't sampled."""
        if not trace.get_current_span().is_recording():
            return None
        return self._below(step, step.step_name, {})

    def waiting(self, step: ObservedStep, kind: str) -> AbstractContextManager[object] | None:
        """Open the span of a wait, unless that of its run isn't sampled."""
        if not trace.get_current_span().is_recording():
            return None
        return self._below(step, step.step_name, {"dbos.wait.kind": str(kind)})

    @contextmanager
    def _below(self, step: ObservedStep, name: str, more: dict[str, Any]) -> Iterator[None]:
        attributes: dict[str, Any] = {
            "dbos.workflow.id": step.run.workflow_id,
            "dbos.step.number": step.step_number,
            "dbos.step.name": step.step_name,
            **more,
        }
        span = self._tracer.start_span(name, attributes=attributes)
        try:
            with _current(span):
                yield
        except RunInterrupted as interruption:
            # The run ends here, to go on later: that is no failure.
            span.set_attribute("dbos.interrupted", type(interruption).__name__)
            raise
        except BaseException as error:
            _fail(span, step.run, error)
            raise
        finally:
            span.end()

    def step_retried(self, step: ObservedStep, error: BaseException) -> None:
        """Note a failed attempt as an event of the step's span."""
        span = trace.get_current_span()
        if span.is_recording():
            span.record_exception(_shown(step.run, error))


@contextmanager
def _current(span: Span) -> Iterator[None]:
    token = otel_context.attach(trace.set_span_in_context(span))
    try:
        yield
    finally:
        otel_context.detach(token)


def _fail(span: Span, run: ObservedRun, error: BaseException | None) -> None:
    if error is not None:
        span.record_exception(_shown(run, error))
        span.set_attribute("error.type", type(error).__qualname__)
    span.set_status(Status(StatusCode.ERROR))


def _shown(run: ObservedRun, error: BaseException) -> BaseException:
    return concealing.shown(run.definition.name, error)


class MeterSink:
    """Sends measures to a meter.

    Counts are added up here, and read when metrics are collected: a step is recorded at the cost of
    an addition, not of a call of the SDK.
    """

    def __init__(self, meter: Meter) -> None:
        self._meter = meter
        self._instruments: dict[Measure, Any] = {}
        self._counts: dict[Measure, dict[tuple[str, ...], int]] = {}
        self._lock = Lock()

    def add(self, measure: Measure, amount: int, labels: tuple[str, ...] = ()) -> None:
        """Count."""
        with self._lock:
            counts = self._counts.get(measure)
            is_new = counts is None
            if counts is None:
                counts = self._counts[measure] = {}
            counts[labels] = counts.get(labels, 0) + amount
        if is_new:
            self._meter.create_observable_counter(
                measure.name,
                [partial(self._read, measure)],
                unit=measure.unit,
                description=measure.description,
            )

    def _read(self, measure: Measure, options: CallbackOptions) -> list[Observation]:
        with self._lock:
            counts = dict(self._counts.get(measure, {}))
        return [
            Observation(count, _attributes(measure, labels)) for labels, count in counts.items()
        ]

    def record(self, measure: Measure, seconds: float, labels: tuple[str, ...] = ()) -> None:
        """Note a duration."""
        found = self._instruments.get(measure)
        if found is None:
            found = self._meter.create_histogram(
                measure.name, unit=measure.unit, description=measure.description
            )
            self._instruments[measure] = found
        found.record(seconds, _attributes(measure, labels))

    def end(self) -> None:
        """Report no more counts: the meter keeps what it has been given to ask."""
        with self._lock:
            self._counts.clear()


def _attributes(measure: Measure, labels: tuple[str, ...]) -> dict[str, str]:
    return {f"dbos.{name}": value for name, value in zip(measure.labels, labels, strict=True)}
