"""Notifier: after a batch commits, wakes the rows and notifies the processes that wait for it, and
logs the ends of runs.

It runs apart from the writer, whose next batch must not wait for it. A lost notification costs a
poll on a timer, never correctness.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from django_dbos.core.batch.plan import Plan
from django_dbos.executor.loop import Loop
from django_dbos.operations import runner
from django_dbos.operations.run import Run
from django_dbos.store import errors
from django_dbos.store.base import Store
from django_dbos.store.sessions import Session


class Notifier:
    """Notifies of committed plans, all queued ones at once, on a connection of its own."""

    def __init__(self, store: Store, executor_id: Callable[[], str]) -> None:
        self._store = store
        self._executor_id = executor_id
        self._plans: deque[Plan] = deque()
        self._ended: deque[Run] = deque()
        self._session: Session | None = None
        self._is_notifying = False
        self.loop = Loop("dbos-notifier", self.tick, on_error=self.close, on_end=self._stop)

    @property
    def is_idle(self) -> bool:
        """Whether nothing is left to notify or to log."""
        return not self._plans and not self._ended and not self._is_notifying

    def notify(self, plan: Plan) -> None:
        """Queue the notifications of a committed batch; called by the writer."""
        self._plans.append(plan)
        self.loop.wake()

    def announce(self, run: Run) -> None:
        """Queue the log line of a run whose end is written; called by the writer."""
        self._ended.append(run)
        self.loop.wake()

    def tick(self) -> None:
        """Send and log everything that is queued."""
        self._is_notifying = True
        try:
            plans = [self._plans.popleft() for _ in range(len(self._plans))]
            if plans:
                self._notify(plans)
            self._announce_ends()
        finally:
            self._is_notifying = False

    def _announce_ends(self) -> None:
        while self._ended:
            runner.announce_end(self._ended.popleft())

    def _stop(self) -> None:
        """Log the last ends, even without a database, and close the connection."""
        self._announce_ends()
        self.close()

    def _notify(self, plans: list[Plan]) -> None:
        try:
            self._session = self._session or self._store.connect(self._executor_id(), "notifier")
            self._store.follow_up(self._session, plans)
        except errors.StoreError:
            # A repeated notification does no harm, and the queue doesn't grow: without a database
            # nothing is committed either.
            self._plans.extendleft(reversed(plans))
            raise

    def close(self) -> None:
        """Close the connection; the next tick makes a new one."""
        if self._session is not None:
            self._session.close()
            self._session = None
