"""The sweep of offloaded values: objects that no row refers to any more are deleted.

A row may be gone, by retention for example, or was never committed. An object may have several
rows, since texts are copied, so that no deletion of a row can delete its object. The sweep looks
for references twice, some time apart: a text that a process has read before its row was deleted is
in a row again by then, or never will be (CORRECTNESS rule 97).
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Any

from django.db.models import Q

from django_dbos import offloading
from django_dbos.store.base import Store

# Days that an object is kept at least: transactions that write its row take less.
DAYS = 2
# Seconds between the two looks for references.
GAP = 60.0
# Rows that are read at once.
BATCH = 500


@dataclass(slots=True, kw_only=True)
class Swept:
    """The findings of a sweep, and its deletions."""

    objects: int = 0
    """The objects that are old enough."""
    orphans: int = 0
    """Those of them that no row refers to."""
    deleted: int = 0


def sweep(store: Store, *, days: int = DAYS, gap: float = GAP, is_trial: bool = False) -> Swept:
    """Delete the objects that no row refers to, if they are old enough.

    Args:
        store: The workflow database.
        days: The age in days from which on an object may be deleted.
        gap: Seconds between the two looks for references.
        is_trial: Only count.

    Raises:
        Exception: The storage's own errors.
    """
    old = set(_list_old(datetime.now(UTC).date() - timedelta(days=days)))
    swept = Swept(objects=len(old))
    orphans = _without_row(store, old)
    if orphans and not is_trial:
        time.sleep(gap)
        orphans = _without_row(store, orphans)
    swept.orphans = len(orphans)
    if not is_trial:
        storage = offloading.storage_of()
        for name in sorted(orphans):
            storage.delete(name)
            swept.deleted += 1
    return swept


def _without_row(store: Store, objects: set[str]) -> set[str]:
    """Return the objects that no row refers to.

    They are compared by the last part of their names, which is unique: a storage may list an object
    under another path than the one that it gave when it saved it.
    """
    if not objects:
        return set()
    referred = {_last(name) for name in _referred(store)}
    return {name for name in objects if _last(name) not in referred}


def _last(name: str) -> str:
    return name.rpartition("/")[2]


def _list_old(last: date) -> Iterator[str]:
    """Return the names of the objects of all days up to one."""
    storage, folder = offloading.storage_of(), offloading.FOLDER
    try:
        days, _ = storage.listdir(folder)
    except FileNotFoundError:
        return
    for day in days:
        written = offloading.day_of(f"{folder}/{day}")
        if written is not None and written <= last:
            _, names = storage.listdir(f"{folder}/{day}")
            yield from (f"{folder}/{day}/{name}" for name in names)


def _referred(store: Store) -> set[str]:
    """Return the names of all objects that a row refers to, as of one moment."""
    # Not at the top: `import django_dbos` works before the apps are loaded.
    from django_dbos.models import AtomicCheckpoint
    from django_dbos.store import documents, values

    found: set[str] = set()
    for alias in (store.alias, *values.databases_of(AtomicCheckpoint, store.alias)):
        with documents.snapshot(alias):
            for model in values.VALUE_COLUMNS:
                if alias in values.databases_of(model, store.alias):
                    condition = values.containing(model, offloading.PREFIX)
                    found.update(_names_in(values, model, alias, condition))
    return found


def _names_in(values: Any, model: Any, alias: str, condition: Q) -> Iterator[str]:
    for rows in values.rows_with_values(model, alias, condition, BATCH):
        for row in rows:
            for text in values.texts_of(row):
                yield from (one.name for one in offloading.references_in(text))
