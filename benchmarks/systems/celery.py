"""Celery: `celery worker` with its default pool of processes, Redis for broker and results."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import celery

from benchmarks.environment import redis_url, send_timestamp
from benchmarks.systems.redis_queue import RedisQueue
from benchmarks.systems.system import module

BROKER, RESULTS = 11, 12

app = celery.Celery("benchmark", broker=redis_url(BROKER), backend=redis_url(RESULTS))


@app.task(name="does_nothing")
def does_nothing() -> None:
    """Nothing."""


@app.task(name="sends_timestamp")
def sends_timestamp() -> None:
    send_timestamp()


class Celery(RedisQueue):
    """Tasks through Redis."""

    broker, results_in = BROKER, RESULTS

    settings = (
        "prefork with a process per core, prefetch 4, defaults; Redis for broker and results; "
        "group().apply_async() for many; get() is notified by Redis's publish and subscribe"
    )
    package = "celery"
    command = module("celery -A benchmarks.systems.celery worker --loglevel WARNING")

    def start(self) -> Any:
        return does_nothing.delay()

    def start_all(self, count: int) -> list[Any]:
        return [celery.group([does_nothing.s()] * count).apply_async()]

    def start_sending_timestamp(self) -> Any:
        return sends_timestamp.delay()

    def results(self, handles: Iterable[Any]) -> None:
        for handle in handles:
            handle.get(timeout=60)
