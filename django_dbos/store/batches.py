"""Batches: the writes of runs, many in one transaction.

`core.batch` decides; this part looks up the facts for it and writes its plan. The databases add
their fast paths, which write common batches without looking anything up first.
"""

from __future__ import annotations

import abc
from collections.abc import Sequence
from uuid import UUID

from django_dbos.core.batch.decide import decide
from django_dbos.core.batch.lookups import Facts, Questions, questions
from django_dbos.core.batch.plan import Plan
from django_dbos.core.queues import Visit
from django_dbos.core.records import Checkpoint, Write
from django_dbos.core.status import Status
from django_dbos.store import errors, rows
from django_dbos.store.columns import CHECKPOINT
from django_dbos.store.holding import Holding
from django_dbos.store.sessions import Params, Row, Session, Statement
from django_dbos.store.starting import Starting

# Attempts at a batch that meets rows which were inserted since its look-ups.
MAX_TRIES = 3
Lookup = tuple[str, Params, rows.AddRows]


class Batches(Starting, Holding):
    """Fenced writes of an executor's runs."""

    def apply(
        self,
        session: Session,
        executor_id: str,
        writes: Sequence[Write],
        *,
        is_repeat: bool,
        visit: Visit | None = None,
    ) -> Plan:
        """Write a batch in one transaction; return the plan, which has an answer for each write.

        Args:
            session: The connection to write on.
            executor_id: The executor that holds the claims.
            writes: The batch, in its order.
            is_repeat: The batch may have been committed before: the answer to a COMMIT was lost.
            visit: A claim that is made in the same transaction, after the writes, if all of them
                take the fast path.
        """
        asked, tries = questions(writes, is_repeat=is_repeat), 0
        while True:
            tries += 1
            try:
                with session.transaction():
                    plan = decide(writes, self.read_facts(session, executor_id, asked))
                    if not plan.is_empty:
                        self.write_plan(session, executor_id, plan)
            except errors.Conflict:
                if tries == MAX_TRIES:
                    raise
            else:
                return plan

    def read_facts(self, session: Session, executor_id: str, asked: Questions) -> Facts:
        """Take the fence and answer a batch's questions: the first round trip of a batch."""
        ids = session.pack(list(asked.claims))
        fence: Statement = ("lock_claims", {"workflow_ids": ids, "executor_id": executor_id})
        lookups = self._lookups(session, asked)
        held, *answers = session.run_all([fence, *((name, params) for name, params, _ in lookups)])
        facts = Facts(held={row[0]: (row[1], bool(row[2])) for row in held})
        for (_, _, add), found in zip(lookups, answers, strict=True):
            add(facts, found)
        if len(facts.held) < len(asked.claims):
            missing = session.run("read_claims", {"workflow_ids": ids})
            rows.add_lost(facts, missing, asked.claims, executor_id)
        return facts

    def _lookups(self, session: Session, asked: Questions) -> list[Lookup]:
        """Return the look-ups that a batch needs, and no others."""
        keyed = [
            # Before the holders are looked up, of which it frees some ids.
            ("free_expired_ids", asked.deduplications, ("queue_names", "deduplication_ids"),
             _add_nothing),
            ("find_checkpoints", asked.checkpoints, ("workflow_ids", "step_numbers"),
             rows.add_checkpoints),
            ("find_events", asked.events, ("workflow_ids", "keys"), rows.add_events),
            ("find_deduplicated", asked.deduplications, ("queue_names", "deduplication_ids"),
             rows.add_deduplications),
            ("find_debounced", asked.debounces, ("names", "keys"), rows.add_debounced),
            ("find_tails", asked.tails, ("workflow_ids", "keys"), rows.add_tails),
        ]  # fmt: skip
        lookups: list[Lookup] = [
            (name, session.pack_rows(list(wanted), *columns), add)
            for name, wanted, columns, add in keyed
            if wanted
        ]
        lookups += self._message_lookups(session, asked)
        if asked.workflows:
            params = {"workflow_ids": session.pack(list(asked.workflows))}
            lookups.append(("find_workflows", params, rows.add_workflows))
        if asked.write_ids:
            params = {
                "workflow_ids": session.pack(list(asked.claims)),
                "write_ids": session.pack(list(asked.write_ids)),
            }
            lookups.append(("find_writes", params, rows.add_written))
        if asked.entries:
            # Last: see Facts.entries.
            names = ("workflow_ids", "keys", "offsets")
            params = session.pack_rows(list(asked.entries), *names)
            lookups.append(("find_entries", params, rows.add_entries))
        return lookups

    @abc.abstractmethod
    def _message_lookups(self, session: Session, asked: Questions) -> list[Lookup]:
        """Return the statements that find each receiver's next messages."""

    def write_plan(self, session: Session, executor_id: str, plan: Plan) -> None:
        """Write the decided rows: the second round trip of a batch, with its COMMIT."""
        self._insert_children(session, executor_id, plan)
        session.send_rows(rows.plan_rows(plan))
        if plan.released:
            plan.lanes += self.release_workflows(session, executor_id, plan.released)

    def _insert_children(self, session: Session, executor_id: str, plan: Plan) -> None:
        """Insert all children, or raise Conflict: an id may have been taken since its look-up."""
        if plan.replaced:
            plan.lanes += rows.freed(self._cancel(plan.replaced, session))
            self._free_ids(session, plan.replaced)
        for debounced, expected_id in plan.debounced:
            if self._debounce(session, debounced) != expected_id:
                raise errors.Conflict(f"Another session has just changed {expected_id!r}.")
        if not plan.workflows:
            return
        new = [workflow for workflow, _ in plan.workflows]
        holders = [executor_id if is_reserved else None for _, is_reserved in plan.workflows]
        statuses = {row[0]: row[1] for row in self._insert_rows(session, new, holders)}
        if missing := {workflow.workflow_id for workflow in new} - statuses.keys():
            raise errors.Conflict(f"Another session has just taken an id of {sorted(missing)}.")
        for position, (workflow, is_reserved) in enumerate(plan.workflows):
            if is_reserved and statuses[workflow.workflow_id] != Status.PENDING:
                # Its queue has limits: it needs a place, as all others do.
                plan.workflows[position] = (workflow, False)
                plan.unclaimed.append(workflow.workflow_id)

    def record_atomic_step(
        self, executor_id: str, claim_number: int, checkpoint: Checkpoint
    ) -> bool:
        """Record an atomic step as the last statement of its transaction.

        Returns False if the claim is lost.
        """
        params = CHECKPOINT.params(checkpoint) | {"executor_id": executor_id}
        return bool(self.session().run("record_atomic_checkpoint", params))

    def record_for_history(self, token: UUID, checkpoint: Checkpoint) -> None:
        """Record a step, committed on another database, of a workflow cancelled meanwhile.

        Nothing is recorded if the workflow has been resumed: then a later run does it.
        """
        params = CHECKPOINT.params(checkpoint) | {"token": token}
        self.session().run("record_for_history", params)


def _add_nothing(facts: Facts, found: list[Row]) -> None:
    """Learn nothing from a look-up that only prepares the next one."""
