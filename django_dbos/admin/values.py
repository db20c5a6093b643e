"""Stored values for display: plain JSON without tags, shortened if they are long.

A value may have megabytes, and a page shows hundreds of values. A value that is longer than a page
would show isn't loaded. Only the displayed part of a deeply nested value is formatted. The complete
value can be downloaded as a file.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.db import models
from django.db.models import Case, F, Q, When
from django.db.models import Value as Literal
from django.db.models.functions import Cast
from django.http import HttpResponse
from django.utils import formats, timezone
from django.utils.translation import gettext, ngettext

from django_dbos import exceptions, offloading, serializers
from django_dbos.admin.base import MAX_COUNTED
from django_dbos.admin.look import Look, Unshowable, field_of, hidden, unshowable
from django_dbos.fields import StoredSize

# The number of characters of a value that are shown, and the size in bytes up to which it is loaded
# for that: among other values, and on a page of its own.
MAX_SHOWN, MAX_LOADED = 2_000, 64 * 1024
MAX_SHOWN_ALONE, MAX_LOADED_ALONE = 100_000, 1024 * 1024

_indented = json.JSONEncoder(indent=2, ensure_ascii=False)
_on_one_line = json.JSONEncoder(ensure_ascii=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Value:
    """A value, ready for display."""

    text: str
    traceback: str = ""
    is_cut: bool = False
    whole_url: str = ""
    download_url: str = ""


def with_values(queryset: models.QuerySet[Any], *columns: str, look: Look) -> models.QuerySet[Any]:
    """Load columns, except for values that are too long, for shown() and outcome().

    Of errors the class is shown to everyone. Other values aren't loaded for those who may not see
    them.
    """
    limit = MAX_LOADED_ALONE if look.is_whole else MAX_LOADED
    for column in columns:
        text = _as_text(queryset.model, column)
        is_short = Q(**{f"{column}_size__lte": limit})
        queryset = queryset.annotate(**{f"{column}_size": StoredSize(text)})
        is_loaded = look.may_see or column == "error_text"
        loaded = Case(When(is_short, then=text)) if is_loaded else _nothing()
        queryset = queryset.annotate(**{f"{column}_loaded": loaded})
    return queryset.defer(*columns)


def shown(row: Any, column: str, look: Look) -> Value:
    """Return the value of a column that with_values() has loaded."""
    return _show(row, column, serializers.to_plain, _written, look)


def shown_in_line(row: Any, column: str, look: Look) -> Value:
    """Return a value that with_values() has loaded as JSON on one line."""
    return _show(row, column, serializers.to_plain, _written_in_line, look)


def shown_json(row: Any, column: str, look: Look) -> Value:
    """Return the value of a column of plain JSON that with_values() has loaded."""
    return _show(row, column, json.loads, _written, look)


def outcome(row: Any, look: Look) -> Value:
    """Return the value in `output_text`, or the exception in `error_text`."""
    if row.error_text_size is None:
        return shown(row, "output_text", look)
    return _show(row, "error_text", _error_parts, _written_error, look)


def attempts(row: Any, look: Look) -> Value | int:
    """Return the number of a step's attempts, or the list of their errors if there are any."""
    if row.attempt_errors_text_size is None or not look.may_see:
        return int(row.attempts)
    return _show(row, "attempt_errors_text", serializers.load_attempts, _written_attempts, look)


def _error_parts(text: str) -> dict[str, str]:
    """Return a recorded exception as JSON: its class, message and traceback."""
    summary = serializers.summarize_error(text)
    return {
        "class": summary.class_path.removeprefix("builtins."),
        "message": summary.message,
        "traceback": summary.traceback,
    }


def _written_error(parts: dict[str, str], limit: int) -> Value:
    line, traceback = f"{parts['class']}: {parts['message']}", str(parts["traceback"])
    return Value(
        text=f"{line[:limit]}…" if len(line) > limit else line,
        # The last lines of a traceback show where the error occurred.
        traceback=f"…{traceback[-limit:]}" if len(traceback) > limit else traceback,
        is_cut=max(len(line), len(traceback)) > limit,
    )


