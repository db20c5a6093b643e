"""Offload sweep: once a day, a worker deletes the large values that no row refers to any more.

Retention deletes rows, and leaves their objects to it. Which worker has begun the sweep of a day is
an object in the storage: should two begin at once, both find the same, and do no harm.
"""

from __future__ import annotations

import logging
import random
import time
from collections.abc import Callable
from datetime import UTC, datetime

from django.core.files.base import ContentFile

from django_dbos import offloading
from django_dbos.executor.clock import Clock
from django_dbos.executor.duties.duty import Duty
from django_dbos.operations.sweeping import sweep
from django_dbos.store.base import Store
from django_dbos.store.sessions import Session

logger = logging.getLogger("django_dbos.executor")

# Seconds between two looks whether the sweep of a day has begun, and until the first at most.
PERIOD, FIRST = 3_600.0, 600.0
# Seconds after which a rest looks whether the executor stops.
STEP = 0.1
MARKS = f"{offloading.FOLDER}/swept"


class _Stopped(Exception):
    """The executor stops in the middle of a sweep."""


class OffloadSweep(Duty):
    """The sweep of objects, on Django's connection of a thread of its own."""

    def __init__(self, store: Store, clock: Clock, is_stopping: Callable[[], bool]) -> None:
        super().__init__(clock, period=PERIOD, first=FIRST * random.random())
        self._store = store
        self._is_stopping = is_stopping

    def run(self, session: Session) -> None:
        """Sweep, unless a worker has begun to do so on this day."""
        mark = self._begin()
        if mark is None:
            return
        try:
            swept = sweep(self._store, rest=self._rest)
        except _Stopped:
            # Another worker begins again.
            offloading.storage_of().delete(mark)
            return
        logger.info(
            "Of %d large values, %d had no row, and %d are deleted",
            swept.objects, swept.orphans, swept.deleted,
        )  # fmt: skip

    def _begin(self) -> str | None:
        """Mark the day as begun, and return the mark's name; None if it is."""
        storage, today = offloading.storage_of(), datetime.now(UTC).date().isoformat()
        try:
            _, marks = storage.listdir(MARKS)
        except FileNotFoundError:
            marks = []
        # A storage may give a suffix to a name.
        if any(mark.startswith(today) for mark in marks):
            return None
        begun = storage.save(f"{MARKS}/{today}", ContentFile(b"begun"))
        for mark in marks:
            storage.delete(f"{MARKS}/{mark}")
        return begun

    def _rest(self, seconds: float) -> None:
        until = time.monotonic() + seconds
        while (left := until - time.monotonic()) > 0:
            if self._is_stopping():
                raise _Stopped
            time.sleep(min(left, STEP))
