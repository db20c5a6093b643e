"""dbos: DBOS.launch() in the worker process, DBOSClient in the measuring one."""

from __future__ import annotations

import time
import uuid
from collections.abc import Iterable, Iterator
from typing import Any

import sqlalchemy
from dbos import DBOS, DBOSClient, DBOSConfig, EnqueueOptions, SendMessage

from benchmarks.environment import database_url, send_timestamp
from benchmarks.systems.system import System, module

QUEUE = "benchmark"
LIMITED, LIMIT = "limited", 50
VERSION = "1"
CONFIG: DBOSConfig = {
    "name": "benchmark",
    "application_version": VERSION,
    "log_level": "WARNING",
}


@DBOS.step()
def step(value: int) -> int:
    return value


@DBOS.step()
async def astep(value: int) -> int:
    return value


@DBOS.workflow()
def takes_steps(count: int) -> int:
    return sum(step(number) for number in range(count))


@DBOS.workflow()
async def atakes_steps(count: int) -> int:
    return sum([await astep(number) for number in range(count)])


@DBOS.workflow()
def does_nothing() -> None:
    """Nothing."""


@DBOS.workflow()
async def adoes_nothing() -> None:
    """Nothing."""


@DBOS.workflow()
def sends_timestamp() -> None:
    send_timestamp()


@DBOS.workflow()
def echoes() -> None:
    DBOS.run_step(None, send_timestamp)
    DBOS.set_event("echo", DBOS.recv("say", timeout_seconds=60))


@DBOS.workflow()
def streams(count: int, pause: float) -> None:
    for _ in range(count):
        DBOS.write_stream("times", time.time())
        if pause:
            time.sleep(pause)


@DBOS.workflow()
async def waits_for_message() -> None:
    await DBOS.recv_async("go", timeout_seconds=86_400)


@DBOS.workflow()
async def sleeps_for_a_day() -> None:
    await DBOS.sleep_async(86_400)


@DBOS.workflow()
def naps(seconds: float) -> None:
    DBOS.run_step(None, send_timestamp)
    DBOS.sleep(seconds)
    send_timestamp()


def work() -> None:
    """Run the worker."""
    DBOS(config={**CONFIG, "system_database_url": database_url(), "executor_id": str(uuid.uuid4())})
    DBOS.launch()
    DBOS.register_queue(QUEUE, worker_concurrency=None)
    DBOS.register_queue(LIMITED, concurrency=LIMIT)
    while True:
        time.sleep(3_600)


def options(name: str, queue: str = QUEUE) -> EnqueueOptions:
    return {"workflow_name": name, "queue_name": queue, "app_version": VERSION}


class Base(System):
    """The base of the sync and async flavours."""

    command = module("benchmarks.systems.dbos")
    poll_interval = 1.0
    tables = (
        "dbos.workflow_status",
        "dbos.workflow_input",
        "dbos.workflow_output",
        "dbos.operation_outputs",
        "dbos.notifications",
        "dbos.workflow_events",
        "dbos.workflow_events_history",
        "dbos.streams",
    )
    finished_query = "SELECT count(*) FROM dbos.workflow_status WHERE status = 'SUCCESS'"
    takes_steps = "takes_steps"
    does_nothing = "does_nothing"

    @classmethod
    def install(cls) -> None:
        DBOS(config={**CONFIG, "system_database_url": database_url()})
        DBOS.launch()
        DBOS.register_queue(QUEUE)
        DBOS.register_queue(LIMITED, concurrency=LIMIT)
        DBOS.destroy()

    def open(self) -> None:
        self.client = DBOSClient(system_database_url=database_url(), use_listen_notify=True)
        url = sqlalchemy.make_url(database_url()).set(drivername="postgresql+psycopg")
        self.engine = sqlalchemy.create_engine(url)

    def close(self) -> None:
        self.client.destroy()
        self.engine.dispose()

    def enqueue(self, name: str, *arguments: Any) -> Any:
        return self.client.enqueue(options(name), *arguments)

    def start(self) -> Any:
        return self.enqueue(self.does_nothing)

    def start_all(self, count: int) -> list[Any]:
        return self.enqueue_all(QUEUE, count)

    def enqueue_all(self, queue: str, count: int) -> list[Any]:
        with self.engine.begin() as transaction:
            return [
                self.client.enqueue_in_transaction(transaction, options(self.does_nothing, queue))
                for _ in range(count)
            ]

    def results(self, handles: Iterable[Any]) -> None:
        for handle in handles:
            handle.get_result()

    def start_steps(self, workflows: int, steps: int) -> None:
        for _ in range(workflows):
            self.enqueue(self.takes_steps, steps)

    def recorded_steps(self) -> int:
        return self.count("SELECT count(*) FROM dbos.operation_outputs")


class AsyncDbos(Base):
    """Async workflows."""

    settings = "async workflows; else as dbos"
    takes_steps = "atakes_steps"
    does_nothing = "adoes_nothing"


class Dbos(Base):
    """Sync workflows, and everything else."""

    settings = (
        "DBOS.launch() in a worker process, a queue with its defaults (polled every 1 s, no limit "
        "of concurrency) and one with concurrency=50, 20 connections; "
        "DBOSClient(use_listen_notify=True); enqueue_in_transaction() for many, no batch enqueue; "
        "get_result() polls each second "
        "(default)"
    )
    package = "dbos"

    def fill_limited(self, count: int) -> None:
        self.enqueue_all(LIMITED, count)

    def start_waiting(self, count: int) -> list[Any]:
        return [self.enqueue("waits_for_message") for _ in range(count)]

    def waiting(self) -> int:
        """Count running workflows, from which waiting ones can't be distinguished."""
        return self.count("SELECT count(*) FROM dbos.workflow_status WHERE status = 'PENDING'")

    def start_sleeping(self, count: int) -> None:
        for _ in range(count):
            self.enqueue("sleeps_for_a_day")

    def start_nap(self, seconds: float) -> None:
        self.enqueue("naps", seconds)

    def wake(self, handles: list[Any]) -> None:
        self.client.send_bulk(
            [SendMessage(handle.get_workflow_id(), None, "go") for handle in handles]
        )

    def start_sending_timestamp(self) -> Any:
        return self.enqueue("sends_timestamp")

    def start_echo(self) -> Any:
        return self.enqueue("echoes")

    def send(self, handle: Any) -> None:
        self.client.send(handle.get_workflow_id(), "hello", "say")

    def get_event(self, handle: Any) -> None:
        assert self.client.get_event(handle.get_workflow_id(), "echo", 30) == "hello"

    def start_stream(self, count: int, pause: float) -> Any:
        return self.enqueue("streams", count, pause)

    def read_stream(self, handle: Any) -> Iterator[float]:
        return self.client.read_stream(handle.get_workflow_id(), "times")

    def streamed(self) -> int:
        return self.count("SELECT count(*) FROM dbos.streams")


if __name__ == "__main__":
    work()
