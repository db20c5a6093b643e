"""Transactions: detects the caller's open transaction, and refuses calls inside it."""

from __future__ import annotations

from django.db import connections

from django_dbos import exceptions
from django_dbos.store.connecting import Connecting
from django_dbos.store.sessions import is_of_testcase


class Transactions(Connecting):
    """The caller's transaction on Django's connection."""

    def is_in_transaction(self) -> bool:
        """Return whether Django's connection of this thread has an open atomic block."""
        return bool(connections[self.alias].atomic_blocks)

    def is_in_test_transaction(self) -> bool:
        """Return whether the innermost block is the one around a `TestCase`'s test."""
        blocks = connections[self.alias].atomic_blocks
        return bool(blocks) and is_of_testcase(blocks[-1])

    def commits_by_hand(self) -> bool:
        """Return whether the caller has switched autocommit off and commits by itself."""
        connection = connections[self.alias]
        if connection.in_atomic_block:
            return not connection.commit_on_exit
        return connection.connection is not None and not connection.autocommit

    def commits_at_once(self) -> bool:
        """Return whether each statement is committed at once, as autocommit does."""
        return connections[self.alias].get_autocommit()

    def refuse_in_atomic(self, operation: str) -> None:
        """Raise NotAllowedInAtomic inside `atomic()`, by the test of `atomic(durable=True)`."""
        if self.is_in_transaction() and not self.is_in_test_transaction():
            raise exceptions.NotAllowedInAtomic(operation, self.alias)

    def refuse_in_transaction(self, operation: str) -> None:
        """Raise NotAllowedInAtomic inside `atomic()`, and also without autocommit.

        Without autocommit the caller's own rows may not be committed.
        """
        self.refuse_in_atomic(operation)
        if self.commits_by_hand():
            raise exceptions.NotAllowedInAtomic(operation, self.alias)

    def refuse_in_atomic_elsewhere(self, operation: str) -> None:
        """Raise NotAllowedInAtomic if another database has an open block and this one has none."""
        if self.is_in_transaction():
            return
        for connection in connections.all(initialized_only=True):
            blocks = connection.atomic_blocks
            if blocks and not is_of_testcase(blocks[-1]):
                raise exceptions.NotAllowedInAtomic(operation, connection.alias, self.alias)
