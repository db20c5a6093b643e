"""Reads of workflows: their rows, outcomes, children and checkpoints."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

from django_dbos.core.records import Checkpoint
from django_dbos.core.status import Status
from django_dbos.exceptions import WorkflowDoesNotExist
from django_dbos.models import Checkpoint as CheckpointRow
from django_dbos.models import Workflow
from django_dbos.store.columns import CHECKPOINT
from django_dbos.store.readers.part import ReaderPart
from django_dbos.store.records import Failed, Outcome, Unfinished


class WorkflowReader(ReaderPart):
    """Reads workflows, and what they have recorded."""

    def get_workflow(self, workflow_id: str) -> Workflow:
        """Return the row without its values; raise WorkflowDoesNotExist."""
        found = Workflow.objects.using(self._alias).filter(workflow_id=workflow_id)
        workflow = found.defer("input_text", "output_text", "error_text", "attributes").first()
        if workflow is None:
            raise WorkflowDoesNotExist(workflow_id)
        return workflow

    def find_function(self, workflow_id: str) -> tuple[str, str | None] | None:
        """Return name and version of a workflow's function; None if there is no such workflow."""
        found = Workflow.objects.using(self._alias).filter(workflow_id=workflow_id)
        return found.values_list("name", "version").first()

    def read_original(self, workflow_id: str) -> str | None:
        """Return the id of the workflow that one was forked from; None for all others."""
        found = Workflow.objects.using(self._alias).filter(workflow_id=workflow_id)
        return found.values_list("forked_from", flat=True).first()

    def read_checkpoints(self, workflow_id: str) -> list[CheckpointRow]:
        """Return a workflow's checkpoints, by step number."""
        found = CheckpointRow.objects.using(self._alias).filter(workflow_id=workflow_id)
        return list(found.order_by("step_number"))

    # Waits poll these: plain statements, since the ORM takes several times as long to make one.

    def read_status(self, workflow_id: str) -> Status:
        """Return the status; raise WorkflowDoesNotExist."""
        for row in self._session().run("read_status", {"workflow_id": workflow_id}):
            return Status(row[0])
        raise WorkflowDoesNotExist(workflow_id)

    def read_checkpoint(self, workflow_id: str, step_number: int) -> Checkpoint | None:
        """Return the checkpoint at a position, or None."""
        step = {"workflow_id": workflow_id, "step_number": step_number}
        found = self._session().run("read_checkpoint", step)
        return CHECKPOINT.read(found[0]) if found else None

    def read_outcome(self, workflow_id: str) -> Outcome:
        """Return the status and outcome; raise WorkflowDoesNotExist."""
        for status, *values in self._session().run("read_outcome", {"workflow_id": workflow_id}):
            return Outcome(Status(status), *values)
        raise WorkflowDoesNotExist(workflow_id)

    def read_outcomes(self, workflow_ids: Sequence[str]) -> dict[str, Outcome]:
        """Return the statuses and outcomes of those of the workflows that exist."""
        session = self._session()
        rows = session.run("read_outcomes", {"workflow_ids": session.pack(workflow_ids)})
        return {
            workflow_id: Outcome(Status(status), *values) for workflow_id, status, *values in rows
        }

    def find_unfinished(self, workflow_ids: Sequence[str]) -> list[Unfinished]:
        """Return those of the workflows that haven't ended or are quarantined, in their order.

        Raise WorkflowDoesNotExist for one that doesn't exist.
        """
        session = self._session()
        rows = session.run("find_unfinished", {"workflow_ids": session.pack(workflow_ids)})
        for workflow_id, status, _ in rows:
            if status is None:
                raise WorkflowDoesNotExist(workflow_id)
        return [Unfinished(row[0], bool(row[2])) for row in rows]

    def read_unfinished_children(
        self, parent_id: str, step_number: int
    ) -> list[tuple[str, str | None]]:
        """Return a step's unfinished children, each with the one that it is held behind."""
        children = {"parent_id": parent_id, "step_number": step_number}
        rows = self._session().run("read_unfinished_children", children)
        return cast("list[tuple[str, str | None]]", rows)

    def read_failed(self, parent_id: str, step_number: int) -> Failed | None:
        """Return the first of a step's children that ended without success; None if there is none.

        Quarantined ones haven't ended.
        """
        children = {"parent_id": parent_id, "step_number": step_number}
        for row in self._session().run("read_failed", children):
            return Failed(*row)
        return None
