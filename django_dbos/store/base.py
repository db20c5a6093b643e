"""What a store does, whichever database it keeps things in.

Two sides. *Asking*, from any process: start, send, cancel and resume, on Django's connection and so
in the caller's transaction; what is only read is asked of its `reader`. *Working*, by executors:
claim, load, write batches, keep house. What isn't written here, each store does in its database's
way.
"""

from __future__ import annotations

import abc
from collections.abc import Sequence
from typing import Any, ClassVar
from uuid import UUID

from django.db import connections, models, transaction

from django_dbos import exceptions, signals
from django_dbos.core.batch.decide import decide
from django_dbos.core.batch.lookups import Facts, FoundCheckpoint, Questions, questions
from django_dbos.core.batch.notifications import Notifications
from django_dbos.core.batch.plan import Plan
from django_dbos.core.ids import new_workflow_ids
from django_dbos.core.records import (
    Checkpoint,
    Claim,
    ExecutorInfo,
    Lane,
    NewMessage,
    NewWorkflow,
    Wake,
    Write,
)
from django_dbos.core.status import ACTIVE, Status
from django_dbos.models import SUSPECT_ATTEMPTS, Workflow
from django_dbos.store import errors
from django_dbos.store.pubsub import Wakeups
from django_dbos.store.reader import Reader
from django_dbos.store.records import HeartbeatReport, Recovered, Started
from django_dbos.store.sessions import DjangoSession, Row, Session, is_of_testcase
from django_dbos.store.watchdog import get_watchdog

# What belongs to a workflow, by the statements that delete it.
PARTS = ("checkpoints", "messages", "events", "event_versions", "entries")
# How many workflows one statement cancels or resumes.
BATCH = 500
# How often a start is tried when its id's holder comes or vanishes between two looks.
MAX_START_TRIES = 3


