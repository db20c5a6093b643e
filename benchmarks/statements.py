"""Counting the statements that a database serves, where its server lets us read its log."""

from __future__ import annotations

import re
from typing import Any

import psycopg
from psycopg import sql

# One line each, also for a prepared statement.
STATEMENT = re.compile(r"LOG:  (?:statement|execute [^:]*):")


class StatementLog:
    """Has the server log every statement of sessions that begin from now on, and counts them.

    The embedded server's log is a file beside its data, which a superuser may read. Of other
    servers we know nothing: `count` is None.
    """

    def __init__(self, connection: psycopg.Connection[Any]) -> None:
        self.connection = connection
        self.path: str | None = None
        try:
            self._begin()
        except psycopg.Error:
            return

    def count(self, start: int) -> int | None:
        """Statements logged since the log was this long."""
        if self.path is None:
            return None
        query = "SELECT pg_read_file(%s, %s, %s)"
        length = max(self.size() - start, 0)
        text = self._one(query, self.path, start, length)
        return len(STATEMENT.findall(text))

    def size(self) -> int:
        """How long the log is."""
        if self.path is None:
            return 0
        return int(self._one("SELECT size FROM pg_stat_file(%s)", self.path))

    def _begin(self) -> None:
        path = self._one("SELECT current_setting('data_directory') || '/log'")
        self._one("SELECT size FROM pg_stat_file(%s)", path)
        # Without the values: those of many rows at once fill the disk.
        self._set("log_parameter_max_length", "0")
        self._set("log_statement", "'all'")
        self.path = path

    def end(self) -> None:
        """Log no more."""
        if self.path is not None:
            self._set("log_statement", "DEFAULT")
            self._set("log_parameter_max_length", "DEFAULT")

    def _set(self, name: str, value: str) -> None:
        """For the sessions of this database that begin from now on."""
        statement = sql.SQL("ALTER DATABASE {} SET {} TO {}")
        database = sql.Identifier(self.connection.info.dbname)
        self.connection.execute(statement.format(database, sql.Identifier(name), sql.SQL(value)))

    def _one(self, query: str, *arguments: object) -> Any:
        row = self.connection.execute(query.encode(), arguments).fetchone()
        assert row is not None
        return row[0]
