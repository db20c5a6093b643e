"""Control: what users request of workflows and executors, in the caller's transaction."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any

from django_dbos.core.batch.notifications import Notifications
from django_dbos.core.durations import seconds_to
from django_dbos.core.records import Lane, executor_key
from django_dbos.store import errors, rows
from django_dbos.store.announcing import Announcing
from django_dbos.store.sessions import Row, Session

# The number of workflows that one statement cancels or resumes.
BATCH = 500


class Control(Announcing):
    """Changes of status that users request: cancel, resume, run now, drain."""

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
            for batch in batches_of(level):
                # Parents first, so that none of them starts another child.
                cancelled |= self._cancel_batch(batch)
                found += self._children_of(batch) if children else []
            # Where an id was used again, a workflow may be its own descendant.
            level = [child for child in dict.fromkeys(found) if child not in seen]
            seen.update(level)
        return {workflow_id: workflow_id in cancelled for workflow_id in requested}

    def _cancel_batch(self, workflow_ids: Sequence[str]) -> set[str]:
        found = self._cancel(workflow_ids, self.session())
        cancelled = {row[0] for row in found}
        notifications = Notifications.of_cancelled(sorted(cancelled), rows.freed(found))
        self._announce_after_commit(notifications)
        return cancelled

    def _cancel(self, workflow_ids: Sequence[str], session: Session) -> list[Row]:
        """Cancel the active ones; return their (id, queue in which that frees a place)."""
        params = {"workflow_ids": session.pack(workflow_ids)}
        return session.run("cancel_workflows", params)

    def _children_of(self, workflow_ids: Sequence[str]) -> list[str]:
        found = self._workflows().filter(parent_id__in=workflow_ids)
        return list(found.values_list("workflow_id", flat=True))

    def resume_workflows(
        self, workflow_ids: Sequence[str], *, queue_name: str | None = None
    ) -> dict[str, bool]:
        """Enqueue cancelled, quarantined, given-up or waiting workflows, batch by batch.

        They go to another queue if its name is given. Returns which of the ids were resumed. A
        workflow that can't be resumed is left alone, also when another workflow has its
        deduplication id by now.
        """
        requested, resumed = list(dict.fromkeys(workflow_ids)), set[str]()
        for batch in batches_of(requested):
            freed = [] if queue_name is None else self._lanes_left(batch, queue_name)
            found = self._resume_batch(batch, queue_name)
            left = [workflow_id for workflow_id in batch if workflow_id not in _first(found)]
            if left and self._free_expired(left, queue_name):
                found += self._resume_batch(left, queue_name)
            self._announce_after_commit(Notifications(lanes=[*rows.lanes(found, 1), *freed]))
            resumed.update(row[0] for row in found)
        return {workflow_id: workflow_id in resumed for workflow_id in requested}

    def _lanes_left(self, workflow_ids: Sequence[str], queue_name: str) -> list[Lane]:
        """Return the lanes of other queues in which these workflows hold places."""
        held = self._workflows().filter(workflow_id__in=workflow_ids, place__gt=0)
        left = held.exclude(queue_name=queue_name).values_list("queue_name", flat=True)
        return [Lane(name, None) for name in left.distinct()]

    def _queues_with_places(self, workflow_ids: Sequence[str], but: str) -> list[Lane]:
        """Return the queues, but one, in which any of these workflows holds a place."""
        holders = self._workflows().filter(workflow_id__in=workflow_ids, place__gt=0)
        names = holders.exclude(queue_name=but).values_list("queue_name", flat=True)
        return [Lane(name, None) for name in sorted(set(names))]

    def _resume_batch(self, workflow_ids: Sequence[str], queue_name: str | None) -> list[Row]:
        if len(workflow_ids) == 1:
            return self._resume(workflow_ids, queue_name)
        try:
            with self.session().transaction():
                return self._resume(workflow_ids, queue_name)
        except errors.BadStatement as error:
            if not errors.is_of_value(error):
                raise
        # Two of them had one deduplication id: then the first one gets it.
        return [
            row for workflow_id in workflow_ids for row in self._resume([workflow_id], queue_name)
        ]

    def _resume(self, workflow_ids: Sequence[str], queue_name: str | None) -> list[Row]:
        """Resume the workflows that can be resumed; return their (id, queue, priority)."""
        session = self.session()
        params = {"workflow_ids": session.pack(workflow_ids), "queue_name": queue_name}
        return self._enqueue(session, "resume_workflows", params)

    def _free_expired(self, workflow_ids: Sequence[str], queue_name: str | None) -> bool:
        """Free the deduplication ids that these workflows need and ended ones no longer may keep.

        Returns whether there were any.
        """
        needed = self._workflows().filter(
            workflow_id__in=workflow_ids, deduplication_id__isnull=False
        )
        keys = [
            (queue_name or own_queue, str(deduplication_id))
            for own_queue, deduplication_id in needed.values_list("queue_name", "deduplication_id")
        ]
        return bool(keys) and self._free_expired_ids(self.session(), keys)

    def _free_expired_ids(self, session: Session, keys: Sequence[tuple[str, str]]) -> bool:
        """Free deduplication ids, each with its queue, that ended workflows have kept until now."""
        packed = session.pack_rows(keys, "queue_names", "deduplication_ids")
        return bool(session.run("free_expired_ids", packed))

    def run_now(self, workflow_id: str) -> bool:
        """Enqueue a delayed workflow; return False if it isn't delayed."""
        params = {"workflow_id": workflow_id}
        lanes = rows.lanes(self._enqueue(self.session(), "enqueue_delayed", params))
        self._announce_after_commit(Notifications(lanes=lanes))
        return bool(lanes)

    def release_children(
        self, parent_id: str, claim_number: int, workflow_ids: Sequence[str]
    ) -> None:
        """Enqueue children that are held behind others, while the parent's claim holds."""
        session = self.session()
        params = {
            "parent_id": parent_id,
            "claim_number": claim_number,
            "workflow_ids": session.pack(workflow_ids),
        }
        lanes = rows.lanes(self._enqueue(session, "release_children", params))
        self._announce_after_commit(Notifications(lanes=lanes))

    def set_run_after(self, workflow_id: str, run_after: datetime | float) -> bool:
        """Change when a delayed workflow is due; return False if it isn't delayed."""
        found = self._postpone(self.session(), workflow_id, run_after)
        if found:
            self._announce_after_commit(
                Notifications(due_at=self._due_soon([seconds_to(run_after)]))
            )
        return found

    def _postpone(self, session: Session, workflow_id: str, run_after: datetime | float) -> bool:
        is_instant = isinstance(run_after, datetime)
        params = {
            "workflow_id": workflow_id,
            "run_at": run_after if is_instant else None,
            "delay": None if is_instant else run_after,
        }
        return bool(session.run("postpone_delayed", params))

    def change_attributes(
        self, workflow_id: str, change: Callable[[dict[str, Any] | None], str | None]
    ) -> bool:
        """Give a workflow the attributes, as text, that `change` makes of those that it has.

        Changes at the same time follow one another. Returns False if there is no such workflow.
        """
        session = self.session()
        with session.transaction():
            locked = self._workflows().filter(pk=workflow_id).select_for_update(no_key=True)
            found = locked.values_list("attributes", flat=True)[:1]
            for attributes in found:
                params = {"workflow_id": workflow_id, "attributes": change(attributes)}
                session.run("set_attributes", params)
                return True
        return False

    def drain_executors(self, executor_ids: Sequence[str]) -> dict[str, bool]:
        """Ask executors to claim nothing more, and to end when their runs have.

        Returns, by id, whether it is a live executor; inline ones end by themselves.
        """
        session = self.session()
        found = session.run("drain_executors", {"executor_ids": session.pack(executor_ids)})
        asked = {row[0] for row in found}
        keys = [executor_key(executor_id) for executor_id in sorted(asked)]
        self._announce_after_commit(Notifications(keys=keys))
        return {executor_id: executor_id in asked for executor_id in executor_ids}


def _first(found: Sequence[Row]) -> set[str]:
    """Return the ids of rows that begin with one."""
    return {row[0] for row in found}


def batches_of(workflow_ids: list[str]) -> list[list[str]]:
    """Return the ids in parts, each for one statement."""
    return [workflow_ids[at : at + BATCH] for at in range(0, len(workflow_ids), BATCH)]
