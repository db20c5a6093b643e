"""The engine's own connections to PostgreSQL, and the detection of poolers.

Django makes them, from its settings and with everything that the project does to a connection: its
backend, `assume_role`, receivers of `connection_created`. The engine's own settings come last (rule
43).
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import psycopg
from django.db import connections
from django.db.backends.base.base import BaseDatabaseWrapper

from django_dbos.conf import get_settings
from django_dbos.store.watchdog import Line, get_watchdog

logger = logging.getLogger("django_dbos.store")

Connection = psycopg.Connection[tuple[Any, ...]]

# The settings of the engine's own sessions, whatever a role, a database or the server is set to.
SETTINGS = {
    # Whatever the project's own transactions are: a batch must see what was committed since its
    # fence.
    "default_transaction_isolation": "read committed",
    "default_transaction_read_only": "off",
    # A lock that another session's open transaction holds must not hold up all batches.
    "lock_timeout": "100ms",
    # The watchdog abandons statements that take too long; a session is idle while nothing is due.
    "statement_timeout": "0",
    "idle_session_timeout": "0",
    "idle_in_transaction_session_timeout": "0",
    "transaction_timeout": "0",
    # A prepared statement keeps the plan that was made when its tables were small, until the next
    # ANALYZE: then a scan of the whole table was right, and it no longer is. (Where only a scan is
    # possible it seems so expensive that it would be compiled first: no JIT.)
    "enable_seqscan": "off",
    # By the statistics of an empty table, to collect all rows of an index and to sort them seems to
    # cost as much as to read the first ones in its order.
    "enable_bitmapscan": "off",
    "jit": "off",
    # One plan for all values, made once. By its estimate of a list whose length isn't known, the
    # server would take that for the worse one, and plan the statement anew each time: that takes
    # longer than the statement.
    "plan_cache_mode": "force_generic_plan",
}
# Comparisons of two connections: other clients use the pooler's server connections, too.
COMPARISONS = 3
# Older servers don't know all of them.
SET_ALL = (
    "SELECT set_config(name, CASE name "
    + " ".join(f"WHEN '{name}' THEN '{value}'" for name, value in SETTINGS.items())
    + f" END, false) FROM pg_settings WHERE name IN ({', '.join(map(repr, SETTINGS))})"
)
# Behind a transaction pooler, settings of the session would go to another client with its server
# connection.
SET_LOCALLY = (
    "SELECT set_config('lock_timeout', '100ms', true), set_config('statement_timeout', '0', true), "
    "set_config('idle_in_transaction_session_timeout', '0', true)"
)


# Seconds: Linux refuses longer ones, and with them the connection (MAX_TCP_KEEPIDLE of its tcp.h).
LONGEST_KEEPALIVE = 32_767


def application_name(executor_id: str) -> str:
    """Return the name of an executor's sessions; the id is hashed to stay below 64 bytes."""
    return f"dbos:{hashlib.blake2b(executor_id.encode(), digest_size=16).hexdigest()}"


