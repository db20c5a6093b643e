"""Starting: enqueue new workflows in the caller's transaction."""

from __future__ import annotations

import abc
from collections.abc import Sequence
from contextlib import suppress

from django_dbos import exceptions
from django_dbos.core.batch.notifications import Notifications
from django_dbos.core.ids import new_workflow_ids
from django_dbos.core.records import Lane, NewWorkflow
from django_dbos.core.status import Status
from django_dbos.store.columns import NEW_WORKFLOW
from django_dbos.store.control import Control
from django_dbos.store.records import Started
from django_dbos.store.sessions import Row, Session

# Attempts at a start whose id's holder appears or vanishes between two reads.
MAX_START_TRIES = 3
# The same of one that replaces the holder: each failure means that another one has replaced it.
MAX_REPLACE_TRIES = 1_000


class _NotReplaced(Exception):
    """Undoes a cancellation: another workflow has the id by now."""


class Starting(Control):
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
        for _ in range(_max_tries(new)):
            self._insert_missing(new, started)
            for i in range(len(new)):
                found = None if i in started else self._settle(new[i])
                if found is not None:
                    started[i] = found
            if len(started) == len(new):
                return [started[i] for i in range(len(new))]
        missing_id = next(new[i].workflow_id for i in range(len(new)) if i not in started)
        raise exceptions.DuplicateWorkflow(missing_id)

    def _insert_missing(self, new: Sequence[NewWorkflow], started: dict[int, Started]) -> None:
        """Insert the workflows that aren't started yet, and note those that could be inserted."""
        missing = [i for i in range(len(new)) if i not in started and new[i].debounce_key is None]
        if not missing:
            return
        inserted = self._insert_and_announce([new[i] for i in missing])
        for i in missing:
            if new[i].workflow_id in inserted:
                inserted.discard(new[i].workflow_id)
                started[i] = Started(workflow_id=new[i].workflow_id, is_new=True)

    def _settle(self, new: NewWorkflow) -> Started | None:
        """Settle a start that inserted nothing; return None if it is to be tried again."""
        if new.debounce_key is not None:
            return self._start_debounced(new)
        existing = self._find_by_id(new)
        if existing is None and new.deduplication_id is not None:
            return self._settle_duplicate(new)
        return None if existing is None else Started(workflow_id=existing, is_new=False)

    def _find_by_id(self, new: NewWorkflow) -> str | None:
        """Return the id if a workflow has it that can be taken for the new one; None if none has.

        Raises the error for one that can't.
        """
        holders = self._workflows().filter(workflow_id=new.workflow_id)
        for existing_name, user_id in holders.values_list("name", "user_id"):
            if existing_name != new.name:
                raise exceptions.WorkflowIdConflict(new.workflow_id, existing_name, new.name)
            if new.is_of_another_user(user_id):
                raise exceptions.UserConflict("Workflow id", new.workflow_id, str(new.user_id))
            if new.on_existing == "reject":
                raise exceptions.DuplicateWorkflow(new.workflow_id)
            return new.workflow_id
        return None

    # Deduplication ids

    def _settle_duplicate(self, new: NewWorkflow) -> Started | None:
        """Return or replace the holder of a deduplication id; None if there is none by now."""
        session, taken = self.session(), str(new.deduplication_id)
        keys = [(new.queue_name, taken)]
        if self._free_expired_ids(session, keys):
            return None
        packed = session.pack_rows(keys, "queue_names", "deduplication_ids")
        for _, _, workflow_id, user_id in session.run("find_deduplicated", packed):
            if new.is_of_another_user(user_id):
                raise exceptions.UserConflict("Deduplication id", taken, str(new.user_id))
            if new.on_duplicate == "reject":
                raise exceptions.DuplicateWorkflow(str(workflow_id), taken)
            if new.on_duplicate == "replace":
                return self._replace(new, str(workflow_id))
            return Started(workflow_id=str(workflow_id), is_new=False)
        return None

    def _replace(self, new: NewWorkflow, holder_id: str) -> Started | None:
        """Cancel a holder and start a workflow in its place, or do neither and return None.

        Others who replace the same holder wait for this transaction, and then find another one.
        """
        with suppress(_NotReplaced), self.session().transaction():
            self._cancel_batch([holder_id])
            self._free_ids(self.session(), [holder_id])
            if not self._insert_and_announce([new]):
                raise _NotReplaced
            return Started(workflow_id=new.workflow_id, is_new=True)
        return None

    def _free_ids(self, session: Session, workflow_ids: Sequence[str]) -> None:
        session.run("free_ids", {"workflow_ids": session.pack(workflow_ids)})

    # Debouncing

    def _start_debounced(self, new: NewWorkflow) -> Started | None:
        """Start a debounced workflow, or change the one that is delayed; None to try again."""
        workflow_id = self._debounce(self.session(), new)
        if workflow_id is not None:
            self._announce_after_commit(Notifications(due_at=self._due_soon([new.due_in])))
            return Started(workflow_id=workflow_id, is_new=workflow_id == new.workflow_id)
        holders = self._workflows().filter(
            name=new.name, debounce_key=new.debounce_key, status=Status.DELAYED
        )
        if any(map(new.is_of_another_user, holders.values_list("user_id", flat=True))):
            raise exceptions.UserConflict("Debounce key", str(new.debounce_key), str(new.user_id))
        return None

    def _debounce(self, session: Session, new: NewWorkflow) -> str | None:
        """Insert or change a debounced workflow; return its id, or None if it is another user's."""
        found = session.run("debounce_workflow", NEW_WORKFLOW.params(new))
        return next((row[0] for row in found), None)

    # Insertion

    def _insert_and_announce(self, new: Sequence[NewWorkflow]) -> set[str]:
        """Insert the workflows whose ids are free, and announce them; return their ids."""
        session = self.session()
        with session.transaction():
            inserted = self._insert_workflows(session, new, [None] * len(new))
            self._announce_inserted(new, inserted)
        return inserted

    def _announce_inserted(self, new: Sequence[NewWorkflow], inserted: set[str]) -> None:
        started = [workflow for workflow in new if workflow.workflow_id in inserted]
        due_at = self._due_soon(workflow.due_in for workflow in started)
        self._announce_after_commit(Notifications(lanes=lanes_of(started), due_at=due_at))

    def _insert_workflows(
        self, session: Session, new: Sequence[NewWorkflow], holders: Sequence[str | None]
    ) -> set[str]:
        """Insert workflows whose ids are free; return those ids. See `_insert_rows`."""
        return {row[0] for row in self._insert_rows(session, new, holders)}

    @abc.abstractmethod
    def _insert_rows(
        self, session: Session, new: Sequence[NewWorkflow], holders: Sequence[str | None]
    ) -> list[Row]:
        """Insert workflows whose ids are free; return their (id, status).

        A workflow whose holder is an executor's id is claimed by that executor, unless its queue
        is managed: there it needs a place. The others are enqueued.
        """


def lanes_of(new: Sequence[NewWorkflow]) -> list[Lane]:
    """Return the lanes that workflows are enqueued in."""
    return list(dict.fromkeys(workflow.lane for workflow in new))


def _max_tries(new: Sequence[NewWorkflow]) -> int:
    replaces = any(workflow.on_duplicate == "replace" for workflow in new)
    return MAX_REPLACE_TRIES if replaces else MAX_START_TRIES
