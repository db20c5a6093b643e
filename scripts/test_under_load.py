"""Run the suite several times while all cores are busy, and count the failures of each test.

A test that passes on a quiet machine and fails here depends on being fast, or on being first. The
load is one busy process per core (`--load` for more); each holds the reading end of a pipe and ends
when the pipe closes, so none outlives this process, however that ends. Arguments after `--` go to
pytest:

    python scripts/test_under_load.py --times 5 --database sqlite -- tests/executor
"""

from __future__ import annotations

import argparse
import contextlib
import os
import signal
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from xml.etree import ElementTree as ET

import servers

PROJECT = Path(__file__).resolve().parent.parent
DATABASES = ("sqlite", "postgresql")
# Checks for the end of the pipe after every few milliseconds of work.
BUSY = """
import select, sys
while not select.select([sys.stdin], [], [], 0)[0]:
    sum(range(100_000))
"""


def main() -> int:
    arguments = parse()
    # As after Ctrl-C: the servers are stopped.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    failed: Counter[str] = Counter()
    runs = 0
    with servers.running("loaded-tests", is_durable=False) as urls, busy(arguments.load):
        for number in range(1, arguments.times + 1):
            for database in arguments.database or DATABASES:
                print(f"\n=== run {number} of {arguments.times} on {database} ===", flush=True)
                failures = run_suite(database, os.environ | urls, arguments.pytest)
                failed.update(f"{database}: {name}" for name in failures)
                runs += 1
    summarize(failed, arguments.times, runs)
    return 1 if failed else 0


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Run the suite while all cores are busy.")
    parser.add_argument("--times", type=int, default=3, help="how often (default: 3)")
    parser.add_argument(
        "--database", action="append", choices=DATABASES, help="on which database (default: both)"
    )
    parser.add_argument(
        "--load",
        type=int,
        default=os.cpu_count() or 1,
        help="how many processes keep cores busy (default: one per core)",
    )
    parser.add_argument("pytest", nargs="*", help="arguments for pytest, after --")
    return parser.parse_args()


@contextlib.contextmanager
def busy(count: int) -> Iterator[None]:
    """Keep cores busy for the length of a block."""
    reader, writer = os.pipe()
    processes = [subprocess.Popen([sys.executable, "-c", BUSY], stdin=reader) for _ in range(count)]
    os.close(reader)
    try:
        yield
    finally:
        os.close(writer)
        for process in processes:
            process.wait()


def run_suite(database: str, variables: dict[str, str], arguments: list[str]) -> list[str]:
    """Run pytest once; return the names of the tests that failed."""
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder, "report.xml")
        command = [sys.executable, "-m", "pytest", "-q", f"--junitxml={report}", *arguments]
        code = subprocess.run(
            command, cwd=PROJECT, env=variables | {"DBOS_TEST_DATABASE": database}
        ).returncode
        failures = read_failures(report) if report.exists() else []
    # Without a failed test: nothing was collected, or the run broke off.
    return failures or ([f"pytest ended with code {code}"] if code else [])


def read_failures(report: Path) -> list[str]:
    return [
        f"{case.get('classname')}::{case.get('name')}"
        for case in ET.parse(report).iter("testcase")
        if case.find("failure") is not None or case.find("error") is not None
    ]


def summarize(failed: Counter[str], times: int, runs: int) -> None:
    print(f"\n{runs} runs under load.")
    for name, count in failed.most_common():
        print(f"failed {count} of {times} times: {name}")
    if not failed:
        print("No test failed.")


if __name__ == "__main__":
    try:
        sys.exit(main())
    except servers.ServerError as error:
        sys.exit(str(error))
    except KeyboardInterrupt:
        sys.exit(130)
