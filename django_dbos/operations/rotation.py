"""Rotation: stored values are encrypted again, by the primary key of DBOS["ENCRYPTION"].

It goes through the tables in batches, beside workers and web processes, and may be stopped and
started again at any time: what is under the primary key already is left alone.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any

from django.db.models import Q

from django_dbos import encryption, offloading
from django_dbos.core import compound
from django_dbos.exceptions import EncryptionKeyMissing, SerializationError

if TYPE_CHECKING:
    from django_dbos.store.base import Store

# Rows that are read at once.
BATCH = 500


@dataclass(slots=True, kw_only=True)
class Rotated:
    """The progress of a rotation in one table."""

    table: str
    database: str
    found: int = 0
    """The rows with values under another key, or plain ones if these were to be encrypted."""
    changed: int = 0
    missing: Counter[str] = field(default_factory=Counter)
    """The number of rows that couldn't be read, by the id of the missing key."""
    damaged: int = 0
    """The number of rows that couldn't be decrypted although the key is there."""

    @contextmanager
    def counting_failures(self) -> Iterator[None]:
        """Count a row that can't be read, and leave it as it is."""
        try:
            yield
        except EncryptionKeyMissing as error:
            self.missing[error.key_id] += 1
        except SerializationError:
            self.damaged += 1


def rotate(
    store: Store,
    *,
    with_plain: bool = False,
    is_trial: bool = False,
    batch: int = BATCH,
    pause: float = 0.0,
) -> Iterator[Rotated]:
    """Encrypt all values again, table by table; yield the state of a table after each batch.

    Args:
        store: The workflow database.
        with_plain: Encrypt plain values, too.
        is_trial: Only count.
        batch: The number of rows that are read at once.
        pause: Seconds between two batches.
    """
    # Not at the top: `import django_dbos` works before the apps are loaded.
    from django_dbos.store import values

    change = partial(_again, with_plain=with_plain)
    for model in values.VALUE_COLUMNS:
        condition = Q() if with_plain else _condition(values, model)
        for alias in values.databases_of(model, store.alias):
            table = Rotated(table=model._meta.db_table, database=alias)
            for rows in values.rows_with_values(model, alias, condition, batch):
                for row in rows:
                    texts = values.texts_of(row)
                    if any(_is_old(text, with_plain=with_plain) for text in texts):
                        table.found += 1
                        with table.counting_failures():
                            if is_trial:
                                _ = [change(text) for text in texts]
                            else:
                                table.changed += values.rewrite(row, alias, change)
                yield table
                time.sleep(pause)
            yield table


def _condition(values: Any, model: Any) -> Q:
    encrypted: Q = values.containing(model, encryption.PREFIX)
    referring: Q = values.containing(model, offloading.PREFIX)
    return encrypted | referring


def _is_old(text: str, *, with_plain: bool) -> bool:
    """Return whether a text isn't as the primary key makes it."""
    ring = encryption.get_keyring()
    primary = None if ring is None else ring.primary
    if with_plain and primary is not None and any(map(_is_plain, _values_in(text))):
        return True
    if any(_is_old_key(one.key_id, with_plain) for one in offloading.references_in(text)):
        return True
    return bool(encryption.key_ids_in(text) - {primary})


def _values_in(text: str) -> list[str]:
    return compound.parts_of(text) if compound.is_compound(text) else [text]


def _is_plain(text: str) -> bool:
    return not text.startswith((encryption.PREFIX, offloading.PREFIX))


def _is_old_key(key_id: str, with_plain: bool) -> bool:
    """Return whether an object is to be encrypted again that is encrypted with a key, or plain."""
    ring = encryption.get_keyring()
    primary = (None if ring is None else ring.primary) or ""
    return key_id != primary and (bool(key_id) or with_plain)


def _again(text: str, *, with_plain: bool) -> str:
    text = offloading.saved_again(
        text, partial(_again, with_plain=with_plain), partial(_is_old_key, with_plain=with_plain)
    )
    if text.startswith(offloading.PREFIX):
        return text
    again = encryption.encrypt_again(text)
    return sealed(again) if with_plain else again


def sealed(text: str) -> str:
    """Return a stored text whose plain values are encrypted, if there is a primary key."""
    # The parts, not the whole: what is in a row tells which objects and keys it needs.
    return compound.with_parts(text, _sealed) if compound.is_compound(text) else _sealed(text)


def _sealed(text: str) -> str:
    return encryption.protect(text) if _is_plain(text) else text
