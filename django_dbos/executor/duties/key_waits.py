"""Key waits: workflows whose values a worker couldn't decrypt go on where the key is.

Any worker may claim them then, also one without the key again. So the pause grows while there are
some (CORRECTNESS rule 95).
"""

from __future__ import annotations

import math

from django_dbos.core.backoff import Backoff
from django_dbos.encryption import get_keyring
from django_dbos.executor.clock import Clock
from django_dbos.executor.duties.duty import Duty
from django_dbos.store.base import Store
from django_dbos.store.sessions import Session

# Seconds between two looks, at least and at most.
FIRST_PAUSE, LAST_PAUSE = 5.0, 60.0


class KeyWaits(Duty):
    """The look for workflows that wait for a key which this executor has."""

    def __init__(self, store: Store, clock: Clock) -> None:
        super().__init__(clock, period=math.inf, first=0.0)
        self._store = store
        self._pauses = Backoff(FIRST_PAUSE, LAST_PAUSE)

    def run(self, session: Session) -> float | None:
        """Enqueue them; return the seconds until the next look."""
        keyring = get_keyring()
        if keyring is None:
            return None
        if not self._store.wake_for_keys(session, keyring.key_ids):
            self._pauses.reset()
            return FIRST_PAUSE
        return self._pauses.grow()
