"""Stored values as people read them: plain JSON, never tags, cut where they are long.

A value may have megabytes, and a page shows hundreds of them. One that is longer than any page
would show stays in the database until it is asked for by itself; what a page shows of one that is
nested deep is written no further than it is shown. All of it is a file to download.
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

# Characters that are shown of a value, and bytes beyond which it isn't even loaded for that: among
# others, and alone.
MAX_SHOWN, MAX_LOADED = 2_000, 64 * 1024
MAX_SHOWN_ALONE, MAX_LOADED_ALONE = 100_000, 1024 * 1024

_indented = json.JSONEncoder(indent=2, ensure_ascii=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Value:
    """A value as it is shown."""

    text: str
    traceback: str = ""
    is_cut: bool = False
    whole_url: str = ""
    download_url: str = ""


def with_values(
    queryset: models.QuerySet[Any], *columns: str, is_whole: bool
) -> models.QuerySet[Any]:
    """Load the columns for `shown()` and `outcome()`, where they aren't too long to be shown.

    `is_whole`: a single row is shown, and more of it.
    """
    for column in columns:
        text = _as_text(queryset.model, column)
        limit = MAX_LOADED_ALONE if is_whole else MAX_LOADED
        is_short = Q(**{f"{column}_size__lte": limit})
        queryset = queryset.annotate(**{f"{column}_size": StoredSize(text)})
        queryset = queryset.annotate(**{f"{column}_loaded": Case(When(is_short, then=text))})
    return queryset.defer(*columns)


def shown(row: Any, column: str, *, is_whole: bool) -> Value:
    """The value in a column that `with_values()` has loaded."""
    return _show(row, column, plain, is_whole)


def shown_json(row: Any, column: str, *, is_whole: bool) -> Value:
    """The same of a column of plain JSON."""
    return _show(row, column, lambda text, limit: _written(json.loads(text), limit), is_whole)


def outcome(row: Any, *, is_whole: bool) -> Value:
    """What `output_text` says was returned, or what `error_text` says was raised."""
    if row.error_text_size is None:
        return shown(row, "output_text", is_whole=is_whole)
    return _show(row, "error_text", plain_error, is_whole)


def attempts(row: Any, *, is_whole: bool) -> Value | int:
    """How often a step was attempted, and what each attempt failed with."""
    if row.attempt_errors_text_size is None:
        return int(row.attempts)
    return _show(row, "attempt_errors_text", _plain_attempts, is_whole)


def _plain_attempts(text: str, limit: int) -> Value:
    said = "\n".join(f"{one['attempt']}. {one['error']}" for one in json.loads(text))
    is_cut = len(said) > limit
    return Value(text=f"{said[:limit]}…" if is_cut else said, is_cut=is_cut)


def plain(text: str, limit: int) -> Value:
    """A stored value as JSON for people, of so many characters at most."""
    try:
        return _written(serializers.to_plain(text), limit)
    except (exceptions.SerializationError, RecursionError) as error:
        return _unreadable(error)


def plain_error(text: str, limit: int) -> Value:
    """A recorded exception: its class, message and traceback."""
    try:
        summary = serializers.summarize_error(text)
    except exceptions.SerializationError as error:
        return _unreadable(error)
    name = summary.class_path.removeprefix("builtins.")
    said, traceback = f"{name}: {summary.message}", summary.traceback
    return Value(
        text=f"{said[:limit]}…" if len(said) > limit else said,
        # The last lines of a traceback are those that tell where it happened.
        traceback=f"…{traceback[-limit:]}" if len(traceback) > limit else traceback,
        is_cut=max(len(said), len(traceback)) > limit,
    )


def to_download(column: str, stored: Any) -> Any:
    """All of a column's value as plain JSON; raises SerializationError."""
    if column == "error_text":
        summary = serializers.summarize_error(stored)
        return {
            "class": summary.class_path,
            "message": summary.message,
            "traceback": summary.traceback,
        }
    return serializers.to_plain(stored) if isinstance(stored, str) else stored


def as_download(value: Any, name: str) -> HttpResponse:
    """A file of plain JSON, which no browser takes for a page.

    At once: a stored value is in memory as a whole anyway, and ASGI takes no synchronous streams.
    """
    text = _encoded(json.dumps(value, ensure_ascii=False))
    response = HttpResponse(text, content_type="application/json")
    response["Content-Disposition"] = f'attachment; filename="{name}.json"'
    response["X-Content-Type-Options"] = "nosniff"
    return response


def instant(value: datetime | None) -> str:
    """An instant to the millisecond: steps are often closer than Django's formats tell."""
    if value is None:
        return ""
    local = timezone.localtime(value) if timezone.is_aware(value) else value
    return f"{local:%Y-%m-%d %H:%M:%S}.{local.microsecond // 1000:03}"


def seconds(start: datetime | None, end: datetime | None) -> str:
    """How long something took, if it began and ended."""
    if start is None or end is None:
        return ""
    return f"{(end - start).total_seconds():.3f} s"


def _unreadable(error: Exception) -> Value:
    return Value(text=gettext("It can't be shown: %s") % error)


def _as_text(model: type[models.Model], column: str) -> Any:
    is_text = isinstance(model._meta.get_field(column), models.TextField)
    return F(column) if is_text else Cast(column, models.TextField())


def _show(row: Any, column: str, read: Callable[[str, int], Value], is_whole: bool) -> Value:
    size, text = getattr(row, f"{column}_size"), getattr(row, f"{column}_loaded")
    if size is None:
        return Value(text="")
    if text is None:
        said = ngettext("%d byte", "%d bytes", size) % size
        return Value(text=f"({said})", is_cut=True)
    return read(text, MAX_SHOWN_ALONE if is_whole else MAX_SHOWN)


def _written(value: Any, limit: int) -> Value:
    """A value as indented JSON, written no further than it is shown.

    Indentation alone can make a hundred times as much of one that is nested deep.
    """
    pieces, size = [], 0
    for piece in _indented.iterencode(value):
        pieces.append(piece)
        size += len(piece)
        if size > limit:
            return Value(text=f"{_encodable(''.join(pieces)[:limit])}…", is_cut=True)
    return Value(text=_encodable("".join(pieces)))


def _encoded(text: str) -> bytes:
    """JSON as bytes: a lone surrogate, which only other programs can have stored, is escaped."""
    return text.encode("utf-8", "backslashreplace")


def _encodable(text: str) -> str:
    return text if text.isascii() else _encoded(text).decode()
