"""Retention: deletes finished workflows and past runs by the rules, a few rows at a time.

It has a thread and a connection of its own, since one workflow may have millions of rows and the
heartbeat must not wait for them.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator

from django_dbos.executor.clock import Clock
from django_dbos.executor.duties.duty import Duty
from django_dbos.executor.pruning import Pruned, Pruning
from django_dbos.store import errors
from django_dbos.store.sessions import Session

logger = logging.getLogger("django_dbos.executor")

# Seconds between two passes, and after a statement at least.
PERIOD, PAUSE = 60.0, 0.005
# The seconds of rest for a second of statements: what they take, a drain beside them lacks.
REST = 2.5
# A pass that only reads may take this share of the time until the next one ends.
READING = 0.02
# Seconds of statements that may follow one another without a rest.
QUICK = 0.002


class Retention(Duty):
    """The deletion of old rows: one statement a run, then a rest that is longer than it."""

    def __init__(self, clock: Clock, pruning: Pruning) -> None:
        super().__init__(clock, period=PERIOD, first=0.0)
        self._pruning = pruning
        self._work: Iterator[Pruned] | None = None
        self._pruned = Pruned()
        self._busy = 0.0
        """Seconds that the statements of this pass have taken."""

    def run(self, session: Session) -> float | None:
        """Run one statement, or several quick ones; return the seconds until the next."""
        if self._work is None:
            self._work, self._busy = self._pruning.delete_old(session), 0.0
        took = 0.0
        try:
            for pruned in self._work:
                self._pruned = pruned
                took += self._pruning.took
                if took > QUICK:
                    self._busy += took
                    return max(took * REST, PAUSE)
        except errors.StoreError as error:
            self._work = None
            if not self._pruning.shrink():
                # The loop's pause comes before the next attempt.
                self.hurry()
                raise
            logger.info("Retention goes on with %d rows at once: %r", self._pruning.rows, error)
            return PAUSE
        self._work = None
        self._log()
        self.period = max(PERIOD, (self._busy + took) / READING)
        return None

    def on_disconnect(self) -> None:
        """Begin anew, with another connection."""
        self._work = None

    def _log(self) -> None:
        if self._pruned.total:
            logger.info("Retention has deleted %d workflows", self._pruned.total)
