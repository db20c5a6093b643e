"""PostgreSQL's connections: the executor's own, in pipelines; Django's, for everybody else."""

from __future__ import annotations

import itertools
import logging
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, NoReturn, TypeVar, cast

import psycopg
from django.db import DatabaseError, InterfaceError, connections
from psycopg.adapt import PyFormat, Transformer
from psycopg.pq import ExecStatus
from psycopg.pq.abc import PGresult

from django_dbos.conf import get_settings
from django_dbos.store import errors, sessions, statements
from django_dbos.store.postgresql.connections import (
    SET_ALL,
    SET_LOCALLY,
    Pooling,
    application_name,
    connect,
)
from django_dbos.store.sessions import Batch, DjangoSession, Params, Row, Statement
from django_dbos.store.watchdog import Line, get_watchdog

logger = logging.getLogger("django_dbos.store")

T = TypeVar("T")

# Planned at each call: the best plan depends on the values.
NOT_PREPARED = frozenset({"heartbeat", "wake_satisfied"})
BEGIN = "BEGIN ISOLATION LEVEL READ COMMITTED"
BEGIN_POOLED = f"{BEGIN} READ WRITE"
# Seconds that any answer may take, at first: half a lease within these bounds. How many times as
# long that may become after answers that took too long, and for how many seconds those are
# remembered.
LEAST, MOST, MOST_TIMES, MEMORY = 1.0, 30.0, 16, 600.0
# How often, and after how many seconds, a lost session is looked at that is to end.
END_LOOKS, END_PAUSE = 20, 0.05
# What is left in a session by a transaction: RETURNING set_config() takes 0.02 ms more.
MARK = "SET dbos.mark = %(mark)s"
# Notifications only, so their commit needs no fsync: a lost one costs a look on a timer.
LAZILY = "SET LOCAL synchronous_commit=off"


