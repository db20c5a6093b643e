"""How much one workflow may record: a warning first, then its end, by what its run counts itself.

Every replay reads the whole history, and every page and socket what hangs on it: a workflow that
never ends slows down until a worker has no memory for it.
"""

from __future__ import annotations

import logging

from django_dbos.conf import get_settings
from django_dbos.exceptions import LimitReached
from django_dbos.interruptions import HistoryUnusable
from django_dbos.operations.runtime import HostedRun

logger = logging.getLogger("django_dbos.executor")


def check_steps(run: HostedRun, step_number: int) -> None:
    """Before something is recorded at a position that is new."""
    limits = get_settings().step_limits
    if limits is not None and step_number >= limits[0]:
        _judge(run, "steps", step_number - 1, step_number, limits)


def count_messages(run: HostedRun, count: int) -> None:
    """Before messages are sent, by a step too."""
    before = run.messages_sent
    run.messages_sent += count
    limits = get_settings().message_limits
    if limits is not None and run.messages_sent >= limits[0]:
        _judge(run, "messages", before, run.messages_sent, limits)


def count_event(run: HostedRun) -> None:
    """Before an event is set, by a step too."""
    run.events_set += 1
    limits = get_settings().event_limits
    if limits is not None and run.events_set >= limits[0]:
        _judge(run, "events", run.events_set - 1, run.events_set, limits)


NAMES = {
    "steps": ("steps", "STEP_LIMITS"),
    "messages": ("sent messages", "MESSAGE_LIMITS"),
    "events": ("changes of events", "EVENT_LIMITS"),
}


def _judge(run: HostedRun, kind: str, before: int, now: int, limits: tuple[int, int]) -> None:
    what, setting = NAMES[kind]
    warn, stop = limits
    if now > stop:
        run.stop(HistoryUnusable(LimitReached(run.workflow_id, what, stop, setting)))
    if before < warn:
        logger.warning(
            "Workflow %r has %d %s; it is quarantined beyond %d. Let it hand over to another "
            "workflow, or set DBOS[%r].",
            run.workflow_id,
            now,
            what,
            stop,
            setting,
            extra=run.log_fields,
        )
