"""Times in words: how long something took, and how long ago it was."""

from __future__ import annotations

from datetime import datetime, timedelta

from django.utils import timezone
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.translation import gettext

from django_dbos.admin.values import decimal, instant

MINUTE, HOUR, DAY = 60, 3_600, 86_400


def now() -> datetime:
    """Return the time, as Django shows the times of rows: naive without `USE_TZ`."""
    return timezone.now()


def lasted(start: datetime | None, end: datetime | None) -> str:
    """Return the time between two instants in words, or "" if one of them is missing."""
    if start is None or end is None:
        return ""
    return in_words(end - start)


def in_words(duration: timedelta, decimals: int = 1) -> str:
    """Return a duration in one or two units: "12 ms", "3.4 s", "2 min 5 s", "3 h 20 min"."""
    seconds = max(duration.total_seconds(), 0.0)
    if 0 < seconds < 0.001:
        return gettext("< 1 ms")
    if seconds < 0.9995:
        return gettext("%d ms") % round(seconds * 1_000)
    if seconds < MINUTE:
        return gettext("%s s") % decimal(seconds, decimals)
    if seconds < HOUR:
        minutes, rest = divmod(int(seconds), MINUTE)
        return gettext("%(minutes)d min %(seconds)d s") % {"minutes": minutes, "seconds": rest}
    if seconds < DAY:
        hours, rest = divmod(int(seconds) // MINUTE, MINUTE)
        return gettext("%(hours)d h %(minutes)d min") % {"hours": hours, "minutes": rest}
    days, rest = divmod(int(seconds) // HOUR, 24)
    return gettext("%(days)d d %(hours)d h") % {"days": days, "hours": rest}


def age(value: datetime | None, at: datetime) -> str:
    """Return how long before `at` something was, in one unit: "5 s", "3 min", "2 h", "12 d"."""
    if value is None:
        return ""
    seconds = max(int((at - value).total_seconds()), 0)
    if seconds < MINUTE:
        return gettext("%d s") % seconds
    if seconds < HOUR:
        return gettext("%d min") % (seconds // MINUTE)
    if seconds < 2 * DAY:
        return gettext("%d h") % (seconds // HOUR)
    return gettext("%d d") % (seconds // DAY)


def ago(value: datetime | None, at: datetime) -> SafeString | str:
    """Return "3 min ago" as an element that has the instant in its title."""
    if value is None:
        return ""
    return timed(value, gettext("%s ago") % age(value, at))


def timed(value: datetime, text: str) -> SafeString:
    """Return a text about an instant, with the instant as a machine and a mouse find it."""
    return format_html(
        '<time datetime="{}" title="{}">{}</time>', value.isoformat(), with_zone(value), text
    )


def with_zone(value: datetime) -> str:
    """Return an instant with the name of its time zone: "2026-11-28 10:54:36.940 CET"."""
    if not timezone.is_aware(value):
        return instant(value)
    return f"{instant(value)} {timezone.localtime(value):%Z}"