class Store(abc.ABC):
    """One database's tables."""

    vendor: ClassVar[str]
    supports_notifications: ClassVar[bool] = False
    """Whether other processes can be notified; else they poll for changes."""
    writes_in_step_transaction: ClassVar[bool] = False
    """Whether an open atomic step holds the one write lock there is, so that what it writes to
    streams and events must go through its own transaction."""

    def __init__(self, alias: str, wakeups: Wakeups) -> None:
        self.alias = alias
        self.wakeups = wakeups
        self.reader = Reader(alias, self.session)

    # Connections and transactions

    def name_process(self, executor_id: str) -> None:
        """Have Django's connections of this process carry an executor's name, where they can."""
        return

    @property
    def is_pooled(self) -> bool:
        """Whether a transaction pooler stands in between, so that nothing is kept in sessions."""
        return False

    def look_for_pooler(self) -> None:
        """See whether one does that nobody has told of."""
        return

    def hurry(self, executor_id: str, seconds: float) -> None:
        """From now on wait so long for the database at most: an executor is to stop."""
        get_watchdog().hurry(executor_id, seconds)

    def relax(self, executor_id: str) -> None:
        """Undo hurry()."""
        get_watchdog().relax(executor_id)

    def leave_to_parent(self) -> None:
        """In a forked process: let go of what is the parent's, without ending it."""
        return

    def session(self) -> Session:
        """Return Django's connection of this thread."""
        return DjangoSession(self.alias, self.vendor)

    @abc.abstractmethod
    def connect(self, executor_id: str, purpose: str) -> Session:
        """Return a connection of the executor's own."""

    def is_in_transaction(self) -> bool:
        """Whether Django's connection of this thread has an open atomic block."""
        return bool(connections[self.alias].atomic_blocks)

    def commits_by_hand(self) -> bool:
        """Whether the caller has switched autocommit off: set_autocommit(False) … commit()."""
        connection = connections[self.alias]
        if connection.in_atomic_block:
            return not connection.commit_on_exit
        return connection.connection is not None and not connection.autocommit

    @property
    def is_private(self) -> bool:
        """Whether it is in this process's memory, where two threads can't write side by side."""
        return False

    def is_in_test_transaction(self) -> bool:
        """Whether that block is the one around a `TestCase`'s test."""
        blocks = connections[self.alias].atomic_blocks
        return bool(blocks) and is_of_testcase(blocks[-1])

    def refuse_in_atomic(self, operation: str) -> None:
        """Raise NotAllowedInAtomic inside `atomic()`, by the test of `atomic(durable=True)`."""
        if self.is_in_transaction() and not self.is_in_test_transaction():
            raise exceptions.NotAllowedInAtomic(operation, self.alias)

    def refuse_in_transaction(self, operation: str) -> None:
        """The same, and without autocommit, where the caller's own rows may not be committed."""
        self.refuse_in_atomic(operation)
        if self.commits_by_hand():
            raise exceptions.NotAllowedInAtomic(operation, self.alias)

    def refuse_in_atomic_elsewhere(self, operation: str) -> None:
        """Raise when another database has an open block and this one hasn't."""
        if self.is_in_transaction():
            return
        for connection in connections.all(initialized_only=True):
            blocks = connection.atomic_blocks
            if blocks and not is_of_testcase(blocks[-1]):
                raise exceptions.NotAllowedInAtomic(operation, connection.alias, self.alias)

    # Asking: what changes something

    def start_workflows(self, new: Sequence[NewWorkflow]) -> list[Started]:
        """Enqueue workflows in the caller's transaction; all of them, or none."""
        if not new:
            return []
        if len(new) == 1:
            started = self._start(new)
        else:
            with self.session().transaction():
                started = self._start(new)
        return started

    def start_many(self, like: NewWorkflow, inputs: Sequence[str]) -> list[str]:
        """Enqueue a workflow like this one for each input, and return their ids; all, or none.

        They have new ids, unless `like` has one and there is one input.
        """
        ids = [like.workflow_id] if like.workflow_id else new_workflow_ids(len(inputs))
        started = self.start_workflows(like.repeated(ids, inputs))
        return [one.workflow_id for one in started]

    def _start(self, new: Sequence[NewWorkflow]) -> list[Started]:
        started: dict[int, Started] = {}
        for _ in range(MAX_START_TRIES):
            missing = [i for i in range(len(new)) if i not in started]
            inserted = self._insert_workflows([new[i] for i in missing])
            for i in missing:
                if new[i].workflow_id in inserted:
                    inserted.discard(new[i].workflow_id)
                    started[i] = Started(workflow_id=new[i].workflow_id, is_new=True)
            for i in missing:
                existing = None if i in started else self._existing(new[i])
                if existing is not None:
                    started[i] = Started(workflow_id=existing, is_new=False)
            if len(started) == len(new):
                return [started[i] for i in range(len(new))]
        missing_id = next(new[i].workflow_id for i in range(len(new)) if i not in started)
        raise exceptions.DuplicateWorkflow(missing_id)

    def _existing(self, new: NewWorkflow) -> str | None:
        """The workflow that stands in the way of a new one; None when it is gone again."""
        holders = self._workflows().filter(workflow_id=new.workflow_id)
        for existing_name, user_id in holders.values_list("name", "user_id"):
            if existing_name != new.name:
                raise exceptions.WorkflowIdConflict(new.workflow_id, existing_name, new.name)
            if new.is_of_another_user(user_id):
                raise exceptions.UserConflict("Workflow id", new.workflow_id, str(new.user_id))
            if new.on_existing == "reject":
                raise exceptions.DuplicateWorkflow(new.workflow_id)
            return new.workflow_id
        if new.deduplication_id is None:
            return None
        holders = self._workflows().filter(
            queue_name=new.queue_name,
            deduplication_id=new.deduplication_id,
            status__in=sorted(ACTIVE),
        )
        for workflow_id, user_id in holders.values_list("workflow_id", "user_id"):
            if new.is_of_another_user(user_id):
                taken = new.deduplication_id
                raise exceptions.UserConflict("Deduplication id", taken, str(new.user_id))
            if new.on_duplicate == "reject":
                raise exceptions.DuplicateWorkflow(str(workflow_id), new.deduplication_id)
            return str(workflow_id)
        return None

    def send_messages(self, messages: Sequence[NewMessage]) -> None:
        """Store messages in the caller's transaction; all of them, or none."""
        wakes = {Wake.of_message(one.workflow_id, one.topic) for one in messages}
        missing = self._insert_messages(messages, Notifications(wakes=list(wakes)))
        if missing:
            raise exceptions.WorkflowDoesNotExist(min(missing))

    def cancel_workflows(
        self, workflow_ids: Sequence[str], *, children: bool = False
    ) -> dict[str, bool]:
        """Cancel those that are active; with `children`, theirs too, at any depth.

        Batch by batch: outside of a transaction each is committed by itself.
        """
        asked = list(dict.fromkeys(workflow_ids))
        level, seen, cancelled = asked, set(asked), set[str]()
        while level:
            found: list[str] = []
            for batch in _batches(level):
                # First, so that none of them starts another child.
                cancelled |= self._cancel_batch(batch)
                found += self._children_of(batch) if children else []
            # Where an id was used again, a workflow may be its own descendant.
            level = [one for one in dict.fromkeys(found) if one not in seen]
            seen.update(level)
        return {workflow_id: workflow_id in cancelled for workflow_id in asked}

    def _cancel_batch(self, workflow_ids: Sequence[str]) -> set[str]:
        cancelled = self._cancel(workflow_ids)
        self._after_commit(Notifications.of_cancelled(sorted(cancelled)))
        return cancelled

    def _children_of(self, workflow_ids: Sequence[str]) -> list[str]:
        found = self._workflows().filter(parent_id__in=workflow_ids)
        return list(found.values_list("workflow_id", flat=True))

    def resume_workflows(self, workflow_ids: Sequence[str]) -> dict[str, bool]:
        """Put back what was cancelled, quarantined, given up or is waiting, batch by batch.

        What can't be is left alone: also one whose deduplication id another workflow has by now.
        """
        asked, resumed = list(dict.fromkeys(workflow_ids)), set[str]()
        for batch in _batches(asked):
            found = self._resume_batch(batch)
            self._after_commit(Notifications(lanes=sorted({(row[1], row[2]) for row in found})))
            resumed.update(row[0] for row in found)
        return {workflow_id: workflow_id in resumed for workflow_id in asked}

    def _resume_batch(self, workflow_ids: Sequence[str]) -> list[Row]:
        if len(workflow_ids) == 1:
            return self._resume(workflow_ids)
        try:
            with self.session().transaction():
                return self._resume(workflow_ids)
        except errors.BadStatement as error:
            if not errors.is_of_value(error):
                raise
        # Two of them had one deduplication id: then it is the first one's again.
        return [row for one in workflow_ids for row in self._resume([one])]

    def run_now(self, workflow_id: str) -> bool:
        """Enqueue a delayed workflow; False if it isn't delayed."""
        lanes = self._enqueue_delayed(workflow_id)
        self._after_commit(Notifications(lanes=lanes))
        return bool(lanes)

    @abc.abstractmethod
    def _insert_workflows(self, new: Sequence[NewWorkflow]) -> set[str]:
        """Insert what can be, on Django's connection, and tell of it; return those ids."""

    @abc.abstractmethod
    def _insert_messages(
        self, messages: Sequence[NewMessage], notifications: Notifications
    ) -> set[str]:
        """Insert messages, on Django's connection, and tell of them; return who is missing.

        Then nothing is inserted.
        """

    @abc.abstractmethod
    def _cancel(self, workflow_ids: Sequence[str]) -> set[str]:
        """Cancel the active ones, and return them."""

    @abc.abstractmethod
    def _resume(self, workflow_ids: Sequence[str]) -> list[Row]:
        """Resume those that can be; return their (id, queue, priority)."""

    @abc.abstractmethod
    def _enqueue_delayed(self, workflow_id: str) -> list[Lane]:
        """Enqueue a delayed one, and return its lane."""

    def _lanes_of(self, new: Sequence[NewWorkflow]) -> list[Lane]:
        return sorted({(one.queue_name, one.priority) for one in new})

    def _workflows(self) -> models.QuerySet[Workflow]:
        return Workflow.objects.using(self.alias)

    # Working: batches of writes

    def apply(
        self, session: Session, executor_id: str, writes: Sequence[Write], *, is_repeat: bool
    ) -> Plan:
        """Write a batch in one transaction, and say what came of each."""
        asked, tries = questions(writes, is_repeat=is_repeat), 0
        while True:
            tries += 1
            try:
                with session.transaction():
                    plan = decide(writes, self.look_up(session, executor_id, asked))
                    if not plan.is_empty:
                        self.carry_out(session, executor_id, plan)
            except errors.Conflict:
                if tries == MAX_START_TRIES:
                    raise
            else:
                return plan

    @abc.abstractmethod
    def look_up(self, session: Session, executor_id: str, asked: Questions) -> Facts:
        """Take the fence and answer a batch's questions."""

    @abc.abstractmethod
    def carry_out(self, session: Session, executor_id: str, plan: Plan) -> None:
        """Write what was decided."""

    @abc.abstractmethod
    def record_atomic_step(
        self, executor_id: str, claim_number: int, checkpoint: Checkpoint
    ) -> bool:
        """Record an atomic step as the last statement of its transaction; False: claim lost."""

    @abc.abstractmethod
    def record_for_history(self, token: UUID, checkpoint: Checkpoint) -> None:
        """Record a step, committed elsewhere, of a workflow that was cancelled meanwhile.

        Nothing is recorded if the workflow has been resumed: then a later run does it.
        """

    # Working: claims

    @abc.abstractmethod
    def list_lanes(self, session: Session) -> list[Lane]:
        """Return the queues and priorities that have something enqueued."""

    @abc.abstractmethod
    def claim_workflows(
        self,
        session: Session,
        executor_id: str,
        lane: Lane,
        *,
        names: Sequence[str],
        above: int,
        limit: int,
    ) -> tuple[list[Claim], int]:
        """Claim the next of a lane above a place; return them and the last place taken."""

    @abc.abstractmethod
    def claim_workflow(self, session: Session, executor_id: str, workflow_id: str) -> Claim | None:
        """Claim this very workflow, if it is enqueued."""

    @abc.abstractmethod
    def claim_suspect(
        self,
        session: Session,
        executor_id: str,
        *,
        queue_names: Sequence[str],
        names: Sequence[str],
    ) -> list[Claim]:
        """Claim one workflow whose executors died again and again."""

    def list_claimable(
        self, lane: Lane, *, names: Sequence[str], above: int, limit: int
    ) -> list[tuple[str, int]]:
        """Return (id, place) of what `claim_workflows` would claim, whether it can or not."""
        waiting = self._workflows().filter(
            status=Status.ENQUEUED,
            queue_name=lane[0],
            priority=lane[1],
            queue_sequence__gte=above,
            name__in=names,
            recovery_attempts__lt=SUSPECT_ATTEMPTS,
        )
        found = waiting.order_by("queue_sequence").values_list("workflow_id", "queue_sequence")
        return list(found[:limit])

    def list_suspects(
        self, queue_names: Sequence[str], *, names: Sequence[str], limit: int
    ) -> list[str]:
        """Return the ids of which `claim_suspect` would claim the first."""
        waiting = self._workflows().filter(
            status=Status.ENQUEUED,
            queue_name__in=queue_names,
            name__in=names,
            recovery_attempts__gte=SUSPECT_ATTEMPTS,
        )
        return list(
            waiting.order_by("queue_sequence").values_list("workflow_id", flat=True)[:limit]
        )

    def quarantine(self, session: Session, executor_id: str, workflow_id: str, error: str) -> bool:
        """Quarantine a workflow that can't be claimed, or was and can't be run."""
        params = {"workflow_id": workflow_id, "executor_id": executor_id, "error": error}
        return bool(session.run("quarantine_workflow", params))

    def find_unknown(self, queue_name: str, names: Sequence[str]) -> tuple[str, str] | None:
        """Return (id, name) of an enqueued workflow of a queue that has none of these names."""
        waiting = self._workflows().filter(queue_name=queue_name, status=Status.ENQUEUED)
        return waiting.exclude(name__in=names).values_list("workflow_id", "name").first()

    @abc.abstractmethod
    def load_histories(
        self, session: Session, workflow_ids: Sequence[str]
    ) -> dict[str, list[FoundCheckpoint]]:
        """Return the checkpoints of claimed workflows, all in one query."""

    @abc.abstractmethod
    def load_ended_streams(
        self, session: Session, workflow_ids: Sequence[str]
    ) -> dict[str, set[str]]:
        """Return the keys of the streams that these workflows have closed."""

    @abc.abstractmethod
    def list_held(self, session: Session, executor_id: str) -> dict[str, int]:
        """Return the claims that the table says an executor holds."""

    def read_statuses(self, session: Session, workflow_ids: Sequence[str]) -> dict[str, Status]:
        """Return how these stand; those that are gone are left out."""
        found = session.run("look_at_claims", {"workflow_ids": self._ids(workflow_ids)})
        return {row[0]: Status(row[2]) for row in found}

    @abc.abstractmethod
    def _ids(self, workflow_ids: Sequence[str]) -> Any:
        """Any number of ids, as one parameter."""

    @abc.abstractmethod
    def release_workflows(
        self, session: Session, executor_id: str, workflow_ids: Sequence[str]
    ) -> list[Lane]:
        """Give claims back, uncounted."""

    # Working: keeping house

    @abc.abstractmethod
    def hold_lock(self, session: Session, executor_id: str) -> bool:
        """Take what shows, for as long as the process lives, that it does; False: not now.

        To be called again after every error of the session.
        """

    @abc.abstractmethod
    def release_lock(self, session: Session, executor_id: str) -> None:
        """Undo `hold_lock`."""

    @abc.abstractmethod
    def register_executor(self, session: Session, info: ExecutorInfo, *, has_lock: bool) -> None:
        """Write the executor's row."""

    @abc.abstractmethod
    def deregister_executor(self, session: Session, executor_id: str) -> None:
        """Delete the executor's row."""

    def mark_locked(self, session: Session, executor_id: str, *, has_lock: bool = True) -> None:
        """Say whether the executor's lock shows that it lives; one declared dead stays dead."""
        session.run("mark_locked", {"executor_id": executor_id, "has_lock": has_lock})

    @abc.abstractmethod
    def heartbeat(
        self,
        session: Session,
        executor_id: str,
        previous: HeartbeatReport | None,
        *,
        is_thorough: bool = True,
    ) -> HeartbeatReport:
        """Record a heartbeat, and return what there is to do; a thorough one also counts rows."""

    def list_heartbeats(self, session: Session, executor_id: str) -> list[float]:
        """Return the ages in seconds of the other executors' heartbeats."""
        found = session.run("list_heartbeats", {"executor_id": executor_id})
        return [age for row in found for age in row if age is not None]

    @abc.abstractmethod
    def enqueue_due(self, session: Session, limit: int) -> list[Lane]:
        """Enqueue what is due: delayed starts, waits that time out."""

    @abc.abstractmethod
    def expire_deadlines(self, session: Session, limit: int) -> list[str]:
        """Cancel what is past its deadline; return the ids."""

    @abc.abstractmethod
    def wake_satisfied(
        self, session: Session, workflow_ids: Sequence[str] | None = None
    ) -> list[Lane]:
        """Wake waiting workflows (these, or all) whose awaited thing is there."""

    @abc.abstractmethod
    def recover_executor(
        self,
        session: Session,
        executor_id: str,
        *,
        is_unlocked: bool,
        is_orphaned: bool = False,
        silence: float = 0.0,
    ) -> Recovered | None:
        """Declare an executor dead and give its work back; None when it lives after all.

        One whose lock is free is dead if it was silent for `silence` seconds as well.
        """

    @abc.abstractmethod
    def list_orphans(self, session: Session) -> list[str]:
        """Return executors without a row that still hold workflows."""

    @abc.abstractmethod
    def advance(self, seconds: float) -> None:
        """Move everything that is due later so many seconds nearer, on Django's connection."""

    @abc.abstractmethod
    def mark_deleted(self, session: Session, age: float, limit: int) -> list[str]:
        """Mark finished workflows older than so many seconds: nobody can resume them any more."""

    @abc.abstractmethod
    def delete_part(
        self, session: Session, part: str, workflow_ids: Sequence[str], limit: int
    ) -> int:
        """Delete so many rows of one of PARTS that are of marked workflows; return how many."""

    @abc.abstractmethod
    def delete_marked(self, session: Session, workflow_ids: Sequence[str]) -> int:
        """Delete marked workflows with what is left of them; return how many."""

    # After a commit

    def _after_commit(self, notifications: Notifications) -> None:
        """Data first, flip second, never in one transaction (CORRECTNESS rule 15)."""
        if notifications.is_empty:
            return
        session = self.session()
        if self.commits_by_hand():
            # Django doesn't know when that will be. Rows that wait are found by the sweep.
            self._notify_with_commit(session, notifications)
            return

        def tell() -> None:
            self.tell(session, notifications)

        # Notifications only: a lost one must not fail the request whose data is committed.
        transaction.on_commit(tell, using=self.alias, robust=True)

    def _notify_with_commit(self, session: Session, notifications: Notifications) -> None:
        """Notify other processes as soon as the open transaction is committed, if that can be."""
        return

    def follow_up(self, session: Session, plans: Sequence[Plan]) -> None:
        """After the commit of batches: wake and notify whoever waits for what they wrote."""
        notifications = Notifications.merged([Notifications.of_plan(plan) for plan in plans])
        suspended = [one.workflow_id for plan in plans for one in plan.suspended]
        if suspended:
            # What they wait for may have come while they were still running.
            notifications.lanes += self.wake_satisfied(session, suspended)
        self.tell(session, notifications)

    def tell(self, session: Session, notifications: Notifications) -> None:
        """After a commit: wake what waits for what is there now, here and in other processes."""
        if notifications.is_empty:
            return
        keys = notifications.all_keys
        # Whoever waits in memory first: it looks while the others are being woken.
        self._tell_here(keys, notifications.lanes)
        woken = self._notify_and_wake(
            session, notifications.news, notifications.lanes, notifications.wakes
        )
        if woken:
            self._tell_here([], woken)
            self._notify_and_wake(session, [], woken, [])

    def _tell_here(self, keys: Sequence[str], lanes: Sequence[Lane]) -> None:
        self.wakeups.notify(keys)
        self.wakeups.notify_lanes(lanes)
        if keys and signals.keys_changed.has_listeners(Workflow):
            signals.keys_changed.send_robust(Workflow, keys=keys)

    @abc.abstractmethod
    def _notify_and_wake(
        self, session: Session, keys: Sequence[str], lanes: Sequence[Lane], wakes: Sequence[Wake]
    ) -> list[Lane]:
        """Notify other processes, and enqueue what waits; return where that was enqueued."""


def _batches(workflow_ids: list[str]) -> list[list[str]]:
    return [workflow_ids[at : at + BATCH] for at in range(0, len(workflow_ids), BATCH)]
