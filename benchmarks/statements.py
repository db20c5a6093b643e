"""Counts the statements of a database whose server's log can be read."""

from __future__ import annotations

import re
from typing import Any

import psycopg
from psycopg import sql

# One line each, also for a prepared statement.
STATEMENT = re.compile(r"LOG:  (?:statement|execute [^:]*):")


class StatementLog:
    """Counts the statements of sessions that begin from now on, which the server logs.

    The embedded server's log is a file beside its data, which a superuser may read. For other
    servers `count` returns None.
    """

    def __init__(self, connection: psycopg.Connection[Any]) -> None:
        self.connection = connection
        self.path: str | None = None
        try:
            self._begin()
        except psycopg.Error:
            return

    def count(self, start: int) -> int | None:
        """Return how many statements were logged since the log had this length."""
        if self.path is None:
            return None
        query = "SELECT pg_read_file(%s, %s, %s)"
        length = max(self.size() - start, 0)
        text = self._fetch(query, self.path, start, length)
        return len(STATEMENT.findall(text))

    def size(self) -> int:
        """Return the length of the log in bytes."""
        if self.path is None:
            return 0
        return int(self._fetch("SELECT size FROM pg_stat_file(%s)", self.path))

    def _begin(self) -> None:
        path = self._fetch("SELECT current_setting('data_directory') || '/log'")
        self._fetch("SELECT size FROM pg_stat_file(%s)", path)
        # Without parameters: those of many rows at once fill the disk.
        self._set("log_parameter_max_length", "0")
        self._set("log_statement", "'all'")
        self.path = path

    def end(self) -> None:
        """Stop logging."""
        if self.path is not None:
            self._set("log_statement", "DEFAULT")
            self._set("log_parameter_max_length", "DEFAULT")

    def _set(self, name: str, value: str) -> None:
        """Change a setting for sessions of this database that begin from now on."""
        statement = sql.SQL("ALTER DATABASE {} SET {} TO {}")
        database = sql.Identifier(self.connection.info.dbname)
        self.connection.execute(statement.format(database, sql.Identifier(name), sql.SQL(value)))

    def _fetch(self, query: str, *arguments: object) -> Any:
        row = self.connection.execute(query.encode(), arguments).fetchone()
        assert row is not None
        return row[0]
