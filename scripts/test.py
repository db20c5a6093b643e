"""Everything that must pass: lint, types, docs, and the suite in several environments of tox.

`make test` runs the oldest and the newest pair of Python and Django, `make test-all` every pair,
each on SQLite and on PostgreSQL with Valkey, and the newest once more with naive datetimes. The
servers are started once for all. A pair whose Python isn't on this machine is left out, loudly;
with `CI` set, the oldest and the newest pair must have run.

`JOBS` environments run at a time (default: one per core, at most 4).
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree as ET

import interpreters
import servers

PROJECT = Path(__file__).resolve().parent.parent
RESULTS = PROJECT / ".tox" / "results"
# Django's own table of supported Pythons, from our oldest to our newest.
MATRIX = {
    "3.11": ("5.2",),
    "3.12": ("5.2", "6.0", "6.1"),
    "3.13": ("5.2", "6.0", "6.1"),
}
DATABASES = ("postgresql", "sqlite")
MUST_RUN_IN_CI = [("3.11", "5.2"), ("3.13", "6.1")]
CHECKS = ["lint", "types", "docs"]
BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
MAC_BROWSERS = (
    "Chromium.app/Contents/MacOS/Chromium",
    "Google Chrome.app/Contents/MacOS/Google Chrome",
)
LOG_LINES = 400

Pair = tuple[str, str]


@dataclass(frozen=True, kw_only=True)
class Result:
    """What one environment of tox came to."""

    name: str
    passed: int
    failed: int
    skipped: int
    seconds: float

    def __str__(self) -> str:
        skipped = f", {self.skipped} skipped" if self.skipped else ""
        counts = f"{self.passed} passed, {self.failed} failed{skipped}"
        return f"{self.name:32}{counts:40}{self.seconds:6.0f} s"


def main() -> int:
    parser = argparse.ArgumentParser(description="Run lint, types, docs and the suite.")
    parser.add_argument("--all", action="store_true", help="every supported Python and Django")
    arguments = parser.parse_args()
    # Stop as after Ctrl-C: with the servers stopped and nothing left behind.
    signal.signal(signal.SIGTERM, signal.default_int_handler)

    started = time.monotonic()
    found = interpreters.find()
    pairs = every_pair(found) if arguments.all else oldest_and_newest(found)
    tell_what_is_missing(every_pair(MATRIX) if arguments.all else MUST_RUN_IN_CI, pairs)
    environments = [*CHECKS, *environment_names(pairs)]
    # Named one by one, so that tox doesn't trip over a version manager's shims.
    os.environ["TOX_DISCOVER"] = "".join(f"{one.path}\n" for one in found.values())
    prepare(environments)
    with servers.running("tests") as urls:
        results = run_all(environments, os.environ | urls, browser=ensure_browser())
    is_short = is_short_of_ci(pairs)
    summarize(results, time.monotonic() - started)
    return 1 if is_short or any(result.failed for result in results) else 0


# --- What to run -------------------------------------------------------------------------


def every_pair(found: Iterable[str]) -> list[Pair]:
    """The pairs of the matrix whose Python is there."""
    return [(python, django) for python in found for django in MATRIX.get(python, ())]


def oldest_and_newest(found: Iterable[str]) -> list[Pair]:
    """The two ends of the matrix, as far as this machine has them; else whatever it has."""
    pairs = every_pair(found)
    if not pairs:  # only a Python newer than the matrix, on which the newest Django should run
        return [(max(found, key=as_numbers), MATRIX["3.13"][-1])]
    oldest = [pair for pair in pairs if pair == MUST_RUN_IN_CI[0]]
    return [*oldest, pairs[-1]] if pairs[-1] not in oldest else oldest


def as_numbers(version: str) -> list[int]:
    return [int(part) for part in version.split(".")]


def tell_what_is_missing(wanted: list[Pair], pairs: list[Pair]) -> None:
    for python, django in wanted:
        if (python, django) not in pairs:
            print(f"Not tested: Python {python} with Django {django}; no Python {python} here.")


def environment_names(pairs: list[Pair]) -> list[str]:
    """tox's names: the newest pair first, since most failures show there, and naive last."""
    names = [tox_name(pair, database) for pair in reversed(pairs) for database in DATABASES]
    return names + [tox_name(pairs[-1], database) + "-naive" for database in DATABASES]


def tox_name(pair: Pair, database: str) -> str:
    python, django = (version.replace(".", "") for version in pair)
    return f"py{python}-dj{django}-{database}"


def is_short_of_ci(pairs: list[Pair]) -> bool:
    short = [pair for pair in MUST_RUN_IN_CI if pair not in pairs]
    if not os.environ.get("CI") or not short:
        return False
    names = " and ".join(f"Python {python} with Django {django}" for python, django in short)
    print(f"\nCI is set, and {names} couldn't be tested: that is a failure too.")
    return True


# --- Running it --------------------------------------------------------------------------


