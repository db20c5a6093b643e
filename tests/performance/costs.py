"""The costs of an operation by connection: statements, round trips and transactions."""

from __future__ import annotations

import os
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

from django_dbos.executor import Executor
from django_dbos.store import statements
from django_dbos.store.sqlite.sessions import WorkerConnection
from tests.waiting import eventually

# The threads that run statements, by name.
WRITER, NOTIFIER, DISPATCHER = "writer", "notifier", "dispatcher"
HOUSEKEEPING, ASKER = "housekeeping", "asker"
OWN = (WRITER, NOTIFIER, DISPATCHER, HOUSEKEEPING)
# A slowed statement continues once nothing more has arrived in this many looks, a pause apart. They
# are counted: a process that was held up for a while has not been calm for so long.
CALM, PAUSE = 20, 0.005


@dataclass
class Costs:
    """The statements of each thread, in order."""

    ran: dict[str, list[str]] = field(default_factory=dict)
    trips: Counter[str] = field(default_factory=Counter)
    """The round trips of each thread to the server."""
    commits: Counter[str] = field(default_factory=Counter)
    """The transactions of each thread, of one statement or several."""
    notifications: Counter[str] = field(default_factory=Counter)
    """The NOTIFY statements, each of which has its own transaction."""

    def of(self, who: str) -> list[str]:
        """Return the statements of a thread."""
        return self.ran.get(who, [])


class Meter:
    """Measures an executor in this process whose statements are all prepared."""

    def __init__(self, monkeypatch: Any, sessions: dict[str, Any], asker: Any) -> None:
        self.sessions = sessions
        self._asker = asker
        self._costs: Costs | None = None
        self._slowed = ""
        load = statements.load

        def note(vendor: str, name: str) -> str:
            if (costs := self._costs) is not None:
                who = _who()
                costs.ran.setdefault(who, []).append(name)
                if who == self._slowed:
                    _calm(lambda: len(self._queue))
            return load(vendor, name)

        monkeypatch.setattr(statements, "load", note)
        if asker.vendor == "sqlite":
            begin = type(asker)._start_transaction_under_autocommit

            def note_begin(wrapper: Any) -> None:
                if self._costs is not None:
                    self._costs.commits[_who()] += 1
                begin(wrapper)

            monkeypatch.setattr(type(asker), "_start_transaction_under_autocommit", note_begin)
            own_begin = WorkerConnection.begin

            def note_own_begin(own: WorkerConnection, connection: Any) -> None:
                if self._costs is not None:
                    self._costs.commits[_who()] += 1
                own_begin(own, connection)

            monkeypatch.setattr(WorkerConnection, "begin", note_own_begin)

    @contextmanager
    def slowed(self, executor: Executor) -> Iterator[None]:
        """Delay each statement of the writer until all expected writes have queued up."""
        self._slowed = WRITER
        self._queue = executor.runs.writer._queue
        yield
        self._slowed = ""

    def wait_for_calm(self, who: str) -> None:
        """Wait until a thread has run a statement, and then no more for a moment."""
        eventually(lambda: bool(self._costs and self._costs.of(who)))
        _calm(lambda: len(self._costs.of(who)) if self._costs else 0)

    def has_run(self, who: str, name: str) -> bool:
        """Return whether a statement has been run since the measurement began."""
        return self._costs is not None and name in self._costs.of(who)

    @contextmanager
    def measured(self, executor: Executor | None = None) -> Iterator[Costs]:
        """Measure a block, and the executor until it is idle again."""
        if executor is not None:
            # Other threads may see the end of a message's first transaction before the writer does.
            eventually(
                lambda: executor.notifier.is_idle and not executor.runs.writer._leader_lock.locked()
            )
        self._costs = costs = Costs()
        connections = {}
        if self._asker.vendor == "postgresql":
            connections[ASKER] = self._asker.connection
            if executor is not None:
                connections |= {who: one.connection for who, one in self.sessions.items()}
        with ExitStack() as stack:
            for who, connection in connections.items():
                stack.enter_context(_traced(costs, who, connection.pgconn))
            yield costs
            if executor is not None:
                come_to_rest(executor)
            self._costs = None


@contextmanager
def _traced(costs: Costs, who: str, connection: Any) -> Iterator[None]:
    """Count round trips by libpq's trace of messages."""
    # Imported here, as SQLite must work without psycopg.
    from psycopg import pq

    with tempfile.TemporaryFile("w+") as file:
        descriptor = os.dup(file.fileno())
        connection.trace(descriptor)
        connection.set_trace_flags(pq.Trace.SUPPRESS_TIMESTAMPS)
        yield
        connection.untrace()
        os.close(descriptor)
        file.seek(0)
        messages = [line.rstrip("\n").split("\t") for line in file if line.count("\t") >= 2]
    directions = ["B", *(message[0] for message in messages)]
    turns = pairwise(directions)
    costs.trips[who] = sum(turn == ("B", "F") for turn in turns)
    costs.commits[who] = _commits(messages)
    costs.notifications[who] = sum('"NOTIFY"' in "\t".join(one) for one in messages)


def _commits(messages: list[list[str]]) -> int:
    """Count the COMMITs and the implicit transactions."""
    commits, is_over = 0, False
    for message in messages:
        text = "\t".join(message[2:])
        if "CommandComplete" in text:
            is_over = '"COMMIT"' in text
            commits += is_over
        elif "ReadyForQuery" in text:
            is_idle = text.endswith("I")
            commits += is_idle and not is_over
            is_over = False
    return commits


def _calm(count: Callable[[], int]) -> None:
    seen, looks = -1, 0
    while looks < CALM:
        looks = looks + 1 if seen == count() else 0
        seen = count()
        time.sleep(PAUSE)


def _who() -> str:
    name = threading.current_thread().name
    if name.startswith("dbos-") and name[5:] in OWN:
        return name[5:]
    return WRITER if name.startswith("dbos-") else ASKER


def come_to_rest(executor: Executor) -> None:
    """Wait without queries until nothing runs, and nothing is left to notify or to claim.

    After a second notification a claim may follow a moment later.
    """
    eventually(lambda: executor._is_idle)
    _calm(lambda: executor.dispatcher.polls)
    eventually(lambda: executor.dispatcher.lanes.is_empty)
