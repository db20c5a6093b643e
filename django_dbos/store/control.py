"""Control: cancel, resume and hasten workflows in the caller's transaction."""

from __future__ import annotations

from collections.abc import Sequence

from django_dbos.core.batch.notifications import Notifications
from django_dbos.store import errors, rows
from django_dbos.store.announcing import Announcing
from django_dbos.store.sessions import Row

# The number of workflows that one statement cancels or resumes.
BATCH = 500


class Control(Announcing):
    """Changes of status that users request: cancel, resume, run now."""

    def cancel_workflows(
        self, workflow_ids: Sequence[str], *, children: bool = False
    ) -> dict[str, bool]:
        """Cancel active workflows, batch by batch; return which of the ids were cancelled.

        With `children`, their children are cancelled too, at any depth. Outside of a transaction
        each batch is committed by itself.
        """
        requested = list(dict.fromkeys(workflow_ids))
        level, seen, cancelled = requested, set(requested), set[str]()
        while level:
            found: list[str] = []
            for batch in _batches(level):
                # Parents first, so that none of them starts another child.
                cancelled |= self._cancel_batch(batch)
                found += self._children_of(batch) if children else []
            # Where an id was used again, a workflow may be its own descendant.
            level = [child for child in dict.fromkeys(found) if child not in seen]
            seen.update(level)
        return {workflow_id: workflow_id in cancelled for workflow_id in requested}

    def _cancel_batch(self, workflow_ids: Sequence[str]) -> set[str]:
        cancelled = self._cancel(workflow_ids)
        self._announce_after_commit(Notifications.of_cancelled(sorted(cancelled)))
        return cancelled

    def _cancel(self, workflow_ids: Sequence[str]) -> set[str]:
        session = self.session()
        params = {"workflow_ids": session.pack(workflow_ids)}
        return {row[0] for row in session.run("cancel_workflows", params)}

    def _children_of(self, workflow_ids: Sequence[str]) -> list[str]:
        found = self._workflows().filter(parent_id__in=workflow_ids)
        return list(found.values_list("workflow_id", flat=True))

    def resume_workflows(self, workflow_ids: Sequence[str]) -> dict[str, bool]:
        """Enqueue cancelled, quarantined, given-up or waiting workflows, batch by batch.

        Returns which of the ids were resumed. A workflow that can't be resumed is left alone, also
        when another workflow has its deduplication id by now.
        """
        requested, resumed = list(dict.fromkeys(workflow_ids)), set[str]()
        for batch in _batches(requested):
            found = self._resume_batch(batch)
            self._announce_after_commit(Notifications(lanes=rows.lanes(found, 1)))
            resumed.update(row[0] for row in found)
        return {workflow_id: workflow_id in resumed for workflow_id in requested}

    def _resume_batch(self, workflow_ids: Sequence[str]) -> list[Row]:
        if len(workflow_ids) == 1:
            return self._resume(workflow_ids)
        try:
            with self.session().transaction():
                return self._resume(workflow_ids)
        except errors.BadStatement as error:
            if not errors.is_of_value(error):
                raise
        # Two of them had one deduplication id: then the first one gets it.
        return [row for workflow_id in workflow_ids for row in self._resume([workflow_id])]

    def _resume(self, workflow_ids: Sequence[str]) -> list[Row]:
        """Resume the workflows that can be resumed; return their (id, queue, priority)."""
        session = self.session()
        params = {"workflow_ids": session.pack(workflow_ids)}
        return self._enqueue(session, "resume_workflows", params)

    def run_now(self, workflow_id: str) -> bool:
        """Enqueue a delayed workflow; return False if it isn't delayed."""
        params = {"workflow_id": workflow_id}
        lanes = rows.lanes(self._enqueue(self.session(), "enqueue_delayed", params))
        self._announce_after_commit(Notifications(lanes=lanes))
        return bool(lanes)


def _batches(workflow_ids: list[str]) -> list[list[str]]:
    return [workflow_ids[at : at + BATCH] for at in range(0, len(workflow_ids), BATCH)]
