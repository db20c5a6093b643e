"""Connection: a session of the executor's own, for one of its threads."""

from __future__ import annotations

from django_dbos.executor.identity import Identity
from django_dbos.store.sessions import Session


class Connection:
    """A session that is opened at its first use, and reopened when the executor has a new id."""

    def __init__(self, identity: Identity, purpose: str) -> None:
        self._identity = identity
        self._purpose = purpose
        self._executor_id = ""
        self.session: Session | None = None
        """The open session; None while there is none."""

    def get(self) -> Session:
        """Return the open session, or open one."""
        executor_id = self._identity.executor_id
        if self.session is not None and executor_id != self._executor_id:
            self.close()
        if self.session is None:
            self.session = self._identity.store.connect(executor_id, self._purpose)
            self._executor_id = executor_id
        return self.session

    def close(self) -> None:
        """Close the session; the next use opens another one."""
        if self.session is not None:
            self.session.close()
            self.session = None
