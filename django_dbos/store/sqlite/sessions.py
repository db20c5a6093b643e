"""SQLite's connections: one that all of a process's executors share; Django's, for everybody else.

One writer at a time is all that SQLite has, and whoever finds it busy sleeps and looks again, for
longer each time. So the threads of a process take turns by a lock of their own, which wakes the
next at once. Sharing the connection as well keeps its page cache, which any commit of another
connection would empty, and lets the listener see the commits of others alone.
"""

from __future__ import annotations

import json
import re
import sqlite3
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cache
from operator import attrgetter
from typing import Any, Protocol, cast
from uuid import UUID

from django.db import connections

from django_dbos.store import errors, sessions, statements
from django_dbos.store.sessions import Batch, DjangoSession, Params, Row, Session, Statement
from django_dbos.store.statements import PLACEHOLDER

Values = tuple[Any, ...]


def now_text(offset: float = 0.0) -> str:
    """The instant so many seconds from now, as the tables hold it."""
    return to_text(datetime.now(UTC) + timedelta(seconds=offset))


def to_text(instant: datetime) -> str:
    """`fields.instant_to_text()` of an instant in UTC, in a tenth of the time."""
    return instant.replace(tzinfo=None).isoformat(" ", "microseconds")


class SqliteSession(Session, Protocol):
    """What both kinds of connections can do; every statement is given the time as `now`."""

    def run_rows(self, name: str, rows: Sequence[Values], params: Params) -> int:
        """Run a statement with VALUES for rows of those, in their order; say how many it wrote."""


class ClientSession(DjangoSession):
    """Django's connection of this thread."""

    def run(self, name: str, params: Params | None = None) -> list[Row]:
        return super().run(name, _bound(params or {}, datetime.now(UTC)))

    def send_rows(self, batches: Mapping[str, Batch]) -> None:
        now = datetime.now(UTC)
        with sessions.translated_errors(self.alias), connections[self.alias].cursor() as cursor:
            for name, batch in batches.items():
                text = statements.load(self.vendor, name)
                cursor.executemany(text, [_bound(row, now) for row in batch.each()])

    def pack(self, values: Sequence[Any]) -> str:
        return _json(values)

    def pack_rows(self, rows: Sequence[Sequence[Any]], *columns: str) -> Params:
        return {"rows": _json(rows)}

    def run_rows(self, name: str, rows: Sequence[Values], params: Params) -> int:
        text, written = statements.load(self.vendor, name), 0
        given = {"now": now_text(), **params}
        with sessions.translated_errors(self.alias), connections[self.alias].cursor() as cursor:
            for some in parts_of(rows):
                statement = for_rows(text, len(some))
                cursor.execute(statement.text.replace("?", "%s"), statement.params(some, given))
                written += cursor.rowcount
        return written


class WorkerConnection:
    """The one connection of a process's executors, made anew whenever it was closed.

    Whoever uses it holds the lock. Nobody waits for that lock with a transaction of Django's open,
    so who has it gets SQLite's own lock as soon as the others end theirs.
    """

    def __init__(self, alias: str) -> None:
        self._alias = alias
        self._lock = threading.RLock()
        self._connection: sqlite3.Connection | None = None
        self._is_in_transaction = False
        self._opened = 0

    @contextmanager
    def in_use(self) -> Iterator[sqlite3.Connection]:
        """Have it for the length of a block, and the errors as the store's."""
        with self._lock, translated_errors():
            if self._connection is None:
                self._connection = self._connect()
                self._opened += 1
            yield self._connection

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """Have it, and a transaction that holds the write lock; an inner one is part of that."""
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
        """What other connections' commits change."""
        with self.in_use() as connection:
            (version,) = connection.execute("PRAGMA data_version").fetchone()
            return self._opened, version

    def close(self) -> None:
        """Close it; whoever uses it next makes a new one."""
        with self._lock:
            if self._connection is not None:
                self._connection.close()
                self._connection = None

    def leave_to_parent(self) -> None:
        """In a forked process: forget it, open as it is. To close it would end the parent's."""
        if self._connection is not None:
            _parents.append(self._connection)

    def _connect(self) -> sqlite3.Connection:
        # Django's wrapper knows the options, the pragmas, and who wants to be told of it.
        wrapper = connections.create_connection(self._alias)
        with sessions.translated_errors():
            wrapper.connect()
        connection = cast(sqlite3.Connection, wrapper.connection)
        connection.isolation_level = None
        return connection


# Rows of one statement at most: SQLite takes 32,766 parameters.
MAX_ROWS = 512
_VALUES = re.compile(r"(.*VALUES )(\([^;]*?\)s\s*\))(.*)", re.DOTALL)
# What the garbage collector must not close.
_parents: list[sqlite3.Connection] = []


