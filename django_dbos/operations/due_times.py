"""Times as users give them: an instant, or seconds or a timedelta from now."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from django.conf import settings as django_settings
from django.utils import timezone

from django_dbos.core import durations


def check_due(value: Any, *, label: str) -> datetime | float | None:
    """Return an aware instant, or seconds from now; None stays None.

    Raises:
        TypeError: The value is neither. The message begins with `label`.
        ValueError: It is out of range, or naive in a project with USE_TZ.
    """
    if not isinstance(value, datetime):
        seconds: float | None = durations.to_seconds(value, label=label, wanted=durations.DUE)
        return seconds
    instant = durations.check_instant(value, label=label)
    if timezone.is_aware(instant):
        return instant
    if django_settings.USE_TZ:
        raise ValueError(
            f"{label} must be aware of its time zone, but is {value!r}. "
            "Use django.utils.timezone.now() or make_aware(), or give seconds or a timedelta."
        )
    return timezone.make_aware(instant)
