"""Django's `flush`, run after each test on committed data, in a tenth of its time.

Django truncates, which costs PostgreSQL 20 to 40 ms for empty tables, and then inserts the content
types and permissions anew (50 to 80 ms). Here rows are deleted, and those two tables are kept.
"""

from __future__ import annotations

from typing import Any

from django.core.management.commands import flush
from django.db import connections, transaction

KEPT = {"django_content_type", "auth_permission"}
# Bytes. A larger table is truncated: what a DELETE leaves would slow the next tests down.
LARGE = 256 * 1024


class Command(flush.Command):
    def handle(self, **options: Any) -> None:
        connection = connections[options["database"]]
        names = connection.introspection.django_table_names(only_existing=True, include_views=False)
        tables = [connection.ops.quote_name(name) for name in names if name not in KEPT]
        with transaction.atomic(using=options["database"]), connection.cursor() as cursor:
            if connection.vendor == "postgresql":
                empty_postgresql(cursor, tables)
                return
            for table in tables:
                cursor.execute(f"DELETE FROM {table}")


def empty_postgresql(cursor: Any, tables: list[str]) -> None:
    # TRUNCATE takes this lock, too: the last statement of a killed process may still run.
    cursor.execute(f"LOCK TABLE {', '.join(tables)} IN ACCESS EXCLUSIVE MODE")
    sizes = ", ".join(f"pg_relation_size('{table}')" for table in tables)
    cursor.execute(f"SELECT greatest({sizes})")
    if cursor.fetchone()[0] > LARGE:
        cursor.execute(f"TRUNCATE {', '.join(tables)}")
    else:
        cursor.execute("; ".join(f"DELETE FROM {table}" for table in tables))
