"""Lost sessions: a session whose connection was lost may still carry out its last statement.

Before anything is repeated that the session may still commit, it must have ended (rules 12, 27).
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

from django_dbos.store.sessions import Params, Row

if TYPE_CHECKING:
    import psycopg

# Seconds between two checks whether a session is still there.
CHECK_PAUSE = 0.02


class Backend(NamedTuple):
    """A session as the server knows it.

    The names are there because the server may have given the number to another session by now.
    """

    pid: int
    application_name: str
    user_name: str


def backend_of(connection: psycopg.Connection[Any]) -> Backend:
    """Return the session of an open connection."""
    info = connection.info
    name = info.parameter_status("application_name") or ""
    return Backend(info.backend_pid, name, info.user)


def end_lost_session(
    run: Callable[[Params], list[Row]], backend: Backend, *, grace: float, patience: float
) -> None:
    """Wait for the end of a lost session; have the server end it once the grace is over.

    A pooler's sessions have other names: they aren't found, and nothing is known of them.

    Args:
        run: Runs the statement `end_lost_session` on another session.
        backend: The lost session.
        grace: Seconds for which it may end by itself.
        patience: Seconds to wait after that.
    """
    # The time that the statements take isn't counted: a slow server gets as many checks.
    waited = 0.0
    while waited < grace + patience:
        if not run({**backend._asdict(), "must_end": waited >= grace}):
            return
        time.sleep(CHECK_PAUSE)
        waited += CHECK_PAUSE
