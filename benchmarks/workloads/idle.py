from __future__ import annotations

import time
from typing import Any

from benchmarks.processes import Cost
from benchmarks.statements import StatementLog
from benchmarks.workloads.workload import Values, workload

# PostgreSQL counts what a session did up to 10 s later.
SETTLE = 12
COMMITS = (
    "SELECT xact_commit + xact_rollback FROM pg_stat_database WHERE datname = current_database()"
)


@workload(
    "idle worker",
    units={
        "transactions": "transactions/s",
        "statements": "statements/s",
        "CPU": "% of a core",
        "RSS": "MB",
    },
    needs="finished_query package",
    size=20,
    quick_size=5,
)
def idle_worker(system: Any, seconds: int) -> Values:
    """A worker with nothing to do, for 20 seconds: what it asks the database, and what it costs."""
    log = StatementLog(system.look)
    try:
        with system.ready_worker() as worker:
            time.sleep(min(SETTLE, seconds))
            return costs_of_idling(system, worker.process.pid, log, seconds)
    finally:
        log.end()


def costs_of_idling(system: Any, pid: int, log: StatementLog, seconds: int) -> Values:
    commits, start, before = system.count(COMMITS), log.size(), Cost.of(pid)
    time.sleep(seconds)
    after = Cost.of(pid)
    statements, commits = log.count(start), system.count(COMMITS) - commits
    values = {
        "transactions": commits / seconds,
        "CPU": (after.cpu_seconds - before.cpu_seconds) / seconds * 100,
        "RSS": after.rss,
    }
    return values if statements is None else {**values, "statements": statements / seconds}
