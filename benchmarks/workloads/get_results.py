from __future__ import annotations

from typing import Any

from benchmarks.workloads.workload import Values, rate, workload

PATIENCE = 300.0


@workload(
    "results of ended workflows",
    units={"one by one": "/s", "at once": "/s", "ratio": "x"},
    needs="start_all results get_results",
    size=10_000,
    quick_size=500,
    limit=400,
)
def results_of_ended(system: Any, count: int) -> Values:
    """10,000 no-ops have ended. Their results are read by a call each, and by one call."""
    with system.ready_worker() as worker:
        before, handles = system.finished(), system.start_all(count)
        system.wait_for(lambda: system.finished() - before >= count, worker, PATIENCE)
    one_by_one = rate(count, lambda: system.results(handles))["rate"]
    at_once = rate(count, lambda: system.get_results(handles))["rate"]
    return {"one by one": one_by_one, "at once": at_once, "ratio": at_once / one_by_one}


@workload(
    "results of children in a workflow",
    units={"one by one": "/s", "at once": "/s", "ratio": "x"},
    needs="start_gathering",
    size=2_000,
    quick_size=100,
    limit=600,
)
def results_of_children(system: Any, count: int) -> Values:
    """A workflow starts 2,000 no-ops and gets their results: by a call each, then by one call.

    The rates include the children's own runs.
    """
    with system.ready_worker():
        one_by_one = rate(count, lambda: system.start_gathering(count, at_once=False))["rate"]
        at_once = rate(count, lambda: system.start_gathering(count, at_once=True))["rate"]
    return {"one by one": one_by_one, "at once": at_once, "ratio": at_once / one_by_one}
