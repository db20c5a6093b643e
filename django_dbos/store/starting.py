"""Starting: enqueue new workflows in the caller's transaction."""

from __future__ import annotations

import abc
from collections.abc import Sequence

from django_dbos import exceptions
from django_dbos.core.batch.notifications import Notifications
from django_dbos.core.ids import new_workflow_ids
from django_dbos.core.records import Lane, NewWorkflow
from django_dbos.core.status import ACTIVE
from django_dbos.store.announcing import Announcing
from django_dbos.store.records import Started
from django_dbos.store.sessions import Session

# Attempts at a start whose id's holder appears or vanishes between two reads.
MAX_START_TRIES = 3


class Starting(Announcing):
    """New workflows, and existing ones that conflict with them."""

    def start_workflows(self, new: Sequence[NewWorkflow]) -> list[Started]:
        """Enqueue workflows in the caller's transaction; all of them, or none."""
        if not new:
            return []
        if len(new) == 1:
            return self._start(new)
        with self.session().transaction():
            return self._start(new)

    def start_many(self, template: NewWorkflow, inputs: Sequence[str]) -> list[str]:
        """Enqueue a workflow like `template` for each input, and return their ids; all, or none.

        They have new ids, unless `template` has one and there is one input.
        """
        ids = [template.workflow_id] if template.workflow_id else new_workflow_ids(len(inputs))
        started = self.start_workflows(template.repeated(ids, inputs))
        return [workflow.workflow_id for workflow in started]

    def _start(self, new: Sequence[NewWorkflow]) -> list[Started]:
        started: dict[int, Started] = {}
        for _ in range(MAX_START_TRIES):
            missing = [i for i in range(len(new)) if i not in started]
            inserted = self._insert_and_announce([new[i] for i in missing])
            for i in missing:
                if new[i].workflow_id in inserted:
                    inserted.discard(new[i].workflow_id)
                    started[i] = Started(workflow_id=new[i].workflow_id, is_new=True)
            for i in missing:
                existing = None if i in started else self._find_existing(new[i])
                if existing is not None:
                    started[i] = Started(workflow_id=existing, is_new=False)
            if len(started) == len(new):
                return [started[i] for i in range(len(new))]
        missing_id = next(new[i].workflow_id for i in range(len(new)) if i not in started)
        raise exceptions.DuplicateWorkflow(missing_id)

    def _find_existing(self, new: NewWorkflow) -> str | None:
        """Return the workflow that conflicts with a new one; None if it no longer exists."""
        holders = self._workflows().filter(workflow_id=new.workflow_id)
        for existing_name, user_id in holders.values_list("name", "user_id"):
            if existing_name != new.name:
                raise exceptions.WorkflowIdConflict(new.workflow_id, existing_name, new.name)
            if new.is_of_another_user(user_id):
                raise exceptions.UserConflict("Workflow id", new.workflow_id, str(new.user_id))
            if new.on_existing == "reject":
                raise exceptions.DuplicateWorkflow(new.workflow_id)
            return new.workflow_id
        return None if new.deduplication_id is None else self._find_duplicate(new)

    def _find_duplicate(self, new: NewWorkflow) -> str | None:
        holders = self._workflows().filter(
            queue_name=new.queue_name,
            deduplication_id=new.deduplication_id,
            status__in=sorted(ACTIVE),
        )
        for workflow_id, user_id in holders.values_list("workflow_id", "user_id"):
            taken = str(new.deduplication_id)
            if new.is_of_another_user(user_id):
                raise exceptions.UserConflict("Deduplication id", taken, str(new.user_id))
            if new.on_duplicate == "reject":
                raise exceptions.DuplicateWorkflow(str(workflow_id), taken)
            return str(workflow_id)
        return None

    def _insert_and_announce(self, new: Sequence[NewWorkflow]) -> set[str]:
        """Insert the workflows whose ids are free, and announce them; return their ids."""
        session = self.session()
        with session.transaction():
            inserted = self._insert_workflows(session, new, [None] * len(new))
            self._announce_inserted(new, inserted)
        return inserted

    def _announce_inserted(self, new: Sequence[NewWorkflow], inserted: set[str]) -> None:
        lanes = lanes_of([workflow for workflow in new if workflow.workflow_id in inserted])
        self._announce_after_commit(Notifications(lanes=lanes))

    @abc.abstractmethod
    def _insert_workflows(
        self, session: Session, new: Sequence[NewWorkflow], holders: Sequence[str | None]
    ) -> set[str]:
        """Insert workflows whose ids are free; return those ids.

        A workflow whose holder is an executor's id is claimed by that executor; the others are
        enqueued.
        """


def lanes_of(new: Sequence[NewWorkflow]) -> list[Lane]:
    """Return the lanes that workflows are enqueued in."""
    return sorted({Lane(workflow.queue_name, workflow.priority) for workflow in new})
