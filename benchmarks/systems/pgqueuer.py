"""pgqueuer: PgQueuer.run() in a process, async entrypoints on asyncpg, sync enqueue."""

from __future__ import annotations

import asyncio
from typing import Any

import asyncpg
import psycopg
from pgqueuer import PgQueuer, Queries
from pgqueuer.db import AsyncpgDriver, SyncPsycopgDriver
from pgqueuer.models import Job
from pgqueuer.queries import SyncQueries

from benchmarks.environment import database_url, tell_time
from benchmarks.systems.system import System, module

BATCH = 100


async def work() -> None:
    """Be the worker."""
    connection = await asyncpg.connect(database_url())
    queuer = PgQueuer(AsyncpgDriver(connection))

    @queuer.entrypoint("does_nothing")
    async def does_nothing(job: Job) -> None:
        """Nothing."""

    @queuer.entrypoint("tells_time")
    async def tells_time(job: Job) -> None:
        tell_time()

    await queuer.run(batch_size=BATCH)


class Pgqueuer(System):
    """Jobs in PostgreSQL, with LISTEN."""

    settings = (
        f"asyncpg; PgQueuer.run(batch_size={BATCH}), else defaults; durable tables; batch enqueue"
    )
    package = "pgqueuer"
    command = module("benchmarks.systems.pgqueuer")
    tables = ("pgqueuer", "pgqueuer_log", "pgqueuer_statistics")
    finished_query = "SELECT count(*) FROM pgqueuer_log WHERE status = 'successful'"

    @classmethod
    def install(cls) -> None:
        asyncio.run(install())

    def open(self) -> None:
        self.connection = psycopg.connect(database_url(), autocommit=True)
        self.queries = SyncQueries(SyncPsycopgDriver(self.connection))

    def start(self) -> Any:
        return self.queries.enqueue("does_nothing", None)

    def start_many(self, count: int) -> Any:
        return self.queries.enqueue(["does_nothing"] * count, [None] * count, [0] * count)

    def fill(self, count: int) -> None:
        self.start_many(count)

    def start_telling(self) -> Any:
        return self.queries.enqueue("tells_time", None)


async def install() -> None:
    connection = await asyncpg.connect(database_url())
    await Queries(AsyncpgDriver(connection)).install()
    await connection.close()


if __name__ == "__main__":
    asyncio.run(work())
