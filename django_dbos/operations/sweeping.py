"""The sweep of offloaded values: objects that no row refers to any more are deleted.

A row may be gone, by retention for example, or was never committed. An object may have several
rows, since texts are copied, so that no deletion of a row can delete its object. The sweep looks
for references twice, some time apart: a text that a process has read before its row was deleted is
in a row again by then, or never will be (CORRECTNESS rule 97).

A look reads all tables of values in one snapshot, BATCH rows a statement, and rests after each for
as long as that took; only texts that have a reference leave the database.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Any

from django.db.models import Case, F, JSONField, Q, QuerySet, When

from django_dbos import offloading
from django_dbos.store.base import Store

# Days that an object is kept at least: transactions that write its row take less.
DAYS = 2
# Seconds between the two looks for references.
GAP = 60.0
# Rows that one statement reads.
BATCH = 2_000

Rest = Callable[[float], None]
"""Waits for a number of seconds; may raise an error that ends the sweep."""


@dataclass(slots=True, kw_only=True)
class Swept:
    """The findings of a sweep, and its deletions."""

    objects: int = 0
    """The objects that are old enough."""
    orphans: int = 0
    """Those of them that no row refers to."""
    deleted: int = 0


def sweep(
    store: Store,
    *,
    days: int = DAYS,
    gap: float = GAP,
    is_trial: bool = False,
    rest: Rest | None = None,
) -> Swept:
    """Delete the objects that no row refers to, if they are old enough.

    Args:
        store: The workflow database.
        days: The age in days from which on an object may be deleted.
        gap: Seconds between the two looks for references.
        is_trial: Only count.
        rest: Waits between statements, and between the looks; None for time.sleep.

    Raises:
        Exception: The storage's own errors.
    """
    old = set(_list_old(datetime.now(UTC).date() - timedelta(days=days)))
    swept = Swept(objects=len(old))
    wait = rest or time.sleep
    orphans = _without_row(store, old, wait)
    if orphans and not is_trial:
        wait(gap)
        orphans = _without_row(store, orphans, wait)
    swept.orphans = len(orphans)
    if not is_trial:
        storage = offloading.storage_of()
        for name in sorted(orphans):
            storage.delete(name)
            swept.deleted += 1
    return swept


def _without_row(store: Store, objects: set[str], rest: Rest) -> set[str]:
    """Return the objects that no row refers to.

    They are compared by the last part of their names, which is unique: a storage may list an object
    under another path than the one that it gave when it saved it.
    """
    left = {_last(name): name for name in objects}
    if left:
        for name in _referred(store, rest):
            left.pop(_last(name), None)
    return set(left.values())


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


def _referred(store: Store, rest: Rest) -> Iterator[str]:
    """Return the names of all objects that a row refers to, as of one moment for each database."""
    # Not at the top: `import django_dbos` works before the apps are loaded.
    from django_dbos.models import AtomicCheckpoint
    from django_dbos.store import documents, values

    for alias in dict.fromkeys((store.alias, *values.databases_of(AtomicCheckpoint, store.alias))):
        with documents.snapshot(alias):
            for model in values.VALUE_COLUMNS:
                if alias in values.databases_of(model, store.alias):
                    for text in _texts(values, model, alias, rest):
                        yield from (one.name for one in offloading.references_in(text))


def _texts(values: Any, model: Any, alias: str, rest: Rest) -> Iterator[str]:
    """Return the texts in a table that may have references."""
    columns = values.VALUE_COLUMNS[model]
    if any(isinstance(model._meta.get_field(column), JSONField) for column in columns):
        # The options of schedules, of which there are few.
        for rows in values.rows_with_values(model, alias, Q(), BATCH):
            for row in rows:
                yield from values.texts_of(row)
        return
    found = {
        f"found_{column}": Case(
            When(**{f"{column}__contains": offloading.PREFIX}, then=F(column)), default=None
        )
        for column in columns
    }
    rows = QuerySet(model, using=alias).annotate(**found).order_by("pk")
    page: list[Any] = []
    is_last = False
    while not is_last:
        began = time.monotonic()
        later = rows.filter(pk__gt=page[-1][0]) if page else rows
        page = list(later.values_list("pk", *found)[:BATCH])
        is_last = len(page) < BATCH
        yield from (text for _, *texts in page for text in texts if text is not None)
        rest(time.monotonic() - began)
