"""Histories: fork, rewind, retry and delete workflows, in the caller's transaction.

A fork is a new workflow with a copy of the history before a step. A rewind deletes the history from
a step on, and enqueues the same workflow. Both keep whole steps only: what a step wrote goes with
its checkpoint. Positions were given in the order in which the steps began, so the steps before a
number are those that had begun before it, and a replay reaches them in the same order (rule 90).
"""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Any
from uuid import UUID

from django.db import transaction
from django.db.models import Max

from django_dbos import serializers
from django_dbos.conf import get_settings
from django_dbos.core.batch.notifications import Notifications
from django_dbos.core.failures import Failure, failed_step
from django_dbos.core.ids import new_uuid
from django_dbos.core.records import Fork, NewWorkflow, State, Wake, run_key
from django_dbos.core.status import ACTIVE, Status
from django_dbos.exceptions import (
    ChangeRefused,
    DuplicateWorkflow,
    SerializationError,
    WorkflowDoesNotExist,
)
from django_dbos.models import AtomicCheckpoint, Checkpoint, Inquiry, Workflow
from django_dbos.store import elsewhere, errors, rows
from django_dbos.store.control import batches_of
from django_dbos.store.retention import DEPENDENTS, Retention
from django_dbos.store.sessions import Session, translated_errors
from django_dbos.store.starting import Starting

logger = logging.getLogger("django_dbos.store")

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


Seen = tuple[str, int]
"""The token and the claim number of a workflow that somebody has seen: whatever claims, wakes,
cancels, resumes or rewinds it changes one of them."""


class _Changed(Exception):
    """Undoes a copy: the original was rewound, deleted or continued as new meanwhile."""


class Histories(Starting, Retention):
    """Workflows whose histories are copied, cut off or deleted."""

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
        if _is_being_deleted(source):
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

    # Deletion

    def delete_workflow(
        self, workflow_id: str, *, children: bool = False, seen: Seen | None = None
    ) -> None:
        """Delete a finished workflow with all its rows; with `children` also those it started.

        Raises:
            WorkflowDoesNotExist: There is no such workflow.
            ChangeRefused: It, or one of the children, hasn't ended.
        """
        with self.session().transaction():
            self._lock(workflow_id, "delete", seen)
            self._delete([workflow_id], "delete", workflow_id, children=children)

    def _delete(
        self, workflow_ids: list[str], operation: str, for_id: str, *, children: bool
    ) -> None:
        session, level, found = self.session(), workflow_ids, dict.fromkeys(workflow_ids)
        if not children:
            self._refuse_active_child(workflow_ids, operation, for_id)
        while children and level:
            more = [child for part in batches_of(level) for child in self._children_of(part)]
            level = [child for child in dict.fromkeys(more) if child not in found]
            found.update(dict.fromkeys(level))
        # In one order, so that no two deletions wait for each other.
        for part in batches_of(sorted(found)):
            packed = {"workflow_ids": session.pack(part)}
            marked = {row[0] for row in session.run("mark_for_deletion", packed)}
            left = self._workflows().filter(workflow_id__in=part).exclude(workflow_id__in=marked)
            for left_id, status in left.values_list("workflow_id", "status"):
                raise ChangeRefused(for_id, operation, _why_not_deleted(left_id, status, for_id))
            if self._step_databases():
                gone = self._workflows().filter(workflow_id__in=part)
                self._delete_elsewhere(list(gone.values_list("token", flat=True)))
            for table in DEPENDENTS:
                while self.delete_dependents(session, table, part, DELETED_AT_ONCE):
                    pass
            self.delete_marked(session, part)
            self._wake_after_commit(part)

    def _wake_after_commit(self, workflow_ids: list[str]) -> None:
        """Wake what waits for workflows that are deleted; the sweep does without Django's hook."""
        session = self.session()

        def wake() -> None:
            self.wake_after_deletions(session, workflow_ids)

        keys = [Wake.of_result(workflow_id).key for workflow_id in workflow_ids]
        self._announce_after_commit(Notifications(keys=keys))
        if not self.commits_by_hand():
            transaction.on_commit(wake, using=self.alias, robust=True)

    def _step_databases(self) -> list[str]:
        return [alias for alias in get_settings().step_databases if alias != self.alias]

    def _delete_elsewhere(self, tokens: Sequence[UUID]) -> None:
        """After the commit, delete what atomic steps have recorded on other databases.

        Nothing looks for these rows any more: the workflows are gone, or have other tokens. The
        note of it is committed with that, and workers repeat the deletion later (rule 101).
        """
        aliases = self._step_databases()

        def delete() -> None:
            for alias in aliases:
                try:
                    elsewhere.delete([alias], tokens)
                except Exception as error:
                    logger.warning(
                        "The atomic steps of %d deleted or rewound workflow(s) on database %r "
                        "couldn't be deleted; a worker tries again in an hour: %r",
                        len(tokens), alias, error,
                    )  # fmt: skip

        if aliases:
            elsewhere.note_deletion(self.alias, tokens)
            transaction.on_commit(delete, using=self.alias)

    def _refuse_active_child(self, workflow_ids: list[str], operation: str, for_id: str) -> None:
        """Refuse to leave a child alone that runs: cancel(children=True) must find it."""
        found = self._workflows().filter(parent_id__in=workflow_ids, status__in=sorted(ACTIVE))
        for child_id, status in found.values_list("workflow_id", "status")[:1]:
            raise ChangeRefused(for_id, operation, _why_not_deleted(child_id, status, for_id))

    # What is asked first

    def _lock(self, workflow_id: str, operation: str, seen: Seen | None) -> Workflow:
        """Lock a workflow's row: a claim, a wake-up or an end comes before or after (rule 92)."""
        found = self._workflows().select_for_update().defer("output_text")
        row = found.filter(workflow_id=workflow_id).first()
        if row is None or _is_being_deleted(row):
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


_FAILED = sorted({Status.ERROR, Status.CANCELLED, Status.MAX_RECOVERY_ATTEMPTS_EXCEEDED})
_TAKEN = "another workflow has its deduplication id."
# Rows that one statement deletes.
DELETED_AT_ONCE = 10_000


def _is_being_deleted(row: Workflow) -> bool:
    """Return whether retention has begun to delete a workflow: see mark_deleted."""
    return row.finished_at is not None and row.finished_at.year <= 1


def _committed(alias: str, token: UUID, step_number: int) -> set[int]:
    """Return the atomic steps before one that another database has."""
    found = AtomicCheckpoint.objects.using(alias).filter(token=token, step_number__lt=step_number)
    with translated_errors(alias):
        return set(found.values_list("step_number", flat=True))


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


def _summary(text: str) -> Any:
    try:
        return serializers.summarize_error(text)
    except SerializationError:
        return None


def _why_not_deleted(workflow_id: str, status: str, for_id: str) -> str:
    subject = "it" if workflow_id == for_id else f"workflow {workflow_id!r}, which it started,"
    if status in ACTIVE:
        return f"{subject} hasn't ended: its status is {status}. Cancel it first."
    return f"{subject} was cancelled, and its function still runs. Wait until it has returned."
