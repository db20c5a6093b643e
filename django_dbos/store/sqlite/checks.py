"""The system check of SQLite's settings."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from django.core.checks import CheckMessage, Error

from django_dbos.store.durability import not_durable

SYNCHRONOUS = re.compile(r"synchronous\s*[=(]\s*['\"]?(\w+)", re.IGNORECASE)
OPTIONS_HINT = """Paste this into the database's entry in DATABASES:
    "OPTIONS": {
        "transaction_mode": "IMMEDIATE",
        "timeout": 20,
        "init_command": "PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL;",
    },"""


def check_sqlite(
    options: Mapping[str, Any], where: str, concurrency: int
) -> Iterator[CheckMessage]:
    """Return the problems of a SQLite database's OPTIONS."""
    if str(options.get("transaction_mode", "")).upper() != "IMMEDIATE":
        yield Error(
            f"{where} is SQLite without immediate transactions: workers and web processes would "
            'fail with "database is locked" errors.',
            hint=OPTIONS_HINT,
            obj=where,
            id="django_dbos.E004",
        )
    levels = SYNCHRONOUS.findall(str(options.get("init_command", "")))
    if levels and levels[-1].lower() in ("off", "normal", "0", "1"):
        yield not_durable(where, 'Set "PRAGMA synchronous=FULL" in its init_command.')
