"""Identity: the id under which an executor holds its claims, and its row in the database."""

from __future__ import annotations

import json
import logging
from collections.abc import Collection, Iterable

from django_dbos.conf import get_settings
from django_dbos.core import registry
from django_dbos.core.batch.notifications import Notifications
from django_dbos.core.ids import new_executor_id
from django_dbos.core.records import ExecutorInfo
from django_dbos.operations.registration import executor_info
from django_dbos.store import errors
from django_dbos.store.base import Store
from django_dbos.store.records import Held
from django_dbos.store.sessions import Session

logger = logging.getLogger("django_dbos.executor")

# Characters of JSON beyond which an executor doesn't publish the names of its functions.
MAX_NAMES_LENGTH = 32 * 1024


class Identity:
    """An executor as its database knows it."""

    def __init__(
        self,
        store: Store,
        queue_names: Iterable[str] | None,
        concurrency: int,
        *,
        owns_process: bool,
    ) -> None:
        self.store = store
        self.queue_names = None if queue_names is None else sorted(queue_names)
        self.concurrency = concurrency
        self.owns_process = owns_process
        self.executor_id = ""
        self.renew()

    def renew(self) -> None:
        """Take a new id."""
        self.executor_id = new_executor_id()
        if self.owns_process:
            self.store.name_process(self.executor_id)

    def serves(self, queue_name: str) -> bool:
        """Return whether this executor claims from a queue."""
        return self.queue_names is None or queue_name in self.queue_names

    @property
    def info(self) -> ExecutorInfo:
        """The executor's row."""
        return executor_info(
            self.executor_id,
            is_inline=False,
            queue_names=self.queue_names,
            concurrency=self.concurrency,
            workflow_names=known_names(),
        )

    @property
    def description(self) -> str:
        """The queues, the concurrency and the kind of notification, for the log."""
        queues = "all queues" if self.queue_names is None else f"queues {self.queue_names}"
        listens = get_settings().listen and not self.store.is_pooled
        how = "listening" if listens and self.store.supports_notifications else "polling"
        return (
            f"{queues} of database {self.store.alias!r}, {self.concurrency} workflows at once, "
            f"workflow functions known: {len(registry.of_project())}, {how}"
        )

    def deregister(self, executor_id: str, still_running: Collection[str] = ()) -> None:
        """Release every claim of this executor under an id, its present or its last, and its row.

        Workflows that are `still_running` keep their places under the present id (CORRECTNESS rule
        59), whose row then stays. An error is logged: other executors then recover the claims.
        """
        try:
            session = self.store.connect(executor_id, "last")
            try:
                held = self.store.list_held(session, executor_id)
                if held.count:
                    self._give_back(session, executor_id, held, still_running)
                    held = self.store.list_held(session, executor_id)
                if not held.count:
                    self.store.deregister_executor(session, executor_id)
                if not held.lingering:
                    # A row that another transaction has locked stays, for others to recover.
                    self.store.release_lock(session, executor_id)
            finally:
                session.close()
        except errors.StoreError as error:
            logger.warning("Executor %s couldn't deregister: %r", executor_id, error)

    def _give_back(
        self, session: Session, executor_id: str, held: Held, still_running: Collection[str]
    ) -> None:
        store, heir = self.store, self.executor_id
        lanes = store.release_workflows(
            session, executor_id, list(held.claims), still_running=still_running, heir=heir
        )
        if heir != executor_id:
            store.move_places(session, executor_id, list(still_running), heir)
        returned = {
            workflow_id: number
            for workflow_id, number in held.lingering.items()
            if workflow_id not in still_running
        }
        _, freed = store.free_places(session, executor_id, returned)
        store.announce(session, Notifications(lanes=lanes + freed))


def known_names() -> str | None:
    """Return what this process can claim as JSON; None if that is too long for a row."""
    text = json.dumps(sorted(registry.claimable()), ensure_ascii=False)
    return text if len(text) <= MAX_NAMES_LENGTH else None
