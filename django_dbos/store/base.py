"""What a store does, whichever database it keeps things in."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from django_dbos.core.batch import Plan
from django_dbos.core.records import Write
from django_dbos.store.sessions import Session


class Store(Protocol):
    """The contract that the writers stand on."""

    def connect(self, executor_id: str, purpose: str) -> Session:
        """Return a connection of the executor's own."""

    def session(self) -> Session:
        """Return Django's connection of this thread."""

    def is_in_transaction(self) -> bool:
        """Whether Django's connection of this thread is in a transaction."""

    def apply(
        self, session: Session, executor_id: str, writes: Sequence[Write], *, is_repeat: bool
    ) -> Plan:
        """Write a batch in one transaction, and say what came of each."""
