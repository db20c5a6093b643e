"""Duty: a task that an executor repeats. Each is a class in a file of its own.

A new duty is such a file and one line in the list of `housekeeping.py`, or of a thread of its own.
"""

from __future__ import annotations

import abc

from django_dbos.executor.clock import Clock
from django_dbos.store.records import HeartbeatReport
from django_dbos.store.sessions import Session


class Duty(abc.ABC):
    """A task with a period, which a `DutyThread` runs on its connection.

    `period` is in seconds; infinity for a duty that only `hurry` or a heartbeat's report brings on.
    `first` is the seconds until the first run, by default a period. A run that fails is logged, and
    the next one comes a period later.
    """

    def __init__(self, clock: Clock, *, period: float, first: float | None = None) -> None:
        self.clock = clock
        self.period = period
        self.next_at = clock() + (period if first is None else first)
        """When the duty is due, on the clock."""

    @abc.abstractmethod
    def run(self, session: Session) -> float | None:
        """Do the task; return the seconds until the next run (None: a period)."""

    def register(self, session: Session) -> None:
        """Prepare for the executor's life under a new id, before anything is claimed."""
        return

    def on_heartbeat(self, session: Session, report: HeartbeatReport) -> None:
        """Act on the report of a heartbeat."""
        return

    def on_disconnect(self) -> None:
        """Note that the thread's connection was closed, after an error or for a new id."""
        return

    @property
    def is_due(self) -> bool:
        """True if it is time for the next run."""
        return self.clock() >= self.next_at

    def hurry(self, seconds: float = 0.0) -> None:
        """Bring the next run forward: it is due in `seconds` at the latest."""
        self.next_at = min(self.next_at, self.clock() + seconds)

    def perform(self, session: Session) -> None:
        """Run, and schedule the next run unless `hurry` was called in the meantime."""
        scheduled = self.next_at = self.clock() + self.period
        seconds = self.run(session)
        if self.next_at == scheduled:
            self.next_at = self.clock() + (self.period if seconds is None else seconds)
