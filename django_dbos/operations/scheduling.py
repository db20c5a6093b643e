"""Scheduling: new schedules, and the workflows that schedules start."""

from __future__ import annotations

from datetime import datetime, timedelta

from django_dbos.core import registry
from django_dbos.core.records import NewWorkflow
from django_dbos.core.schedules import Definition, Start, StoredSchedule


def new_workflow(name: str, definition: Definition, start: Start) -> NewWorkflow:
    """Return the workflow that a schedule starts for an instant."""
    known = registry.workflows.get(definition.workflow)
    timeout = None if known is None else known.timeout
    return NewWorkflow(
        workflow_id=start.workflow_id,
        name=definition.workflow,
        version=registry.NEWEST if known is None else known.version,
        input=definition.input,
        queue_name=definition.queue_name,
        priority=definition.priority,
        partition_key=definition.partition_key or "",
        run_at=start.run_at,
        timeout=None if timeout is None else timedelta(seconds=timeout),
        max_recovery_attempts=None if known is None else known.max_recovery_attempts,
        schedule_name=name,
        scheduled_at=start.instant,
        after=start.behind,
    )


def created(
    name: str, now: datetime, *, declared: str | None = None, edited: str | None = None
) -> StoredSchedule:
    """Return a new schedule, whose instants and failures count from now on.

    Workflows of an earlier schedule with the name, which was deleted, may have failed.
    """
    schedule = StoredSchedule(
        name=name,
        workflow_name="",
        declared=declared,
        edited=edited,
        settled_at=now,
        failures_after=now,
    )
    return schedule.planned()
