"""Run everything that must pass: lint, types, docs, and the suite in several tox environments.

`make test` runs the newest pair of Python and Django, and of the oldest pair what can differ there;
`make test-all` runs every pair. Each runs on SQLite and on PostgreSQL with Valkey, and the newest
pair once more with naive datetimes. tox.ini says what is left out, and why.
The servers are started once for all environments. Pairs without a Python on this machine are
listed and left out; with `CI` set, the ends of the matrix must have run.

tox runs `JOBS` environments at a time (default: two more than there are cores, at most 4), and
prints the output of those that fail. The last line counts all tests; a check without tests counts
as one.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any
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
    "3.14": ("5.2", "6.0", "6.1"),
}
DATABASES = ("postgresql", "sqlite")
OLDEST = ("3.11", "5.2")
# Or the newest Django on a newer Python.
NEWEST_IN_CI = ("3.13", "6.1")
CHECKS = ["lint", "types", "docs"]
BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
MAC_BROWSERS = (
    "Chromium.app/Contents/MacOS/Chromium",
    "Google Chrome.app/Contents/MacOS/Google Chrome",
)

Pair = tuple[str, str]


@dataclass(frozen=True, kw_only=True)
class Result:
    """The counts of one tox environment."""

    name: str
    passed: int
    failed: int
    skipped: int
    seconds: float

    def __str__(self) -> str:
        skipped = f", {self.skipped} skipped" if self.skipped else ""
        counts = f"{self.passed} passed, {self.failed} failed{skipped}"
        return f"{self.name:38}{counts:40}{self.seconds:6.0f} s"


def main() -> int:
    parser = argparse.ArgumentParser(description="Run lint, types, docs and the suite.")
    parser.add_argument("--all", action="store_true", help="every supported Python and Django")
    arguments = parser.parse_args()
    # SIGTERM stops the run as Ctrl-C does: the servers are stopped, and no process is left. A shell
    # starts background processes with SIGINT ignored, which tox and pytest would inherit.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.default_int_handler)

    started = time.monotonic()
    found = interpreters.find()
    pairs = every_pair(found) if arguments.all else oldest_and_newest(found)
    list_missing(every_pair(MATRIX) if arguments.all else [OLDEST, (max_of(MATRIX), "6.1")], pairs)
    environments = [*CHECKS, *environment_names(pairs, is_all=arguments.all)]
    # The shims of version managers may hide interpreters that are there.
    folders = [str(interpreter.path.parent) for interpreter in reversed(found.values())]
    variables = {"PATH": os.pathsep.join([*folders, os.environ["PATH"]])}
    if browser := ensure_browser():
        variables["DBOS_TEST_CHROMIUM"] = browser
    ensure_node()
    shutil.rmtree(RESULTS, ignore_errors=True)
    RESULTS.mkdir(parents=True)
    with servers.running("tests", is_durable=False) as urls:
        code = run_tox(environments, os.environ | variables | urls)
    is_short = is_short_of_ci(pairs)
    results = read_results(environments)
    summarize(results, time.monotonic() - started)
    return 1 if code or is_short or any(result.failed for result in results) else 0


# --- Pairs -------------------------------------------------------------------------------


def every_pair(found: Iterable[str]) -> list[Pair]:
    """Return the pairs of the matrix with one of these Pythons."""
    return [(python, django) for python in found for django in MATRIX.get(python, ())]


def oldest_and_newest(found: Iterable[str]) -> list[Pair]:
    """Return the ends of the matrix that this machine has, or else the newest pair that it has."""
    pairs = every_pair(found)
    if not pairs:  # only a Python newer than the matrix, on which the newest Django should run
        return [(max_of(found), MATRIX[max_of(MATRIX)][-1])]
    oldest = [pair for pair in pairs if pair == OLDEST]
    return [*oldest, pairs[-1]] if pairs[-1] not in oldest else oldest


def max_of(versions: Iterable[str]) -> str:
    return max(versions, key=as_numbers)


def as_numbers(version: str) -> list[int]:
    return [int(part) for part in version.split(".")]


def list_missing(wanted: list[Pair], pairs: list[Pair]) -> None:
    for python, django in wanted:
        if (python, django) not in pairs:
            print(f"Not tested: Python {python} with Django {django}; no Python {python} here.")


def environment_names(pairs: list[Pair], *, is_all: bool) -> list[str]:
    """Return tox's names: the newest pair first, where most failures show and most time goes."""
    *others, newest = pairs
    if is_all:
        names = [tox_name(newest, database) for database in DATABASES]
    else:
        names = [
            tox_name(newest, part) for part in (*halves("postgresql"), *halves("sqlite-headless"))
        ]
    for database in DATABASES:
        for pair in reversed(others):
            # On SQLite few processes are left in the part.
            is_split = not is_all and database == "postgresql"
            part = database if is_all else f"{database}-part"
            names += [tox_name(pair, half) for half in (halves(part) if is_split else [part])]
        names.append(tox_name(newest, f"{database}-naive"))
    return names


def halves(part: str) -> list[str]:
    """Return the names of the two halves of a long environment, which then run side by side.

    One of them waits for processes for most of its time, while the other one computes.
    """
    return [f"{part}-processes", f"{part}-rest"]


