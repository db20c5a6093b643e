"""Persistence: the only place that knows a database."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING

from django.core.exceptions import ImproperlyConfigured
from django.core.signals import setting_changed
from django.db import connections

from django_dbos.conf import get_settings

if TYPE_CHECKING:
    from django_dbos.store.base import Store
    from django_dbos.store.wakeups import Source


def get_store() -> Store:
    """Return the store of the workflow database; ImproperlyConfigured for other vendors."""
    return _store_of(get_settings().database)


@functools.cache
def _store_of(alias: str) -> Store:
    # Imported here: the stores need the models, and PostgreSQL's needs psycopg.
    from django_dbos.store import listening
    from django_dbos.store.wakeups import Wakeups

    may_listen = functools.partial(_may_listen, alias)
    vendor = connections[alias].vendor
    if vendor == "postgresql":
        from django_dbos.store.postgresql import PostgresStore

        source: Source = listening.Notifications(alias)
        return PostgresStore(alias, Wakeups(source, may_listen=may_listen))
    if vendor == "sqlite":
        from django_dbos.store.sqlite import SqliteStore

        source = listening.FileChanges(alias)
        return SqliteStore(alias, Wakeups(source, may_listen=may_listen))
    raise ImproperlyConfigured(
        f"Workflows can't be kept in database {alias!r}: it is {vendor}. Use PostgreSQL, or SQLite "
        "for small sites."
    )


def _may_listen(alias: str) -> bool:
    """In a test's transaction nothing comes from elsewhere, and no thread may be left behind."""
    settings = get_settings()
    has_notifications = settings.listen and not settings.transaction_pooler
    is_polled = connections[alias].vendor == "sqlite"
    return (has_notifications or is_polled) and not connections[alias].in_atomic_block


def _forget_stores(*, setting: str, **kwargs: object) -> None:
    if setting == "DATABASES":
        _store_of.cache_clear()


setting_changed.connect(_forget_stores, dispatch_uid="django_dbos.store")
