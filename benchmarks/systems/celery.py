"""Celery: `celery worker` with its default pool of processes, Redis for broker and results."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import celery
import redis

from benchmarks.environment import redis_url, tell_time
from benchmarks.systems.system import System, module

BROKER, RESULTS = 11, 12

app = celery.Celery("benchmark", broker=redis_url(BROKER), backend=redis_url(RESULTS))


@app.task(name="does_nothing")
def does_nothing() -> None:
    """Nothing."""


@app.task(name="tells_time")
def tells_time() -> None:
    tell_time()


class Celery(System):
    """Tasks through Redis. Not durable as a database is: see the server's settings."""

    settings = "prefork with a process a core, prefetch 4, defaults; Redis for broker and results"
    package = "celery"
    command = module("celery -A benchmarks.systems.celery worker --loglevel WARNING")
    needs_redis = True

    @classmethod
    def install(cls) -> None:
        refuse_used_databases(BROKER, RESULTS)

    def open(self) -> None:
        self.kept = redis.Redis.from_url(redis_url(RESULTS))
        self.queued = redis.Redis.from_url(redis_url(BROKER))

    def clean(self) -> None:
        self.kept.flushdb()
        self.queued.flushdb()

    def close(self) -> None:
        self.clean()

    def start(self) -> Any:
        return does_nothing.delay()

    def start_telling(self) -> Any:
        return tells_time.delay()

    def results(self, handles: Iterable[Any]) -> None:
        for handle in handles:
            handle.get(timeout=60)

    def finished(self) -> int:
        return int(self.kept.dbsize())


def refuse_used_databases(*numbers: int) -> None:
    """They are emptied before each measurement, so they must be nobody's."""
    for number in numbers:
        if redis.Redis.from_url(redis_url(number)).dbsize():
            raise RuntimeError(f"Redis database {number} isn't empty.")
