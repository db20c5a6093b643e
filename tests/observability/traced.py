"""Workflows that are traced; a child process writes its spans to the file in DBOS_TEST_SPANS."""

from __future__ import annotations

import os
from pathlib import Path

import django_dbos as dbos


@dbos.step(name="traced.work", max_attempts=2, interval=0)
def work(fails: bool = False) -> int:
    if fails:
        raise ValueError("on purpose")
    return 1


@dbos.workflow(name="traced.child")
def child() -> int:
    return work()


@dbos.workflow(name="traced.parent")
def parent() -> int:
    got = child()
    dbos.recv("go", timeout=None)
    return got + work()


@dbos.workflow(name="traced.fails")
def fails() -> int:
    return work(fails=True)


@dbos.workflow(name="traced.in_async")
async def in_async() -> int:
    return await child.acall()


@dbos.workflow(name="traced.in_own_span")
def in_own_span() -> int:
    from opentelemetry.sdk.trace import TracerProvider

    with TracerProvider().get_tracer("test").start_as_current_span("own"):
        return work()


def write_spans(path: str) -> None:
    """Append each span to a file, as one line of JSON."""
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import ConsoleSpanExporter, SimpleSpanProcessor

    from django_dbos.telemetry import opentelemetry

    file = Path(path).open("a", buffering=1)  # noqa: SIM115
    exporter = ConsoleSpanExporter(
        out=file, formatter=lambda span: span.to_json(indent=None) + "\n"
    )
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    opentelemetry.instrument(tracer_provider=provider)


if "DBOS_TEST_SPANS" in os.environ:
    write_spans(os.environ["DBOS_TEST_SPANS"])
