from __future__ import annotations

from typing import Any

from benchmarks.workloads.workload import Values, rate, rate_from_first_to_last, workload


@workload(
    "drain of no-ops",
    units={"rate": "/s"},
    needs="fill finished",
    size=10_000,
    quick_size=1_000,
    # As many as take the others some seconds.
    sizes=dict.fromkeys(
        ("dbos", "absurd-sdk", "procrastinate", "django-tasks-db", "celery"), 2_000
    ),
)
def drain(system: Any, count: int) -> Values:
    """A queue is filled with no-ops, then a worker is started."""
    system.fill(count)
    with system.worker() as worker:
        return {"rate": rate_from_first_to_last(system.finished, count, worker)}


@drain.ceiling
def claims(bare: Any, count: int) -> Values:
    """Claims of 100 rows with SKIP LOCKED, then one UPDATE for all of them."""
    bare.insert_workflows(count)
    return rate(count, lambda: claim_all(bare))


def claim_all(bare: Any) -> None:
    while bare.claim_and_finish(100):
        pass
