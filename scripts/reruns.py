"""Tell a failure that comes back from one that doesn't: run the tests that failed again, alone.

A test that fails in one of `TIMES` runs has failed. One that passes in all of them is *unsteady*:
it is listed with its node ID, and its failure stays in the output of its environment. That is a
fault as well, of the test or of the code, but one that a single run can't pin down. More than
`MOST` of them are no coincidence, and nothing is run again.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

TIMES = 5
MOST = 5
# pytest's exit code when tests have failed; with any other one the run broke off, or ran nothing.
TESTS_FAILED = 1


def find_unsteady(
    failed: Mapping[str, list[str]], passes_alone: Callable[[str, str], bool]
) -> list[tuple[str, str]]:
    """Return the environment and the node ID of each failed test that passes whenever it is alone.

    Empty if there are more than `MOST` failures. The rest of an environment's tests aren't run
    again once one of them has failed again: the environment has failed.
    """
    if sum(map(len, failed.values())) > MOST:
        return []
    unsteady = []
    for environment, tests in failed.items():
        for test in tests:
            if not all(passes_alone(environment, test) for _ in range(TIMES)):
                break
            unsteady.append((environment, test))
    return unsteady


def read_failed(caches: Path, exit_codes: Mapping[str, int]) -> dict[str, list[str]]:
    """Return the node IDs that failed in each environment, from pytest's own record of them.

    An environment whose run broke off isn't listed: what it would have run is not known.
    """
    return {
        environment: tests
        for environment, code in exit_codes.items()
        if code == TESTS_FAILED and (tests := read_record(caches / f"{environment}.cache"))
    }


def read_record(cache: Path) -> list[str]:
    try:
        return list(json.loads((cache / "v" / "cache" / "lastfailed").read_text()))
    except (OSError, ValueError):
        return []


class Tox:
    """Runs single tests in environments that tox has made."""

    def __init__(self, project: Path, variables: Mapping[str, str]) -> None:
        self._project = project
        self._variables = dict(variables)

    def passes_alone(self, environment: str, test: str) -> bool:
        """Return whether this test passes in a process of its own; print its output if not."""
        command = [sys.executable, "-m", "tox", "exec", "--skip-pkg-install", "-q"]
        command += [
            "-e",
            environment,
            "--",
            "python",
            "-m",
            "pytest",
            "-q",
            "-p",
            "no:cacheprovider",
        ]
        run = subprocess.run(
            [*command, test],
            cwd=self._project,
            env=self._variables,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        print(f"again, alone: {environment} {test}: exit code {run.returncode}", flush=True)
        if run.returncode:
            print(run.stdout)
        return run.returncode == 0


def describe(unsteady: Iterable[tuple[str, str]]) -> str:
    lines = [f"  {environment}: {test}" for environment, test in unsteady]
    return "\n".join([f"Unsteady (failed once, then passed {TIMES} times alone):", *lines])
