"""Connecting: the store's connections, its database's features, and statements that enqueue."""

from __future__ import annotations

import abc
from typing import ClassVar

from django.db import connections, models

from django_dbos.models import Workflow
from django_dbos.store import statements
from django_dbos.store.pubsub import Source, Wakeups
from django_dbos.store.reader import Reader
from django_dbos.store.sessions import Params, Row, Session


class Connecting(abc.ABC):
    """The base of every part: one database, its sessions and its capabilities."""

    vendor: ClassVar[str]
    supports_notifications: ClassVar[bool] = False
    """True if other processes can be notified; otherwise they poll for changes."""
    reader_class: ClassVar[type[Reader]] = Reader
    indexes_attributes: ClassVar[bool] = False
    """True if attributes have an index."""
    list_collation: ClassVar[str | None] = None
    """The collation of names in the index of the admin's list, unless it is that of the columns."""
    plans_for_limits: ClassVar[bool] = False
    """True if the planner takes into account how many rows are wanted."""
    writes_in_step_transaction: ClassVar[bool] = False
    """True if the database has one write lock.

    An open atomic step holds it then, so that the step's stream values and events must go through
    its own transaction.
    """

    def __init__(self, alias: str, source: Source) -> None:
        self.alias = alias
        self.wakeups = Wakeups(source, may_listen=self.may_listen)
        self.reader = self.reader_class(alias, self.session)

    @abc.abstractmethod
    def session(self) -> Session:
        """Return Django's connection of the calling thread."""

    @abc.abstractmethod
    def connect(self, executor_id: str, purpose: str) -> Session:
        """Return a connection of the executor's own."""

    def may_listen(self) -> bool:
        """Return whether this thread may start the source of other processes' notifications.

        In a test's transaction no notification comes from elsewhere, and no thread may be left.
        """
        return not connections[self.alias].in_atomic_block

    @property
    def is_private(self) -> bool:
        """True if the database is in this process's memory, so that threads can't share it."""
        return False

    @property
    def is_pooled(self) -> bool:
        """True if a transaction pooler is in use, so that sessions keep no state."""
        return False

    def load_statements(self) -> None:
        """Read all statements now, so that no write waits for a file."""
        statements.load_all(self.vendor)

    def detect_pooler(self) -> None:
        """Detect a transaction pooler that the settings don't declare."""
        return

    def name_process(self, executor_id: str) -> None:
        """Give Django's connections of this process an executor's name, where they can carry it."""
        return

    def leave_to_parent(self) -> None:
        """Drop the parent's resources in a forked process, without closing them."""
        return

    def _enqueue(self, session: Session, name: str, params: Params) -> list[Row]:
        """Run a statement that puts workflows at the end of their queues."""
        return session.run(name, params)

    def _workflows(self) -> models.QuerySet[Workflow]:
        return Workflow.objects.using(self.alias)
