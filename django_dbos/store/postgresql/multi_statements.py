"""Multi-statements: several statements in one message to the server, which is one round trip.

Their parameters are in the text, since the server takes parameters for a single statement only.
"""

from __future__ import annotations

from collections.abc import Sequence

import psycopg
from psycopg.adapt import Transformer

from django_dbos.conf import get_settings
from django_dbos.store import statements
from django_dbos.store.sessions import Params, Row

# Notifications only, so that their commit needs no fsync: a lost one costs a poll on a timer.
LAZILY = "SET LOCAL synchronous_commit=off"


def filled_in(connection: psycopg.Connection[Row], text: str, params: Params) -> str:
    """Return the text with its parameters in it.

    `mogrify` of psycopg makes a cursor, and takes twice as long.
    """
    return text % literals(connection, params, statements.numbered(text)[1])


def literals(
    connection: psycopg.Connection[Row], params: Params, names: Sequence[str]
) -> dict[str, str]:
    """Return parameters as literals of SQL, by their names."""
    transformer, encoding = Transformer(connection), connection.info.encoding
    return {name: transformer.as_literal(params[name]).decode(encoding) for name in names}


def in_own_transactions(texts: Sequence[str]) -> str:
    """Return a message with a transaction for each text, which keeps their order.

    The last text needs no COMMIT: its transaction ends with the message.
    """
    return "".join([*(f"BEGIN;{text};COMMIT;" for text in texts[:-1]), *texts[-1:]])


def notify_statements(channel: str, payloads: Sequence[str]) -> tuple[list[str], Params]:
    """Return the text that notifies other processes, and its parameters; none without LISTEN."""
    if not get_settings().listen or not payloads:
        return [], {}
    params = {f"payload_{number}": payload for number, payload in enumerate(payloads)}
    return [";".join([LAZILY, *(f"NOTIFY {channel}, %({name})s" for name in params)])], params


def read_results(cursor: psycopg.Cursor[Row], count: int) -> list[list[Row]]:
    """Return up to `count` results, of the statements that return rows."""
    found: list[list[Row]] = []
    is_left: bool | None = True
    while is_left and len(found) < count:
        # Not `description`, which describes every column.
        if cursor.pgresult is not None and cursor.pgresult.nfields:
            found.append(cursor.fetchall())
        is_left = cursor.nextset()
    return found
