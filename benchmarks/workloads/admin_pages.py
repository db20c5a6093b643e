from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

from benchmarks.environment import PROJECT
from benchmarks.systems.system import BenchmarkError
from benchmarks.workloads.workload import Values, workload


@workload(
    "pages of the admin",
    units={
        "list": "ms",
        "failed": "ms",
        "search": "ms",
        "finished": "ms",
        "running": "ms",
        "its middle": "ms",
        "queries of the list": "queries",
        "queries of a page": "queries",
    },
    needs="insert_history",
    size=1_000_000,
    quick_size=10_000,
    limit=1_200,
    is_heavy=True,
)
def pages(system: Any, count: int) -> Values:
    """The list of a million workflows, and the pages of two with a tenth as many steps.

    Each is the time of a request without a server: the median of 30. The list: the newest, the
    failed, and a search by id. The pages: of a finished workflow, of a running one, and the middle
    of its steps. More queries than beside 10,000 workflows would be an error.
    """
    command = [sys.executable, "-m", "benchmarks.pages", str(count)]
    done = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, check=False)
    if done.returncode:
        raise BenchmarkError(f"The pages failed: {done.stderr[-1_000:]}")
    values: Values = json.loads(done.stdout.splitlines()[-1])
    return values
