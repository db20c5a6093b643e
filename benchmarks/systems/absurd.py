"""Absurd: its Python SDK's worker in a process of its own; the schema comes from absurdctl."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import absurd_sdk
import absurdctl  # noqa: F401 (its command makes the tables)

from benchmarks.environment import CONCURRENCY, PROJECT, database_url, send_timestamp
from benchmarks.systems.system import System, module

QUEUE = "default"


def work() -> None:
    """Be the worker."""
    app = absurd_sdk.Absurd(database_url(), queue_name=QUEUE)

    @app.register_task(name="does_nothing")
    def does_nothing(params: Any, context: Any) -> None:
        """Nothing."""

    @app.register_task(name="sends_timestamp")
    def sends_timestamp(params: Any, context: Any) -> None:
        send_timestamp()

    @app.register_task(name="takes_steps")
    def takes_steps(params: Any, context: Any) -> int:
        count: int = params["count"]
        return sum(context.step("step", lambda number=number: number) for number in range(count))

    app.start_worker(concurrency=CONCURRENCY)


class Absurd(System):
    """Durable tasks in PostgreSQL's stored procedures."""

    settings = (
        f"start_worker(concurrency={CONCURRENCY}), polls every 0.25 s, all threads on the "
        "SDK's one connection; no batch spawn; await_task_result() polls after 50 ms, then at "
        "growing intervals"
    )
    package = "absurd_sdk"
    command = module("benchmarks.systems.absurd")
    poll_interval = 0.25
    tables = ("absurd.t_default", "absurd.r_default", "absurd.c_default")
    finished_query = "SELECT count(*) FROM absurd.t_default WHERE state = 'completed'"

    @classmethod
    def install(cls) -> None:
        sys.path.insert(0, str(PROJECT / "scripts"))
        from embedded_postgres import find_binaries

        path = f"{find_binaries()}{os.pathsep}{os.environ['PATH']}"
        subprocess.run(
            [Path(sys.executable).parent / "absurdctl", "init", "-d", database_url()],
            env=os.environ | {"PATH": path},
            stdout=subprocess.DEVNULL,
            check=True,
        )
        absurd_sdk.Absurd(database_url()).create_queue(QUEUE)

    def open(self) -> None:
        self.app = absurd_sdk.Absurd(database_url(), queue_name=QUEUE)

    def spawn(self, name: str, **params: Any) -> Any:
        return self.app.spawn(name, params, queue=QUEUE)

    def start(self) -> Any:
        return self.spawn("does_nothing")

    def results(self, handles: Iterable[Any]) -> None:
        for handle in handles:
            self.app.await_task_result(handle["task_id"], timeout=60)

    def start_steps(self, workflows: int, steps: int) -> None:
        for _ in range(workflows):
            self.spawn("takes_steps", count=steps)

    def recorded_steps(self) -> int:
        return self.count("SELECT count(*) FROM absurd.c_default")

    def start_sending_timestamp(self) -> Any:
        return self.spawn("sends_timestamp")


if __name__ == "__main__":
    work()