class WorkerSession:
    """A connection of the executor's own, made anew whenever it was lost."""

    def __init__(
        self, alias: str, executor_id: str, purpose: str, *, pooling: Pooling, lease: float
    ) -> None:
        self._alias = alias
        self._executor_id = executor_id
        self._purpose = purpose
        self._pooling = pooling
        self.is_pooled = pooling.is_on
        """Whether another client may have its connection to the server next: nothing stays."""
        self._lease = lease
        self._connection: psycopg.Connection[Row] | None = None
        self._line: Line | None = None
        self._patience_factor = 1
        self._given_up_at = -MEMORY
        self._pid = self._lost_pid = 0
        self._pipeline: psycopg.Pipeline | None = None
        self._prepared: dict[str, str] = {}
        """Under which name a statement is prepared on the server."""
        self._named = itertools.count()

    @property
    def connection(self) -> psycopg.Connection[Row]:
        """The open connection."""
        if self._pooling.is_found and not self.is_pooled and self._pipeline is None:
            # What it has prepared may be another session's by now.
            self.close()
        if self._connection is None or self._connection.closed:
            self._forget_line()
            self._connection = None
            self._connection = self._connect()
        return self._connection

    def _ask(self) -> psycopg.Connection[Row]:
        """The open connection, of which an answer is awaited from now on."""
        connection = self.connection
        if self._line is not None:
            self._line.asked_at = time.monotonic()
        return connection

    @contextmanager
    def _asking(self) -> Iterator[None]:
        """An answer is awaited in the block; psycopg's errors become the store's."""
        try:
            yield
        except errors.StoreError:
            # Translated by an inner block.
            raise
        except psycopg.Error as error:
            raise self._translated(error) from error
        except (DatabaseError, InterfaceError) as error:
            # While connecting, which Django does.
            raise errors.of_meaning(errors.meaning_of(error), str(error)) from error
        except OSError as error:
            # No descriptor left to wait on, for example.
            raise errors.Unavailable(str(error), is_outcome_unknown=True) from error
        finally:
            if self._line is not None and self._pipeline is None:
                self._line.asked_at = 0.0

    def _translated(self, error: psycopg.Error) -> errors.StoreError:
        if self._connection is not None and self._connection.closed:
            self._note_loss()
        self._pooling.note_error(error.sqlstate)
        return _translated(error)

    def run(self, name: str, params: Params | None = None) -> list[Row]:
        if self._needs_block:
            with self.transaction():
                return self._run_together([(name, params or {})])[0]
        if self._may_block(name):
            with self._asking():
                return self._run_prepared(name, params or {})
        return self._run_together([(name, params or {})])[0]

    def run_all(self, statements: Sequence[Statement]) -> list[list[Row]]:
        if len(statements) == 1:
            return [self.run(*statements[0])]
        if self._needs_block:
            with self.transaction():
                return self._run_together(statements)
        return self._run_together(statements)

    @property
    def _needs_block(self) -> bool:
        """Whether what a statement needs must be set in its transaction."""
        return self.is_pooled and self._pipeline is None

    def _run_together(self, statements: Sequence[Statement]) -> list[list[Row]]:
        with self._asking():
            if self._pipeline is None and len(statements) > 1:
                # Statements that are sent together commit together.
                with self._ask().pipeline():
                    cursors = [self._execute(name, params) for name, params in statements]
            else:
                cursors = [self._execute(name, params) for name, params in statements]
            if self._pipeline is not None:
                # One round trip for all of them; until then no cursor knows what it returns.
                self._pipeline.sync()
            return [_fetch(cursor) for cursor in cursors]

    def send_rows(self, batches: Mapping[str, Batch]) -> None:
        with self._asking():
            for name, batch in batches.items():
                self._execute(name, batch.arrays())

    def pack(self, values: Sequence[Any]) -> list[Any]:
        return list(values)

    def pack_rows(self, rows: Sequence[Sequence[Any]], *columns: str) -> Params:
        return _columns(rows, columns)

    def run_apart(self, work: Sequence[Statement]) -> list[list[Row]]:
        with self._asking():
            connection = self._ask()
            try:
                # One wait for all of them: psycopg's sync(), which would part them, is one each.
                with connection.pipeline():
                    cursors = []
                    for name, params in work:
                        connection.execute(BEGIN_POOLED if self.is_pooled else BEGIN)
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
        with self._asking():
            connection = self._ask()
            calls = [self._call(name, params) for name, params in work]
            notifications, params = notify_statements(channel, payloads)
            told = [_filled_in(connection, one, params) for one in notifications]
            try:
                cursor = connection.execute(_apart([";".join(calls), *told]))
            except BaseException:
                self._roll_back()
                raise
            return _results(cursor, len(calls))

    @contextmanager
    def transaction(self) -> Iterator[None]:
        with self._asking():
            connection = self._ask()
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

    def close(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None
        self._forget_line()

    def _execute(self, name: str, params: Params | None) -> psycopg.Cursor[Row]:
        text = statements.load("postgresql", name)
        is_prepared = not self.is_pooled and name not in NOT_PREPARED
        return self._ask().execute(text, params or {}, prepare=is_prepared)

    def _may_block(self, name: str) -> bool:
        """Whether libpq itself may wait for the answer: the main thread must hear of signals."""
        is_plain = self._pipeline is None and not self.is_pooled and name not in NOT_PREPARED
        return is_plain and threading.current_thread() is not threading.main_thread()

    def _run_prepared(self, name: str, params: Params) -> list[Row]:
        """Run a statement by libpq's own call, in a transaction of its own.

        psycopg's way takes 0.03 to 0.08 ms more: a cursor, and a generator that waits.
        """
        connection = self._ask()
        text, names = statements.numbered(statements.load("postgresql", name))
        prepared = self._prepare(name, text)
        adapted = Transformer(connection)
        values = adapted.dump_sequence([params[one] for one in names], [PyFormat.TEXT] * len(names))
        # Its annotation forgets that a value may be NULL.
        result = connection.pgconn.exec_prepared(prepared.encode(), cast(Any, values))
        if result.status == ExecStatus.TUPLES_OK:
            adapted.set_pgresult(result)
            return adapted.load_rows(0, result.ntuples, tuple)
        if result.status != ExecStatus.COMMAND_OK:
            _raise(result, connection)
        return []

    def _call(self, name: str, params: Params) -> str:
        """The text that executes a prepared statement."""
        text, names = statements.numbered(statements.load("postgresql", name))
        literals = _literals(self.connection, params, names)
        return f"EXECUTE {self._prepare(name, text)}({', '.join(literals.values())})"

    def _prepare(self, name: str, text: str) -> str:
        if name not in self._prepared:
            # Another name each time: an earlier one may be there still.
            prepared = f"dbos_{name}_{next(self._named)}"
            self.connection.execute(f"PREPARE {prepared} AS {text}")
            self._prepared[name] = prepared
        return self._prepared[name]

    def _roll_back(self) -> None:
        if self._connection is not None:
            _roll_back(self._connection)
        # psycopg deallocates all statements then.
        self._prepared = {}

    def _connect(self) -> psycopg.Connection[Row]:
        self._prepared = {}
        self.is_pooled = self._pooling.is_on
        connection, self._line = connect(
            self._alias,
            owner=self._executor_id,
            what=self._purpose,
            patience=self._patience(),
        )
        try:
            if self.is_pooled:
                connection.prepare_threshold = None
            else:
                self._pid = connection.info.backend_pid
                connection.execute(SET_ALL, prepare=False)
                self._end_lost_session(connection)
        except BaseException:
            connection.close()
            self._forget_line()
            raise
        return connection

    def _patience(self) -> float:
        """Seconds for an answer: more after one that took longer, else it would never come."""
        if time.monotonic() - self._given_up_at > MEMORY:
            self._patience_factor = 1
        return min(max(self._lease / 2, LEAST), MOST) * self._patience_factor

    def _note_loss(self) -> None:
        """What was under way when the connection was lost may go on at the server."""
        if self._line is None or self._connection is None:
            return
        self._lost_pid = self._pid
        if self._line.is_abandoned:
            self._given_up_at = time.monotonic()
            self._patience_factor = min(self._patience_factor * 2, MOST_TIMES)

    def _end_lost_session(self, connection: psycopg.Connection[Row]) -> None:
        """End it and see it gone, before anything is repeated that it may still commit."""
        pid, self._lost_pid = self._lost_pid, 0
        if not pid:
            return
        params = {"pid": pid, "application_name": application_name(self._executor_id)}
        text = statements.load("postgresql", "end_lost_session")
        try:
            for _ in range(END_LOOKS):
                if self._line is not None:
                    self._line.asked_at = time.monotonic()
                if not connection.execute(text, params, prepare=False).fetchall():
                    return
                time.sleep(END_PAUSE)
        except psycopg.errors.InsufficientPrivilege as error:
            logger.info("The session that was lost can't be ended: %r", error)

    def _forget_line(self) -> None:
        if self._line is not None:
            get_watchdog().forget(self._line)
            self._line = None


def _columns(rows: Sequence[Sequence[Any]], names: Sequence[str]) -> Params:
    return dict(zip(names, map(list, zip(*rows, strict=True)), strict=True))


def _roll_back(connection: psycopg.Connection[Row]) -> None:
    """Leave a transaction that failed; a connection that can't is closed."""
    if connection.closed:
        return
    try:
        connection.rollback()
    except psycopg.Error:
        connection.close()


def _raise(result: PGresult, connection: psycopg.Connection[Row]) -> NoReturn:
    if connection.closed:
        raise psycopg.OperationalError(result.get_error_message())
    raise psycopg.errors.error_from_result(result, encoding=connection.info.encoding)


def _fetch(cursor: psycopg.Cursor[Row]) -> list[Row]:
    return cursor.fetchall() if cursor.description else []


def _translated(error: psycopg.Error) -> errors.StoreError:
    sqlstate = error.sqlstate
    if sqlstate is None and not isinstance(
        error, psycopg.OperationalError | psycopg.InterfaceError
    ):
        # psycopg's own objection to a value, before the server saw it.
        return errors.BadStatement(str(error))
    return errors.of_sqlstate(sqlstate, str(error))


class ClientSession(DjangoSession):
    """Django's connection, for callers outside of executors.

    Several transactions can go in one message to the server: a round trip takes as long as a
    statement. psycopg's pipeline takes longer than what it spares here.
    """

    def run_apart(self, work: Sequence[Statement]) -> list[list[Row]]:
        if not connections[self.alias].get_autocommit():
            # In the caller's transaction, which isn't ours to commit.
            return super().run_apart(work)
        texts = [self._with(statements.load(self.vendor, name), params) for name, params in work]
        return self._send(_apart(texts), lambda cursor: _results(cursor, len(work)))

    def run_then(
        self, statement: Statement, notifications: Sequence[str], mark: str
    ) -> tuple[int | None, list[Row]]:
        """Run a statement, then notifications; return the rows written and what these return.

        The notifications are texts that take the statement's parameters. The statement's
        transaction leaves `mark` in the session, which shows when only a notification has failed:
        that must not fail a call whose data is committed. The number of rows is then None.
        """
        name, params = statement
        written = f"BEGIN;{statements.load(self.vendor, name)};{MARK};COMMIT;"
        message = self._with(written + _apart(notifications), {**params, "mark": mark})
        try:
            return self._send(message, _written_and_told)
        except errors.StoreError as error:
            if self.run("read_mark") != [(mark,)]:
                raise
            logger.warning("It is committed, but nobody was told of it: %r", error)
            return None, []

    def send_rows(self, batches: Mapping[str, Batch]) -> None:
        self.run_all([(name, batch.arrays()) for name, batch in batches.items()])

    def pack(self, values: Sequence[Any]) -> list[Any]:
        return list(values)

    def pack_rows(self, rows: Sequence[Sequence[Any]], *columns: str) -> Params:
        return _columns(rows, columns)

    def _with(self, text: str, params: Params) -> str:
        wrapper = connections[self.alias]
        wrapper.ensure_connection()
        with sessions.translated_errors(), wrapper.wrap_database_errors:
            return _filled_in(wrapper.connection, text, params)

    def _send(self, message: str, read: Callable[[psycopg.Cursor[Row]], T]) -> T:
        """Send several statements at once; return what is read of their results."""
        with sessions.translated_errors(self.alias), connections[self.alias].cursor() as cursor:
            try:
                # Without parameters several statements may go together.
                cursor.execute(message)
            except BaseException:
                _roll_back(cursor.connection)
                raise
            # Not through Django, which wraps each call.
            return read(cursor.cursor)


def _filled_in(connection: psycopg.Connection[Row], text: str, params: Params) -> str:
    """The text with its parameters in it: mogrify() makes a cursor, and takes twice as long."""
    return text % _literals(connection, params, statements.numbered(text)[1])


def _literals(
    connection: psycopg.Connection[Row], params: Params, names: Sequence[str]
) -> dict[str, str]:
    transformer, encoding = Transformer(connection), connection.info.encoding
    return {name: transformer.as_literal(params[name]).decode(encoding) for name in names}


def notify_statements(channel: str, payloads: Sequence[str]) -> tuple[list[str], Params]:
    """The text that notifies other processes, if they are to be, and its parameters."""
    if not get_settings().listen or not payloads:
        return [], {}
    params = {f"payload_{number}": payload for number, payload in enumerate(payloads)}
    return [";".join([LAZILY, *(f"NOTIFY {channel}, %({name})s" for name in params)])], params


def _apart(texts: Sequence[str]) -> str:
    """Each in a transaction of its own, which keeps the order; the last one's ends by itself."""
    return "".join([*(f"BEGIN;{text};COMMIT;" for text in texts[:-1]), *texts[-1:]])


def _written_and_told(cursor: psycopg.Cursor[Row]) -> tuple[int, list[Row]]:
    cursor.nextset()  # after BEGIN
    written = cursor.rowcount
    told = _results(cursor, 1)
    return written, told[0] if told else []


def _results(cursor: psycopg.Cursor[Row], count: int) -> list[list[Row]]:
    found: list[list[Row]] = []
    is_left: bool | None = True
    while is_left and len(found) < count:
        # Not `description`, which describes every column.
        if cursor.pgresult is not None and cursor.pgresult.nfields:
            found.append(cursor.fetchall())
        is_left = cursor.nextset()
    return found