def tox_name(pair: Pair, database: str) -> str:
    python, django = (version.replace(".", "") for version in pair)
    return f"py{python}-dj{django}-{database}"


def is_short_of_ci(pairs: list[Pair]) -> bool:
    """Return whether CI is set and an end of the matrix wasn't tested; print which."""
    python, django = NEWEST_IN_CI
    short = [] if OLDEST in pairs else ["Python {} with Django {}".format(*OLDEST)]
    if not any(pair[1] == django and as_numbers(pair[0]) >= as_numbers(python) for pair in pairs):
        short.append(f"Python {python} or newer with Django {django}")
    if not os.environ.get("CI") or not short:
        return False
    print(f"\nCI is set, and {' and '.join(short)} couldn't be tested: that is a failure too.")
    return True


# --- Running -----------------------------------------------------------------------------


def run_tox(environments: list[str], variables: dict[str, str]) -> int:
    """Run the environments in parallel; return tox's exit code. Ctrl-C stops all of them."""
    # More than there are cores: the tests wait for processes and browsers for much of their time.
    jobs = os.environ.get("JOBS") or str(min((os.cpu_count() or 1) + 2, 4))
    options = ["--parallel", jobs, "--parallel-no-spinner", "--result-json", RESULTS / "tox.json"]
    # With CI set, tox would list the dependencies, and with them all output.
    options += ["--no-list-dependencies", "-e", ",".join(environments)]
    process = subprocess.Popen(
        [sys.executable, "-m", "tox", "run-parallel", *options],
        cwd=PROJECT,
        env=variables,
        stdin=subprocess.DEVNULL,
        # A second SIGINT, from the terminal, would have tox leave its children behind.
        start_new_session=True,
    )
    try:
        return process.wait()
    except KeyboardInterrupt:
        process.send_signal(signal.SIGINT)
        process.wait()
        raise


def read_results(environments: list[str]) -> list[Result]:
    try:
        report = json.loads((RESULTS / "tox.json").read_text())["testenvs"]
    except (OSError, ValueError, KeyError):
        report = {}
    return [read_result(name, report.get(name, {})) for name in environments]


def read_result(name: str, report: dict[str, Any]) -> Result:
    """Read pytest's report; a check counts as one test, as does a run that broke off."""
    outcome = report.get("result", {})
    is_good, seconds = outcome.get("success", False), outcome.get("duration", 0.0)
    # tox counts an environment as good if its Python is missing.
    is_good = is_good and not outcome.get("skipped", False)
    suite = read_suite(RESULTS / f"{name}.xml")
    if suite is None:
        return Result(
            name=name, passed=int(is_good), failed=int(not is_good), skipped=0, seconds=seconds
        )
    total, skipped = int(suite.get("tests", 0)), int(suite.get("skipped", 0))
    failed = int(suite.get("failures", 0)) + int(suite.get("errors", 0))
    return Result(
        name=name,
        passed=total - failed - skipped,
        failed=failed or int(not is_good),
        skipped=skipped,
        seconds=seconds,
    )


def read_suite(path: Path) -> ET.Element | None:
    try:
        return ET.parse(path).find("testsuite")
    except (OSError, ET.ParseError):
        return None


def summarize(results: list[Result], seconds: float) -> None:
    print()
    for result in results:
        print(result)
    print(f"{'together':72}{seconds:6.0f} s")
    passed = sum(result.passed for result in results)
    failed = sum(result.failed for result in results)
    print(f"\n{passed} passed, {failed} failed")


# --- The browser -------------------------------------------------------------------------


def ensure_browser() -> str | None:
    """Return a Chromium for the browser tests: an installed one, or Debian's for root.

    Without one, or without its driver, these tests fail and say what to install.
    """
    browser = find_browser()
    if browser and (browser == "none" or shutil.which("chromedriver")):
        return browser
    return install_browser() or browser


def find_browser() -> str | None:
    if given := os.environ.get("DBOS_TEST_CHROMIUM"):
        return given
    on_path = [path for name in BROWSERS if (path := shutil.which(name))]
    on_mac = [path for name in MAC_BROWSERS if (path := Path("/Applications", name)).exists()]
    return next((str(path) for path in [*on_path, *on_mac]), None)


def install_browser() -> str | None:
    install("chromium", "chromium-driver")
    return find_browser()


def ensure_node() -> None:
    """Install Node and npm, with which clients in JavaScript are tested, from Debian for root."""
    if not (shutil.which("node") and shutil.which("npm")):
        install("nodejs", "npm")


def install(*packages: str) -> None:
    if not shutil.which("apt-get") or os.geteuid() != 0:
        return
    print(f"Installing {' and '.join(packages)} for the tests …", flush=True)
    wanted = ["install", "-y", "-qq", "--no-install-recommends", *packages]
    for words in (["update", "-qq"], wanted):
        subprocess.run(
            ["apt-get", *words],
            env=os.environ | {"DEBIAN_FRONTEND": "noninteractive"},
            stdout=subprocess.DEVNULL,
        )


if __name__ == "__main__":
    try:
        sys.exit(main())
    except servers.ServerError as error:
        sys.exit(str(error))
    except KeyboardInterrupt:
        sys.exit(130)
