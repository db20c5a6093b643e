"""Checks before a history is copied, cut off or deleted; each refusal has its reason."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from django.db.models import Max

from django_dbos import serializers
from django_dbos.conf import get_settings
from django_dbos.core.failures import Failure, failed_step
from django_dbos.core.records import State
from django_dbos.core.status import ACTIVE, Status
from django_dbos.exceptions import ChangeRefused, SerializationError, WorkflowDoesNotExist
from django_dbos.models import AtomicCheckpoint, Checkpoint, Workflow
from django_dbos.store.connecting import Connecting
from django_dbos.store.sessions import translated_errors

Seen = tuple[str, int]
"""The token and the claim number of a workflow that somebody has seen: whatever claims, wakes,
cancels, resumes or rewinds it changes one of them."""
_FAILED = sorted({Status.ERROR, Status.CANCELLED, Status.MAX_RECOVERY_ATTEMPTS_EXCEEDED})


class HistoryChecks(Connecting):
    """Refuses changes of histories that would lose something, or run a step twice."""

    def _lock(self, workflow_id: str, operation: str, seen: Seen | None) -> Workflow:
        """Lock a workflow's row: a claim, a wake-up or an end comes before or after (rule 92)."""
        found = self._workflows().select_for_update().defer("output_text")
        row = found.filter(workflow_id=workflow_id).first()
        if row is None or is_being_deleted(row):
            raise WorkflowDoesNotExist(workflow_id)
        if seen is not None and seen != (str(row.token), row.claim_number):
            raise ChangeRefused(
                workflow_id, operation, "it has changed since the page was shown. Look at it again."
            )
        return row

    def _read(self, workflow_id: str) -> Workflow:
        row = self._workflows().filter(workflow_id=workflow_id).defer("output_text").first()
        if row is None:
            raise WorkflowDoesNotExist(workflow_id)
        return row

    def _check_idle(self, row: Workflow, operation: str) -> None:
        if row.status == Status.PENDING:
            reason = f"executor {row.executor_id!r} is running it. Cancel it first."
        elif row.status == Status.DELAYED:
            reason = "it hasn't begun yet."
        else:
            return
        raise ChangeRefused(str(row.workflow_id), operation, reason)

    def _check_step(self, row: Workflow, step_number: int, operation: str, parameter: str) -> None:
        """Refuse a step that the history hasn't, and isn't the next one."""
        recorded = self._checkpoints(row).aggregate(last=Max("step_number"))["last"]
        first, last = row.steps_before + 1, recorded or row.steps_before
        if first <= step_number <= last + 1:
            return
        past = "" if first == 1 else ": its steps before were those of past runs, which are gone"
        reason = (
            f"{parameter}={step_number} isn't one of its steps. They are {first} to {last}{past}; "
            f"{last + 1} continues behind the last one."
        )
        raise ChangeRefused(str(row.workflow_id), operation, reason)

    def _check_before(self, row: Workflow, step_number: int, operation: str) -> None:
        """Refuse a history before a step that isn't known as a whole."""
        workflow_id = str(row.workflow_id)
        at = {"workflow_id": workflow_id, "step_number": step_number}
        for (key,) in self.session().run("find_lost_events", at):
            raise ChangeRefused(
                workflow_id,
                operation,
                f"the value of event {key!r} before step {step_number} is gone: a past run has set "
                "it, and this run has replaced it.",
            )
        aliases = get_settings().step_databases
        expected = step_number - 1 - row.steps_before
        if not aliases or self._count_outcomes(row, step_number) == expected:
            return
        found = self._outcomes(row, step_number)
        recorded = set(found.values_list("step_number", flat=True))
        for alias in aliases:
            committed = _committed(alias, row.token, step_number)
            for missing in sorted(committed - recorded):
                if missing > row.steps_before:
                    raise ChangeRefused(
                        workflow_id,
                        operation,
                        f"its atomic step {missing} is committed on database {alias!r} and not yet "
                        "in its history, so that it would run twice. Resume it first.",
                    )

    def _step_to_retry(self, row: Workflow, operation: str) -> int:
        """Return the number of the step that has failed, or of the one after the last."""
        workflow_id = str(row.workflow_id)
        if row.status == Status.SUCCESS or (row.status in ACTIVE and not row.is_quarantined):
            raise ChangeRefused(
                workflow_id, operation, f"it hasn't failed: its status is {row.status}."
            )
        if row.status == Status.CANCELLED and operation == "retry":
            reason = "it was cancelled, and hasn't failed. resume() continues it."
            raise ChangeRefused(workflow_id, operation, reason)
        last = self._checkpoints(row).aggregate(
            number=Max("step_number"), order=Max("record_order")
        )
        after = (last["number"] or row.steps_before) + 1
        if row.status != Status.ERROR or row.is_quarantined:
            return int(after)
        text = row.error_text
        summary = None if text is None else _summary(str(text))
        failed = failed_step(
            self._failures(row),
            last_record_order=last["order"] or 0,
            ending=None if summary is None else (summary.class_path, summary.message),
            traceback="" if summary is None else summary.traceback,
        )
        return int(after) if failed is None else failed

    def _failures(self, row: Workflow) -> list[Failure]:
        recorded = self._checkpoints(row).exclude(state=State.WAITING)
        found = recorded.exclude(error_text=None, state=State.RECORDED).values_list(
            "step_number", "record_order", "state", "error_text"
        )
        failures = []
        for step_number, record_order, state, text in found:
            summary = None if text is None else _summary(text)
            error = None if summary is None else (summary.class_path, summary.message)
            if error is None and state == State.RECORDED:
                continue
            failures.append(
                Failure(
                    step_number=step_number,
                    record_order=record_order,
                    state=State(state),
                    error=error,
                )
            )
        return failures

    def _refuse_failed_child(self, row: Workflow, step_number: int) -> None:
        """Refuse to repeat a wait for a workflow that has failed, and would fail it again."""
        step = self._checkpoints(row).filter(step_number=step_number).first()
        if step is None:
            return
        related = self._workflows().filter(status__in=_FAILED)
        if step.step_name == "dbos.get_result":
            related = related.filter(workflow_id=step.related_workflow_id)
        elif str(step.step_name).startswith("dbos.map("):
            related = related.filter(parent_id=row.workflow_id, parent_step_number__lt=step_number)
        else:
            return
        for failed_id, status in related.order_by("workflow_id").values_list(
            "workflow_id", "status"
        )[:1]:
            raise ChangeRefused(
                str(row.workflow_id),
                "retry",
                f"step {step_number} waits for workflow {failed_id!r}, whose status is {status}. "
                "Retry that one first.",
            )

    def _checkpoints(self, row: Workflow) -> Any:
        return Checkpoint.objects.using(self.alias).filter(workflow_id=row.workflow_id)

    def _outcomes(self, row: Workflow, step_number: int) -> Any:
        found = self._checkpoints(row).filter(step_number__lt=step_number)
        return found.exclude(state=State.WAITING)

    def _count_outcomes(self, row: Workflow, step_number: int) -> int:
        return int(self._outcomes(row, step_number).count())


def is_being_deleted(row: Workflow) -> bool:
    """Return whether retention has begun to delete a workflow: see mark_deleted."""
    return row.finished_at is not None and row.finished_at.year <= 1


def _committed(alias: str, token: UUID, step_number: int) -> set[int]:
    """Return the atomic steps before one that another database has."""
    found = AtomicCheckpoint.objects.using(alias).filter(token=token, step_number__lt=step_number)
    with translated_errors(alias):
        return set(found.values_list("step_number", flat=True))


def _summary(text: str) -> Any:
    try:
        return serializers.summarize_error(text)
    except SerializationError:
        return None