def _written_attempts(errors: list[dict[str, Any]], limit: int) -> Value:
    lines = "\n".join(f"{error['attempt']}. {error['error']}" for error in errors)
    is_cut = len(lines) > limit
    return Value(text=f"{lines[:limit]}…" if is_cut else lines, is_cut=is_cut)


def to_download(row: Any, column: str, stored: Any, look: Look) -> Any:
    """Return the complete value of a column as plain JSON, redacted.

    Raises:
        SerializationError: The value can't be read.
        Unshowable: The user may not see it, or its redaction failed.
    """
    if not look.may_see:
        raise Unshowable(gettext("the permission to view values is missing"))
    if column == "error_text":
        class_path = serializers.summarize_error(stored).class_path
        value: Any = {**_error_parts(stored), "class": class_path}
    else:
        value = serializers.to_plain(stored) if isinstance(stored, str) else stored
    return look.redacted(row, field_of(column), value)


def count(number: int) -> str:
    """Return a count that stops at MAX_COUNTED as people read it."""
    return whole(number, is_cut=number >= MAX_COUNTED)


def whole(number: int, *, is_cut: bool = False) -> str:
    """Return a whole number as people write it: 10,000, or 10,000+ if there are more."""
    text = formats.number_format(number, force_grouping=True)
    return f"{text}+" if is_cut else text


def decimal(number: float, places: int) -> str:
    """Return a number with decimal places as people write it."""
    return formats.number_format(round(number, places), places)


def duration(seconds: float) -> str:
    """Return a duration as people read it: 12 s, 5 min, 3.2 h, 4.0 d."""
    if seconds < 120:
        return gettext("%d s") % round(max(seconds, 0.0))
    if seconds < 7_200:
        return gettext("%d min") % round(seconds / 60)
    if seconds < 172_800:
        return gettext("%s h") % decimal(seconds / 3_600, 1)
    return gettext("%s d") % decimal(seconds / 86_400, 1)


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
    return gettext("%s s") % decimal((end - start).total_seconds(), 3)


def _as_text(model: type[models.Model], column: str) -> Any:
    is_text = isinstance(model._meta.get_field(column), models.TextField)
    return F(column) if is_text else Cast(column, models.TextField())


def _nothing() -> Any:
    return Cast(Literal(None), models.TextField())


def _show(
    row: Any,
    column: str,
    read: Callable[[str], Any],
    write: Callable[[Any, int], Value],
    look: Look,
) -> Value:
    size, text = getattr(row, f"{column}_size"), getattr(row, f"{column}_loaded")
    if size is None:
        return Value(text="")
    if text is not None and not look.is_whole and offloading.is_offloaded(text):
        # Not fetched among others: each is a request to the storage.
        size = max((one.size for one in offloading.references_in(text)), default=size)
        text = None
    if text is None and look.may_see:
        text = ngettext("%d byte", "%d bytes", size) % size
        return Value(text=f"({text})", is_cut=True)
    try:
        if not look.may_see:
            return _hidden(column, text)
        value = look.redacted(row, field_of(column), read(text))
        return write(value, MAX_SHOWN_ALONE if look.is_whole else MAX_SHOWN)
    except (exceptions.SerializationError, RecursionError, Unshowable) as error:
        return Value(text=unshowable(error))


def _hidden(column: str, text: str | None) -> Value:
    """Return what everyone may see of a value: the class of an error."""
    if column != "error_text" or text is None:
        return Value(text=hidden())
    return Value(text=f"{_error_parts(text)['class']}: {hidden()}")


def _written(value: Any, limit: int) -> Value:
    """Return a value as indented JSON."""
    return _joined(_indented.iterencode(value), limit)


def _written_in_line(value: Any, limit: int) -> Value:
    return _joined(_on_one_line.iterencode(value), limit)


def _joined(json_pieces: Iterable[str], limit: int) -> Value:
    """Return JSON as a value, and stop formatting it at the limit.

    Indentation can make a deeply nested value a hundred times as long.
    """
    pieces, size = [], 0
    for piece in json_pieces:
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
