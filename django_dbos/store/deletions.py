"""Deletions: remove finished workflows with all their rows, in the caller's transaction."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from uuid import UUID

from django.db import transaction

from django_dbos.conf import get_settings
from django_dbos.core.batch.notifications import Notifications
from django_dbos.core.records import Wake
from django_dbos.core.status import ACTIVE
from django_dbos.exceptions import ChangeRefused
from django_dbos.store import elsewhere
from django_dbos.store.control import batches_of
from django_dbos.store.history_checks import HistoryChecks, Seen
from django_dbos.store.retention import DEPENDENTS, Retention
from django_dbos.store.starting import Starting

logger = logging.getLogger("django_dbos.store")

# Rows that one statement deletes.
DELETED_AT_ONCE = 10_000


class Deletions(HistoryChecks, Starting, Retention):
    """Workflows that are deleted, and the children of those that are rewound."""

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


def _why_not_deleted(workflow_id: str, status: str, for_id: str) -> str:
    subject = "it" if workflow_id == for_id else f"workflow {workflow_id!r}, which it started,"
    if status in ACTIVE:
        return f"{subject} hasn't ended: its status is {status}. Cancel it first."
    return f"{subject} was cancelled, and its function still runs. Wait until it has returned."
