"""Rows as JSON documents, and back: for export and import, between databases of any kind."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from django.conf import settings
from django.db import models, transaction
from django.utils import timezone

from django_dbos.core.texts import is_encodable
from django_dbos.fields import FIRST_INSTANT, LAST_INSTANT
from django_dbos.models import (
    Checkpoint,
    Event,
    EventVersion,
    Inquiry,
    Message,
    PastRun,
    StreamEntry,
    Workflow,
)
from django_dbos.store.values import VALUE_COLUMNS

# The rows of a workflow in other tables, by the name of their list in a document.
PARTS: dict[str, type[models.Model]] = {
    "checkpoints": Checkpoint,
    "messages": Message,
    "events": Event,
    "event_versions": EventVersion,
    "stream_entries": StreamEntry,
    "past_runs": PastRun,
    "inquiries": Inquiry,
}
# Columns that only one database has a use for.
NOT_EXPORTED = frozenset({"executor_id", "queue_sequence", "place"})

Text = Callable[[Any, str, str], str]
"""Returns the exported text of a value, given its row, its name and its text."""


class BadDocument(ValueError):
    """A document can't be imported; the message names the place."""


@contextmanager
def snapshot(alias: str) -> Iterator[None]:
    """Return a transaction in which all reads see the tables of one moment.

    In a transaction of the caller's they see what that one sees.
    """
    connection = transaction.get_connection(alias)
    is_outermost = not connection.in_atomic_block
    with _reading(connection) if is_outermost else transaction.atomic(using=alias):
        if is_outermost and connection.vendor == "postgresql":
            with connection.cursor() as cursor:
                cursor.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
        yield


@contextmanager
def _reading(connection: Any) -> Iterator[None]:
    """Return a transaction that doesn't take the only write lock of SQLite."""
    with ExitStack() as stack:
        block = transaction.atomic(using=connection.alias)
        if connection.vendor == "sqlite":
            # IMMEDIATE, for all others: see the system check. Known once there is a connection.
            connection.ensure_connection()
            mode, connection.transaction_mode = connection.transaction_mode, "DEFERRED"
            try:
                stack.enter_context(block)
            finally:
                connection.transaction_mode = mode
        else:
            stack.enter_context(block)
        yield


def fields_of(model: type[models.Model]) -> dict[str, models.Field[Any, Any]]:
    """Return the exported fields of a table by the names of their columns."""
    return {
        str(field.column): field
        for field in model._meta.concrete_fields
        if field.column not in NOT_EXPORTED
        and not isinstance(field, models.BigAutoField)
        and (model is Workflow or field.column != "workflow_id")
    }


def to_json(row: models.Model, text_of: Text) -> dict[str, Any]:
    """Return a row as a JSON object; `text_of` returns the text of each of its values."""
    values = VALUE_COLUMNS[type(row)]
    made = {}
    for column, field in fields_of(type(row)).items():
        value = getattr(row, field.attname)
        if value is not None and field.attname in values:
            value = text_of(row, field.attname.removesuffix("_text"), value)
        made[column] = _plain(value)
    return made


def from_json(model: type[models.Model], given: Any, place: str) -> dict[str, Any]:
    """Return the fields of a row in a JSON object, checked.

    Raises:
        BadDocument: Something is missing, unknown, or of a wrong type.
    """
    known = fields_of(model)
    _check_object(given, place)
    for name in given:
        if name not in known:
            raise BadDocument(f"{place}.{name} is unknown here. Export it with this version.")
    row = {}
    for column, field in known.items():
        if column not in given:
            if field.null or field.has_db_default():
                # A column of a later version than the document's.
                continue
            raise BadDocument(f"{place}.{column} is missing.")
        row[field.attname] = _checked(field, given[column], f"{place}.{column}")
    for column, field in known.items():
        if field.attname in VALUE_COLUMNS[model]:
            _check_value(row.get(field.attname), f"{place}.{column}")
    return row


def _check_object(given: Any, place: str) -> None:
    if not isinstance(given, dict):
        raise BadDocument(f"{place} must be an object, not {_kind(given)}.")


