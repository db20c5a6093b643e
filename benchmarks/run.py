"""Runs the rounds: each measures every workload on every system before the next one begins."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg
from psycopg import sql

from benchmarks import machine, systems
from benchmarks.environment import DATABASE, PROJECT, REDIS, with_database
from benchmarks.results import Measurement, Results
from benchmarks.workloads import WORKLOADS, Workload

INSTALL_LIMIT = 60.0


@dataclass(frozen=True)
class Plan:
    """The workloads, the systems and the number of rounds."""

    workloads: list[Workload]
    systems: dict[str, type[Any]]
    rounds: int
    is_quick: bool
    scale: dict[str, int]
    prefix: str = "dbos_benchmark"

    def size(self, workload: Workload, system: str) -> int:
        return self.scale.get(workload.name) or workload.size_for(system, is_quick=self.is_quick)


def choose_workloads(only: list[str], *, with_heavy: bool) -> list[Workload]:
    """Return the workloads whose names contain one of the texts; by default all but heavy ones."""
    if only:
        return [found for name, found in WORKLOADS.items() if any(text in name for text in only)]
    return [found for found in WORKLOADS.values() if with_heavy or not found.is_heavy]


def choose_systems(peers: str) -> dict[str, type[Any]]:
    """Return django_dbos, the ceiling, and the chosen peers that are installed."""
    wanted = {"all": systems.PEERS, "none": []}.get(peers, peers.split(","))
    if unknown := set(wanted) - set(systems.PEERS):
        raise SystemExit(f"No peer {sorted(unknown)[0]!r}: there are {', '.join(systems.PEERS)}.")
    chosen = {}
    for name in systems.SYSTEMS:
        if systems.product(name) in (systems.OURS, systems.CEILING, *wanted):
            try:
                chosen[name] = systems.load(name)
            except ImportError as error:
                log(f"{name} isn't measured: {error}. Install the dependency group `peers`.")
    return chosen


def run(plan: Plan, database_url: str, redis_url: str | None) -> Results:
    """Measure everything; a failure is an error in the results."""
    used = {
        name: system
        for name, system in plan.systems.items()
        if any(workload.suits(name, system) for workload in plan.workloads)
    }
    with databases(plan.prefix, used, database_url, redis_url) as (environments, broken):
        measurements = measure_all(plan, environments, broken)
    return Results(
        machine=machine.describe(database_url, redis_url, map(systems.product, used)),
        settings={name: system.settings for name, system in used.items()},
        workloads={
            workload.name: {"units": workload.units, "sentence": workload.sentence}
            for workload in plan.workloads
        },
        measurements=measurements,
    )


# Databases


@contextlib.contextmanager
def databases(
    prefix: str, used: dict[str, type[Any]], database_url: str, redis_url: str | None
) -> Iterator[tuple[dict[str, dict[str, str]], dict[str, str]]]:
    """Create a database with tables for each system, and drop it after the block.

    Yield the environment variables by system, and the errors of systems without tables.
    """
    environments, broken = {}, {}
    with tempfile.TemporaryDirectory(prefix="benchmark-") as folder:
        try:
            for name in used:
                database = database_name(prefix, name)
                environment = prepare_database(
                    name, database, Path(folder), database_url, redis_url
                )
                answer = in_process(name, "install", 0, environment, INSTALL_LIMIT)
                if error := answer.get("error"):
                    log(f"{name} isn't measured: {error}")
                    broken[name] = f"It couldn't be installed: {error}"
                else:
                    environments[name] = environment
            yield environments, broken
        finally:
            for name in used:
                drop_database(database_url, database_name(prefix, name))


def prepare_database(
    name: str, database: str, folder: Path, database_url: str, redis_url: str | None
) -> dict[str, str]:
    environment = {REDIS: redis_url} if redis_url else {}
    if name.endswith("SQLite"):
        return {**environment, DATABASE: f"sqlite://{folder / database}.sqlite3"}
    create_database(database_url, database)
    return {**environment, DATABASE: with_database(database_url, database)}


def database_name(prefix: str, system: str) -> str:
    return f"{prefix}_{system}".lower().replace(" ", "_").replace("-", "_")


def create_database(url: str, name: str) -> None:
    drop_database(url, name)
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))


def drop_database(url: str, name: str) -> None:
    statement = sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(name))
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(statement)


# Measuring


def measure_all(
    plan: Plan, environments: dict[str, dict[str, str]], broken: dict[str, str]
) -> list[Measurement]:
    """Measure round by round; Ctrl-C ends early, with the measurements so far."""
    measurements = [
        Measurement(workload.name, name, 1, plan.size(workload, name), 0.0, 0.0, error=error)
        for workload in plan.workloads
        for name, error in broken.items()
        if workload.suits(name, plan.systems[name])
    ]
    with contextlib.suppress(KeyboardInterrupt):
        for number in range(plan.rounds):
            for workload in plan.workloads:
                for name, environment in environments.items():
                    if workload.suits(name, plan.systems[name]):
                        measurements.append(measure(plan, number, workload, name, environment))
    return measurements


def measure(
    plan: Plan, number: int, workload: Workload, system: str, environment: dict[str, str]
) -> Measurement:
    """Measure one workload on one system, once."""
    size, load = plan.size(workload, system), os.getloadavg()[0]
    began = time.monotonic()
    answer = in_process(system, workload.name, size, environment, workload.limit)
    measurement = Measurement(
        workload=workload.name,
        system=system,
        round=number + 1,
        size=size,
        load=round(load, 2),
        seconds=round(time.monotonic() - began, 1),
        **answer,
    )
    shown = measurement.error or ", ".join(
        f"{metric} {value:,.1f} {workload.units[metric]}"
        for metric, value in measurement.values.items()
    )
    where = f"round {number + 1}/{plan.rounds}, {workload.name}, {system}"
    log(f"{where}: {shown} ({measurement.seconds:.0f} s)")
    return measurement


def in_process(
    system: str, workload: str, size: int, environment: dict[str, str], limit: float
) -> dict[str, Any]:
    """Run `python -m benchmarks.measure` for at most `limit` seconds; return values or an error."""
    process = subprocess.Popen(
        [sys.executable, "-m", "benchmarks.measure", system, workload, str(size)],
        cwd=PROJECT,
        env=os.environ | environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        output, errors = process.communicate(timeout=limit)
    except subprocess.TimeoutExpired:
        return {"error": f"It took more than {limit:.0f} s."}
    finally:
        end_group(process)
    try:
        answer: dict[str, Any] = json.loads(output.splitlines()[-1])
    except (IndexError, ValueError):
        return {"error": f"It ended with {process.returncode}: {errors[-500:]}"}
    return answer


def end_group(process: subprocess.Popen[str]) -> None:
    """Kill the measurement's remaining processes: its session has no others."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def log(line: str) -> None:
    print(line, file=sys.stderr, flush=True)
