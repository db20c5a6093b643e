"""Run the workloads in rounds, interleaved, on an embedded PostgreSQL or DATABASE_URL's."""

from __future__ import annotations

import argparse
import os
import statistics
import sys
from pathlib import Path

import django

SCRIPTS = Path(__file__).resolve().parent.parent / "scripts"


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("command", nargs="?", choices=["run"], default="run")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", help="workloads with this in their name")
    arguments = parser.parse_args()

    sys.path.insert(0, str(SCRIPTS))
    import servers

    with servers.running("benchmarks", postgres=True, valkey=False) as environment:
        os.environ.update(environment)
        run(arguments.rounds, arguments.only or "")


def run(rounds: int, only: str) -> None:
    """Run every workload `rounds` times, and print medians with minimum and maximum."""
    os.environ["DJANGO_SETTINGS_MODULE"] = "benchmarks.settings"
    django.setup()
    from django.test.utils import setup_databases, teardown_databases

    databases = setup_databases(verbosity=0, interactive=False)
    try:
        results = measure(rounds, only)
    finally:
        teardown_databases(databases, verbosity=0)
    for name, (unit, values) in results.items():
        low, middle, high = min(values), statistics.median(values), max(values)
        print(f"{name:30} {middle:12,.1f} {unit:3} ({low:,.1f} to {high:,.1f})")


def measure(rounds: int, only: str) -> dict[str, tuple[str, list[float]]]:
    """The values of each workload, round by round."""
    from django.db import connection

    from benchmarks.workloads import WORKLOADS

    chosen = {name: one for name, one in WORKLOADS.items() if only in name}
    results: dict[str, tuple[str, list[float]]] = {
        name: (unit, []) for name, (unit, _) in chosen.items()
    }
    for number in range(rounds):
        for name, (_, workload) in chosen.items():
            print(f"round {number + 1} of {rounds}: {name} …", file=sys.stderr)
            with connection.cursor() as cursor:
                cursor.execute(
                    "TRUNCATE dbos_workflow, dbos_checkpoint, dbos_message, dbos_event, "
                    "dbos_event_version, dbos_stream_entry, dbos_executor"
                )
            results[name][1].append(workload())
    return results


if __name__ == "__main__":
    main()
