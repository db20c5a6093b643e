"""Histories: fork, rewind and retry workflows, in the caller's transaction.

A fork is a new workflow with a copy of the history before a step. A rewind deletes the history from
a step on, and enqueues the same workflow. Both keep whole steps only: what a step wrote goes with
its checkpoint. Positions were given in the order in which the steps began, so the steps before a
number are those that had begun before it, and a replay reaches them in the same order (rule 90).
"""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import timedelta
from typing import Any
from uuid import UUID

from django_dbos.core.batch.notifications import Notifications
from django_dbos.core.ids import new_uuid
from django_dbos.core.records import Fork, NewWorkflow, State, Wake, run_key
from django_dbos.core.status import Status
from django_dbos.exceptions import ChangeRefused, DuplicateWorkflow, WorkflowDoesNotExist
from django_dbos.models import Inquiry, Workflow
from django_dbos.store import errors, rows
from django_dbos.store.deletions import Deletions
from django_dbos.store.history_checks import Seen, is_being_deleted
from django_dbos.store.sessions import Session

# Statements that copy a history, in their order: what follows needs the checkpoints.
COPIES = (
    "copy_checkpoints", "copy_entries", "copy_event_versions", "copy_events", "copy_messages",
)  # fmt: skip
# Copies of a workflow whose history is cut or replaced meanwhile.
MAX_FORK_TRIES = 5
# Fields of a new workflow that a fork has from its original, unless they are given.
INHERITED = (
    "input", "queue_name", "priority", "partition_key", "timeout", "user_id", "attributes",
    "max_recovery_attempts",
)  # fmt: skip


class _Changed(Exception):
    """Undoes a copy: the original was rewound, deleted or continued as new meanwhile."""


