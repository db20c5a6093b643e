"""The common base of Celery and Dramatiq: Redis for broker and results, a result a task."""

from __future__ import annotations

from typing import ClassVar

import redis

from benchmarks.environment import redis_url
from benchmarks.systems.system import System


class RedisQueue(System):
    """Two databases of the server, which are emptied before each measurement.

    Not durable as PostgreSQL is: see the server's settings.
    """

    needs_redis = True
    broker: ClassVar[int]
    results_in: ClassVar[int]

    @classmethod
    def install(cls) -> None:
        """Nothing to make, but they must be nobody's."""
        for number in (cls.broker, cls.results_in):
            if connect(number).dbsize():
                raise RuntimeError(f"Redis database {number} isn't empty.")

    def open(self) -> None:
        self.databases = [connect(self.broker), connect(self.results_in)]

    def clean(self) -> None:
        for database in self.databases:
            database.flushdb()

    def close(self) -> None:
        self.clean()

    def finished(self) -> int:
        """A key for each result."""
        return int(self.databases[-1].dbsize())


def connect(number: int) -> redis.Redis:
    return redis.Redis.from_url(redis_url(number))
