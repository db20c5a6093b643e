"""What a worker with nothing to do costs: its process, and what it asks of the database."""

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
# PostgreSQL counts what a session did up to 10 s later.
SETTLE = 12
COMMITS = (
    "SELECT xact_commit + xact_rollback FROM pg_stat_database WHERE datname = current_database()"
)
BACKENDS = (
    "SELECT pid FROM pg_stat_activity "
    "WHERE datname = current_database() AND pid <> pg_backend_pid()"
)


@contextlib.contextmanager
def logged_statements(system: Any) -> Iterator[StatementLog | None]:
    """Log those of workers that start in the block; None for a system that keeps all in Redis."""
    if system.needs_redis:
        yield None
        return
    log = StatementLog(system.look)
    try:
        yield log
    finally:
        log.end()


def costs_of_idling(
    system: Any, pid: int, log: StatementLog | None, seconds: int
) -> dict[str, float]:
    """For so many seconds, after what the worker did before has settled."""
    time.sleep(min(SETTLE, seconds))
    asked, before = Asked(system, log) if log else None, Cost.of(pid)
    time.sleep(seconds)
    after = Cost.of(pid)
    values = {
        "CPU": (after.cpu_seconds - before.cpu_seconds) / seconds * 100,
        "RSS": after.rss,
        "threads": after.threads,
    }
    return {**values, **asked.until_now(seconds)} if asked else values


class Asked:
    """What a database is asked from now on, and what that costs its processes."""

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
        """Of each process that serves this database; none where the server isn't on this machine.

        That one of ours has the number of a server's process elsewhere is told by the name.
        """
        found = {}
        for (pid,) in self.system.look.execute(BACKENDS):
            with contextlib.suppress(psutil.Error):
                process = psutil.Process(pid)
                if process.name().startswith("postgres"):
                    times = process.cpu_times()
                    found[pid] = times.user + times.system
        return found
