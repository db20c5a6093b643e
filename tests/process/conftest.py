"""Real worker processes, ended by the id that they were started with."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator

import pytest

from django_dbos.models import Executor as ExecutorRow

Worker = subprocess.Popen[str]


@pytest.fixture
def start_worker(
    transactional_db: None, process_environment: dict[str, str]
) -> Iterator[Callable[..., Worker]]:
    """Start `manage.py dbos_worker` with arguments and settings; kill what is left of it."""
    workers: list[Worker] = []

    def start(*arguments: str, wait: bool = True, **environment: str) -> Worker:
        before = set(ExecutorRow.objects.values_list("executor_id", flat=True))
        command = [sys.executable, "-m", "django", "dbos_worker", *arguments]
        worker = subprocess.Popen(
            command,
            env={**process_environment, **environment},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        workers.append(worker)
        while wait and not set(ExecutorRow.objects.values_list("executor_id", flat=True)) - before:
            assert worker.poll() is None, worker.communicate()[0]
            time.sleep(0.05)
        return worker

    yield start
    for worker in workers:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(worker.pid, signal.SIGKILL)
        worker.communicate()
