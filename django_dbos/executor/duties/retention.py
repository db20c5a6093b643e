"""Retention: deletes finished workflows past their age, a few rows at a time.

On a thread and a connection of its own, since one workflow may have millions of rows and the
heartbeat must not wait for them. Each statement takes a small part of a heartbeat's interval: how
many rows that are is found out, and a statement that the server cancels for its length is tried
with fewer.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator, Sequence

from django_dbos.conf import get_settings
from django_dbos.executor.loop import Loop
from django_dbos.operations.run import Run
from django_dbos.operations.runtime import Host
from django_dbos.store import errors
from django_dbos.store.base import PARTS
from django_dbos.store.sessions import Session

logger = logging.getLogger("django_dbos.executor")

# Seconds between two passes, and between two statements at least.
INTERVAL, PAUSE = 60.0, 0.005
# Of the heartbeat's interval, what one statement may take.
SHARE = 0.02
FIRST_ROWS, MAX_ROWS = 100, 5_000
# Workflows whose rows are looked for together: what was deleted just now is passed over each time.
MAX_WORKFLOWS = 250


class Retention:
    """A thread that runs one statement at each call, and rests for as long as that took."""

    def __init__(self, executor: Host[Run]) -> None:
        settings = get_settings()
        self._executor = executor
        self._store = executor.store
        self._age = settings.retention
        self._patience = settings.heartbeat_interval * SHARE
        self._session: Session | None = None
        self._work: Iterator[None] = iter(())
        self._rows = FIRST_ROWS
        """How many rows a statement is to delete."""
        self._took = 0.0
        self.loop = Loop("dbos-retention", self.tick, on_error=self.close, on_end=self.close)

    def start(self) -> None:
        """Start the thread, if anything is to be deleted at all."""
        if self._age is not None:
            self._work = self._delete_old(self._age)
            self.loop.start()

    def tick(self) -> float:
        """Run one statement; return the seconds until the next one."""
        assert self._age is not None
        try:
            for _ in self._work:
                return max(self._took, PAUSE)
        except errors.StoreError as error:
            self._work = self._delete_old(self._age)
            # A new one has the executor's name of now.
            self.close()
            if not self._has_shrunk():
                raise
            logger.info("Retention goes on with %d rows at once: %r", self._rows, error)
            return PAUSE
        self._work = self._delete_old(self._age)
        return INTERVAL

    def _has_shrunk(self) -> bool:
        """Whether fewer rows may be what helps."""
        was = self._rows
        self._rows = max(was // 4, 1)
        return self._rows < was

    def _delete_old(self, age: float) -> Iterator[None]:
        """Delete all there is by now, one statement at a time."""
        while True:
            began, limit = time.monotonic(), min(self._rows, MAX_WORKFLOWS)
            marked = self._store.mark_deleted(self._own(), age, limit)
            # No fewer rows if it is slow: it passes over old ones that must stay.
            self._took = time.monotonic() - began
            if not marked:
                return
            yield
            yield from self._delete(marked)

    def _delete(self, workflow_ids: Sequence[str]) -> Iterator[None]:
        for part in PARTS:
            deleted = limit = self._rows
            while deleted == limit:
                began, limit = time.monotonic(), self._rows
                deleted = self._store.delete_part(self._own(), part, workflow_ids, limit)
                self._note(began, is_full=deleted == limit)
                yield
        left, count = list(workflow_ids), 0
        while left:
            began, some = time.monotonic(), left[: self._rows]
            count += self._store.delete_marked(self._own(), some)
            del left[: len(some)]
            self._note(began, is_full=bool(left))
            yield
        if count:
            logger.info("Deleted %d workflows that had finished %.0f s ago", count, self._age)

    def _note(self, began: float, *, is_full: bool) -> None:
        """Learn from the time that a statement took how many rows the next may have."""
        self._took = time.monotonic() - began
        if self._took > self._patience:
            self._rows = max(self._rows // 2, 1)
        elif is_full and self._took < self._patience / 2:
            self._rows = min(self._rows * 2, MAX_ROWS)

    def _own(self) -> Session:
        if self._session is None:
            self._session = self._store.connect(self._executor.executor_id, "retention")
        return self._session

    def close(self) -> None:
        """Close the connection; the next statement makes a new one."""
        if self._session is not None:
            self._session.close()
            self._session = None
