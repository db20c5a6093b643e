"""procrastinate: `procrastinate worker`, async tasks, deferred from sync code."""

from __future__ import annotations

from typing import Any

from procrastinate import App, PsycopgConnector

from benchmarks.environment import CONCURRENCY, database_url, send_timestamp
from benchmarks.systems.system import System, module

app = App(connector=PsycopgConnector(conninfo=database_url()))


@app.task(name="does_nothing")
async def does_nothing() -> None:
    """Nothing."""


@app.task(name="sends_timestamp")
async def sends_timestamp() -> None:
    send_timestamp()


class Procrastinate(System):
    """Jobs in PostgreSQL, with LISTEN."""

    settings = f"async tasks; worker --concurrency {CONCURRENCY}, else defaults; batch_defer"
    package = "procrastinate"
    command = module(
        "procrastinate --app=benchmarks.systems.procrastinate.app worker "
        f"--concurrency {CONCURRENCY}"
    )
    tables = ("procrastinate_jobs", "procrastinate_events")
    finished_query = "SELECT count(*) FROM procrastinate_jobs WHERE status = 'succeeded'"

    @classmethod
    def install(cls) -> None:
        with app.open():
            app.schema_manager.apply_schema()

    def open(self) -> None:
        app.open()

    def close(self) -> None:
        app.close()

    def start(self) -> Any:
        return does_nothing.defer()

    def start_many(self, count: int) -> list[int]:
        return does_nothing.batch_defer(*[{}] * count)

    def start_all(self, count: int) -> list[int]:
        return self.start_many(count)

    def is_finished(self, handle: int) -> bool:
        query = "SELECT count(*) FROM procrastinate_jobs WHERE status = 'succeeded' AND id = %s"
        return self.count(query, handle) > 0

    def start_sending_timestamp(self) -> Any:
        return sends_timestamp.defer()
