"""pgqueuer: PgQueuer.run() in a process, async entrypoints on asyncpg, sync enqueue.

`python -m benchmarks.systems.pgqueuer SIZE` is a worker that claims SIZE jobs at once.
"""

from __future__ import annotations

import asyncio
import sys
from typing import Any

import asyncpg
import psycopg
from pgqueuer import PgQueuer, Queries
from pgqueuer.db import AsyncpgDriver, SyncPsycopgDriver
from pgqueuer.models import Job
from pgqueuer.queries import SyncQueries

from benchmarks.environment import database_url, send_timestamp
from benchmarks.systems.system import System, module

# The number of jobs that PgQueuer.run() claims at once: by default, and for throughput.
DEFAULT, MANY = 10, 100


async def work(batch_size: int) -> None:
    """Run the worker."""
    connection = await asyncpg.connect(database_url())
    queuer = PgQueuer(AsyncpgDriver(connection))

    @queuer.entrypoint("does_nothing")
    async def does_nothing(job: Job) -> None:
        """Nothing."""

    @queuer.entrypoint("sends_timestamp")
    async def sends_timestamp(job: Job) -> None:
        send_timestamp()

    await queuer.run(batch_size=batch_size)


class Pgqueuer(System):
    """Jobs in PostgreSQL, with LISTEN."""

    settings = (
        f"asyncpg; PgQueuer.run() with its defaults (batch_size={DEFAULT}); durable tables; "
        "batch enqueue"
    )
    package = "pgqueuer"
    command = module(f"benchmarks.systems.pgqueuer {DEFAULT}")
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

    def start_all(self, count: int) -> Any:
        return self.start_many(count)

    def start_sending_timestamp(self) -> Any:
        return self.queries.enqueue("sends_timestamp", None)


class PgqueuerInBatches(Pgqueuer):
    """With larger batches."""

    settings = f"PgQueuer.run(batch_size={MANY}); else as pgqueuer"
    command = module(f"benchmarks.systems.pgqueuer {MANY}")
    workloads = ("drain of no-ops",)


async def install() -> None:
    connection = await asyncpg.connect(database_url())
    await Queries(AsyncpgDriver(connection)).install()
    await connection.close()


if __name__ == "__main__":
    asyncio.run(work(int(sys.argv[1])))
