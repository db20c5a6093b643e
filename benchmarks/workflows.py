"""The workflows that are measured; the app's `workflows.py`, which is discovered."""

from __future__ import annotations

import asyncio
import os
import time

import django_dbos as dbos
from benchmarks.environment import HANG, TRACE, send_timestamp


@dbos.step
def step(value: int) -> int:
    return value


@dbos.step
async def astep(value: int) -> int:
    return value


@dbos.step
def pauses(seconds: float) -> None:
    time.sleep(seconds)


@dbos.step
async def apauses(seconds: float) -> None:
    await asyncio.sleep(seconds)


@dbos.step
async def hangs() -> None:
    if HANG in os.environ:
        await asyncio.sleep(3_600)


@dbos.workflow
def takes_steps(count: int) -> int:
    return sum(step(number) for number in range(count))


@dbos.workflow
async def atakes_steps(count: int) -> int:
    return sum([await astep(number) for number in range(count)])


@dbos.workflow
def takes_a_pause(seconds: float) -> None:
    pauses(seconds)


@dbos.workflow
async def atakes_a_pause(seconds: float) -> None:
    await apauses(seconds)


@dbos.workflow
def does_nothing() -> None:
    """Nothing."""


@dbos.workflow
async def adoes_nothing() -> None:
    """Nothing."""


@dbos.workflow
def gathers(count: int, at_once: bool) -> int:
    handles = does_nothing.start_many([()] * count)
    if at_once:
        return len(dbos.get_results(handles))
    return len([handle.get_result() for handle in handles])


@dbos.workflow
def sends_timestamp() -> None:
    send_timestamp()


@dbos.workflow(queue_name="single")
def holds_place() -> float:
    """Return the time of the last line, after another workflow was started behind this one."""
    sends_timestamp.using(queue_name="single").start()
    return time.time()


@dbos.workflow
def echoes() -> None:
    dbos.run_step(send_timestamp)  # once: after a wait the function runs from its first line
    dbos.set_event("echo", dbos.recv("say", timeout=60))


@dbos.workflow
def streams(count: int, pause: float) -> None:
    for _ in range(count):
        dbos.write_stream("times", time.time())
        if pause:
            time.sleep(pause)


@dbos.workflow
async def waits_for_message() -> None:
    await dbos.arecv("go", timeout=86_400)


@dbos.workflow
async def sleeps_for_a_day() -> None:
    await dbos.asleep(86_400)


@dbos.workflow
def naps(seconds: float) -> None:
    dbos.run_step(send_timestamp)  # once, as above
    dbos.sleep(seconds)
    send_timestamp()


@dbos.workflow
async def hangs_once() -> None:
    await hangs()


def _trace() -> None:
    """Export 1 % of the traces to nowhere, and metrics to memory: "full" with steps' durations."""
    from opentelemetry.sdk.metrics import MeterProvider
    from opentelemetry.sdk.metrics.export import InMemoryMetricReader
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor
    from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
    from opentelemetry.sdk.trace.sampling import ParentBasedTraceIdRatio

    from django_dbos.telemetry import opentelemetry

    tracer_provider = TracerProvider(sampler=ParentBasedTraceIdRatio(0.01))
    tracer_provider.add_span_processor(BatchSpanProcessor(InMemorySpanExporter()))
    opentelemetry.instrument(
        tracer_provider=tracer_provider,
        meter_provider=MeterProvider(metric_readers=[InMemoryMetricReader()]),
        step_durations=os.environ[TRACE] == "full",
    )


if os.environ.get(TRACE):
    _trace()
