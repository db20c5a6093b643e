"""Starting on PostgreSQL: outside of transactions one message carries row and notification."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext

from django_dbos.core.batch.notifications import Notifications
from django_dbos.core.ids import new_workflow_ids
from django_dbos.core.records import NewWorkflow
from django_dbos.store import rows
from django_dbos.store.columns import NEW_WORKFLOW
from django_dbos.store.postgresql.announcing import lane_payloads
from django_dbos.store.postgresql.arrays import array, arrays
from django_dbos.store.postgresql.connecting import PostgresConnecting
from django_dbos.store.postgresql.listener import ENQUEUED_CHANNEL
from django_dbos.store.postgresql.multi_statements import notify_statements
from django_dbos.store.sessions import Row, Session
from django_dbos.store.starting import Starting, lanes_of


class PostgresStarting(PostgresConnecting, Starting):
    """New workflows in few messages to the server."""

    def start_many(self, template: NewWorkflow, inputs: Sequence[str]) -> list[str]:
        """See `Starting.start_many`. Two columns carry what differs: ids and inputs."""
        if len(inputs) == 1 or template.deduplication_id is not None:
            return super().start_many(template, inputs)
        ids = new_workflow_ids(len(inputs))
        params = {**NEW_WORKFLOW.params(template), "ids": array(ids), "inputs": array(inputs)}
        # One statement is all or nothing by itself; a transaction must go on after its error.
        with nullcontext() if self.commits_at_once() else self.session().transaction():
            self.session().run("insert_alike", params)
            self._announce_after_commit(Notifications(lanes=lanes_of([template])))
        return ids

    def _insert_and_announce(self, new: Sequence[NewWorkflow]) -> set[str]:
        if len(new) == 1 and new[0].is_due and self.commits_at_once():
            return self._insert_and_notify(new[0])
        # One statement: it needs no transaction.
        inserted = self._insert_workflows(self.session(), new, [None] * len(new))
        self._announce_inserted(new, inserted)
        return inserted

    def _insert_and_notify(self, new: NewWorkflow) -> set[str]:
        """Send two transactions in one message to the server: the workflow, and its NOTIFY."""
        session, lanes, mark = self.session(), lanes_of([new]), str(new.token)
        notify, payloads = notify_statements(ENQUEUED_CHANNEL, lane_payloads(lanes))
        params = {**NEW_WORKFLOW.params(new), **payloads}
        inserted, _ = session.run_then(("insert_workflow", params), notify, mark)
        if inserted is None:
            inserted = self._workflows().filter(token=new.token, pk=new.workflow_id).count()
        if not inserted:
            return set()
        self.wakeups.notify_lanes(lanes)
        return {new.workflow_id}

    def _insert_rows(
        self, session: Session, new: Sequence[NewWorkflow], holders: Sequence[str | None]
    ) -> list[Row]:
        params = arrays(rows.new_workflow_rows(new, holders).lists())
        return session.run("insert_workflows", params)
