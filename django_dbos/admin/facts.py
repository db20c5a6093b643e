"""The facts, values and error on the page of a workflow, besides its rows."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.utils.translation import gettext_lazy as _
from django.utils.translation import pgettext_lazy

from django_dbos.admin import ages
from django_dbos.admin.base import Links, link
from django_dbos.admin.section import Label
from django_dbos.admin.tracebacks import Frame, own_frames
from django_dbos.admin.values import Value
from django_dbos.models import Workflow

Fact = tuple[Label, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """The error of a workflow or a step: its line, the project's own frames, and all of it."""

    value: Value
    frames: list[Frame]

    @classmethod
    def of(cls, value: Value | None) -> Failure | None:
        """Return the failure that a value shows; None if it shows none."""
        if value is None or not value.traceback:
            return None
        return cls(value=value, frames=own_frames(value.traceback))


def main_facts(workflow: Workflow, links: Links, queue: str, now: datetime) -> list[Fact]:
    """Return the facts that are looked for first."""
    parent, original = workflow.parent_id, workflow.forked_from
    end = workflow.finished_at
    so_far = ages.lasted(workflow.started_at, end or now)
    waited = ages.lasted(workflow.created_at, workflow.started_at or end or now)
    return _given(
        (_("Version"), workflow.version),
        (_("Queue"), queue),
        (_("Created"), ages.ago(workflow.created_at, now)),
        (_("Waited in the queue"), waited if workflow.started_at or workflow.is_active else ""),
        (_("Duration") if end else _("Since the first run"), so_far),
        (_("Finished"), ages.ago(end, now)),
        (_("Deadline"), _until(workflow.deadline_at) if workflow.is_active else ""),
        (_("User"), workflow.user_id),
        (_("Worker"), workflow.executor_id),
        (_("Parent"), link(links.workflow(parent), parent) if parent else ""),
        (_("Forked from"), link(links.workflow(original), original) if original else ""),
    )


def other_facts(workflow: Workflow) -> list[Fact]:
    """Return the other facts, for a closer look."""
    return _given(
        (_("Name"), workflow.name),
        (_("Partition key"), workflow.partition_key),
        (_("Priority"), workflow.priority),
        (_("Schedule"), workflow.schedule_name),
        (_("Scheduled"), _until(workflow.scheduled_at)),
        (
            pgettext_lazy("one of several runs of a workflow", "Run"),
            workflow.run_number if workflow.run_number > 1 else "",
        ),
        (_("Parent's step"), workflow.parent_step_number),
        (_("Forked at step"), workflow.forked_at_step),
        (_("Deduplication id"), workflow.deduplication_id),
        (_("Keeps that id until"), _until(workflow.unique_until)),
        (_("Debounce key"), workflow.debounce_key),
        (_("Debounced until, at the latest"), _until(workflow.debounce_until)),
        (_("Times claimed or released"), workflow.claim_number),
        (_("Workers that died while running it"), workflow.recovery_attempts),
        (_("Created"), _until(workflow.created_at)),
        (_("First run"), _until(workflow.started_at)),
        (_("Due"), _until(workflow.due_at)),
        (_("Deadline"), _until(workflow.deadline_at)),
        (_("Finished"), _until(workflow.finished_at)),
    )


def _given(*facts: Fact) -> list[Fact]:
    return [(label, value) for label, value in facts if value not in (None, "")]


def _until(value: datetime | None) -> str:
    return "" if value is None else ages.with_zone(value)
