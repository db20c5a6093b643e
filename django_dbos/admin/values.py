"""Stored values as people read them: plain JSON, never tags, cut where they are long.

A value may have megabytes, and a page shows hundreds of them. One that is longer than any page
would show stays in the database until it is asked for by itself.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from django.db import models
from django.db.models import Case, F, Q, When
from django.utils import timezone
from django.utils.translation import gettext, ngettext

from django_dbos import exceptions, serializers
from django_dbos.fields import StoredSize

# Characters that are shown of a value, and bytes beyond which it isn't even loaded for that.
MAX_SHOWN = 2_000
MAX_LOADED = 64 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Value:
    """A value as it is shown."""

    text: str
    traceback: str = ""
    is_cut: bool = False
    whole_url: str = ""


def with_values(
    queryset: models.QuerySet[Any], *columns: str, is_whole: bool
) -> models.QuerySet[Any]:
    """Load the columns for `shown()` and `outcome()`; unless `is_whole`, only what is short."""
    for column in columns:
        is_short = Q(**{f"{column}_size__lte": MAX_LOADED})
        loaded = F(column) if is_whole else Case(When(is_short, then=F(column)))
        queryset = queryset.annotate(**{f"{column}_size": StoredSize(column)})
        queryset = queryset.annotate(**{f"{column}_loaded": loaded})
    return queryset.defer(*columns)


def shown(row: Any, column: str, *, is_whole: bool) -> Value:
    """The value in a column that `with_values()` has loaded."""
    return _show(row, column, plain, is_whole)


def outcome(row: Any, *, is_whole: bool) -> Value:
    """What `output_text` says was returned, or what `error_text` says was raised."""
    if row.error_text_size is None:
        return shown(row, "output_text", is_whole=is_whole)
    return _show(row, "error_text", plain_error, is_whole)


def plain(text: str) -> Value:
    """A stored value as JSON for people."""
    try:
        value = serializers.to_plain(text)
    except exceptions.SerializationError as error:
        return _unreadable(error)
    return Value(text=json.dumps(value, indent=2, ensure_ascii=False))


def plain_error(text: str) -> Value:
    """A recorded exception: its class, message and traceback."""
    try:
        summary = serializers.summarize_error(text)
    except exceptions.SerializationError as error:
        return _unreadable(error)
    name = summary.class_path.removeprefix("builtins.")
    return Value(text=f"{name}: {summary.message}", traceback=summary.traceback)


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


def _unreadable(error: exceptions.SerializationError) -> Value:
    return Value(text=gettext("It can't be shown: %s") % error)


def _show(row: Any, column: str, read: Callable[[str], Value], is_whole: bool) -> Value:
    size, text = getattr(row, f"{column}_size"), getattr(row, f"{column}_loaded")
    if size is None:
        return Value(text="")
    if text is None:
        said = ngettext("%d byte", "%d bytes", size) % size
        return Value(text=f"({said})", is_cut=True)
    value = read(text)
    return value if is_whole else _cut(value)


def _cut(value: Value) -> Value:
    if len(value.text) <= MAX_SHOWN and len(value.traceback) <= MAX_SHOWN:
        return value
    # The last lines of a traceback are those that tell where it happened.
    is_long = len(value.traceback) > MAX_SHOWN
    traceback = f"…{value.traceback[-MAX_SHOWN:]}" if is_long else value.traceback
    text = f"{value.text[:MAX_SHOWN]}…" if len(value.text) > MAX_SHOWN else value.text
    return replace(value, text=text, traceback=traceback, is_cut=True)