def prepare(environments: list[str]) -> None:
    """Make tox's environments in one go; they'd get in each other's way one by one."""
    shutil.rmtree(RESULTS, ignore_errors=True)
    RESULTS.mkdir(parents=True)
    started = time.monotonic()
    print(f"Preparing {len(environments)} environments …", flush=True)
    options = ["--notest", "--parallel", str(jobs()), "--parallel-no-spinner"]
    made = subprocess.run(
        tox("run-parallel", *options, "-e", ",".join(environments)),
        cwd=PROJECT,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    if made.returncode:
        print(made.stdout)
        sys.exit("tox couldn't make the environments: see above.")
    print(f"… ready after {time.monotonic() - started:.0f} s", flush=True)


def tox(*words: str) -> list[str]:
    return [sys.executable, "-m", "tox", *words]


def run_all(
    environments: list[str], variables: dict[str, str], browser: str | None
) -> list[Result]:
    """Run the environments, some at a time, in order; Ctrl-C stops those that run."""
    newest = environments[len(CHECKS)].rsplit("-", 1)[0]
    running: list[subprocess.Popen[bytes]] = []
    with ThreadPoolExecutor(max_workers=jobs()) as pool:
        futures = []
        for name in environments:
            is_newest = browser and name.startswith(newest)
            own = variables | {"DBOS_TEST_CHROMIUM": browser} if is_newest else variables
            futures.append(pool.submit(run_one, name, own, running))
        try:
            return [future.result() for future in futures]
        except KeyboardInterrupt:
            pool.shutdown(wait=False, cancel_futures=True)
            for process in running:
                process.send_signal(signal.SIGINT)
            raise


def run_one(name: str, variables: dict[str, str], running: list[subprocess.Popen[bytes]]) -> Result:
    """Run one environment, its output to a file, shown only if something failed."""
    started = time.monotonic()
    log = RESULTS / f"{name}.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            tox("run", "-q", "--skip-env-install", "-e", name),
            cwd=PROJECT,
            env=variables,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
        )
        running.append(process)
        code = process.wait()
    result = read_result(name, code, time.monotonic() - started)
    if result.failed:
        print(f"\n{'=' * 20} {name} {'=' * 20}\n{last_lines(log)}\nAll of it: {log}\n")
    print(result, flush=True)
    return result


def read_result(name: str, code: int, seconds: float) -> Result:
    """Count from pytest's report; a check, or a run that broke off, counts as one."""
    report = RESULTS / f"{name}.xml"
    if not report.exists():
        failed = int(code != 0)
        return Result(name=name, passed=1 - failed, failed=failed, skipped=0, seconds=seconds)
    suite = ET.parse(report).find("testsuite")
    assert suite is not None
    total, skipped = int(suite.get("tests", 0)), int(suite.get("skipped", 0))
    broken = int(suite.get("failures", 0)) + int(suite.get("errors", 0))
    passed = max(total - broken - skipped, 0)
    # pytest may fail without a failed test: nothing collected, an error after the last test.
    failed = max(broken, int(code != 0))
    return Result(name=name, passed=passed, failed=failed, skipped=skipped, seconds=seconds)


def last_lines(log: Path) -> str:
    """The part of pytest's output that says what failed, or the end of anything else's."""
    text = log.read_text(errors="replace")
    start = re.search(r"^=+ (ERRORS|FAILURES) =+$", text, re.MULTILINE)
    lines = text[start.start() if start else 0 :].splitlines()
    return "\n".join(lines[-LOG_LINES:])


def jobs() -> int:
    return int(os.environ.get("JOBS") or min(os.cpu_count() or 1, 4))


def summarize(results: list[Result], seconds: float) -> None:
    print()
    for result in results:
        print(result)
    print(f"{'together':72}{seconds:6.0f} s\n")
    passed = sum(result.passed for result in results)
    failed = sum(result.failed for result in results)
    print(f"{passed} passed, {failed} failed")


# --- The browser -------------------------------------------------------------------------


def ensure_browser() -> str | None:
    """A Chromium for the browser tests: one that is here, or Debian's where we may install it."""
    if not any((PROJECT / "tests" / "browser").glob("test_*.py")):
        return None
    if browser := find_browser() or install_browser():
        return browser
    print("Browser tests: not run, since there is no Chromium here.")
    return None


def find_browser() -> str | None:
    if given := os.environ.get("DBOS_TEST_CHROMIUM"):
        return given
    on_path = [path for name in BROWSERS if (path := shutil.which(name))]
    on_mac = [path for name in MAC_BROWSERS if (path := Path("/Applications", name)).exists()]
    return next((str(path) for path in [*on_path, *on_mac]), None)


def install_browser() -> str | None:
    if not shutil.which("apt-get") or os.geteuid() != 0:
        return None
    print("Installing Chromium for the browser tests …", flush=True)
    install = ["install", "-y", "-qq", "--no-install-recommends", "chromium", "chromium-driver"]
    for words in (["update", "-qq"], install):
        subprocess.run(
            ["apt-get", *words],
            env=os.environ | {"DEBIAN_FRONTEND": "noninteractive"},
            stdout=subprocess.DEVNULL,
        )
    return find_browser()


if __name__ == "__main__":
    try:
        sys.exit(main())
    except servers.ServerError as error:
        sys.exit(str(error))
    except KeyboardInterrupt:
        sys.exit(130)
