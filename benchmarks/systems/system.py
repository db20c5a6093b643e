"""What all systems share: a database of their own, workers as their documentation starts them."""

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
LOOK = 0.005
# How many times as long as a look took it rests after it.
REST = 5


class BenchmarkError(Exception):
    """A measurement can't be made; the message says why."""


class Worker:
    """A worker's process, and what it wrote."""

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
        """Raise what it wrote last, if it has ended."""
        if self.process.poll() is not None:
            self.log.seek(0)
            last = self.log.read()[-2_000:]
            raise BenchmarkError(f"The worker ended with {self.process.returncode}: {last}")

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()

    def stop(self) -> None:
        """Politely, then not."""
        self.process.terminate()
        try:
            self.process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            self.kill()
        self.log.close()


class System:
    """A product, or one way to use it. Subclasses add the verbs that they have.

    `start()` starts one no-op from outside and returns its handle; `start_all(count)` starts many
    with what the product has for that; `fill(count)` enqueues many; `finished()` counts what is
    done.
    """

    name: ClassVar[str]
    settings: ClassVar[str]
    needs_redis: ClassVar[bool] = False
    command: ClassVar[list[str]]
    # Seconds between two looks of its worker, or of its caller, for news; 0 where they are told.
    poll_interval: ClassVar[float] = 0.0
    tables: ClassVar[tuple[str, ...]] = ()
    finished_query: ClassVar[str]
    # The only workloads that it is measured for, where another flavour stands for the rest.
    workloads: ClassVar[tuple[str, ...]] = ()

    def __init__(self) -> None:
        self.open()

    # Its life

    @classmethod
    def install(cls) -> None:
        """Make the tables, in a process of its own, once a run."""

    def open(self) -> None:
        """Connect as a client does, and whatever else comes before measuring."""

    def clean(self) -> None:
        """Empty the tables."""
        if self.tables:
            names = sql.SQL(", ").join(sql.Identifier(*name.split(".")) for name in self.tables)
            self.look.execute(sql.SQL("TRUNCATE {} CASCADE").format(names))

    def close(self) -> None:
        """Disconnect."""

    # Workers

    @contextlib.contextmanager
    def worker(self, **environment: str) -> Iterator[Worker]:
        """A worker's process as the documentation starts it, for the length of a block."""
        worker = Worker(self.command, environment)
        try:
            yield worker
        finally:
            worker.stop()

    @contextlib.contextmanager
    def ready_worker(self) -> Iterator[Worker]:
        """A worker that has run one no-op already."""
        with self.worker() as worker:
            self.fill(1)
            self.wait_for(lambda: self.finished() == 1, worker)
            yield worker

    def wait_for(
        self, condition: Callable[[], bool], worker: Worker, patience: float = PATIENCE
    ) -> None:
        """Look again and again, but for a small part of the time only."""
        deadline = time.monotonic() + patience
        while True:
            began = time.monotonic()
            if condition():
                return
            worker.check()
            if began > deadline:
                raise BenchmarkError(f"Nothing came of it within {patience:.0f} s.")
            time.sleep(max(LOOK, REST * (time.monotonic() - began)))

    # Verbs that every system has

    def start(self) -> Any:
        raise NotImplementedError

    def start_all(self, count: int) -> Sequence[Any]:
        """The handles of many no-ops, one by one where the product has no way to start many."""
        return [self.start() for _ in range(count)]

    def fill(self, count: int) -> None:
        self.start_all(count)

    def finished(self) -> int:
        """How much is done, as the database says."""
        return self.count(self.finished_query)

    # Looking

    @cached_property
    def look(self) -> psycopg.Connection[Any]:
        """A connection of the measuring process's own."""
        return psycopg.connect(database_url(), autocommit=True)

    def count(self, query: str, *arguments: object) -> int:
        row = self.look.execute(query.encode(), arguments).fetchone()
        assert row is not None
        return int(row[0])


def module(name: str) -> list[str]:
    """The command of a Python module."""
    return [sys.executable, "-m", *name.split()]
