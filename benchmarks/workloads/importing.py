from __future__ import annotations

import subprocess
import sys
from typing import Any

from benchmarks.environment import PROJECT
from benchmarks.processes import MEGABYTE
from benchmarks.workloads.workload import Values, workload

IMPORT = """
import time
began = time.perf_counter()
import {}
print(time.perf_counter() - began)
"""
CLIENT = """
import psutil
{}
print(psutil.Process().memory_info().rss)
"""
STARTS = "from benchmarks import systems; systems.load({!r})().start()"
CONNECTS = "from benchmarks.systems.django_dbos import connect; connect()"


@workload(
    "a process that only starts work",
    units={"import": "ms", "RSS": "MB"},
    needs="package",
    size=5,
    quick_size=1,
)
def client_process(system: Any, times: int) -> Values:
    """The time to import the package, and the memory of a process that starts one piece of work."""
    return costs(system.package, STARTS.format(system.name), times)


@client_process.ceiling
def django_process(bare: Any, times: int) -> Values:
    """Django alone: its import, and a process that has set it up and is connected."""
    return costs("django.db.models", CONNECTS, times)


def costs(package: str, code: str, times: int) -> Values:
    seconds = sorted(run(IMPORT.format(package)) for _ in range(times))
    return {"import": seconds[times // 2] * 1_000, "RSS": run(CLIENT.format(code)) / MEGABYTE}


def run(code: str) -> float:
    answer = subprocess.run(
        [sys.executable, "-c", code], cwd=PROJECT, capture_output=True, text=True, timeout=60
    )
    if answer.returncode:
        raise RuntimeError(answer.stderr[-500:])
    return float(answer.stdout)
