"""Persistence: the only place that knows a database."""

from __future__ import annotations

import functools
import os
import threading
from typing import TYPE_CHECKING, Any

from django.core.exceptions import ImproperlyConfigured
from django.core.signals import setting_changed
from django.db import connections

from django_dbos.conf import get_settings

if TYPE_CHECKING:
    from django_dbos.store.base import Store
    from django_dbos.store.pubsub import Source


_stores: dict[str, Store] = {}
_lock = threading.RLock()


def get_store() -> Store:
    """Return the store of the workflow database; ImproperlyConfigured for other vendors."""
    alias = get_settings().database
    store = _stores.get(alias)
    if store is None:
        # One for all threads: who waits in one would not hear what is told to another.
        with _lock:
            store = _stores.get(alias) or _stores.setdefault(alias, _make_store(alias))
    return store


def _make_store(alias: str) -> Store:
    # Imported here: the stores need the models, and PostgreSQL's needs psycopg.
    from django_dbos.store.pubsub import Wakeups

    may_listen = functools.partial(_may_listen, alias)
    vendor = connections[alias].vendor
    if vendor == "postgresql":
        from django_dbos.store.postgresql.listener import PostgresListener
        from django_dbos.store.postgresql.store import PostgresStore

        source: Source = PostgresListener(alias)
        return PostgresStore(alias, Wakeups(source, may_listen=may_listen))
    if vendor == "sqlite":
        from django_dbos.store.sqlite.listener import SqliteListener
        from django_dbos.store.sqlite.sessions import WorkerConnection
        from django_dbos.store.sqlite.socket_notifier import SocketNotifier
        from django_dbos.store.sqlite.store import SqliteStore

        own = WorkerConnection(alias)
        notifier = SocketNotifier(lambda: str(connections[alias].settings_dict["NAME"]))
        source = SqliteListener(alias, own, notifier)
        return SqliteStore(alias, Wakeups(source, may_listen=may_listen), own, notifier)
    raise ImproperlyConfigured(
        f"Workflows can't be kept in database {alias!r}: it is {vendor}. Use PostgreSQL, or SQLite "
        "for small sites."
    )


def _may_listen(alias: str) -> bool:
    """In a test's transaction nothing comes from elsewhere, and no thread may be left behind."""
    settings = get_settings()
    connection: Any = connections[alias]
    if connection.in_atomic_block:
        return False
    if connection.vendor == "sqlite":
        # One in memory has no file that could change.
        return not connection.is_in_memory_db()
    store = _stores.get(alias)
    is_pooled = settings.transaction_pooler if store is None else store.is_pooled
    return bool(settings.listen and not is_pooled)


def _forget_stores(*, setting: str, **kwargs: object) -> None:
    if setting == "DATABASES":
        _stores.clear()


def _leave_to_parent() -> None:
    """In a forked process: its own locks, watches and threads; the files are the parent's."""
    global _lock
    _lock = threading.RLock()
    for store in _stores.values():
        store.leave_to_parent()
    _stores.clear()


setting_changed.connect(_forget_stores, dispatch_uid="django_dbos.store")
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_leave_to_parent)
