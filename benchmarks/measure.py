"""One measurement, in a process of its own: `python -m benchmarks.measure SYSTEM WORKLOAD SIZE`.

Prints its values as JSON, or its error. The workload `install` creates the tables.
"""

from __future__ import annotations

import json
import sys

from benchmarks import systems
from benchmarks.workloads import WORKLOADS


def main() -> None:
    system_name, workload_name, size = sys.argv[1:]
    answer: dict[str, object]
    try:
        answer = {"values": measure(system_name, workload_name, int(size))}
    except Exception as error:
        answer = {"error": f"{type(error).__name__}: {error}"}
    sys.stdout.write(json.dumps(answer) + "\n")


def measure(system_name: str, workload_name: str, size: int) -> dict[str, float]:
    """Return the values of one workload on one system, with clean tables."""
    system_class = systems.load(system_name)
    if workload_name == "install":
        system_class.install()
        return {}
    system = system_class()
    try:
        system.clean()
        return WORKLOADS[workload_name].measure(system_name, system, size)
    finally:
        system.close()


if __name__ == "__main__":
    main()
