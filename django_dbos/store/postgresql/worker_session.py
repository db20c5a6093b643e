"""The worker's session on PostgreSQL: prepared statements, pipelines, messages that notify."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, NoReturn, cast

import psycopg
from psycopg import abc
from psycopg.adapt import PyFormat, Transformer
from psycopg.pq import ExecStatus
from psycopg.pq.abc import PGresult

from django_dbos.store import statements
from django_dbos.store.postgresql.arrays import array, arrays
from django_dbos.store.postgresql.client_session import by_column
from django_dbos.store.postgresql.connections import SET_LOCALLY, Pooling
from django_dbos.store.postgresql.multi_statements import (
    filled_in,
    in_own_transactions,
    literals,
    notify_statements,
    read_results,
)
from django_dbos.store.postgresql.worker_connection import WorkerConnection
from django_dbos.store.sessions import Batch, Params, Row, Statement

# Planned at each call, with the values in the text: the best plan depends on them.
NOT_PREPARED = frozenset({"heartbeat", "wake_satisfied"})
BEGIN = "BEGIN ISOLATION LEVEL READ COMMITTED"
BEGIN_POOLED = f"{BEGIN} READ WRITE"


class WorkerSession(WorkerConnection):
    """The store's statements on an executor's own connection."""

    def __init__(
        self, alias: str, executor_id: str, purpose: str, *, pooling: Pooling, lease: float
    ) -> None:
        super().__init__(alias, executor_id, purpose, pooling=pooling, lease=lease)
        self._numbers = itertools.count()

    def pack(self, values: Sequence[Any]) -> Any:
        return array(values) if values else []

    def pack_rows(self, rows: Sequence[Sequence[Any]], *columns: str) -> Params:
        return by_column(rows, columns)

    def run(self, name: str, params: Params | None = None) -> list[Row]:
        if self._needs_block:
            with self.transaction():
                return self._run_together([(name, params or {})])[0]
        if self._may_block(name):
            with self._waiting():
                return self._run_prepared(name, params or {})
        return self._run_together([(name, params or {})])[0]

    def run_all(self, statements: Sequence[Statement]) -> list[list[Row]]:
        if len(statements) == 1:
            return [self.run(*statements[0])]
        if self._needs_block:
            with self.transaction():
                return self._run_together(statements)
        return self._run_together(statements)

    def run_as_one(self, statements: Sequence[Statement]) -> list[Row]:
        # Statements that are sent together commit together.
        if not all(self._may_block(name) for name, _ in statements):
            return self.run_all(statements)[-1]
        with self._waiting():
            connection = self._begin_wait()
            calls = [self._call(name, params) for name, params in statements]
            # libpq's own call: a pipeline takes and gives back the GIL again and again, which runs
            # hold meanwhile. It returns the last result.
            result = connection.pgconn.exec_(";".join(calls).encode(connection.info.encoding))
            return _rows(result, connection, Transformer(connection))

    @property
    def _needs_block(self) -> bool:
        """True if a statement's settings must be made in its transaction."""
        return self.is_pooled and self._pipeline is None

    def _run_together(self, statements: Sequence[Statement]) -> list[list[Row]]:
        with self._waiting():
            if self._pipeline is None and len(statements) > 1:
                # Statements that are sent together commit together.
                with self._begin_wait().pipeline():
                    cursors = [self._execute(name, params) for name, params in statements]
            else:
                cursors = [self._execute(name, params) for name, params in statements]
            if self._pipeline is not None:
                # One round trip for all of them; no cursor knows its result before.
                self._pipeline.sync()
            return [_fetch(cursor) for cursor in cursors]

    def send_rows(self, batches: Mapping[str, Batch]) -> None:
        with self._waiting():
            for name, batch in batches.items():
                self._execute(name, arrays(batch.lists()))

    def run_apart(self, work: Sequence[Statement]) -> list[list[Row]]:
        if self.is_pooled:
            return self._run_apart_pooled(work)
        with self._waiting():
            connection = self._begin_wait()
            calls = [self._call(name, params) for name, params in work]
            try:
                return read_results(connection.execute(in_own_transactions(calls)), len(calls))
            except BaseException:
                self._roll_back()
                raise

    def _run_apart_pooled(self, work: Sequence[Statement]) -> list[list[Row]]:
        with self._waiting():
            connection = self._begin_wait()
            try:
                # One wait for all of them: psycopg's sync(), which would part them, is one each.
                with connection.pipeline():
                    cursors = []
                    for name, params in work:
                        connection.execute(BEGIN_POOLED)
                        cursors.append(self._execute(name, params))
                        connection.execute("COMMIT")
            except BaseException:
                self._roll_back()
                raise
            return [_fetch(cursor) for cursor in cursors]

    def run_and_notify(
        self, work: Sequence[Statement], channel: str, payloads: Sequence[str]
    ) -> list[list[Row]]:
        """Run statements that commit together, then notify: all in one message to the server.

        The parameters are in the text: that takes less than a pipeline, and a second message would
        be another round trip. The statements are prepared under their names, so there must be no
        pooler. After an error it isn't known whether the statements were committed.
        """
        with self._waiting():
            connection = self._begin_wait()
            calls = [self._call(name, params) for name, params in work]
            texts, params = notify_statements(channel, payloads)
            notifications = [filled_in(connection, text, params) for text in texts]
            try:
                cursor = connection.execute(in_own_transactions([";".join(calls), *notifications]))
            except BaseException:
                self._roll_back()
                raise
            return read_results(cursor, len(calls))

    @contextmanager
    def transaction(self) -> Iterator[None]:
        with self._waiting():
            connection = self._begin_wait()
            try:
                # BEGIN travels with the first statements, COMMIT with the last. psycopg's own
                # transaction() waits for an answer to each.
                with connection.pipeline() as self._pipeline:
                    connection.execute(BEGIN_POOLED if self.is_pooled else BEGIN)
                    if self.is_pooled:
                        connection.execute(SET_LOCALLY)
                    yield
                    connection.execute("COMMIT")
            except BaseException:
                self._roll_back()
                raise
            finally:
                self._pipeline = None

    def _execute(self, name: str, params: Params | None) -> psycopg.Cursor[Row]:
        text, connection = statements.load("postgresql", name), self._begin_wait()
        if name in NOT_PREPARED:
            return connection.execute(filled_in(connection, text, params or {}), prepare=False)
        return connection.execute(text, params or {}, prepare=not self.is_pooled)

    def _may_block(self, name: str) -> bool:
        """Return whether libpq itself may wait: the main thread must stay open to signals."""
        is_plain = self._pipeline is None and not self.is_pooled and name not in NOT_PREPARED
        return is_plain and threading.current_thread() is not threading.main_thread()

    def _run_prepared(self, name: str, params: Params) -> list[Row]:
        """Run a statement by libpq's own call, in a transaction of its own.

        psycopg's way takes 0.03 to 0.08 ms more: a cursor, and a generator that waits.
        """
        connection = self._begin_wait()
        text, names = statements.numbered(statements.load("postgresql", name))
        prepared = self._prepare(name, text)
        adapted = Transformer(connection)
        given = [params[parameter] for parameter in names]
        values = adapted.dump_sequence(given, [PyFormat.TEXT] * len(names))
        # Its annotation forgets that a value may be NULL.
        result = connection.pgconn.exec_prepared(prepared.encode(), cast(Any, values))
        return _rows(result, connection, adapted)

    def _call(self, name: str, params: Params) -> str:
        """Return the text that executes a prepared statement."""
        text, names = statements.numbered(statements.load("postgresql", name))
        values = literals(self.connection, params, names)
        return f"EXECUTE {self._prepare(name, text)}({', '.join(values.values())})"

    def _prepare(self, name: str, text: str) -> str:
        if name not in self._prepared:
            # Another name each time: an earlier one may be there still.
            prepared = f"dbos_{name}_{next(self._numbers)}"
            self.connection.execute(f"PREPARE {prepared} AS {text}")
            self._prepared[name] = prepared
        return self._prepared[name]


def _rows(
    result: PGresult, connection: psycopg.Connection[Row], adapted: abc.Transformer
) -> list[Row]:
    """Return the rows of a result of libpq's own call."""
    if result.status == ExecStatus.TUPLES_OK:
        adapted.set_pgresult(result)
        return adapted.load_rows(0, result.ntuples, tuple)
    if result.status != ExecStatus.COMMAND_OK:
        _raise(result, connection)
    return []


def _raise(result: PGresult, connection: psycopg.Connection[Row]) -> NoReturn:
    if connection.closed:
        raise psycopg.OperationalError(result.get_error_message())
    raise psycopg.errors.error_from_result(result, encoding=connection.info.encoding)


def _fetch(cursor: psycopg.Cursor[Row]) -> list[Row]:
    return cursor.fetchall() if cursor.description else []
