"""Step deletions: what deleted and rewound workflows left on step databases goes for certain."""

from __future__ import annotations

import logging
from collections.abc import Sequence

from django.db import Error

from django_dbos.executor.clock import Clock
from django_dbos.executor.duties.duty import Duty
from django_dbos.store import elsewhere, errors
from django_dbos.store.base import Store
from django_dbos.store.sessions import Session

logger = logging.getLogger("django_dbos.executor")

# Seconds between two looks, and between two statements while there is something to delete.
PERIOD, PAUSE = 600.0, 0.1


class StepDeletions(Duty):
    """The repetition of deletions, some at a time, on Django's connections of the thread."""

    def __init__(self, store: Store, clock: Clock, aliases: Sequence[str]) -> None:
        super().__init__(clock, period=PERIOD, first=0.0)
        self._store = store
        self._aliases = aliases

    def run(self, session: Session) -> float | None:
        """Repeat some deletions; return the seconds until the next ones."""
        try:
            deleted = elsewhere.confirm_deletions(self._store.alias, self._aliases)
        except (errors.StoreError, Error) as error:
            # Retention, on the same thread, doesn't need those databases.
            logger.warning(
                "The atomic steps of deleted and rewound workflows couldn't be deleted on %s; the "
                "next attempt is in %d s: %r",
                ", ".join(map(repr, self._aliases)), PERIOD, error,
            )  # fmt: skip
            return None
        return None if deleted is None else PAUSE
