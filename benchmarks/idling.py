"""The costs of an idle worker: its process, and its statements in the database."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from typing import Any

import psutil

from benchmarks.processes import Cost
from benchmarks.statements import StatementLog

COSTS = {
    "transactions": "transactions/s",
    "statements": "statements/s",
    "CPU": "% of a core",
    "database's CPU": "% of a core",
    "RSS": "MB",
    "threads": "threads",
}
# Seconds. PostgreSQL updates a session's counters up to 10 s late. A worker's first search for
# orphans comes after 30 s, and is prepared there.
SETTLE = 35
COMMITS = (
    "SELECT xact_commit + xact_rollback FROM pg_stat_database WHERE datname = current_database()"
)
BACKENDS = (
    "SELECT pid FROM pg_stat_activity "
    "WHERE datname = current_database() AND pid <> pg_backend_pid()"
)


@contextlib.contextmanager
def logged_statements(system: Any) -> Iterator[StatementLog | None]:
    """Log the statements of workers that start in the block; yield None for Redis alone."""
    if system.needs_redis:
        yield None
        return
    log = StatementLog(system.observer)
    try:
        yield log
    finally:
        log.end()


def costs_of_idling(
    system: Any, pid: int, log: StatementLog | None, seconds: int
) -> dict[str, float]:
    """Measure for some seconds, after the counters of earlier work have settled."""
    time.sleep(min(SETTLE, 2 * seconds))
    database, before = DatabaseCosts(system, log) if log else None, Cost.of(pid)
    time.sleep(seconds)
    after = Cost.of(pid)
    values = {
        "CPU": (after.cpu_seconds - before.cpu_seconds) / seconds * 100,
        "RSS": after.rss,
        "threads": after.threads,
    }
    return {**values, **database.until_now(seconds)} if database else values


class DatabaseCosts:
    """The transactions and statements from now on, and the CPU time of the database."""

    def __init__(self, system: Any, log: StatementLog) -> None:
        self.system, self.log = system, log
        self.cpu_seconds = self._cpu_seconds()
        self.start, self.commits = log.size(), system.count(COMMITS)

    def until_now(self, seconds: int) -> dict[str, float]:
        commits = self.system.count(COMMITS) - self.commits
        statements = self.log.count(self.start)
        cpu = sum(now - self.cpu_seconds.get(pid, 0.0) for pid, now in self._cpu_seconds().items())
        values = {"transactions": commits / seconds}
        if statements is not None:
            values["statements"] = statements / seconds
        if self.cpu_seconds:
            values["database's CPU"] = cpu / seconds * 100
        return values

    def _cpu_seconds(self) -> dict[int, float]:
        """Return the CPU time of each backend, or nothing if the server is on another machine.

        There, a process of this machine may have a backend's number: the name distinguishes it.
        """
        found = {}
        for (pid,) in self.system.observer.execute(BACKENDS):
            with contextlib.suppress(psutil.Error):
                process = psutil.Process(pid)
                if process.name().startswith("postgres"):
                    times = process.cpu_times()
                    found[pid] = times.user + times.system
        return found
