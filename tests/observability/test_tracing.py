"""Spans of workflows, steps and waits, with a real SDK."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("opentelemetry.sdk")


from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF, ALWAYS_ON, ParentBased, Sampler
from opentelemetry.trace import StatusCode

from django_dbos.executor.executor import Executor
from django_dbos.models import Workflow
from django_dbos.telemetry import opentelemetry, subscribers
from django_dbos.testing import run_until_idle
from tests.observability import traced
from tests.payloads.conftest import ring
from tests.payloads.workflows import SECRET, fail, pay
from tests.waiting import LIMIT, eventually

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def exporter() -> InMemorySpanExporter:
    return InMemorySpanExporter()


@pytest.fixture
def provider(exporter: InMemorySpanExporter) -> Iterator[TracerProvider]:
    made = TracerProvider(sampler=ParentBased(ALWAYS_ON))
    made.add_span_processor(SimpleSpanProcessor(exporter))
    assert not opentelemetry._installed
    opentelemetry.instrument(tracer_provider=made)
    yield made
    opentelemetry.uninstrument()


def named(exporter: InMemorySpanExporter, name: str) -> list[Any]:
    return [span for span in exporter.get_finished_spans() if span.name == name]


def test_runs_steps_and_waits_are_spans_of_the_callers_trace(
    provider: TracerProvider, exporter: InMemorySpanExporter
) -> None:
    with provider.get_tracer("test").start_as_current_span("request") as request:
        handle = traced.parent.start()
    run_until_idle()
    handle.send("now", "go")
    run_until_idle()
    assert handle.get_result() == 2

    first, second = named(exporter, "traced.parent")
    spans = exporter.get_finished_spans()
    assert {span.context.trace_id for span in spans} == {request.get_span_context().trace_id}
    assert first.parent.span_id == second.parent.span_id == request.get_span_context().span_id
    assert first.attributes["dbos.workflow.status"] == "WAITING"
    assert second.attributes["dbos.workflow.status"] == "SUCCESS"
    assert second.attributes["dbos.run.is_replay"]
    # The replay has made none again: one step of the parent, one of the child.
    assert len(named(exporter, "traced.work")) == 2
    (child,) = named(exporter, "traced.child")
    assert child.parent is not None
    waits = [span for span in spans if span.attributes.get("dbos.wait.kind") == "message"]
    assert waits[0].attributes["dbos.interrupted"] == "Suspended"
    assert all(span.status.status_code is not StatusCode.ERROR for span in spans)


def test_a_failure_is_on_the_spans_of_its_step_and_its_run(
    provider: TracerProvider, exporter: InMemorySpanExporter
) -> None:
    traced.fails.start()
    run_until_idle()

    (step,) = named(exporter, "traced.work")
    (run,) = named(exporter, "traced.fails")
    assert step.parent.span_id == run.context.span_id
    assert step.status.status_code is StatusCode.ERROR
    # An event for each failed attempt: the first, which was repeated, and the last.
    assert [event.name for event in step.events] == ["exception", "exception"]
    assert run.status.status_code is StatusCode.ERROR
    assert run.attributes["error.type"] == "ValueError"


def test_spans_have_no_message_of_an_error_while_values_are_encrypted(
    provider: TracerProvider, exporter: InMemorySpanExporter, settings: Any
) -> None:
    settings.DBOS = {**settings.DBOS, "ENCRYPTION": ring("2025")}
    pay.start(SECRET).send("x", topic="note")
    failed = fail.start(SECRET)
    run_until_idle()

    spans = [span.to_json() for span in exporter.get_finished_spans()]
    assert failed.get_status() == "ERROR"
    assert any("Declined, whose message isn't logged" in span for span in spans)
    assert not any(SECRET in span for span in spans)


def test_an_async_run_is_the_parent_of_what_it_calls(
    provider: TracerProvider, exporter: InMemorySpanExporter, worker: Executor
) -> None:
    assert traced.in_async.start().get_result(timeout=LIMIT) == 1

    eventually(lambda: len(named(exporter, "traced.in_async")) == 1)
    (run,) = named(exporter, "traced.in_async")
    (child,) = named(exporter, "traced.child")
    assert child.context.trace_id == run.context.trace_id


def test_a_trace_that_is_not_sampled_is_carried_and_makes_no_span(
    exporter: InMemorySpanExporter,
) -> None:
    made = TracerProvider(sampler=ParentBased(ALWAYS_OFF))
    made.add_span_processor(SimpleSpanProcessor(exporter))
    opentelemetry.instrument(tracer_provider=made)
    try:
        with made.get_tracer("test").start_as_current_span("request"):
            handle = traced.child.start()
        run_until_idle()
    finally:
        opentelemetry.uninstrument()

    assert handle.get_result() == 1
    flags = Workflow.objects.get().traceparent.rpartition("-")[2]
    assert not int(flags, 16) & 1
    assert exporter.get_finished_spans() == ()


def test_a_run_decides_whether_its_steps_are_spans(exporter: InMemorySpanExporter) -> None:
    def names(sampler: Sampler) -> list[str]:
        exporter.clear()
        made = TracerProvider(sampler=sampler)
        made.add_span_processor(SimpleSpanProcessor(exporter))
        opentelemetry.instrument(tracer_provider=made)
        try:
            traced.in_own_span.start()
            run_until_idle()
        finally:
            opentelemetry.uninstrument()
        return [span.name for span in exporter.get_finished_spans()]

    assert names(ALWAYS_OFF) == []
    assert names(ALWAYS_ON) == ["traced.work", "traced.in_own_span"]
    # That of a run doesn't outlast it.
    with TracerProvider().get_tracer("test").start_as_current_span("request"):
        assert opentelemetry._is_recorded()


def test_a_failing_exporter_harms_no_run(monkeypatch: pytest.MonkeyPatch, caplog: Any) -> None:
    class Broken(subscribers.Subscriber):
        def traceparent(self) -> str | None:
            raise RuntimeError("broken")

        def running(self, run: Any) -> Any:
            raise RuntimeError("broken")

        def stepping(self, step: Any) -> Any:
            class Context:
                def __enter__(self) -> None:
                    return None

                def __exit__(self, *args: Any) -> None:
                    raise RuntimeError("broken")

            return Context()

    broken = Broken()
    subscribers.subscribe(broken)
    try:
        handle = traced.child.start()
        run_until_idle()
    finally:
        subscribers.unsubscribe(broken)

    assert handle.get_result() == 1
    assert Workflow.objects.get().traceparent is None
    assert "Broken failed" in caplog.text


def test_without_an_exporter_nothing_is_stored() -> None:
    traced.child.start()

    assert Workflow.objects.get().traceparent is None


@pytest.mark.process
def test_a_trace_goes_from_the_client_through_processes_to_a_child(
    provider: TracerProvider, start_worker: Callable[..., Any], tmp_path: Path
) -> None:
    files = [tmp_path / "first.jsonl", tmp_path / "second.jsonl"]
    with provider.get_tracer("test").start_as_current_span("request") as request:
        handle = traced.parent.start()
    first = start_worker(DBOS_TEST_SPANS=str(files[0]))
    eventually(lambda: handle.get_status() == "WAITING")
    first.process.terminate()
    assert first.wait() == 0
    start_worker(DBOS_TEST_SPANS=str(files[1]))
    handle.send("now", "go")
    assert handle.get_result(timeout=LIMIT) == 2

    eventually(lambda: any(span["name"] == "traced.parent" for span in read(files[1])))
    spans = [*read(files[0]), *read(files[1])]
    wanted = f"0x{request.get_span_context().trace_id:032x}"
    assert {span["context"]["trace_id"] for span in spans} == {wanted}
    assert [span["name"] for span in spans].count("traced.parent") >= 2
    assert [span["name"] for span in spans].count("traced.work") == 2


def read(path: Path) -> list[dict[str, Any]]:
    lines = path.read_text().splitlines() if path.exists() else []
    return [json.loads(line) for line in lines if line]
