"""Teller: after the commit of batches, wakes and notifies whoever waits for what they wrote, and
logs the ends of runs.

Apart from the writer, whose next batch must not wait for it. What is lost here costs a look on a
timer, never correctness.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from django_dbos.core.plan import Plan
from django_dbos.executor.loop import Loop
from django_dbos.operations import running
from django_dbos.operations.run import Run
from django_dbos.store import errors
from django_dbos.store.base import Store
from django_dbos.store.sessions import Session


class Teller:
    """A thread with a connection of its own; plans that queue up are told of at once."""

    def __init__(self, store: Store, executor_id: Callable[[], str]) -> None:
        self._store = store
        self._executor_id = executor_id
        self._plans: deque[Plan] = deque()
        self._ended: deque[Run] = deque()
        self._session: Session | None = None
        self._is_telling = False
        self.loop = Loop("dbos-teller", self.tick, on_error=self.close, on_end=self._stop)

    @property
    def is_idle(self) -> bool:
        """Whether there is nothing left to tell."""
        return not self._plans and not self._ended and not self._is_telling

    def tell(self, plan: Plan) -> None:
        """Tell of a committed batch, soon; called by the writer."""
        self._plans.append(plan)
        self.loop.wake()

    def announce(self, run: Run) -> None:
        """Say that a run's end is written, soon; called by the writer."""
        self._ended.append(run)
        self.loop.wake()

    def tick(self) -> None:
        """Tell of all that is queued."""
        self._is_telling = True
        try:
            plans = [self._plans.popleft() for _ in range(len(self._plans))]
            if plans:
                self._tell_of(plans)
            self._announce_ends()
        finally:
            self._is_telling = False

    def _announce_ends(self) -> None:
        while self._ended:
            running.announce_end(self._ended.popleft())

    def _stop(self) -> None:
        """What ended last is in the log too, whether or not the database is there."""
        self._announce_ends()
        self.close()

    def _tell_of(self, plans: list[Plan]) -> None:
        try:
            self._session = self._session or self._store.connect(self._executor_id(), "teller")
            self._store.follow_up(self._session, plans)
        except errors.StoreError:
            # To tell twice does no harm. Meanwhile nothing more is committed, if the database is
            # away, so that these don't pile up.
            self._plans.extendleft(reversed(plans))
            raise

    def close(self) -> None:
        """Close the connection; the next tick makes a new one."""
        if self._session is not None:
            self._session.close()
            self._session = None
