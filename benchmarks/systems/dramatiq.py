"""Dramatiq: `dramatiq` with its default processes and threads, Redis for broker and results."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import dramatiq
from dramatiq.brokers.redis import RedisBroker
from dramatiq.results import Results
from dramatiq.results.backends import RedisBackend

from benchmarks.environment import redis_url, send_timestamp
from benchmarks.systems.redis_queue import RedisQueue
from benchmarks.systems.system import module

BROKER, RESULTS = 13, 14

broker = RedisBroker(url=redis_url(BROKER))
broker.add_middleware(Results(backend=RedisBackend(url=redis_url(RESULTS)), store_results=True))
dramatiq.set_broker(broker)


@dramatiq.actor
def does_nothing() -> None:
    """Nothing."""


@dramatiq.actor
def sends_timestamp() -> None:
    send_timestamp()


class Dramatiq(RedisQueue):
    """Tasks through Redis."""

    broker, results_in = BROKER, RESULTS

    settings = (
        "a process per core with 8 threads each (defaults); Redis for broker and results; "
        "group().run() for many; get_result(block=True) blocks in Redis"
    )
    package = "dramatiq"
    command = module("dramatiq benchmarks.systems.dramatiq")

    def start(self) -> Any:
        return does_nothing.send()

    def start_all(self, count: int) -> list[Any]:
        work = dramatiq.group([does_nothing.message() for _ in range(count)])
        return list(work.run().children)

    def start_sending_timestamp(self) -> Any:
        return sends_timestamp.send()

    def results(self, handles: Iterable[Any]) -> None:
        for handle in handles:
            handle.get_result(block=True, timeout=60_000)
