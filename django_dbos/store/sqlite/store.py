"""The store on SQLite: one machine, one writer at a time, polling instead of notifications.

On one machine the process's clock is the database's: SQLite's 'now' reads the same one.
"""

from __future__ import annotations

from django_dbos.store.base import Store
from django_dbos.store.sqlite.batches import SqliteBatches
from django_dbos.store.sqlite.claims import SqliteClaims
from django_dbos.store.sqlite.liveness import SqliteLiveness
from django_dbos.store.sqlite.messaging import SqliteMessaging
from django_dbos.store.sqlite.retention import SqliteRetention


class SqliteStore(
    SqliteMessaging, SqliteBatches, SqliteClaims, SqliteLiveness, SqliteRetention, Store
):
    """SQLite's overrides before the common parts."""
