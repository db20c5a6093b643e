"""manage.py dbos_send: sends a message to a workflow."""

from __future__ import annotations

from argparse import ArgumentParser
from typing import Any

from django_dbos.handles import WorkflowHandle
from django_dbos.management.base import DatabaseCommand, refusing_values
from django_dbos.management.json_values import json_of


class Command(DatabaseCommand):
    """Sends a message of plain JSON."""

    help = (
        "Sends a message to a workflow, which recv() returns there. Exits with 1 if there is no "
        "such workflow."
    )
    examples = (
        """order-17 '{"paid": true}' --topic payment --idempotency-key 4711""",
        "order-17 - --topic payment",
    )

    def add_options(self, parser: ArgumentParser) -> None:
        """Declare the message."""
        parser.add_argument("workflow_id", metavar="ID", help="The receiver.")
        parser.add_argument("message", metavar="JSON", help="The message; - reads it from stdin.")
        parser.add_argument("--topic", help="Default: none.")
        parser.add_argument(
            "--idempotency-key",
            metavar="KEY",
            help="A second message with the same key isn't sent.",
        )

    def perform(self, options: dict[str, Any]) -> None:
        """Send it."""
        message = json_of(options["message"], "The message")
        with refusing_values():
            handle: WorkflowHandle[Any] = WorkflowHandle(options["workflow_id"])
            handle.send(message, options["topic"], options["idempotency_key"])
        self.audit("sent a message to workflow", [handle.workflow_id])
        self.answer({"workflow_id": handle.workflow_id}, [f"Sent to {handle.workflow_id}."])
