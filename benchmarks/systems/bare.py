"""The ceiling: psycopg and nothing else, writing the rows that django_dbos writes.

`python -m benchmarks.systems.bare` is a worker that does so for enqueued workflows.
"""

from __future__ import annotations

import sqlite3
import threading
import time
from collections.abc import Sequence
from typing import Any
from urllib.parse import urlsplit

import psycopg

from benchmarks.environment import database_url
from benchmarks.systems.django_dbos import Engine
from benchmarks.systems.system import POLL_INTERVAL, System, module

# The number of workflows that the worker claims at once.
GROUP = 100
CHECKPOINT = (
    "INSERT INTO dbos_checkpoint (workflow_id, step_number, step_name, output, record_order, "
    "claim_number, recorded_at) VALUES (%s, %s, 'step', '1', %s, 1, clock_timestamp())"
)
WORKFLOW = (
    "INSERT INTO dbos_workflow (workflow_id, token, name, status, queue_name, queue_sequence, "
    "input, created_at) SELECT id, id::uuid, 'benchmarks.workflows.does_nothing', 'ENQUEUED', "
    "'default', one, '{\"args\":[],\"kwargs\":{}}', clock_timestamp() "
    "FROM generate_series(%s::bigint, %s::bigint) AS one, "
    "LATERAL (SELECT '00000000-0000-7000-8000-' || lpad(to_hex(one), 12, '0')) AS made (id)"
)
CLAIM = (
    "UPDATE dbos_workflow SET status = 'PENDING', executor_id = 'bare', claim_number = 1 "
    "WHERE workflow_id IN (SELECT workflow_id FROM dbos_workflow WHERE status = 'ENQUEUED' "
    "ORDER BY queue_name, priority, queue_sequence LIMIT %s FOR UPDATE SKIP LOCKED) "
    "RETURNING workflow_id"
)
FINISH = (
    "UPDATE dbos_workflow SET status = 'SUCCESS', output = 'null', executor_id = NULL, "
    "finished_at = clock_timestamp() WHERE workflow_id = ANY(%s)"
)
SQLITE_CHECKPOINT = (
    "INSERT INTO dbos_checkpoint (workflow_id, step_number, step_name, output, record_order, "
    "claim_number, recorded_at, state, attempts) "
    "VALUES (?, ?, 'step', '1', ?, 1, '2000-01-01', 0, 1)"
)


class Bare(System):
    """One connection in autocommit, the same tables and indexes, no worker."""

    settings = "psycopg 3, prepared statements, one connection"
    command = module("benchmarks.systems.bare")
    tables = Engine.tables
    install = Engine.install
    recorded_steps = Engine.recorded_steps

    def open(self) -> None:
        self.connection = psycopg.connect(database_url(), autocommit=True, prepare_threshold=1)

    def insert_checkpoints(self, count: int) -> None:
        for number in range(count):
            self.connection.execute(CHECKPOINT, ("bare", number, number))

    def insert_checkpoints_in_groups(self, count: int, size: int) -> None:
        """Insert in pipelined transactions of `size` rows each."""
        for first in range(0, count, size):
            rows = [("bare", number, number) for number in range(first, first + size)]
            self.insert_group(rows)

    def insert_group(self, rows: Sequence[tuple[str, int, int]]) -> None:
        with self.connection.transaction(), self.connection.cursor() as cursor:
            cursor.executemany(CHECKPOINT, rows)

    def insert_workflow(self, number: int) -> None:
        self.connection.execute(WORKFLOW, (number, number))

    def insert_workflows(self, count: int) -> None:
        """Insert all in one statement."""
        self.connection.execute(WORKFLOW, (1, count))

    def claim_and_finish(self, size: int) -> int:
        """Claim some workflows and finish them, a commit each."""
        claimed = self.claim(size)
        self.finish(claimed)
        return len(claimed)

    def claim(self, size: int) -> list[str]:
        return [row[0] for row in self.connection.execute(CLAIM, (size,))]

    def finish(self, claimed: list[str]) -> None:
        self.connection.execute(FINISH, (claimed,))

    def start_steps(self, workflows: int, steps: int) -> None:
        """Enqueue workflows of one step each for the worker."""
        assert steps == 1
        self.insert_workflows(workflows)

    def notify_each_other(self, partner: Any) -> None:
        """Send a NOTIFY and wait for the answering one."""
        self.connection.execute("NOTIFY there")
        partner.answered.acquire()

    def echo(self) -> Echo:
        return Echo()


class Echo(threading.Thread):
    """Answers each NOTIFY with another, and releases a semaphore when that has arrived."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.answered = threading.Semaphore(0)
        self.listener: psycopg.Connection[Any] = psycopg.connect(database_url(), autocommit=True)
        self.listener.execute("LISTEN there")
        self.sender: psycopg.Connection[Any] = psycopg.connect(database_url(), autocommit=True)
        self.back: psycopg.Connection[Any] = psycopg.connect(database_url(), autocommit=True)
        self.back.execute("LISTEN back")
        self.receives_back = threading.Thread(target=self._receive_back, daemon=True)
        self.receives_back.start()
        self.start()

    def run(self) -> None:
        for _ in self.listener.notifies():
            self.sender.execute("NOTIFY back")

    def _receive_back(self) -> None:
        for _ in self.back.notifies():
            self.answered.release()


class BareSqlite(System):
    """One connection to a file in WAL mode with synchronous=FULL."""

    settings = "sqlite3, WAL, synchronous=FULL, one connection"
    install = Engine.install

    def open(self) -> None:
        self.connection = sqlite3.connect(urlsplit(database_url()).path, isolation_level=None)
        for pragma in ("journal_mode=WAL", "synchronous=FULL"):
            self.connection.execute(f"PRAGMA {pragma}")

    def clean(self) -> None:
        self.connection.execute("DELETE FROM dbos_checkpoint")

    def insert_checkpoints_in_groups(self, count: int, size: int) -> None:
        """Insert in transactions with one row of each of `size` workflows.

        A commit writes the pages that it touches. Successive rows of one workflow would lie in one
        page. The ids are as long as those of workflows.
        """
        for first in range(0, count, size):
            number = first // size
            rows = [(f"bare-{index:031}", number, number) for index in range(size)]
            self.connection.execute("BEGIN IMMEDIATE")
            self.connection.executemany(SQLITE_CHECKPOINT, rows)
            self.connection.execute("COMMIT")


def work() -> None:
    """Run workflows, a hundred at a time, with three commits for each hundred."""
    bare = Bare()
    while True:
        if claimed := bare.claim(GROUP):
            bare.insert_group([(workflow_id, 0, 0) for workflow_id in claimed])
            bare.finish(claimed)
        else:
            time.sleep(POLL_INTERVAL)


if __name__ == "__main__":
    work()
