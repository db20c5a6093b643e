"""The system check of PostgreSQL's settings."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from importlib.util import find_spec
from typing import Any

from django.core import checks
from django.core.checks import CheckMessage, Error

from django_dbos.store.durability import not_durable

SYNCHRONOUS_COMMIT = re.compile(r"synchronous_commit\s*=\s*['\"]?(\w+)", re.IGNORECASE)


def check_postgresql(
    options: Mapping[str, Any], where: str, concurrency: int
) -> Iterator[CheckMessage]:
    """Return the problems of a PostgreSQL database's OPTIONS, and of its driver."""
    if find_spec("psycopg") is None:
        yield Error(
            f"{where} is used through psycopg 2, which the engine doesn't support.",
            hint="Install psycopg 3: pip install 'django-durable-workflows[postgres]'.",
            obj=where,
            id="django_dbos.E003",
        )
        return
    commits = SYNCHRONOUS_COMMIT.findall(str(options.get("options", "")))
    # "local" is durable: it waits for this server's disk, though not for its replicas.
    if commits and commits[-1].lower() in ("off", "false", "no", "0"):
        yield not_durable(where, "Remove synchronous_commit from its OPTIONS.")

    size = _pool_size(options.get("pool"))
    if size is not None and size < concurrency:
        yield checks.Warning(
            f"{where} has a pool of {size} connections, but a worker runs {concurrency} workflows "
            "at a time: if all of them use the ORM, some fail while they wait for a connection.",
            hint=f"Raise the pool's \"max_size\" to {concurrency}, or lower DBOS['CONCURRENCY'].",
            obj=where,
            id="django_dbos.W008",
        )


def _pool_size(pool: Any) -> int | None:
    """Return the maximum size of Django's connection pool, or None without a pool."""
    if not pool:
        return None
    given = pool if isinstance(pool, Mapping) else {}
    # psycopg_pool's defaults: the maximum is the minimum, and that is 4.
    return int(given.get("max_size") or given.get("min_size", 4))