class Histories(Deletions):
    """Workflows whose histories are copied or cut off."""

    # Forks

    def fork_workflow(self, fork: Fork) -> str:
        """Start a workflow with the history of another one before a step; return its id.

        Raises:
            WorkflowDoesNotExist: There is no such workflow.
            ChangeRefused: The history can't be forked there.
            DuplicateWorkflow, WorkflowIdConflict, UserConflict: The new id, or the deduplication
                id, is taken.
        """
        for _ in range(MAX_FORK_TRIES):
            try:
                with self.session().transaction():
                    return self._fork(fork)
            except _Changed:
                continue
        raise ChangeRefused(
            fork.source_id, "fork", "its history keeps being cut or replaced. Try again later."
        )

    def _fork(self, fork: Fork) -> str:
        source = self._read(fork.source_id)
        if is_being_deleted(source):
            raise WorkflowDoesNotExist(fork.source_id)
        step_number = fork.from_step
        if step_number is None:
            step_number = self._step_to_retry(source, "fork")
        self._check_step(source, step_number, "fork", "from_step")
        self._check_before(source, step_number, "fork")
        if source.status == Status.PENDING and self._count_outcomes(source, step_number) < (
            step_number - 1 - source.steps_before
        ):
            raise ChangeRefused(
                fork.source_id,
                "fork",
                f"it runs, and a step before step {step_number} has no outcome yet, which the fork "
                "would run a second time. Fork from an earlier step, or wait until it has ended.",
            )
        if self._is_in_map(source, step_number):
            raise ChangeRefused(
                fork.source_id,
                "fork",
                f"step {step_number} is in the middle of a map(), whose children belong to the "
                "original. Fork from the step that starts them, or from one after their end.",
            )
        new = _completed(fork, source)
        (started,) = self.start_workflows([new])
        if not started.is_new:
            raise DuplicateWorkflow(started.workflow_id, new.deduplication_id)
        params = {
            "workflow_id": new.workflow_id,
            "source_id": fork.source_id,
            "step_number": step_number,
            "steps_before": source.steps_before,
        }
        session = self.session()
        session.run("make_fork", {**params, "run_number": source.run_number})
        for name in COPIES:
            session.run(name, params)
        self._check_unchanged(source)
        return new.workflow_id

    def _check_unchanged(self, source: Workflow) -> None:
        """Raise unless the original still has the history that was copied (rule 91)."""
        found = self._workflows().filter(pk=source.workflow_id)
        if found.values_list("token", "run_number").first() != (source.token, source.run_number):
            raise _Changed

    def _is_in_map(self, source: Workflow, step_number: int) -> bool:
        """Return whether a map() has begun before a step and not ended."""
        found = self._checkpoints(source).filter(
            step_name__startswith="dbos.map(", step_number__lt=step_number, state=State.RECORDED
        )
        begun = ended = 0
        for output in found.values_list("output_text", flat=True):
            position = _first_child(output)
            begun += position == 0
            ended += position is None
        return begun > ended

    # Rewinds

    def rewind_workflow(
        self, workflow_id: str, to_step: int, *, children: bool = False, seen: Seen | None = None
    ) -> None:
        """Enqueue a finished or waiting workflow from a step on, without what came later.

        Args:
            workflow_id: The workflow.
            to_step: The first step that runs again.
            children: Also deletes the workflows that these steps started, and theirs.
            seen: The state in which it must still be.

        Raises:
            WorkflowDoesNotExist: There is no such workflow.
            ChangeRefused: It can't be rewound there.
        """
        with self.session().transaction():
            row = self._lock(workflow_id, "rewind", seen)
            self._rewind(row, to_step, "rewind", children)

    def retry_workflow(
        self, workflow_id: str, *, children: bool = False, seen: Seen | None = None
    ) -> None:
        """Enqueue a failed workflow again, from its failed step on. See rewind_workflow().

        One that was given up or quarantined has no failed step: it is resumed.
        """
        with self.session().transaction():
            row = self._lock(workflow_id, "retry", seen)
            if row.is_quarantined or row.status == Status.MAX_RECOVERY_ATTEMPTS_EXCEEDED:
                if not self.resume_workflows([workflow_id])[workflow_id]:
                    raise ChangeRefused(workflow_id, "retry", _TAKEN)
                return
            step_number = self._step_to_retry(row, "retry")
            self._refuse_failed_child(row, step_number)
            self._rewind(row, step_number, "retry", children)

    def _rewind(self, row: Workflow, step_number: int, operation: str, children: bool) -> None:
        self._check_idle(row, operation)
        self._check_step(row, step_number, operation, "to_step")
        self._check_before(row, step_number, operation)
        workflow_id, session, token = str(row.workflow_id), self.session(), new_uuid()
        at = {"workflow_id": workflow_id, "step_number": step_number}
        for (lost,) in session.run("find_lost_message", at):
            raise ChangeRefused(
                workflow_id,
                operation,
                f"the message that step {lost} received is gone, and would not be received again.",
            )
        self._delete_later_children(row, step_number, operation, children)
        # An answer that is being given comes before, with its message, or finds no row.
        later = Inquiry.objects.using(self.alias).select_for_update()
        list(later.filter(workflow_id=workflow_id, step_number__gte=step_number).values_list("pk"))
        session.run("delete_later_answers", at)
        session.run("delete_later_inquiries", at)
        session.run("return_later_messages", at)
        session.run("delete_later_checkpoints", at)
        streams = self._cut_streams(session, at)
        keys = {key for (key,) in session.run("delete_later_events", at)}
        keys |= {key for (key,) in session.run("delete_later_versions", at)}
        session.run("restore_events", {"workflow_id": workflow_id})
        tokens = {"workflow_id": workflow_id, "token": token, "old_token": row.token}
        session.run("keep_inquiries", tokens)
        found = self._enqueue_rewound(session, workflow_id, token)
        if not found:
            raise ChangeRefused(workflow_id, operation, _TAKEN)
        self._delete_elsewhere([row.token])
        wakes = [
            Wake.of_result(workflow_id),
            *(Wake.of_stream(workflow_id, key) for key in sorted(streams)),
            *(Wake.of_event(workflow_id, key) for key in sorted(keys)),
        ]
        self._announce_after_commit(
            Notifications(
                # Nothing has come that a row waits for; readers look again, and find another token.
                keys=[run_key(workflow_id), *(key for wake in wakes for key in wake.keys)],
                lanes=rows.lanes(found, 1),
            )
        )

    def _enqueue_rewound(self, session: Session, workflow_id: str, token: UUID) -> list[Any]:
        params = {"workflow_id": workflow_id, "token": token}
        try:
            with session.transaction():
                found = self._enqueue(session, "rewind_workflow", params)
                if not found and self._free_expired([workflow_id], None):
                    found = self._enqueue(session, "rewind_workflow", params)
                return found
        except errors.BadStatement as error:
            # Another workflow has just taken its deduplication id.
            if not errors.is_of_value(error):
                raise
            return []

    def _cut_streams(self, session: Session, at: dict[str, Any]) -> set[str]:
        """Delete the later entries, close the gaps, and return the keys of the streams."""
        streams = {key for (key,) in session.run("delete_later_entries", at)}
        if streams:
            where = {"workflow_id": at["workflow_id"]}
            for (key,) in session.run("find_gaps_in_streams", where):
                for name in ("number_entries", "close_gaps_in_stream"):
                    session.run(name, {**where, "key": key})
        return streams

    def _delete_later_children(
        self, row: Workflow, step_number: int, operation: str, children: bool
    ) -> None:
        later = self._workflows().filter(
            parent_id=row.workflow_id, parent_step_number__gte=step_number
        )
        ids = list(later.values_list("workflow_id", flat=True))
        if not ids:
            return
        if not children:
            raise ChangeRefused(
                str(row.workflow_id),
                operation,
                f"the steps from step {step_number} on have started {len(ids)} workflow(s), such "
                f"as {ids[0]!r}. children=True deletes them.",
            )
        self._delete(ids, operation, str(row.workflow_id), children=True)


_TAKEN = "another workflow has its deduplication id."


def _completed(fork: Fork, source: Workflow) -> NewWorkflow:
    """Return the new workflow with what it has from its original."""
    timeout: timedelta | None = source.timeout
    attributes = source.attributes
    values = {
        "input": source.input_text,
        "queue_name": source.queue_name,
        "priority": source.priority,
        "partition_key": source.partition_key,
        "timeout": timeout,
        "user_id": source.user_id,
        "attributes": None if attributes is None else json.dumps(attributes, ensure_ascii=False),
        "max_recovery_attempts": source.max_recovery_attempts,
    }
    kept = {name: values[name] for name in INHERITED if name not in fork.given}
    on_duplicate = "replace" if fork.new.on_duplicate == "replace" else "reject"
    return replace(
        fork.new,
        name=str(source.name),
        version=source.version,
        on_existing="reject",
        on_duplicate=on_duplicate,
        **kept,
    )


def _first_child(output: str | None) -> int | None:
    """Return the position of the first child that a part of a map() has started; else None."""
    if output is None or not output.startswith('{"first":'):
        return None
    return int(json.loads(output)["first"])
