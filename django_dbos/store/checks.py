"""The system check of the workflow database's settings; each vendor has its own."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from django.core.checks import CheckMessage, Error
from django.db import connections

from django_dbos.store.postgresql.checks import check_postgresql
from django_dbos.store.sqlite.checks import check_sqlite

Check = Callable[[Mapping[str, Any], str, int], Iterator[CheckMessage]]
# By Django's name of the vendor. A check gets the database's OPTIONS, where these stand, and the
# number of workflows that a worker runs at a time.
CHECKS: dict[str, Check] = {"postgresql": check_postgresql, "sqlite": check_sqlite}


def check_database(alias: str, concurrency: int) -> Iterator[CheckMessage]:
    """Return the problems of a database's settings, without querying the database."""
    connection = connections[alias]
    where = f"DATABASES[{alias!r}]"
    check = CHECKS.get(connection.vendor)
    if check is None:
        yield Error(
            f"{where} can't store workflows: its database is {connection.vendor}.",
            hint="Use PostgreSQL, or SQLite for small sites, and set DBOS['DATABASE'] to its "
            "alias.",
            obj=where,
            id="django_dbos.E002",
        )
    else:
        yield from check(connection.settings_dict.get("OPTIONS") or {}, where, concurrency)
