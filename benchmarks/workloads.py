"""The workloads: each reads like the sentence that describes it, and returns a rate or seconds."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import psycopg
from django.db import connections

import django_dbos as dbos
from django_dbos.executor import Executor
from django_dbos.models import Workflow

WORKFLOWS, STEPS = 100, 10


@dbos.step
def step(value: int) -> int:
    return value


@dbos.step
async def astep(value: int) -> int:
    return value


@dbos.workflow
def takes_steps(count: int) -> int:
    return sum(step(number) for number in range(count))


@dbos.workflow
async def atakes_steps(count: int) -> int:
    return sum([await astep(number) for number in range(count)])


@dbos.workflow
def does_nothing() -> None:
    """Nothing."""


@dbos.workflow
async def adoes_nothing() -> None:
    """Nothing."""


@dbos.workflow
def says_when() -> float:
    return time.time()


@dbos.workflow
def echoes() -> None:
    dbos.set_event("echo", dbos.recv(timeout=30))


@dbos.workflow
def streams(count: int) -> None:
    for number in range(count):
        dbos.write_stream("s", number)


def concurrent_steps(workflow: Any) -> float:
    """Checkpoints a second, of 100 workflows at once."""
    with Executor(concurrency=WORKFLOWS):
        began = time.perf_counter()
        for handle in workflow.start_many([(STEPS,)] * WORKFLOWS):
            handle.get_result(timeout=60)
        return WORKFLOWS * STEPS / (time.perf_counter() - began)


def steps_in_a_row() -> float:
    """Checkpoints a second, of one workflow's steps one after another."""
    with Executor():
        began = time.perf_counter()
        takes_steps.start(1_000).get_result(timeout=60)
        return 1_000 / (time.perf_counter() - began)


def drain(workflow: Any) -> float:
    """Workflows a second, of a filled queue of those that do nothing."""
    workflow.start_many([()] * 2_000)
    began = time.perf_counter()
    with Executor(concurrency=64):
        while Workflow.objects.active().exists():
            time.sleep(0.01)
        return 2_000 / (time.perf_counter() - began)


def start_one_by_one() -> float:
    """`start` calls a second."""
    began = time.perf_counter()
    for _ in range(1_000):
        does_nothing.start()
    return 1_000 / (time.perf_counter() - began)


def start_in_bulk() -> float:
    """Workflows a second, started in one call."""
    began = time.perf_counter()
    does_nothing.start_many([()] * 5_000)
    return 5_000 / (time.perf_counter() - began)


def start_to_running() -> float:
    """Median milliseconds from `start` to the workflow's first line, on an idle worker."""
    times = []
    with Executor():
        for _ in range(100):
            began = time.time()
            handle = says_when.start()
            times.append((handle.get_result(timeout=10) - began) * 1_000)
            time.sleep(0.01)
    return sorted(times)[50]


def message_round_trip() -> float:
    """Median milliseconds of send, recv, set_event and get_event, to a waiting workflow."""
    times = []
    with Executor():
        for _ in range(50):
            handle = echoes.start()
            time.sleep(0.05)
            began = time.perf_counter()
            handle.send("hello")
            handle.get_event("echo", timeout=10)
            times.append((time.perf_counter() - began) * 1_000)
    return sorted(times)[25]


def stream_values() -> float:
    """Durable stream values a second, from one workflow."""
    with Executor():
        began = time.perf_counter()
        streams.start(5_000).get_result(timeout=60)
        return 5_000 / (time.perf_counter() - began)


def bare_inserts() -> float:
    """The ceiling of steps in a row: one connection's autocommit INSERTs of the same row."""
    with _bare() as connection:
        began = time.perf_counter()
        for number in range(1_000):
            connection.execute(INSERT, _row(number))
        return 1_000 / (time.perf_counter() - began)


def bare_group_commit() -> float:
    """The ceiling of concurrent steps: 100 rows a transaction, pipelined."""
    with _bare() as connection:
        began = time.perf_counter()
        for batch in range(50):
            with connection.transaction(), connection.cursor() as cursor:
                cursor.executemany(INSERT, [_row(batch * 100 + number) for number in range(100)])
        return 5_000 / (time.perf_counter() - began)


INSERT = (
    "INSERT INTO dbos_checkpoint (workflow_id, step_number, step_name, output, record_order, "
    "claim_number, recorded_at) VALUES ('bare', %s, 'step', '1', %s, 1, clock_timestamp())"
)


def _row(number: int) -> tuple[int, int]:
    return number, number


def _bare() -> psycopg.Connection[Any]:
    params = connections["default"].get_connection_params()
    for name in ("cursor_factory", "context", "prepare_threshold"):
        params.pop(name, None)
    return psycopg.connect(**params, autocommit=True)


WORKLOADS: dict[str, tuple[str, Callable[[], float]]] = {
    "bare autocommit INSERTs": ("/s", bare_inserts),
    "bare group commit of 100": ("/s", bare_group_commit),
    "steps in a row": ("/s", steps_in_a_row),
    "steps, 100 sync workflows": ("/s", lambda: concurrent_steps(takes_steps)),
    "steps, 100 async workflows": ("/s", lambda: concurrent_steps(atakes_steps)),
    "drain of no-ops, sync": ("/s", lambda: drain(does_nothing)),
    "drain of no-ops, async": ("/s", lambda: drain(adoes_nothing)),
    "start, one by one": ("/s", start_one_by_one),
    "start_many": ("/s", start_in_bulk),
    "start to first line, p50": ("ms", start_to_running),
    "message round trip, p50": ("ms", message_round_trip),
    "stream values, one workflow": ("/s", stream_values),
}
