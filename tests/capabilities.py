"""Marks for tests of abilities that not every database has, by the capabilities of the store."""

from __future__ import annotations

import pytest

from django_dbos.store import get_store

_store = get_store()

notifies = pytest.mark.skipif(
    not _store.supports_notifications, reason="Processes poll this database for changes"
)
polls = pytest.mark.skipif(
    _store.supports_notifications, reason="This database notifies other processes"
)
many_writers = pytest.mark.skipif(
    _store.writes_in_step_transaction, reason="This database has one writer at a time"
)