def _plain(value: Any) -> Any:
    if isinstance(value, datetime):
        instant = value if timezone.is_aware(value) else timezone.make_aware(value)
        return instant.astimezone(UTC).isoformat()
    if isinstance(value, UUID):
        return str(value)
    if isinstance(value, timedelta):
        return value.total_seconds()
    return value


def _checked(field: models.Field[Any, Any], value: Any, place: str) -> Any:
    if value is None:
        if not field.null:
            raise BadDocument(f"{place} must not be null.")
        return None
    for kind, read in _READERS.items():
        if isinstance(field, kind):
            return read(field, value, place)
    raise AssertionError(field)


def _read_instant(field: Any, value: Any, place: str) -> datetime:
    try:
        instant = datetime.fromisoformat(_of(str, value, place))
    except ValueError:
        raise BadDocument(f"{place} must be an instant, not {value!r:.80}.") from None
    if instant.tzinfo is None or not FIRST_INSTANT <= instant <= LAST_INSTANT:
        raise BadDocument(f"{place} must be an instant with its offset, not {value!r:.80}.")
    return instant if settings.USE_TZ else timezone.make_naive(instant)


def _read_uuid(field: Any, value: Any, place: str) -> UUID:
    try:
        return UUID(_of(str, value, place))
    except ValueError:
        raise BadDocument(f"{place} must be a UUID, not {value!r:.80}.") from None


def _read_duration(field: Any, value: Any, place: str) -> timedelta:
    if type(value) not in (int, float) or not math.isfinite(value):
        raise BadDocument(f"{place} must be a number of seconds, not {_kind(value)}.")
    try:
        return timedelta(seconds=value)
    except OverflowError:
        raise BadDocument(f"{place} is too long: {value!r} seconds.") from None


def _read_bool(field: Any, value: Any, place: str) -> bool:
    return bool(_of(bool, value, place))


def _read_int(field: Any, value: Any, place: str) -> int:
    number: int = _of(int, value, place)
    bits = 64 if isinstance(field, models.BigIntegerField) else 32
    bits = 16 if isinstance(field, models.SmallIntegerField) else bits
    if not -(2 ** (bits - 1)) <= number < 2 ** (bits - 1):
        raise BadDocument(f"{place} is out of range: {number}.")
    if field.choices and number not in dict(field.choices):
        raise BadDocument(f"{place} must be one of {sorted(dict(field.choices))}, not {number}.")
    return number


def _read_text(field: Any, value: Any, place: str) -> str:
    text: str = _of(str, value, place)
    if "\0" in text or not is_encodable(text):
        raise BadDocument(f"{place} has a NUL character or a lone surrogate.")
    if field.max_length is not None and len(text) > field.max_length:
        raise BadDocument(
            f"{place} has {len(text)} characters, more than the {field.max_length} that fit."
        )
    if field.choices and text not in dict(field.choices):
        raise BadDocument(f"{place} must be one of {sorted(dict(field.choices))}, not {text!r}.")
    return text


def _read_json(field: Any, value: Any, place: str) -> dict[str, Any]:
    found: dict[str, Any] = _of(dict, value, place)
    return found


_READERS: Mapping[Any, Callable[[Any, Any, str], Any]] = {
    models.DateTimeField: _read_instant,
    models.UUIDField: _read_uuid,
    models.DurationField: _read_duration,
    models.BooleanField: _read_bool,
    models.IntegerField: _read_int,
    models.JSONField: _read_json,
    models.CharField: _read_text,
    models.TextField: _read_text,
}


def _of(kind: type, value: Any, place: str) -> Any:
    if type(value) is not kind:
        raise BadDocument(f"{place} must be {_NAMES[kind]}, not {_kind(value)}.")
    return value


_NAMES = {str: "a text", bool: "true or false", int: "a whole number", dict: "an object"}


def _kind(value: Any) -> str:
    return f"{type(value).__name__} {value!r:.80}"


def _check_value(text: str | None, place: str) -> None:
    """Refuse the text of a value that no serializer has written."""
    if text is None or text.startswith("!"):
        return
    try:
        json.loads(text)
    except ValueError as error:
        raise BadDocument(f"{place} isn't the text of a value: {error}.") from None
