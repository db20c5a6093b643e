"""Persistence: the only package that knows databases."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING

from django.core.exceptions import ImproperlyConfigured
from django.core.signals import setting_changed
from django.db import connections

from django_dbos.conf import get_settings

if TYPE_CHECKING:
    from django_dbos.store.base import Store


_stores: dict[str, Store] = {}
_lock = threading.RLock()


def get_store() -> Store:
    """Return the store of the workflow database.

    Raises ImproperlyConfigured for a vendor that isn't one of VENDORS.
    """
    alias = get_settings().database
    store = _stores.get(alias)
    if store is None:
        # One for all threads: a waiter in one store isn't notified by another.
        with _lock:
            store = _stores.get(alias) or _stores.setdefault(alias, _make_store(alias))
    return store


def _make_store(alias: str) -> Store:
    vendor = connections[alias].vendor
    if vendor not in VENDORS:
        raise ImproperlyConfigured(
            f"Workflows can't be kept in database {alias!r}: it is {vendor}. Use PostgreSQL, or "
            "SQLite for small sites."
        )
    return VENDORS[vendor](alias)


def _make_postgresql(alias: str) -> Store:
    # Imported here: the stores need the models, and this one needs psycopg.
    from django_dbos.store.postgresql.store import PostgresStore

    return PostgresStore(alias)


def _make_sqlite(alias: str) -> Store:
    from django_dbos.store.sqlite.store import SqliteStore

    return SqliteStore(alias)


# What makes a store, by Django's name of the database's vendor.
VENDORS: dict[str, Callable[[str], Store]] = {
    "postgresql": _make_postgresql,
    "sqlite": _make_sqlite,
}


def _forget_stores(*, setting: str, **kwargs: object) -> None:
    if setting == "DATABASES":
        _stores.clear()


def _leave_to_parent() -> None:
    """Give a forked process its own locks, watches and threads; the files are the parent's."""
    global _lock
    _lock = threading.RLock()
    for store in _stores.values():
        store.leave_to_parent()
    _stores.clear()


setting_changed.connect(_forget_stores, dispatch_uid="django_dbos.store")
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_leave_to_parent)
