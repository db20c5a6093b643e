"""Workflows in worker processes that wait for their test at a gate, which is a file."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
import time
from pathlib import Path

from django.contrib.auth.models import Group

import django_dbos as dbos
from django_dbos.operations import context


class Gate:
    """Holds a step until the test opens it; the test can wait for the arrival of a step."""

    def __init__(self, path: str | Path) -> None:
        self.path = str(path)
        self._reached = Path(f"{path}.reached")
        self._open = Path(f"{path}.open")

    @property
    def is_reached(self) -> bool:
        return self._reached.exists()

    @property
    def is_open(self) -> bool:
        return self._open.exists()

    def open(self) -> None:
        self._open.touch()

    def pass_through(self) -> None:
        """Wait until the gate is open, for two minutes at most."""
        self._reached.touch()
        for _ in range(12_000):
            if self.is_open:
                return
            time.sleep(0.01)
        raise TimeoutError(self.path)


@dbos.step
def pass_through(gate: str) -> int:
    Gate(gate).pass_through()
    return os.getpid()


@dbos.workflow
def passes(gate: str) -> int:
    """Return the process id of the worker that passed through the gate."""
    return pass_through(gate)


@dbos.workflow
async def apasses(gate: str) -> int:
    return await pass_through.acall(gate)


@dbos.step
def process_id() -> int:
    return os.getpid()


@dbos.step
def pass_through_interrupted(gate: str) -> int:
    """Pass through the gate, but not before this run is interrupted: its worker is handing over."""
    Gate(gate).pass_through()
    scope = context.current()
    assert scope is not None
    while scope.run.interruption is None:
        time.sleep(0.01)
    return os.getpid()


@dbos.workflow
def works_until_handed_over(before: int, gate: str, after: int) -> list[int]:
    """Return the process ids of the workers that ran the steps; the first one hands over."""
    pids = [process_id() for _ in range(before)]
    pids.append(pass_through_interrupted(gate))
    return pids + [process_id() for _ in range(after)]


@dbos.workflow
def works(before: int, gate: str, after: int, last_gate: str | None = None) -> list[int]:
    """Return the process ids of the workers that ran the steps, one or two of them behind gates."""
    pids = [process_id() for _ in range(before)]
    pids.append(pass_through(gate))
    pids += [process_id() for _ in range(after)]
    if last_gate is not None:
        pids.append(pass_through(last_gate))
    return pids


@dbos.step(atomic=True)
def create_group(name: str) -> None:
    Group.objects.create(name=name)


@dbos.workflow
def creates(before: int, gate: str, after: int) -> int:
    """Create groups, announced in a stream; return the process id that passed the gate."""
    for number in range(before):
        create_and_tell(number)
    pid = pass_through(gate)
    for number in range(before, before + after):
        create_and_tell(number)
    return pid


def create_and_tell(number: int) -> None:
    create_group(f"group-{number}")
    dbos.write_stream("made", number)


@dbos.step
def logs_itself(log: str, number: int, gates: dict[str, str]) -> int:
    """Write when the step begins and ends; some wait at a gate of their number in between."""
    with Path(log).open("a") as file:
        file.write(f"{os.getpid()} begins {number}\n")
    time.sleep(0.002 * (number % 5))
    if (gate := gates.get(str(number))) is not None:
        Gate(gate).pass_through()
    with Path(log).open("a") as file:
        file.write(f"{os.getpid()} ends {number}\n")
    return number


@dbos.workflow
def logs(log: str, number: int, gates: dict[str, str]) -> int:
    return logs_itself(log, number, gates)


@dbos.workflow
def maps_logs(log: str, gates: dict[str, str], count: int, concurrency: int) -> list[int]:
    return logs.map([(log, number, gates) for number in range(count)], concurrency=concurrency)


@dbos.workflow
def creates_in_rounds(gate: str, number: int, last: int) -> int:
    """Create a group in each of many runs; wait at the gate in the middle of the fifth."""
    create_and_tell(number)
    if number == 5:
        pass_through(gate)
    if number < last:
        dbos.continue_as_new(gate, number + 1, last)
    return number


@dbos.workflow
def reads_made(source: str) -> list[int]:
    return list(dbos.read_stream(source, "made"))


@dbos.step
def signal_own_thread(gate: str, number: int, times: int, pause: float) -> None:
    for _ in range(times):
        signal.pthread_kill(threading.get_ident(), number)
        time.sleep(pause)
    Gate(gate).pass_through()


@dbos.workflow
def is_met_by_signals(gate: str, number: int, times: int, pause: float) -> None:
    """Simulate that the kernel delivers a signal to the thread of a step."""
    signal_own_thread(gate, number, times, pause)


@dbos.step
def end_forked_process() -> int | None:
    forked = multiprocessing.get_context("fork").Process(target=time.sleep, args=(600,))
    forked.start()
    forked.terminate()
    forked.join()
    return forked.exitcode


@dbos.workflow
def forks(gate: str) -> int | None:
    """Fork a process in a step, end it by SIGTERM, and return its exit status."""
    code = end_forked_process()
    pass_through(gate)
    return code
