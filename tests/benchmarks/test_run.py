"""Two tiny workloads through the real command line, on a real PostgreSQL."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from django.conf import settings

pytest.importorskip("psutil")
pytest.importorskip("psycopg")

from benchmarks.results import Results, rows
from benchmarks.run import Plan, measure_all
from benchmarks.systems.system import System
from benchmarks.workloads import WORKLOADS

PROJECT = Path(__file__).resolve().parent.parent.parent
LIMIT = 100


class CannotBeInstalled(System):
    """A queue whose tables can't be made."""


def setting(name: str) -> str:
    """Return what the server of the tests says."""
    psycopg = pytest.importorskip("psycopg")
    with psycopg.connect(os.environ["DATABASE_URL"]) as connection:
        (found,) = connection.execute(f"SHOW {name}").fetchone() or ()
    return str(found)


@pytest.mark.process
@pytest.mark.skipif(settings.VENDOR != "postgresql", reason="the benchmarks need PostgreSQL")
def test_a_quick_run_measures_us_beside_the_bare_database(tmp_path: Path) -> None:
    kept = tmp_path / "run.json"
    chosen = ["--quick", "--peers", "none", "--only", "start in bulk", "drain of no-ops"]
    command = [sys.executable, "-m", "benchmarks", "run", *chosen, "--json", str(kept)]
    environment = {name: value for name, value in os.environ.items() if "DJANGO" not in name}

    run = subprocess.run(
        [*command, "--prefix", f"test_dbos_{settings.RUN}"],
        cwd=PROJECT,
        env=environment,
        capture_output=True,
        text=True,
        timeout=LIMIT,
    )

    assert run.returncode == 0, run.stderr
    results = Results.load(kept)
    assert [one.error for one in results.measurements] == [None] * 5
    for name in ("fsync", "synchronous_commit"):
        assert results.machine["PostgreSQL"][name] == setting(name)
    assert "start in bulk" in run.stdout
    bare = rows(results, "start in bulk")[-1]
    assert bare.system == "bare"
    assert bare.ratios["rate"] > 0


def test_a_system_that_cannot_be_installed_is_an_error_in_the_table() -> None:
    plan = Plan(
        workloads=[WORKLOADS["drain of no-ops"]],
        systems={"dbos": CannotBeInstalled},
        rounds=1,
        is_quick=True,
        scale={},
    )

    (measurement,) = measure_all(plan, environments={}, broken={"dbos": "No such table."})

    assert (measurement.system, measurement.size) == ("dbos", 1_000)
    assert measurement.error == "No such table."
