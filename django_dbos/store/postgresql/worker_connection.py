"""The worker's connection to PostgreSQL: reopened whenever it was lost, and watched."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager

import psycopg
from django.db import DatabaseError, InterfaceError

from django_dbos.store import errors, statements
from django_dbos.store.postgresql.connections import SET_ALL, Pooling, connect
from django_dbos.store.postgresql.lost_sessions import Backend, backend_of, end_lost_session
from django_dbos.store.sessions import Params, Row
from django_dbos.store.watchdog import Line, get_watchdog

logger = logging.getLogger("django_dbos.store")

# Limits in seconds of an answer's patience, which is half a lease; the factor by which it may grow
# after answers that took too long; and the seconds for which those are remembered.
LEAST_PATIENCE, MOST_PATIENCE, MOST_TIMES, MEMORY = 1.0, 30.0, 16, 600.0
# Seconds to wait for the forced end of a lost session.
FORCED_END = 1.0


class WorkerConnection:
    """An executor's own connection."""

    def __init__(
        self, alias: str, executor_id: str, purpose: str, *, pooling: Pooling, lease: float
    ) -> None:
        self._alias = alias
        self._executor_id = executor_id
        self._purpose = purpose
        self._pooling = pooling
        self.is_pooled = pooling.is_on
        """True if a pooler may give its server connection to another client: nothing is kept."""
        self._lease = lease
        self._connection: psycopg.Connection[Row] | None = None
        self._line: Line | None = None
        self._patience_factor = 1
        self._abandoned_at = -MEMORY
        self._backend: Backend | None = None
        self._lost_backend: Backend | None = None
        self._pipeline: psycopg.Pipeline | None = None
        self._prepared: dict[str, str] = {}
        """The names under which statements are prepared on the server."""

    @property
    def connection(self) -> psycopg.Connection[Row]:
        """The open connection."""
        if self._pooling.is_found and not self.is_pooled and self._pipeline is None:
            # The statements that it has prepared may be another session's by now.
            self.close()
        if self._connection is None or self._connection.closed:
            self._forget_line()
            self._connection = None
            self._connection = self._connect()
        return self._connection

    def close(self) -> None:
        """Close it; the next statement reconnects."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None
        self._forget_line()

    def _begin_wait(self) -> psycopg.Connection[Row]:
        """Return the open connection; its answer is awaited from now on."""
        connection = self.connection
        if self._line is not None:
            self._line.waiting_since = time.monotonic()
        return connection

    @contextmanager
    def _waiting(self) -> Iterator[None]:
        """Await an answer in the block, and turn errors into the store's."""
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
                self._line.waiting_since = 0.0

    def _translated(self, error: psycopg.Error) -> errors.StoreError:
        if self._connection is not None and self._connection.closed:
            self._note_loss()
        sqlstate = error.sqlstate
        self._pooling.note_error(sqlstate)
        if sqlstate is None and not isinstance(
            error, psycopg.OperationalError | psycopg.InterfaceError
        ):
            # psycopg's own objection to a value, before the server saw it.
            return errors.BadStatement(str(error))
        return errors.of_sqlstate(sqlstate, str(error))

    def _roll_back(self) -> None:
        if self._connection is not None:
            roll_back(self._connection)
        # psycopg deallocates all statements then.
        self._prepared = {}

    def _connect(self) -> psycopg.Connection[Row]:
        self._prepared = {}
        self.is_pooled = self._pooling.is_on
        connection, self._line = connect(
            self._alias,
            owner=self._executor_id,
            purpose=self._purpose,
            patience=self._patience(),
        )
        try:
            if self.is_pooled:
                connection.prepare_threshold = None
            else:
                self._backend = backend_of(connection)
                connection.execute(SET_ALL, prepare=False)
                self._end_lost_session(connection)
        except BaseException:
            connection.close()
            self._forget_line()
            raise
        return connection

    def _patience(self) -> float:
        """Return the time limit of an answer, in seconds.

        It is longer after an answer that took longer, which would otherwise never arrive.
        """
        if time.monotonic() - self._abandoned_at > MEMORY:
            self._patience_factor = 1
        return min(max(self._lease / 2, LEAST_PATIENCE), MOST_PATIENCE) * self._patience_factor

    def _note_loss(self) -> None:
        """Note that the server may go on with the statement whose connection was lost."""
        if self._line is None or self._connection is None:
            return
        self._lost_backend = self._backend
        if self._line.is_abandoned:
            self._abandoned_at = time.monotonic()
            self._patience_factor = min(self._patience_factor * 2, MOST_TIMES)

    def _end_lost_session(self, connection: psycopg.Connection[Row]) -> None:
        """End the lost session before repeating statements that it may still commit."""
        backend, self._lost_backend = self._lost_backend, None
        if backend is None:
            return
        text = statements.load("postgresql", "end_lost_session")

        def run(params: Params) -> list[Row]:
            if self._line is not None:
                self._line.waiting_since = time.monotonic()
            return connection.execute(text, params, prepare=False).fetchall()

        try:
            end_lost_session(run, backend, grace=0.0, patience=FORCED_END)
        except psycopg.errors.InsufficientPrivilege as error:
            logger.info("The session that was lost can't be ended: %r", error)

    def _forget_line(self) -> None:
        if self._line is not None:
            get_watchdog().forget(self._line)
            self._line = None


def roll_back(connection: psycopg.Connection[Row]) -> None:
    """Leave a transaction that failed; close a connection that can't."""
    if connection.closed:
        return
    try:
        connection.rollback()
    except psycopg.Error:
        connection.close()
