"""A thread that runs duties, one after another, on one connection."""

from __future__ import annotations

import logging
import math
from collections.abc import Sequence

from django.db import Error

from django_dbos.executor.clock import Clock
from django_dbos.executor.connection import Connection
from django_dbos.executor.duties.duty import Duty
from django_dbos.executor.identity import Identity
from django_dbos.executor.loop import Loop
from django_dbos.store import errors
from django_dbos.store.records import HeartbeatReport
from django_dbos.store.sessions import Session
from django_dbos.telemetry import concealing

logger = logging.getLogger("django_dbos.executor")


class DutyThread:
    """A thread that runs each duty when it is due, in the order of the list."""

    def __init__(
        self, name: str, identity: Identity, clock: Clock, duties: Sequence[Duty] = ()
    ) -> None:
        self.connection = Connection(identity, name)
        self._clock = clock
        self._duties = list(duties)
        self.loop = Loop(f"dbos-{name}", self.tick, on_error=self.disconnect, on_end=self.close)

    def add(self, duty: Duty) -> None:
        """Append a duty; only before the thread starts."""
        self._duties.append(duty)

    @property
    def is_empty(self) -> bool:
        """True if there are no duties, so that the thread need not start."""
        return not self._duties

    def register(self) -> None:
        """Prepare all duties for the executor's life under a new id."""
        for duty in self._duties:
            duty.register(self.connection.get())

    def tick(self) -> float | None:
        """Run the duties that are due; return the seconds until the next one is."""
        for duty in self._duties:
            if duty.is_due:
                self._perform(duty)
        next_at = min((duty.next_at for duty in self._duties), default=math.inf)
        return None if next_at == math.inf else max(next_at - self._clock(), 0.0)

    def _perform(self, duty: Duty) -> None:
        try:
            duty.perform(self.connection.get())
        except (errors.StoreError, Error):
            # No other duty would get further: the loop tries again after a pause.
            raise
        except Exception as error:
            logger.error(
                "%s failed; it runs again later",
                type(duty).__name__,
                exc_info=concealing.shown("", error),
            )

    def report(self, session: Session, report: HeartbeatReport) -> None:
        """Hand a heartbeat's report to all duties."""
        for duty in self._duties:
            duty.on_heartbeat(session, report)

    def disconnect(self) -> None:
        """Close the connection, after an error or for a new id; the next run opens another one."""
        self.close()
        for duty in self._duties:
            duty.on_disconnect()

    def close(self) -> None:
        """Close the connection."""
        self.connection.close()
