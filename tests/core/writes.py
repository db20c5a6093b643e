"""Writes of a workflow under one claim, and facts that a store may find."""

from __future__ import annotations

from typing import Any

from django_dbos.core.batch.lookups import Facts, FoundWorkflow
from django_dbos.core.batch.plan import Plan
from django_dbos.core.records import (
    Checkpoint,
    NewWorkflow,
    RecordEntry,
    RecordEvent,
    RecordStart,
    RecordStep,
    RecordWait,
    Verdict,
    Wake,
    WakeKind,
)
from django_dbos.core.status import Status

CLAIM = {"workflow_id": "w", "claim_number": 3}


def checkpoint(number: int = 1, **options: Any) -> Checkpoint:
    values = {**CLAIM, "step_number": number, "step_name": "s", "record_order": number, **options}
    return Checkpoint(**values)


def step(number: int = 1, **claim: Any) -> RecordStep:
    claim = {**CLAIM, **claim}
    return RecordStep(checkpoint=checkpoint(number, **claim), **claim)


def entry(value: str | None, **options: Any) -> RecordEntry:
    return RecordEntry(
        **{"checkpoint": None, "key": "k", "value": value, "step_number": 1, **CLAIM, **options}
    )


def event(value: str, **options: Any) -> RecordEvent:
    return RecordEvent(
        **{"checkpoint": None, "key": "k", "value": value, "step_number": 1, **CLAIM, **options}
    )


def wait(wake: Wake, timeout: float | None = None, number: int = 1) -> RecordWait:
    return RecordWait(checkpoint=checkpoint(number), wake=wake, timeout=timeout, **CLAIM)


def start(*workflows: NewWorkflow, number: int = 1, **options: Any) -> RecordStart:
    return RecordStart(checkpoint=checkpoint(number), workflows=workflows, **CLAIM, **options)


def new(workflow_id: str, **options: Any) -> NewWorkflow:
    values = {"name": "f", "input": "{}", "queue_name": "q", "parent_id": "w", **options}
    return NewWorkflow(workflow_id=workflow_id, parent_step_number=1, **values)


def found(name: str = "f", status: Status = Status.PENDING, **options: Any) -> FoundWorkflow:
    values = {
        "is_quarantined": False,
        "output": None,
        "error": None,
        "parent_id": None,
        "parent_step_number": None,
        **options,
    }
    return FoundWorkflow(name=name, status=status, **values)


def holding(**facts: Any) -> Facts:
    """Return the facts of a store while workflow "w" is held under its claim 3."""
    return Facts(**{"held": {"w": (3, False)}, **facts})


def verdicts(plan: Plan) -> list[Verdict]:
    return [answer.verdict for answer in plan.answers]


MESSAGE = Wake.of_message("w", "")
SLEEP = Wake(kind=WakeKind.SLEEP)
