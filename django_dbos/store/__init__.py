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


def get_store() -> Store:
    """Return the store of the workflow database; ImproperlyConfigured for other vendors."""
    return _store_of(get_settings().database)


@functools.cache
def _store_of(alias: str) -> Store:
    # Imported here: the stores need the models, and PostgreSQL's needs psycopg.
    from django_dbos.store.wakeups import Wakeups

    vendor = connections[alias].vendor
    if vendor == "postgresql":
        from django_dbos.store.postgresql import PostgresStore

        return PostgresStore(alias, Wakeups())
    if vendor == "sqlite":
        from django_dbos.store.sqlite import SqliteStore

        return SqliteStore(alias, Wakeups())
    raise ImproperlyConfigured(
        f"Workflows can't be kept in database {alias!r}: it is {vendor}. Use PostgreSQL, or SQLite "
        "for small sites."
    )


def _forget_stores(*, setting: str, **kwargs: object) -> None:
    if setting == "DATABASES":
        _store_of.cache_clear()


setting_changed.connect(_forget_stores, dispatch_uid="django_dbos.store")
