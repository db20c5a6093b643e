"""Durable sleep: the deadline is recorded, and a recovered workflow sleeps only the rest."""

from __future__ import annotations

from typing import Any

from django_dbos.core import durations
from django_dbos.core.records import Wake, WakeKind
from django_dbos.operations import waits
from django_dbos.operations.run import Run, operation_name

WAKE = Wake(kind=WakeKind.SLEEP)


async def asleep(run: Run, duration: Any) -> None:
    """Return once `duration` has passed since the first call."""
    seconds: float | None = durations.to_seconds(duration, label="duration")
    if seconds is None:
        raise TypeError("duration must be seconds or a timedelta, not None.")
    await waits.await_(run.begin("asleep", operation_name("sleep")), WAKE, seconds)
