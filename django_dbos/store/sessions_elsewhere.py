"""Sessions on other databases, in which atomic steps with `using=` work, and which may be lost."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterable

from django.db import Error, ProgrammingError, connections

from django_dbos.store import errors
from django_dbos.store.postgresql import lost_sessions
from django_dbos.store.postgresql.lost_sessions import Backend as Backend
from django_dbos.store.sessions import DjangoSession

logger = logging.getLogger("django_dbos.store")

# Seconds for which a lost session may end by itself, and to wait after that for its forced end.
OWN_END, FORCED_END = 2.0, 5.0


def backend_of(alias: str) -> Backend | None:
    """Return the session of this thread's connection; None where sessions don't outlive it."""
    wrapper = connections[alias]
    if wrapper.vendor != "postgresql" or wrapper.connection is None or wrapper.connection.closed:
        return None
    return lost_sessions.backend_of(wrapper.connection)


def end_lost_session(alias: str, backend: Backend) -> None:
    """Wait for the end of a session that this process has lost; after a while have it ended.

    Its transaction is over then, and holds no locks any more.
    """
    session = DjangoSession(alias, "postgresql")
    try:
        lost_sessions.end_lost_session(
            lambda params: session.run("end_lost_session", params),
            backend,
            grace=OWN_END,
            patience=FORCED_END,
        )
    except ProgrammingError as error:
        # A role that has been assumed may not end its own login's sessions.
        logger.warning("A lost session on %r couldn't be ended: %r", alias, error)


def end_sessions(executor_id: str, aliases: Iterable[str]) -> None:
    """End the sessions of a dead executor on other databases, each on a thread of its own.

    Their locks would hold up the next run of its steps. Nothing else depends on it.
    """
    for alias in aliases:
        if connections[alias].vendor == "postgresql":
            args = (executor_id, alias)
            threading.Thread(target=_end_sessions, args=args, name="dbos-end", daemon=True).start()


def _end_sessions(executor_id: str, alias: str) -> None:
    # Imported here: it loads psycopg, a megabyte that SQLite doesn't need.
    from django_dbos.store.postgresql.connections import application_name

    session = DjangoSession(alias, "postgresql")
    try:
        session.run("end_sessions", {"application_name": application_name(executor_id)})
    except (Error, errors.StoreError) as error:
        logger.warning(
            "The sessions of executor %s on database %r couldn't be ended: %r",
            executor_id, alias, error,
        )  # fmt: skip
    finally:
        session.close()
