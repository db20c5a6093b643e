"""Stored values for display: plain JSON without tags, shortened if they are long.

A value may have megabytes, and a page shows hundreds of values. A value that is longer than a page
would show isn't loaded. Only the displayed part of a deeply nested value is formatted. The complete
value can be downloaded as a file.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.db import models
from django.db.models import Case, F, Q, When
from django.db.models.functions import Cast
from django.http import HttpResponse
from django.utils import timezone
from django.utils.translation import gettext, ngettext

from django_dbos import exceptions, serializers
from django_dbos.fields import StoredSize

# The number of characters of a value that are shown, and the size in bytes up to which it is loaded
# for that: among other values, and on a page of its own.
MAX_SHOWN, MAX_LOADED = 2_000, 64 * 1024
MAX_SHOWN_ALONE, MAX_LOADED_ALONE = 100_000, 1024 * 1024

_indented = json.JSONEncoder(indent=2, ensure_ascii=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Value:
    """A value, ready for display."""

    text: str
    traceback: str = ""
    is_cut: bool = False
    whole_url: str = ""
    download_url: str = ""


def with_values(
    queryset: models.QuerySet[Any], *columns: str, is_whole: bool
) -> models.QuerySet[Any]:
    """Load columns, except for values that are too long, for shown() and outcome().

    Args:
        queryset: The rows.
        columns: Their columns with values.
        is_whole: A single row is shown, so that its values may be longer.
    """
    for column in columns:
        text = _as_text(queryset.model, column)
        limit = MAX_LOADED_ALONE if is_whole else MAX_LOADED
        is_short = Q(**{f"{column}_size__lte": limit})
        queryset = queryset.annotate(**{f"{column}_size": StoredSize(text)})
        queryset = queryset.annotate(**{f"{column}_loaded": Case(When(is_short, then=text))})
    return queryset.defer(*columns)


def shown(row: Any, column: str, *, is_whole: bool) -> Value:
    """Return the value of a column that with_values() has loaded."""
    return _show(row, column, plain, is_whole)


def shown_json(row: Any, column: str, *, is_whole: bool) -> Value:
    """Return the value of a column of plain JSON that with_values() has loaded."""
    return _show(row, column, lambda text, limit: _written(json.loads(text), limit), is_whole)


def outcome(row: Any, *, is_whole: bool) -> Value:
    """Return the value in `output_text`, or the exception in `error_text`."""
    if row.error_text_size is None:
        return shown(row, "output_text", is_whole=is_whole)
    return _show(row, "error_text", plain_error, is_whole)


def attempts(row: Any, *, is_whole: bool) -> Value | int:
    """Return the number of a step's attempts, or the list of their errors if there are any."""
    if row.attempt_errors_text_size is None:
        return int(row.attempts)
    return _show(row, "attempt_errors_text", _plain_attempts, is_whole)


def _plain_attempts(text: str, limit: int) -> Value:
    errors = json.loads(text)
    lines = "\n".join(f"{error['attempt']}. {error['error']}" for error in errors)
    is_cut = len(lines) > limit
    return Value(text=f"{lines[:limit]}…" if is_cut else lines, is_cut=is_cut)


def plain(text: str, limit: int) -> Value:
    """Return a stored value as indented JSON of at most ``limit`` characters."""
    try:
        return _written(serializers.to_plain(text), limit)
    except (exceptions.SerializationError, RecursionError) as error:
        return _unreadable(error)


def plain_error(text: str, limit: int) -> Value:
    """Return a recorded exception: its class, message and traceback."""
    try:
        summary = serializers.summarize_error(text)
    except exceptions.SerializationError as error:
        return _unreadable(error)
    name = summary.class_path.removeprefix("builtins.")
    line, traceback = f"{name}: {summary.message}", summary.traceback
    return Value(
        text=f"{line[:limit]}…" if len(line) > limit else line,
        # The last lines of a traceback show where the error occurred.
        traceback=f"…{traceback[-limit:]}" if len(traceback) > limit else traceback,
        is_cut=max(len(line), len(traceback)) > limit,
    )


def to_download(column: str, stored: Any) -> Any:
    """Return the complete value of a column as plain JSON; raise SerializationError."""
    if column == "error_text":
        summary = serializers.summarize_error(stored)
        return {
            "class": summary.class_path,
            "message": summary.message,
            "traceback": summary.traceback,
        }
    return serializers.to_plain(stored) if isinstance(stored, str) else stored


def as_download(value: Any, name: str) -> HttpResponse:
    """Return a download of plain JSON that browsers don't display as a page.

    It isn't streamed: the value is in memory anyway, and ASGI supports no synchronous streams.
    """
    text = _encoded(json.dumps(value, ensure_ascii=False))
    response = HttpResponse(text, content_type="application/json")
    response["Content-Disposition"] = f'attachment; filename="{name}.json"'
    response["X-Content-Type-Options"] = "nosniff"
    return response


def instant(value: datetime | None) -> str:
    """Return an instant with milliseconds, as steps often differ by less than a second."""
    if value is None:
        return ""
    local = timezone.localtime(value) if timezone.is_aware(value) else value
    return f"{local:%Y-%m-%d %H:%M:%S}.{local.microsecond // 1000:03}"


def seconds(start: datetime | None, end: datetime | None) -> str:
    """Return the duration in seconds, or "" if there is no start or no end."""
    if start is None or end is None:
        return ""
    return f"{(end - start).total_seconds():.3f} s"


def _unreadable(error: Exception) -> Value:
    return Value(text=gettext("This value can't be shown: %s") % error)


def _as_text(model: type[models.Model], column: str) -> Any:
    is_text = isinstance(model._meta.get_field(column), models.TextField)
    return F(column) if is_text else Cast(column, models.TextField())


def _show(row: Any, column: str, read: Callable[[str, int], Value], is_whole: bool) -> Value:
    size, text = getattr(row, f"{column}_size"), getattr(row, f"{column}_loaded")
    if size is None:
        return Value(text="")
    if text is None:
        text = ngettext("%d byte", "%d bytes", size) % size
        return Value(text=f"({text})", is_cut=True)
    return read(text, MAX_SHOWN_ALONE if is_whole else MAX_SHOWN)


def _written(value: Any, limit: int) -> Value:
    """Return a value as indented JSON, and stop formatting at the limit.

    Indentation can make a deeply nested value a hundred times as long.
    """
    pieces, size = [], 0
    for piece in _indented.iterencode(value):
        pieces.append(piece)
        size += len(piece)
        if size > limit:
            return Value(text=f"{_encodable(''.join(pieces)[:limit])}…", is_cut=True)
    return Value(text=_encodable("".join(pieces)))


def _encoded(text: str) -> bytes:
    """Return JSON as bytes, with lone surrogates, which only other programs store, escaped."""
    return text.encode("utf-8", "backslashreplace")


def _encodable(text: str) -> str:
    return text if text.isascii() else _encoded(text).decode()
