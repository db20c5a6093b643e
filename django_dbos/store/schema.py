"""Schema: database objects that belong to the tables and to no model."""

from __future__ import annotations

from django.db import connections

# Only where the tables are: `migrate django_dbos zero` ends with the same signal.
IS_MISSING = """
SELECT to_regclass('dbos_workflow') IS NOT NULL AND to_regclass('dbos_queue_sequence') IS NULL
"""
CREATE = "CREATE SEQUENCE IF NOT EXISTS dbos_queue_sequence CACHE 1"


def complete(alias: str) -> None:
    """Create the sequence and the functions where the tables were made without migrations.

    Called after every `migrate`, which is how tests with `--no-migrations`,
    `TEST: {"MIGRATE": False}` or `MIGRATION_MODULES` get their tables. Functions that were made
    are written again where their text has changed.
    """
    connection = connections[alias]
    if connection.vendor != "postgresql":
        return
    with connection.cursor() as cursor:
        cursor.execute(IS_MISSING)
        is_missing = cursor.fetchone()[0]
        if is_missing:
            cursor.execute(CREATE)
    # The driver of PostgreSQL may be missing elsewhere.
    from django_dbos.store.postgresql import client_functions

    if is_missing:
        client_functions.create(connection)
    else:
        client_functions.refresh(connection)
