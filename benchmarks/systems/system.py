"""The base of all systems: a database for each, workers as their documentation starts them."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from functools import cached_property
from typing import Any, ClassVar

import psycopg
from psycopg import sql

from benchmarks.environment import PROJECT, database_url

PATIENCE = 60.0
POLL_INTERVAL = 0.005
# After a poll, the pause is this many times as long as the poll took.
REST = 5


class BenchmarkError(Exception):
    """A measurement can't be made; the message says why."""


class Worker:
    """A worker's process, which isn't restarted when it ends, and its output."""

    def __init__(self, command: list[str], environment: dict[str, str]) -> None:
        self.log = tempfile.TemporaryFile("w+")  # noqa: SIM115 (closed in stop)
        self.process = subprocess.Popen(
            command,
            cwd=PROJECT,
            env=os.environ | environment,
            stdin=subprocess.DEVNULL,
            stdout=self.log,
            stderr=self.log,
        )

    def check(self) -> None:
        """Raise BenchmarkError, with the end of the output, if the process has ended."""
        if self.process.poll() is not None:
            self.log.seek(0)
            last = self.log.read()[-2_000:]
            raise BenchmarkError(f"The worker ended with {self.process.returncode}: {last}")

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()

    def stop(self) -> None:
        """Terminate the process; kill it after 10 s."""
        self.process.terminate()
        try:
            self.process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            self.kill()
        self.log.close()


class System:
    """A product, or one way to use it. Subclasses add the verbs that they have.

    `start()` starts one no-op from outside and returns its handle; `start_all(count)` starts many
    by the product's own means; `fill(count)` enqueues many; `finished()` counts the finished ones.
    """

    name: ClassVar[str]
    settings: ClassVar[str]
    needs_redis: ClassVar[bool] = False
    command: ClassVar[list[str]]
    # Seconds between two polls of its worker, or of its caller; 0 where both are notified.
    poll_interval: ClassVar[float] = 0.0
    tables: ClassVar[tuple[str, ...]] = ()
    finished_query: ClassVar[str]
    # The only workloads that are measured, where another flavour represents the rest.
    workloads: ClassVar[tuple[str, ...]] = ()

    def __init__(self) -> None:
        self.open()

    # Setup

    @classmethod
    def install(cls) -> None:
        """Create the tables. Called once a run, in a process of its own."""

    def open(self) -> None:
        """Connect as a client does, and do whatever else precedes the measurement."""

    def clean(self) -> None:
        """Empty the tables."""
        if self.tables:
            names = sql.SQL(", ").join(sql.Identifier(*name.split(".")) for name in self.tables)
            self.observer.execute(sql.SQL("TRUNCATE {} CASCADE").format(names))

    def close(self) -> None:
        """Disconnect."""

    # Workers

    @contextlib.contextmanager
    def worker(self, **environment: str) -> Iterator[Worker]:
        """Run a worker, as the documentation starts it, for the length of a block."""
        worker = Worker(self.command, environment)
        try:
            yield worker
        finally:
            worker.stop()

    @contextlib.contextmanager
    def ready_worker(self) -> Iterator[Worker]:
        """Run a worker that has already run a no-op."""
        with self.worker() as worker:
            self.fill(1)
            self.wait_for(lambda: self.finished() == 1, worker)
            yield worker

    def wait_for(
        self, condition: Callable[[], bool], worker: Worker, patience: float = PATIENCE
    ) -> None:
        """Poll until the condition holds, using a small part of the time only."""
        deadline = time.monotonic() + patience
        while True:
            began = time.monotonic()
            if condition():
                return
            worker.check()
            if began > deadline:
                raise BenchmarkError(f"Nothing came of it within {patience:.0f} s.")
            time.sleep(max(POLL_INTERVAL, REST * (time.monotonic() - began)))

    # Verbs that every system has

    def start(self) -> Any:
        raise NotImplementedError

    def start_all(self, count: int) -> Sequence[Any]:
        """Start many no-ops and return their handles; one by one unless a subclass has better."""
        return [self.start() for _ in range(count)]

    def fill(self, count: int) -> None:
        self.start_all(count)

    def finished(self) -> int:
        """Return how many no-ops have finished, according to the database."""
        return self.count(self.finished_query)

    # Observing

    @cached_property
    def observer(self) -> psycopg.Connection[Any]:
        """The connection with which the measuring process observes the database."""
        return psycopg.connect(database_url(), autocommit=True)

    def count(self, query: str, *arguments: object) -> int:
        row = self.observer.execute(query.encode(), arguments).fetchone()
        assert row is not None
        return int(row[0])


def module(name: str) -> list[str]:
    """The command of a Python module."""
    return [sys.executable, "-m", *name.split()]
