"""The store on PostgreSQL: many executors, LISTEN and NOTIFY, locks that are skipped."""

from __future__ import annotations

from django_dbos.store.base import Store
from django_dbos.store.postgresql.announcing import PostgresAnnouncing
from django_dbos.store.postgresql.batches import PostgresBatches
from django_dbos.store.postgresql.claims import PostgresClaims
from django_dbos.store.postgresql.liveness import PostgresLiveness
from django_dbos.store.postgresql.messaging import PostgresMessaging
from django_dbos.store.postgresql.retention import PostgresRetention


class PostgresStore(
    PostgresMessaging,
    PostgresBatches,
    PostgresClaims,
    PostgresLiveness,
    PostgresRetention,
    PostgresAnnouncing,
    Store,
):
    """PostgreSQL's overrides before the common parts."""
