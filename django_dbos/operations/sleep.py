"""Durable sleep: the deadline is recorded, and a recovered workflow sleeps only the rest."""

from __future__ import annotations

from django_dbos.core.records import Wake, WakeKind
from django_dbos.operations import waits
from django_dbos.operations.run import Run, operation_name

WAKE = Wake(kind=WakeKind.SLEEP)


def sleep(run: Run, seconds: float) -> None:
    """Return when so many seconds have passed since the first call."""
    waits.wait(run.begin("sleep", operation_name("sleep")), WAKE, seconds)


async def asleep(run: Run, seconds: float) -> None:
    """See sleep()."""
    await waits.await_(run.begin("asleep", operation_name("sleep")), WAKE, seconds)
