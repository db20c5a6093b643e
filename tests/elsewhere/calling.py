"""Calls of the SQL functions, which PostgreSQL alone has."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from django.conf import settings
from django.db import connection

on_postgresql = pytest.mark.skipif(
    settings.VENDOR != "postgresql", reason="Only PostgreSQL has the functions."
)


def call(function: str, *args: Any, **options: Any) -> Any:
    """Call a function on Django's connection; dicts and lists are JSON."""
    given = [*args, *options.values()]
    places = ["%s"] * len(args) + [f"{name} => %s" for name in options]
    params = [json.dumps(one) if isinstance(one, dict | list) else one for one in given]
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT {function}({', '.join(places)})", params)
        return cursor.fetchone()[0]


@contextmanager
def another_session(isolation: str = "READ COMMITTED") -> Iterator[Any]:
    """Yield a client's connection with an open transaction, which its user commits."""
    other = connection.copy()
    other.inc_thread_sharing()
    other.connect()
    try:
        other.set_autocommit(False)
        with other.cursor() as cursor:
            cursor.execute(f"SET TRANSACTION ISOLATION LEVEL {isolation}")
            cursor.execute("SELECT 1")
        yield other
    finally:
        other.close()


def run_on(other: Any, statement: str, *params: Any) -> Any:
    """Run a statement on a client's connection; return its first value."""
    with other.cursor() as cursor:
        cursor.execute(statement, params)
        return cursor.fetchone()[0] if cursor.description else None


@contextmanager
def listening(channel: str) -> Iterator[Callable[[], list[Any]]]:
    """Yield a function that returns the contents of the notifications so far."""
    other = connection.copy()
    other.connect()
    run_on(other, f"LISTEN {channel}")

    def heard() -> list[Any]:
        # An answer brings what came before it.
        run_on(other, "SELECT 1")
        found = other.connection.notifies(timeout=0.2)
        return [json.loads(one.payload) for one in found]

    try:
        yield heard
    finally:
        other.close()