class WorkerSession:
    """One user of the executors' connection."""

    def __init__(self, connection: WorkerConnection) -> None:
        self._connection = connection

    def run(self, name: str, params: Params | None = None) -> list[Row]:
        text, given = (
            _named(statements.load("sqlite", name)),
            _bound(params or {}, datetime.now(UTC)),
        )
        with self._connection.in_use() as connection:
            return connection.execute(text, given).fetchall()

    def run_all(self, statements: Sequence[Statement]) -> list[list[Row]]:
        return [self.run(name, params) for name, params in statements]

    def run_apart(self, work: Sequence[Statement]) -> list[list[Row]]:
        return self.run_all(work)

    def send_rows(self, batches: Mapping[str, Batch]) -> None:
        now = datetime.now(UTC)
        with self._connection.in_use() as connection:
            for name, batch in batches.items():
                text = _named(statements.load("sqlite", name))
                connection.executemany(text, [_bound(row, now) for row in batch.each()])

    def pack(self, values: Sequence[Any]) -> str:
        return _json(values)

    def pack_rows(self, rows: Sequence[Sequence[Any]], *columns: str) -> Params:
        return {"rows": _json(rows)}

    def run_rows(self, name: str, rows: Sequence[Values], params: Params) -> int:
        text, written = statements.load("sqlite", name), 0
        given = {"now": now_text(), **params}
        with self._connection.in_use() as connection:
            for some in parts_of(rows):
                statement = for_rows(text, len(some))
                cursor = connection.execute(statement.text, statement.params(some, given))
                written += cursor.rowcount
        return written

    @contextmanager
    def transaction(self) -> Iterator[None]:
        with self._connection.transaction():
            yield

    def close(self) -> None:
        self._connection.close()


@dataclass(frozen=True, slots=True)
class RowsStatement:
    """A statement with VALUES of so many rows, and which parameters come before and after them."""

    text: str
    before: list[str]
    after: list[str]

    def params(self, rows: Sequence[Values], given: Params) -> list[Any]:
        """All parameters, in the order of the text."""
        listed = [given[name] for name in self.before]
        for row in rows:
            listed += row
        return listed + [given[name] for name in self.after]


@cache
def for_rows(text: str, count: int) -> RowsStatement:
    """A statement whose VALUES has one row, for so many.

    To run it once is better than to run one for each row: sqlite3 lets go of the interpreter's
    lock whenever a statement runs, and in a crowd that is gone for a while.
    """
    before, row, after = _split(text)
    repeated = ", ".join([PLACEHOLDER.sub("?", row)] * count)
    return RowsStatement(
        text=f"{PLACEHOLDER.sub('?', before)}{repeated}{PLACEHOLDER.sub('?', after)}",
        before=PLACEHOLDER.findall(before),
        after=PLACEHOLDER.findall(after),
    )


def row_names(name: str) -> list[str]:
    """Return the parameters of a row in the VALUES of a statement, in their order."""
    _, row, _ = _split(statements.load("sqlite", name))
    return PLACEHOLDER.findall(row)


def _split(text: str) -> tuple[str, str, str]:
    """Return what comes before a statement's row of VALUES, the row, and what comes after it."""
    before, row, after = _VALUES.fullmatch(text).groups()  # type: ignore[union-attr]
    return before, row, after


def parts_of(rows: Sequence[Values]) -> Iterator[list[Values]]:
    """The rows in few parts of few sizes, so that there are few statements to run and prepare.

    Parts are filled up with rows of NULL, which are nobody's.
    """
    for first in range(0, len(rows), MAX_ROWS):
        part = list(rows[first : first + MAX_ROWS])
        room = (1 << (len(part) - 1).bit_length()) - len(part)
        yield part + [(None,) * len(part[0])] * room


def _bound(params: Params, now: datetime) -> Params:
    """Return the parameters as sqlite3 takes them, the time as `now`, and a checkpoint's instants.

    PostgreSQL computes these instants in SQL, with the precision that SQLite's functions lack.
    """
    bound = {name: value.hex if type(value) is UUID else value for name, value in params.items()}
    if "duration" in params:
        timeout = params.get("timeout")
        bound["started_at"] = to_text(now - timedelta(seconds=params["duration"]))
        deadline = None if timeout is None else now + timedelta(seconds=timeout)
        bound["deadline_at"] = None if deadline is None else to_text(deadline)
    return {"now": to_text(now), **bound}


def _json(values: Sequence[Any]) -> str:
    """Return values for `json_each`; a UUID as its column holds it."""
    return json.dumps(list(values), default=attrgetter("hex"))


@cache
def _named(text: str) -> str:
    """A statement as sqlite3 wants its parameters."""
    return PLACEHOLDER.sub(r":\1", text).replace("%%", "%")


@contextmanager
def translated_errors() -> Iterator[None]:
    """Turn sqlite3's errors into the store's."""
    try:
        yield
    except (sqlite3.DataError, sqlite3.IntegrityError) as error:
        raise errors.BadStatement(str(error)) from error
    except (sqlite3.OperationalError, sqlite3.InterfaceError, sqlite3.InternalError) as error:
        raise errors.of_meaning(errors.meaning_of(error), str(error)) from error
