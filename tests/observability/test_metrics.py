"""Metrics of OpenTelemetry, with a real SDK: none is lost on its way off the path of the steps."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

pytest.importorskip("opentelemetry.sdk")


from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import (
    InMemoryMetricReader,
    MetricExporter,
    MetricExportResult,
    MetricReader,
    MetricsData,
    PeriodicExportingMetricReader,
)
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF, ALWAYS_ON, Sampler

from django_dbos.telemetry import opentelemetry
from django_dbos.telemetry.measures import STEP, STEPS
from django_dbos.telemetry.opentelemetry import MOST_DEFERRED, MeterSink
from django_dbos.testing import run_until_idle
from tests.observability import traced


@pytest.fixture
def instrument() -> Iterator[Callable[..., MeterProvider]]:
    """Instrument the process, and return the provider of its metrics."""

    def made(*readers: MetricReader, sampler: Sampler = ALWAYS_OFF) -> MeterProvider:
        provider = MeterProvider(metric_readers=readers)
        assert not opentelemetry._installed
        opentelemetry.instrument(
            tracer_provider=TracerProvider(sampler=sampler), meter_provider=provider
        )
        return provider

    yield made
    opentelemetry.uninstrument()


def points_of(data: MetricsData | None, name: str) -> list[Any]:
    assert data is not None
    return [
        point
        for resource in data.resource_metrics
        for scope in resource.scope_metrics
        for metric in scope.metrics
        if metric.name == name
        for point in metric.data.data_points
    ]


def counts_of(data: MetricsData | None) -> tuple[int, int]:
    """Return the steps that were counted, and those whose duration was recorded."""
    (counter,) = points_of(data, "dbos.step.ended")
    (histogram,) = points_of(data, "dbos.step.duration")
    return counter.value, histogram.count


@pytest.mark.django_db(transaction=True)
def test_a_collection_has_all_that_was_measured_before_it(
    instrument: Callable[..., MeterProvider],
) -> None:
    first, second = InMemoryMetricReader(), InMemoryMetricReader()
    instrument(first, second)
    for _ in range(3):
        traced.child.start()
    run_until_idle()

    data = first.get_metrics_data()
    assert counts_of(data) == (3, 3)
    assert counts_of(second.get_metrics_data()) == (3, 3)
    (runs,) = points_of(data, "dbos.workflow.run.duration")
    (ended,) = points_of(data, "dbos.workflow.ended")
    assert runs.count == ended.value == 3
    assert ended.attributes == {"dbos.workflow": "traced.child", "dbos.status": "SUCCESS"}


@pytest.mark.django_db(transaction=True)
def test_a_shutdown_exports_all_that_was_measured_before_it(
    instrument: Callable[..., MeterProvider],
) -> None:
    exported: list[MetricsData] = []

    class Exporter(MetricExporter):
        def export(
            self, metrics_data: MetricsData, timeout_millis: float = 0, **_: Any
        ) -> MetricExportResult:
            exported.append(metrics_data)
            return MetricExportResult.SUCCESS

        def force_flush(self, timeout_millis: float = 0) -> bool:
            return True

        def shutdown(self, timeout_millis: float = 0, **_: Any) -> None:
            return None

    reader = PeriodicExportingMetricReader(Exporter(), export_interval_millis=3_600_000)
    provider = instrument(reader)
    traced.child.start()
    run_until_idle()
    provider.shutdown()

    assert counts_of(exported[-1]) == (1, 1)


@pytest.mark.django_db(transaction=True)
def test_the_end_of_instrumentation_loses_nothing_and_another_one_goes_on(
    instrument: Callable[..., MeterProvider],
) -> None:
    reader = InMemoryMetricReader()
    provider = instrument(reader)
    traced.child.start()
    run_until_idle()
    opentelemetry.uninstrument()
    traced.child.start()
    run_until_idle()
    assert counts_of(reader.get_metrics_data()) == (1, 1)

    opentelemetry.instrument(meter_provider=provider)
    traced.child.start()
    run_until_idle()
    assert counts_of(reader.get_metrics_data()) == (2, 2)


@pytest.mark.django_db(transaction=True)
def test_a_sampled_step_is_the_exemplar_of_its_duration(
    instrument: Callable[..., MeterProvider],
) -> None:
    reader = InMemoryMetricReader()
    instrument(reader, sampler=ALWAYS_ON)
    with TracerProvider().get_tracer("test").start_as_current_span("request") as request:
        traced.child.start()
    run_until_idle()

    (duration,) = points_of(reader.get_metrics_data(), "dbos.step.duration")
    (exemplar,) = duration.exemplars
    assert exemplar.trace_id == request.get_span_context().trace_id
    assert exemplar.span_id != request.get_span_context().span_id


def test_what_is_deferred_has_no_exemplar_of_another_span() -> None:
    reader = InMemoryMetricReader()
    sink = MeterSink(MeterProvider(metric_readers=[reader]).get_meter("test"))
    sink.defer(sink.record, STEP, 0.5, ("work",))
    with TracerProvider().get_tracer("test").start_as_current_span("another"):
        sink.flush()

    (duration,) = points_of(reader.get_metrics_data(), "dbos.step.duration")
    assert duration.count == 1
    assert duration.exemplars == []


def test_no_more_than_a_few_calls_are_deferred() -> None:
    sink = MeterSink(MeterProvider(metric_readers=[InMemoryMetricReader()]).get_meter("test"))
    for _ in range(3 * MOST_DEFERRED):
        sink.defer(sink.record, STEP, 0.5, ("work",))
        assert len(sink._deferred) < MOST_DEFERRED


def test_a_call_that_fails_takes_no_other_with_it(caplog: pytest.LogCaptureFixture) -> None:
    def fails() -> None:
        raise LookupError("on purpose")

    reader = InMemoryMetricReader()
    sink = MeterSink(MeterProvider(metric_readers=[reader]).get_meter("test"))
    sink.defer(sink.add, STEPS, 1, ("work", "success"))
    sink.defer(fails)
    sink.defer(sink.record, STEP, 0.5, ("work",))

    assert counts_of(reader.get_metrics_data()) == (1, 1)
    assert "on purpose" in caplog.text


def test_threads_that_measure_while_others_collect_lose_nothing() -> None:
    threads, each = 4, 5 * MOST_DEFERRED + 7
    reader = InMemoryMetricReader()
    sink = MeterSink(MeterProvider(metric_readers=[reader]).get_meter("test"))

    def note(seconds: float) -> None:
        sink.add(STEPS, 1, ("work", "success"))
        sink.record(STEP, seconds, ("work",))

    def measure() -> None:
        for _ in range(each):
            sink.defer(note, 0.5)

    measuring = [threading.Thread(target=measure) for _ in range(threads)]
    for thread in measuring:
        thread.start()
    while any(thread.is_alive() for thread in measuring):
        reader.get_metrics_data()
    for thread in measuring:
        thread.join()

    assert counts_of(reader.get_metrics_data()) == (threads * each, threads * each)


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_a_fork_takes_nothing_from_its_parent_and_can_measure() -> None:
    reader = InMemoryMetricReader()
    sink = MeterSink(MeterProvider(metric_readers=[reader]).get_meter("test"))
    sink.defer(sink.add, STEPS, 1, ("work", "success"))
    sink.defer(sink.record, STEP, 0.5, ("work",))
    child = os.fork()
    if child == 0:
        is_right = False
        try:
            sink.defer(sink.add, STEPS, 1, ("work", "success"))
            sink.defer(sink.record, STEP, 0.5, ("work",))
            is_right = counts_of(reader.get_metrics_data()) == (2, 2)
        finally:
            os._exit(0 if is_right else 1)
    _, status = os.waitpid(child, 0)

    assert os.waitstatus_to_exitcode(status) == 0
    assert counts_of(reader.get_metrics_data()) == (1, 1)
