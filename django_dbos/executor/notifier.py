"""Notifier: after a batch commits, wakes the rows and notifies the processes that wait for it.

It also reports the ends of runs. It runs apart from the writer, whose next batch must not wait for
it. A lost notification costs a poll on a timer, never correctness.
"""

from __future__ import annotations

from collections import deque

from django_dbos import telemetry
from django_dbos.core.batch.plan import Plan
from django_dbos.executor.connection import Connection
from django_dbos.executor.identity import Identity
from django_dbos.executor.loop import Loop
from django_dbos.operations.run import Run
from django_dbos.store import errors


class Notifier:
    """The thread that notifies of committed plans, all queued ones at once."""

    def __init__(self, identity: Identity) -> None:
        self._store = identity.store
        self._connection = Connection(identity, "notifier")
        self._plans: deque[Plan] = deque()
        self._cancelled: deque[str] = deque()
        self._ended: deque[Run] = deque()
        self._is_notifying = False
        self.loop = Loop(
            "dbos-notifier", self.tick, on_error=self._connection.close, on_end=self._stop
        )

    @property
    def is_idle(self) -> bool:
        """True if nothing is left to notify or to log."""
        left = self._plans or self._cancelled or self._ended
        return not left and not self._is_notifying

    def notify(self, plan: Plan) -> None:
        """Queue the notifications of a committed batch; called by the writer."""
        self._plans.append(plan)
        self.loop.wake()

    def wake_after_cancel(self, workflow_id: str) -> None:
        """Queue the wake-ups of those that wait for a workflow, which a client has cancelled.

        Called from any thread, after the commit of the client (CORRECTNESS rule 105).
        """
        self._cancelled.append(workflow_id)
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
            self._wake_after_cancels()
            self._announce_ends()
        finally:
            self._is_notifying = False

    def _wake_after_cancels(self) -> None:
        cancelled = {self._cancelled.popleft() for _ in range(len(self._cancelled))}
        if cancelled:
            # If that fails, the sweep finds those that wait.
            self._store.wake_after_cancels(self._connection.get(), sorted(cancelled))

    def _announce_ends(self) -> None:
        while self._ended:
            telemetry.run_ended(self._ended.popleft())

    def _stop(self) -> None:
        """Log the last ends, even without a database, and close the connection."""
        self._announce_ends()
        self._connection.close()

    def _notify(self, plans: list[Plan]) -> None:
        try:
            self._store.announce_plans(self._connection.get(), plans)
        except errors.StoreError:
            # A repeated notification does no harm, and the queue doesn't grow: without a database
            # nothing is committed either.
            self._plans.extendleft(reversed(plans))
            raise
