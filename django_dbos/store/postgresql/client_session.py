"""The client's session on PostgreSQL: Django's connection, with few round trips."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

import psycopg
from django.db import DatabaseError, connections

from django_dbos.store import errors, statements
from django_dbos.store.postgresql.arrays import arrays
from django_dbos.store.postgresql.multi_statements import (
    filled_in,
    in_own_transactions,
    read_results,
)
from django_dbos.store.postgresql.worker_connection import roll_back
from django_dbos.store.sessions import (
    Batch,
    DjangoSession,
    Params,
    Row,
    Statement,
    translated_errors,
)

logger = logging.getLogger("django_dbos.store")

T = TypeVar("T")

# The setting that a transaction leaves in its session: RETURNING set_config() takes 0.02 ms more.
MARK = "SET dbos.mark = %(mark)s"


class ClientSession(DjangoSession):
    """Django's connection, for callers outside of executors.

    Several transactions can go in one message to the server: a round trip takes as long as a
    statement. The pipeline of psycopg takes longer than the round trips that it saves here.
    """

    def send_rows(self, batches: Mapping[str, Batch]) -> None:
        self.run_all([(name, arrays(batch.lists())) for name, batch in batches.items()])

    def pack(self, values: Sequence[Any]) -> list[Any]:
        return list(values)

    def pack_rows(self, rows: Sequence[Sequence[Any]], *columns: str) -> Params:
        return by_column(rows, columns)

    def run_apart(self, work: Sequence[Statement]) -> list[list[Row]]:
        if not connections[self.alias].get_autocommit():
            # In the caller's transaction, which isn't ours to commit.
            return super().run_apart(work)
        texts = [
            self._filled_in(statements.load(self.vendor, name), params) for name, params in work
        ]
        message = in_own_transactions(texts)
        return self._send(message, lambda cursor: read_results(cursor, len(work)))

    def run_then(
        self, statement: Statement, notifications: Sequence[str], mark: str
    ) -> tuple[int | None, list[Row]]:
        """Run a statement, then notifications, in one message.

        The notifications are texts that take the statement's parameters. The statement's
        transaction leaves `mark` in the session, which shows when only a notification has failed:
        that must not fail a call whose data is committed.

        Returns:
            The number of rows written, or None if only the notification has failed; and the rows
            that the notifications return.
        """
        name, params = statement
        written = f"BEGIN;{statements.load(self.vendor, name)};{MARK};COMMIT;"
        text = written + in_own_transactions(notifications)
        message = self._filled_in(text, {**params, "mark": mark})
        try:
            return self._send(message, _read_written_and_woken)
        except (errors.StoreError, DatabaseError) as error:
            # Such as a ProgrammingError, if the role lacks a right that only a notification needs.
            if self.run("read_mark") != [(mark,)]:
                raise
            logger.warning("The data is committed, but its notification failed: %r", error)
            return None, []

    def _filled_in(self, text: str, params: Params) -> str:
        wrapper = connections[self.alias]
        wrapper.ensure_connection()
        with translated_errors(), wrapper.wrap_database_errors:
            return filled_in(wrapper.connection, text, params)

    def _send(self, message: str, read: Callable[[psycopg.Cursor[Row]], T]) -> T:
        """Send several statements at once; return `read` of their results."""
        with translated_errors(self.alias), connections[self.alias].cursor() as cursor:
            try:
                # Without parameters several statements may go together.
                cursor.execute(message)
            except BaseException:
                roll_back(cursor.connection)
                raise
            # Not through Django, which wraps each call.
            return read(cursor.cursor)


def by_column(rows: Sequence[Sequence[Any]], names: Sequence[str]) -> Params:
    """Return one list for each column."""
    return dict(zip(names, map(list, zip(*rows, strict=True)), strict=True))


def _read_written_and_woken(cursor: psycopg.Cursor[Row]) -> tuple[int, list[Row]]:
    cursor.nextset()  # after BEGIN
    written = cursor.rowcount
    woken = read_results(cursor, 1)
    return written, woken[0] if woken else []
