"""Messaging: send messages to workflows in the caller's transaction."""

from __future__ import annotations

import abc
from collections.abc import Sequence

from django_dbos import exceptions
from django_dbos.core.batch.notifications import Notifications
from django_dbos.core.records import NewMessage, Wake
from django_dbos.store.announcing import Announcing


class Messaging(Announcing):
    """Messages from outside of workflows, and from steps."""

    def send_messages(self, messages: Sequence[NewMessage]) -> None:
        """Store messages in the caller's transaction; all of them, or none.

        Raises WorkflowDoesNotExist if a receiver is missing.
        """
        wakes = {Wake.of_message(message.workflow_id, message.topic) for message in messages}
        missing = self._insert_messages(messages, Notifications(wakes=list(wakes)))
        if missing:
            raise exceptions.WorkflowDoesNotExist(min(missing))

    @abc.abstractmethod
    def _insert_messages(
        self, messages: Sequence[NewMessage], notifications: Notifications
    ) -> set[str]:
        """Insert messages, on Django's connection, and announce them.

        Returns the receivers that don't exist; if there are any, nothing is inserted.
        """
