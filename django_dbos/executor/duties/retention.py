"""Retention: deletes finished workflows and past runs past their age, a few rows at a time.

It has a thread and a connection of its own, since one workflow may have millions of rows and the
heartbeat must not wait for them. Each statement takes a small part of a heartbeat's interval: how
many rows that allows is learned, and a statement that the server cancels for its length is tried
with fewer.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from functools import partial

from django_dbos.executor.clock import Clock
from django_dbos.executor.duties.duty import Duty
from django_dbos.store import errors
from django_dbos.store.base import Store
from django_dbos.store.retention import DEPENDENTS
from django_dbos.store.sessions import Session

logger = logging.getLogger("django_dbos.executor")

# Seconds between two passes, and between two statements at least.
PERIOD, PAUSE = 60.0, 0.005
# The share of the heartbeat's interval that one statement may take.
SHARE = 0.02
FIRST_ROWS, MAX_ROWS = 100, 5_000
# Workflows whose rows are searched together: each search passes over rows deleted just before.
MAX_WORKFLOWS = 250


class Retention(Duty):
    """The deletion of old rows: one statement a run, then a rest for as long as that took.

    Args:
        store: The database.
        clock: The executor's clock.
        age: Seconds for which finished workflows are kept.
        patience: Seconds that one statement may take.
        rows: How many rows the first statement deletes.
    """

    def __init__(
        self, store: Store, clock: Clock, *, age: float, patience: float, rows: int = FIRST_ROWS
    ) -> None:
        super().__init__(clock, period=PERIOD, first=0.0)
        self._store = store
        self._age = age
        self._patience = patience
        self._rows = rows
        """The number of rows for a statement to delete."""
        self._took = 0.0
        self._session: Session
        self._work = self._delete_old()

    def run(self, session: Session) -> float | None:
        """Run one statement; return the seconds until the next one."""
        self._session = session
        try:
            for _ in self._work:
                return max(self._took, PAUSE)
        except errors.StoreError as error:
            self._work = self._delete_old()
            if not self._has_shrunk():
                # The loop's pause comes before the next attempt.
                self.hurry()
                raise
            logger.info("Retention goes on with %d rows at once: %r", self._rows, error)
            return PAUSE
        self._work = self._delete_old()
        return None

    def _has_shrunk(self) -> bool:
        """Make the next statement delete fewer rows; return False if it already deletes one."""
        before = self._rows
        self._rows = max(before // 4, 1)
        return self._rows < before

    def _delete_old(self) -> Iterator[None]:
        """Delete everything that is old enough by now, one statement at a time."""
        while True:
            began, limit = self.clock(), min(self._rows, MAX_WORKFLOWS)
            marked = self._store.mark_deleted(self._session, self._age, limit)
            # Its time isn't counted: it skips old workflows that must be kept.
            self._took = self.clock() - began
            if not marked:
                break
            yield
            yield from self._delete(marked)
        yield from self._delete_all(self._delete_old_runs)

    def _delete(self, workflow_ids: Sequence[str]) -> Iterator[None]:
        for part in DEPENDENTS:
            yield from self._delete_all(partial(self._delete_dependents, part, workflow_ids))
        left, count = list(workflow_ids), 0
        while left:
            began, some = self.clock(), left[: self._rows]
            count += self._store.delete_marked(self._session, some)
            del left[: len(some)]
            self._learn(began, is_full=bool(left))
            yield
        if count:
            logger.info("Deleted %d workflows that had finished %.0f s ago", count, self._age)

    def _delete_all(self, delete: Callable[[int], int]) -> Iterator[None]:
        """Call a function that deletes rows, up to a limit, until it finds fewer."""
        deleted = limit = self._rows
        while deleted == limit:
            began, limit = self.clock(), self._rows
            deleted = delete(limit)
            self._learn(began, is_full=deleted == limit)
            yield

    def _delete_old_runs(self, limit: int) -> int:
        return self._store.delete_old_runs(self._session, self._age, limit)

    def _delete_dependents(self, part: str, workflow_ids: Sequence[str], limit: int) -> int:
        return self._store.delete_dependents(self._session, part, workflow_ids, limit)

    def _learn(self, began: float, *, is_full: bool) -> None:
        """Adapt the next statement's number of rows to the time that the last one took."""
        self._took = self.clock() - began
        if self._took > self._patience:
            self._rows = max(self._rows // 2, 1)
        elif is_full and self._took < self._patience / 2:
            self._rows = min(self._rows * 2, MAX_ROWS)
