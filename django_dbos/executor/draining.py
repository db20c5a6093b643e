"""Draining: an executor claims nothing more, and ends when its runs have.

Runs go on until they end or wait. A run that waits is suspended; one that can't be, since several
of its branches are under way, is handed over. Anyone may ask for it: see `Executor.drain` of the
models.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable

from django_dbos.executor.notifier import Notifier
from django_dbos.executor.runs import Runs
from django_dbos.interruptions import HandedOver

logger = logging.getLogger("django_dbos.executor")

# Seconds between checks whether all runs have ended.
PAUSE = 0.05


class Draining:
    """The end of an executor on request: `on_end` is called, on a thread, after its runs."""

    def __init__(self, runs: Runs, notifier: Notifier, on_end: Callable[[], None]) -> None:
        self._runs = runs
        self._notifier = notifier
        self._on_end = on_end
        self._lock = threading.Lock()

    def begin(self) -> None:
        """Begin to drain, unless that has begun; from any thread."""
        with self._lock:
            if self._runs.is_draining or self._runs.is_stopping:
                return
            self._runs.is_draining = True
        logger.info("Executor %s drains: %d runs left", self._runs.executor_id, len(self._runs))
        threading.Thread(target=self._wait, name="dbos-drain", daemon=True).start()

    def _wait(self) -> None:
        while not (self._runs.is_idle and self._notifier.is_idle):
            if self._runs.is_stopping:
                return
            self._hand_waiting_over()
            time.sleep(PAUSE)
        self._on_end()

    def _hand_waiting_over(self) -> None:
        for run in self._runs:
            if run.waiting_branches and run.interruption is None:
                run.interrupt(HandedOver())
