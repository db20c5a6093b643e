"""Replays: whether today's code still fits a recorded history. Nothing is run and nothing written.

The workflow function is called with the recorded arguments, and its operations return what was
recorded. It stops before the first operation without a record.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from django_dbos import serializers
from django_dbos.core import registry
from django_dbos.core.batch.lookups import FoundCheckpoint
from django_dbos.core.records import Checkpoint, Claim, State
from django_dbos.core.status import ACTIVE, Status
from django_dbos.exceptions import (
    EncryptionKeyMissing,
    SerializationError,
    WorkflowDoesNotExist,
)
from django_dbos.interruptions import HistoryUnusable, RunInterrupted, Suspended
from django_dbos.operations import runner
from django_dbos.operations.inline import InlineHost
from django_dbos.operations.run import Call, Run

if TYPE_CHECKING:
    from django_dbos.store.base import Store


class EndOfHistory(RunInterrupted):
    """The code has come to an operation that has no record."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Replayed:
    """The outcome of a replay."""

    workflow_id: str
    name: str
    recorded: int
    """The number of recorded steps and operations."""
    compared: int
    """The number of these that the code has come to."""
    difference: str | None
    """The first thing in the code that isn't in the history; None if it fits."""
    next_step: str | None = None
    """The operation without a record before which the replay stopped, as "3 'shop.charge'"."""

    @property
    def fits(self) -> bool:
        """True if the code fits the history."""
        return self.difference is None

    def __str__(self) -> str:
        what = f"Workflow {self.workflow_id!r} ({self.name})"
        if self.difference is not None:
            return f"{what} doesn't fit the code: {self.difference}"
        if self.next_step is not None:
            return (
                f"{what} fits the code so far: {self.compared} of {self.recorded} recorded steps "
                f"compared. It would go on with step {self.next_step}."
            )
        return f"{what} fits the code: {self.compared} of {self.recorded} recorded steps compared."


class ReplayRun(Run):
    """A run that ends before the first operation without a record."""

    next_step: str | None = None

    def begin(self, operation: str, step_name: str, fingerprint: str | None = None) -> Call:
        """Take the next position; end the run if nothing is recorded there."""
        call = super().begin(operation, step_name, fingerprint)
        if call.found is None:
            if self.next_step is None:
                self.next_step = f"{call.step_number} {step_name!r}"
            self.stop(EndOfHistory())
        return call

    def check_caller(self, operation: str) -> None:
        """Allow all callers: nothing is written."""


def replay(store: Store, workflow_id: str) -> Replayed:
    """Replay a stored workflow; raise WorkflowDoesNotExist, UnknownWorkflow."""
    # Not at the top: `import django_dbos` works before the apps are loaded.
    from django_dbos.models import Checkpoint as Row
    from django_dbos.models import Workflow

    workflow = Workflow.objects.using(store.alias).filter(pk=workflow_id).first()
    if workflow is None:
        raise WorkflowDoesNotExist(workflow_id)
    rows = Row.objects.using(store.alias).filter(workflow_id=workflow_id)
    return replay_rows(store, workflow, list(rows.order_by("step_number")))


def replay_rows(store: Store, workflow: Any, checkpoints: Sequence[Any]) -> Replayed:
    """Replay a history that is given as rows, perhaps of an imported document.

    Raises:
        UnknownWorkflow: No workflow function has this name, or this version, here.
        EncryptionKeyMissing: A value is encrypted with a key that isn't here.
    """
    recorded = [_record(row) for row in checkpoints]
    run = ReplayRun(
        _claim(workflow),
        registry.find_version(workflow.name, workflow.version),
        InlineHost(store, "replay"),
        checkpoints=[FoundCheckpoint(checkpoint=one, remaining=None) for one in recorded],
    )
    run.takes_new_paths = workflow.status in ACTIVE or bool(workflow.is_quarantined)
    raised = asyncio.run(_acall(run)) if run.definition.is_async else runner.call(run)
    begun = run.history.step_number
    outcomes = [one for one in recorded if one.state is not State.WAITING]
    return Replayed(
        workflow_id=str(workflow.pk),
        name=str(workflow.name),
        recorded=len(outcomes),
        compared=sum(one.step_number <= begun for one in outcomes),
        difference=_difference(run, workflow, raised),
        next_step=run.next_step,
    )


async def _acall(run: Run) -> BaseException | None:
    return await runner.acall(run)


def _difference(run: ReplayRun, workflow: Any, raised: BaseException | None) -> str | None:
    reason = raised if isinstance(raised, RunInterrupted) else run.interruption
    match reason:
        case HistoryUnusable():
            return str(reason.error)
        case Suspended():
            raise EncryptionKeyMissing(run.suspension["wake"].name)
        case EndOfHistory():
            return _beyond_end(run, workflow)
    if raised is not None:
        return _other_error(workflow, raised)
    return _other_output(run, workflow)


def _beyond_end(run: ReplayRun, workflow: Any) -> str | None:
    """Return the difference of a finished workflow that would go on."""
    if workflow.status in (Status.SUCCESS, Status.ERROR) and not workflow.is_quarantined:
        return f"it has ended, and the code goes on with step {run.next_step}."
    return None


def _other_error(workflow: Any, raised: BaseException) -> str | None:
    name = f"{type(raised).__module__}.{type(raised).__qualname__}"
    shown = f"{type(raised).__qualname__}: {raised}"
    if workflow.status == Status.SUCCESS:
        return f"it has succeeded, and the code raises {shown}"
    if workflow.status == Status.ERROR and workflow.error_text is not None:
        recorded = serializers.summarize_error(workflow.error_text)
        if recorded.class_path != name and not workflow.is_quarantined:
            return f"it has failed with {recorded.class_path}, and the code raises {shown}"
    return None


def _other_output(run: ReplayRun, workflow: Any) -> str | None:
    if workflow.status == Status.ERROR and not workflow.is_quarantined:
        return "it has failed, and the code returns a value."
    if workflow.status != Status.SUCCESS:
        return None
    try:
        text = serializers.dumps(run.value, label="The result")
        recorded = serializers.opened(workflow.output_text or "null")
        is_same = serializers.opened(text) == recorded or run.value == serializers.loads(recorded)
    except SerializationError as error:
        return f"its result can't be compared: {error}"
    return None if is_same else "the code returns another result than the recorded one."


def _claim(workflow: Any) -> Claim:
    return Claim(
        workflow_id=str(workflow.pk),
        claim_number=workflow.claim_number or 0,
        name=str(workflow.name),
        version=workflow.version,
        input=workflow.input_text,
        token=workflow.token,
        queue_name=workflow.queue_name,
        user_id=workflow.user_id,
        steps_before=workflow.steps_before or 0,
        has_history=True,
        scheduled_at=workflow.scheduled_at,
    )


def _record(row: Any) -> Checkpoint:
    return Checkpoint(
        workflow_id=row.workflow_id,
        step_number=row.step_number,
        step_name=row.step_name,
        record_order=row.record_order,
        claim_number=row.claim_number,
        state=State(row.state or 0),
        fingerprint=row.fingerprint,
        output=row.output_text,
        error=row.error_text,
        related_workflow_id=row.related_workflow_id,
        attempts=row.attempts or 1,
        attempt_errors=row.attempt_errors_text,
    )
