"""SQLite's sessions: one connection that all executors of a process share, and Django's.

SQLite has one writer at a time, and a session that finds it busy sleeps and tries again, longer
each time. So the threads of a process take turns by a lock of their own, which wakes the next one
at once. The shared connection also keeps its page cache, which any commit of another connection
would empty, and shows the listener only the commits of other connections.
"""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from types import TracebackType
from typing import Any, Protocol, cast

from django.db import connections

from django_dbos.store import errors, sessions, statements
from django_dbos.store.sessions import Batch, DjangoSession, Params, Row, Session, Statement
from django_dbos.store.sqlite.parameters import (
    bound,
    now_text,
    read_clock,
    to_json,
    with_named_parameters,
)
from django_dbos.store.sqlite.row_statements import Values, for_rows, parts_of


class SqliteSession(Session, Protocol):
    """A session of either kind; every statement gets the time as `now`."""

    def run_rows(self, name: str, rows: Sequence[Values], params: Params) -> int:
        """Run a statement with VALUES for these rows; return the number of rows written."""


class ClientSession(DjangoSession):
    """Django's connection of this thread."""

    def run(self, name: str, params: Params | None = None) -> list[Row]:
        return super().run(name, bound(params or {}, read_clock()))

    def send_rows(self, batches: Mapping[str, Batch]) -> None:
        now = read_clock()
        with sessions.translated_errors(self.alias), connections[self.alias].cursor() as cursor:
            for name, batch in batches.items():
                text = statements.load(self.vendor, name)
                cursor.executemany(text, [bound(row, now) for row in batch.each()])

    def pack(self, values: Sequence[Any]) -> str:
        return to_json(values)

    def pack_rows(self, rows: Sequence[Sequence[Any]], *columns: str) -> Params:
        return {"rows": to_json(rows)}

    def run_rows(self, name: str, rows: Sequence[Values], params: Params) -> int:
        text, written = statements.load(self.vendor, name), 0
        given = {"now": now_text(), **params}
        with sessions.translated_errors(self.alias), connections[self.alias].cursor() as cursor:
            for part in parts_of(rows):
                statement = for_rows(text, len(part))
                cursor.execute(statement.text.replace("?", "%s"), statement.params(part, given))
                written += cursor.rowcount
        return written


class WorkerConnection:
    """The one connection of a process's executors, reopened whenever it was closed.

    A thread uses it under the lock. No thread waits for that lock with a transaction of Django's
    open, so its holder gets SQLite's own lock as soon as the others end their transactions.
    """

    def __init__(self, alias: str) -> None:
        self._alias = alias
        self._lock = threading.RLock()
        self._connection: sqlite3.Connection | None = None
        self._is_in_transaction = False
        self._opened = 0
        self._use = _Use(self._lock, self._open)

    def in_use(self) -> AbstractContextManager[sqlite3.Connection]:
        """Hold the connection for the length of a block, whose errors become the store's."""
        return self._use

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """Hold the connection in a transaction with the write lock; an inner block joins it."""
        with self.in_use() as connection:
            if self._is_in_transaction:
                yield
                return
            self.begin(connection)
            try:
                yield
                connection.execute("COMMIT")
            except BaseException:
                if connection.in_transaction:
                    connection.execute("ROLLBACK")
                raise
            finally:
                self._is_in_transaction = False

    def begin(self, connection: sqlite3.Connection) -> None:
        """Begin a transaction."""
        connection.execute("BEGIN IMMEDIATE")
        self._is_in_transaction = True

    def version(self) -> tuple[int, int]:
        """Return a number that changes with other connections' commits."""
        with self.in_use() as connection:
            (version,) = connection.execute("PRAGMA data_version").fetchone()
            return self._opened, version

    def close(self) -> None:
        """Close it; its next use makes a new one."""
        with self._lock:
            if self._connection is not None:
                self._connection.close()
                self._connection = None

    def leave_to_parent(self) -> None:
        """Keep the parent's connection open in a forked process: to close it would end both."""
        if self._connection is not None:
            _parents.append(self._connection)

    def _open(self) -> sqlite3.Connection:
        if self._connection is None:
            self._connection = self._connect()
            self._opened += 1
        return self._connection

    def _connect(self) -> sqlite3.Connection:
        # Django's wrapper applies the options and pragmas, and sends its signals.
        wrapper = connections.create_connection(self._alias)
        with sessions.translated_errors():
            wrapper.connect()
        connection = cast(sqlite3.Connection, wrapper.connection)
        connection.isolation_level = None
        return connection


class _Use(AbstractContextManager[sqlite3.Connection]):
    """A block that uses the connection; a class takes a fifth of the time of generators.

    It has no state of its own, so that one serves all threads, and blocks inside blocks.
    """

    def __init__(self, lock: threading.RLock, connect: Callable[[], sqlite3.Connection]) -> None:
        self._lock = lock
        self._connect = connect

    def __enter__(self) -> sqlite3.Connection:
        self._lock.acquire()
        try:
            return self._connect()
        except BaseException as error:
            self._leave(error)
            raise

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._leave(error)

    def _leave(self, error: BaseException | None) -> None:
        self._lock.release()
        if isinstance(error, sqlite3.Error):
            raise_translated(error)


# Connections that the garbage collector must not close.
_parents: list[sqlite3.Connection] = []


class WorkerSession:
    """A user of the executors' connection."""

    def __init__(self, connection: WorkerConnection) -> None:
        self._connection = connection

    def run(self, name: str, params: Params | None = None) -> list[Row]:
        text = with_named_parameters(statements.load("sqlite", name))
        given = bound(params or {}, read_clock())
        with self._connection.in_use() as connection:
            return connection.execute(text, given).fetchall()

    def run_all(self, statements: Sequence[Statement]) -> list[list[Row]]:
        return [self.run(name, params) for name, params in statements]

    def run_as_one(self, statements: Sequence[Statement]) -> list[Row]:
        with self.transaction():
            return self.run_all(statements)[-1]

    def run_apart(self, work: Sequence[Statement]) -> list[list[Row]]:
        return self.run_all(work)

    def send_rows(self, batches: Mapping[str, Batch]) -> None:
        now = read_clock()
        with self._connection.in_use() as connection:
            for name, batch in batches.items():
                text = with_named_parameters(statements.load("sqlite", name))
                connection.executemany(text, [bound(row, now) for row in batch.each()])

    def pack(self, values: Sequence[Any]) -> str:
        return to_json(values)

    def pack_rows(self, rows: Sequence[Sequence[Any]], *columns: str) -> Params:
        return {"rows": to_json(rows)}

    def run_rows(self, name: str, rows: Sequence[Values], params: Params) -> int:
        text, written = statements.load("sqlite", name), 0
        given = {"now": now_text(), **params}
        with self._connection.in_use() as connection:
            for part in parts_of(rows):
                statement = for_rows(text, len(part))
                cursor = connection.execute(statement.text, statement.params(part, given))
                written += cursor.rowcount
        return written

    def transaction(self) -> AbstractContextManager[None]:
        return self._connection.transaction()

    def close(self) -> None:
        self._connection.close()


def raise_translated(error: sqlite3.Error) -> None:
    """Raise the store's error for one of sqlite3's; return if that is a fault of the code."""
    if isinstance(error, sqlite3.DataError | sqlite3.IntegrityError):
        raise errors.BadStatement(str(error)) from error
    if isinstance(error, sqlite3.OperationalError | sqlite3.InterfaceError | sqlite3.InternalError):
        raise errors.of_meaning(errors.meaning_of(error), str(error)) from error