def keepalives(lease: float) -> dict[str, int]:
    """Return the parameters by which a vanished peer is noticed within about a lease."""
    seconds = min(max(int(lease), 1), LONGEST_KEEPALIVE)
    return {
        "keepalives": 1,
        "keepalives_idle": max(seconds // 2, 1),
        "keepalives_interval": max(seconds // 6, 1),
        "keepalives_count": 3,
        "tcp_user_timeout": seconds * 1000,
    }


def connect(alias: str, *, owner: str, purpose: str, patience: float) -> tuple[Connection, Line]:
    """Open one of the engine's own connections, in autocommit, watched by the watchdog.

    Args:
        alias: The database.
        owner: The executor's id; empty for a connection that belongs to none.
        purpose: The purpose of the connection, for the log.
        patience: Seconds that an answer may take.
    """
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return _connect(alias, owner, purpose, patience)
    # Django refuses to connect where a loop runs.
    made: list[tuple[Connection, Line]] = []
    errors: list[BaseException] = []

    def make() -> None:
        try:
            made.append(_connect(alias, owner, purpose, patience))
        except BaseException as error:
            errors.append(error)

    thread = threading.Thread(target=make, name="dbos-connect", daemon=True)
    thread.start()
    thread.join()
    if errors:
        raise errors[0]
    return made[0]


def _connect(alias: str, owner: str, purpose: str, patience: float) -> tuple[Connection, Line]:
    watchdog = get_watchdog()
    wrapper: Any = _like(connections[alias], owner, watchdog.limit(owner, patience))
    lines: list[Line] = []
    make = wrapper.get_new_connection

    def get_new_connection(params: dict[str, Any]) -> Any:
        connection = make(params)
        descriptor = connection.fileno()
        lines.append(watchdog.watch(descriptor, owner=owner, purpose=purpose, patience=patience))
        return connection

    # Watched from its very first statement on, those of the project's receivers included.
    wrapper.get_new_connection = get_new_connection
    try:
        with wrapper.wrap_database_errors:
            wrapper.connect()
    except BaseException:
        for line in lines:
            watchdog.forget(line)
        raise
    connection: Connection = wrapper.connection
    connection.autocommit = True
    # Django's puts parameters into the text, for poolers' sake.
    connection.cursor_factory = psycopg.Cursor
    connection.prepare_threshold = 5
    return connection, lines[0]


def _like(wrapper: BaseDatabaseWrapper, owner: str, patience: float) -> BaseDatabaseWrapper:
    """Return a wrapper of Django's like this one, with the parameters as they are now."""
    options = dict(wrapper.settings_dict["OPTIONS"])
    options.pop("pool", None)
    options.setdefault("connect_timeout", max(round(patience), 2))
    options.update(keepalives(get_settings().lease))
    if owner:
        options["application_name"] = application_name(owner)
    settings = {**wrapper.settings_dict, "OPTIONS": options, "AUTOCOMMIT": True}
    return type(wrapper)(settings, wrapper.alias)


class Pooling:
    """The detection of a pooler that gives every transaction another connection (rule 48).

    `DBOS["TRANSACTION_POOLER"]` states it, or it is detected: then sessions keep nothing.

    Args:
        alias: The database.
        on_found: Called when a pooler is detected.
    """

    # This many missing prepared statements within this many seconds are no coincidence.
    LOST, LOST_WITHIN = 3, 60.0

    def __init__(self, alias: str, on_found: Callable[[], None]) -> None:
        self._alias = alias
        self._on_found = on_found
        self.is_found = False
        """True if one was detected."""
        self._lost: deque[float] = deque(maxlen=self.LOST)

    @property
    def is_on(self) -> bool:
        """True if a pooler has been declared or detected."""
        return self.is_found or get_settings().transaction_pooler

    def detect(self, patience: float) -> None:
        """Compare two connections to detect a pooler."""
        if self.is_on:
            return
        with (
            connections[self._alias].wrap_database_errors,
            self._open(patience) as first,
            self._open(patience) as second,
        ):
            is_shared = _share(first, second)
        if is_shared:
            self._note("two sessions shared one connection to the server")

    @contextmanager
    def _open(self, patience: float) -> Iterator[Connection]:
        connection, line = connect(self._alias, owner="", purpose="start", patience=patience)
        try:
            yield connection
        finally:
            connection.close()
            get_watchdog().forget(line)

    def note_error(self, sqlstate: str | None) -> None:
        """Note an error that another session's prepared statements may have caused."""
        if self.is_on:
            return
        if sqlstate == "42P05":
            self._note("a session met statements that another one had prepared")
        if sqlstate == "26000":
            now = time.monotonic()
            self._lost.append(now)
            if len(self._lost) == self.LOST and now - self._lost[0] < self.LOST_WITHIN:
                self._note("sessions lost the statements that they had prepared")

    def _note(self, why: str) -> None:
        self.is_found = True
        logger.warning(
            "Database %r is behind a pooler in transaction mode: %s. Set "
            "DBOS['TRANSACTION_POOLER'] = True. Continuing as if it were set: without LISTEN, "
            "session locks and prepared statements.",
            self._alias,
            why,
        )
        self._on_found()


def _share(first: Connection, second: Connection) -> bool:
    """Return whether two open connections share a server connection."""
    for _ in range(COMPARISONS):
        served_by = _backend_pid(first)
        # A transaction keeps its server connection for as long as it is open.
        second.execute("BEGIN")
        if _backend_pid(second) == served_by or _backend_pid(first) != served_by:
            return True
        second.execute("ROLLBACK")
    return False


def _backend_pid(connection: Connection) -> int:
    (found,) = connection.execute("SELECT pg_backend_pid()", prepare=False).fetchall()
    return int(found[0])
