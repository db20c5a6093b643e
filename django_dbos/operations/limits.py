"""Limits of the records of a run: a warning first, then quarantine. The run itself counts them.

Every replay reads the whole history, and the admin's pages read messages and events too: a workflow
that never ends slows down until a worker has no memory for it.
"""

from __future__ import annotations

import logging

from django_dbos.conf import get_settings
from django_dbos.exceptions import LimitReached
from django_dbos.interruptions import HistoryUnusable
from django_dbos.operations.runtime import HostedRun

logger = logging.getLogger("django_dbos.executor")


def check_steps(run: HostedRun, count: int) -> None:
    """Check the number of steps before one is recorded at a new position."""
    limits = get_settings().step_limits
    if limits is not None and count >= limits[0]:
        _judge(run, "steps", count - 1, count, limits)


def count_messages(run: HostedRun, count: int) -> None:
    """Count messages before they are sent, also by a step."""
    before = run.messages_sent
    run.messages_sent += count
    limits = get_settings().message_limits
    if limits is not None and run.messages_sent >= limits[0]:
        _judge(run, "messages", before, run.messages_sent, limits)


def count_event(run: HostedRun) -> None:
    """Count an event before it is set, also by a step."""
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
    label, setting = NAMES[kind]
    warn, stop = limits
    if now > stop:
        run.stop(HistoryUnusable(LimitReached(run.workflow_id, label, stop, setting)))
    if before < warn:
        logger.warning(
            "Workflow %r has %d %s; it is quarantined beyond %d. Have it continue_as_new(), or "
            "raise DBOS[%r].",
            run.workflow_id,
            now,
            label,
            stop,
            setting,
            extra=run.log_fields,
        )
