"""Start child workflows, and await results.

A child is a workflow of its own, never on its parent's stack: it is inserted together with the
parent's checkpoint, in a free slot of this executor if there is one, else in its queue. The parent
waits as for anything else (CORRECTNESS rules 20 and 30).
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from django_dbos import serializers
from django_dbos.conf import get_settings
from django_dbos.core import durations
from django_dbos.core.ids import child_workflow_id
from django_dbos.core.records import (
    Answer,
    Checkpoint,
    NewWorkflow,
    RecordStart,
    RecordStep,
    Refusal,
    State,
    Verdict,
    Wake,
)
from django_dbos.exceptions import (
    DbosError,
    DuplicateWorkflow,
    MaxRecoveryAttemptsExceeded,
    UserConflict,
    WaitTimeout,
    WorkflowCancelled,
    WorkflowIdConflict,
)
from django_dbos.operations import permissions, waits
from django_dbos.operations.run import Call, Run, operation_name
from django_dbos.operations.timeouts import result_label


async def astart(run: Run, workflows: Sequence[NewWorkflow]) -> list[str]:
    """Start children, exactly once, and return their ids; those without an id are given one."""
    ids = await _astart(run, workflows)
    run.note_children(ids, workflows[0].queue_name)
    return ids


async def _astart(run: Run, workflows: Sequence[NewWorkflow]) -> list[str]:
    call = run.begin("astart", operation_name("start", workflows[0].name))
    if call.found is not None:
        await run.turn(call.found)
        return await _arecorded_ids(run, call.found)
    await permissions.acheck_children(call, workflows)
    children = _Children(call, workflows)
    while True:
        kind, values = children.next_write()
        answer = await run.asubmit(kind, call, **values)
        error = children.settle(answer)
        if error is not None:
            await run.afail(call, error)
        if answer.checkpoint is not None:
            return await _arecorded_ids(run, answer.checkpoint)
        if answer.verdict is not Verdict.REFUSED:
            return children.ids


async def astart_many(run: Run, like: NewWorkflow, inputs: Sequence[str]) -> list[str]:
    """Start a child like this one for each input, exactly once, and return their ids."""
    if not inputs:
        return []
    return await astart(run, like.repeated([like.workflow_id] * len(inputs), inputs))


async def _arecorded_ids(run: Run, checkpoint: Checkpoint) -> list[str]:
    if checkpoint.error is not None:
        raise await run.aload_error(checkpoint.error)
    return json.loads(serializers.opened(checkpoint.output or "[]"))  # type: ignore[no-any-return]


class _Children:
    """Children that are being started: those that exist already are left out and adopted."""

    def __init__(self, call: Call, workflows: Sequence[NewWorkflow]) -> None:
        self._call = call
        self._host = call.run.host
        self._new = [
            _as_child(call, workflow, i, len(workflows)) for i, workflow in enumerate(workflows)
        ]
        self._own_ids = {workflow.workflow_id for workflow in workflows if workflow.workflow_id}
        self.ids = [child.workflow_id for child in self._new]

    def next_write(self) -> tuple[type[RecordStart] | type[RecordStep], dict[str, Any]]:
        checkpoint = self._call.checkpoint(
            output=json.dumps(self.ids), related_workflow_id=self.ids[0]
        )
        if not self._new:
            return RecordStep, {"checkpoint": checkpoint}
        return RecordStart, {
            "checkpoint": checkpoint,
            "workflows": tuple(self._new),
            "is_reserved": self._reserve(),
            "size": sum(len(child.input) for child in self._new),
        }

    def settle(self, answer: Answer) -> DbosError | None:
        """Note the answer to the write; return the error to raise, if there is one."""
        if answer.verdict is not Verdict.REFUSED:
            return None
        refused = next(child for child in self._new if child.workflow_id == answer.subject)
        error = self._objection(refused, answer)
        if error is None:
            self._new.remove(refused)
            if answer.refusal is Refusal.DUPLICATE:
                self.ids[self.ids.index(refused.workflow_id)] = answer.existing_id
        return error

    def _objection(self, new: NewWorkflow, answer: Answer) -> DbosError | None:
        """Return the error if an existing workflow can't be adopted as the new child."""
        if answer.refusal is Refusal.OTHER_USER:
            return UserConflict("Debounce key", str(new.debounce_key), str(new.user_id))
        if answer.refusal is Refusal.DUPLICATE:
            if new.is_of_another_user(answer.existing_user_id):
                taken = str(new.deduplication_id)
                return UserConflict("Deduplication id", taken, str(new.user_id))
            if new.on_duplicate == "reject":
                return DuplicateWorkflow(answer.existing_id, new.deduplication_id)
            return None
        if answer.is_own:
            return None
        # A user's own "abc-3" isn't the third step of "abc".
        if answer.existing_name != new.name or new.workflow_id not in self._own_ids:
            return WorkflowIdConflict(new.workflow_id, answer.existing_name, new.name)
        if new.is_of_another_user(answer.existing_user_id):
            return UserConflict("Workflow id", new.workflow_id, str(new.user_id))
        if new.on_existing == "reject":
            return DuplicateWorkflow(new.workflow_id)
        return None

    def _reserve(self) -> bool:
        """Reserve a slot for an only child that is sure to be new and due at once."""
        (first, *others) = self._new
        if others or first.workflow_id in self._own_ids:
            return False
        if first.delay is not None or first.run_at is not None:
            return False
        return self._host.reserve_slot(first.queue_name, first.name)


def _as_child(call: Call, new: NewWorkflow, position: int, count: int) -> NewWorkflow:
    child_id = child_workflow_id(call.run.workflow_id, call.step_number)
    if count > 1:
        child_id = child_workflow_id(child_id, position)
    return replace(
        new,
        workflow_id=new.workflow_id or child_id,
        parent_id=call.run.workflow_id,
        parent_step_number=call.step_number,
        user_id=new.user_id if new.user_id is not None else call.run.claim.user_id,
    )


async def acall(run: Run, new: NewWorkflow) -> Any:
    """Run a workflow as a child; return its result or raise its error."""
    (workflow_id,) = await astart(run, [new])
    return await aget_result(run, workflow_id, None)


async def aget_result(run: Run, workflow_id: str, timeout: Any) -> Any:  # noqa: ASYNC109
    """Wait for another workflow's result; record it, and return it."""
    seconds = durations.to_seconds(timeout, label="timeout")
    call = run.begin("aget_result", operation_name("get_result"))
    checkpoint = await waits.await_(call, Wake.of_result(workflow_id), seconds)
    _raise_ending(checkpoint, workflow_id, seconds)
    return await run.aoutcome(checkpoint)


def _raise_ending(checkpoint: Checkpoint, workflow_id: str, timeout: float | None) -> None:
    match checkpoint.state:
        case State.TIMED_OUT:
            raise WaitTimeout(result_label(workflow_id), timeout or 0.0)
        case State.AWAITED_CANCELLED:
            raise WorkflowCancelled(workflow_id)
        case State.AWAITED_EXCEEDED:
            attempts = get_settings().max_recovery_attempts
            raise MaxRecoveryAttemptsExceeded(workflow_id, attempts)
