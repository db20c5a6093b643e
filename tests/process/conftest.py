"""Fixtures that start real worker processes and end them by their ids."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from django_dbos.models import Executor as ExecutorRow
from tests.waiting import LIMIT, eventually


class Worker:
    """A process of `manage.py dbos_worker` in its own group, with its output."""

    def __init__(self, arguments: tuple[str, ...], environment: dict[str, str], log: Path) -> None:
        self._log = log
        with log.open("wb") as output:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "django", "dbos_worker", *arguments],
                env=environment,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self.pid = self.process.pid

    @property
    def output(self) -> str:
        return self._log.read_text(errors="replace")

    @property
    def has_ended(self) -> bool:
        return self.process.poll() is not None

    def send(self, number: int) -> None:
        """Signal this process alone."""
        self.process.send_signal(number)

    def send_group(self, number: int) -> None:
        """Signal the process and its children, as a terminal and systemd do."""
        os.killpg(self.pid, number)

    def wait_for(self, text: str, times: int = 1) -> None:
        """Wait until it has printed a text a number of times."""
        eventually(lambda: self.output.count(text) >= times or self.has_ended)
        assert self.output.count(text) >= times, self.output

    def wait(self) -> int:
        """Wait until it has ended; return its exit code."""
        return self.process.wait(timeout=LIMIT)

    def clear_away(self) -> None:
        """Kill its remaining processes."""
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, signal.SIGKILL)
        self.process.wait()


@pytest.fixture
def start_worker(
    transactional_db: None, process_environment: dict[str, str], tmp_path: Path
) -> Iterator[Callable[..., Worker]]:
    """Start `manage.py dbos_worker` with arguments and settings, and kill it after the test."""
    workers: list[Worker] = []

    def start(*arguments: str, wait: bool = True, **environment: str) -> Worker:
        before = _executor_ids()
        log = tmp_path / f"worker-{len(workers)}.log"
        worker = Worker(arguments, {**process_environment, **environment}, log)
        workers.append(worker)
        if wait:
            eventually(lambda: worker.has_ended or _executor_ids() - before, every=0.05)
            assert not worker.has_ended, worker.output
        return worker

    yield start
    for worker in workers:
        worker.clear_away()


def _executor_ids() -> set[str]:
    return set(ExecutorRow.objects.values_list("executor_id", flat=True))
