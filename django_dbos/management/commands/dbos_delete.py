"""manage.py dbos_delete: deletes finished workflows, with all that they have recorded."""

from __future__ import annotations

from argparse import ArgumentParser
from collections.abc import Callable
from typing import Any

from django_dbos.core.status import FINISHED
from django_dbos.management.changes import ChangeCommand, add_children, with_children
from django_dbos.models.workflows import WorkflowQuerySet


class Command(ChangeCommand):
    """Deletes by id or by filters."""

    help = (
        "Deletes finished workflows, with their steps, messages, events and streams. Exits with 1 "
        "if one can't be deleted or doesn't exist."
    )
    examples = (
        "0197a3f4-7c1e-7b7e-9d53-2f1c0e7a4b11 --children",
        "--status CANCELLED --queue mail --yes",
    )
    verb, done, refusal = "Delete", "deleted", "can't be deleted"

    def add_own_options(self, parser: ArgumentParser) -> None:
        """Declare the option of a deletion."""
        add_children(parser, "Also delete the workflows that they started.")

    def eligible(self, found: WorkflowQuerySet) -> WorkflowQuerySet:
        """Return those that have finished."""
        return found.filter(status__in=sorted(FINISHED))

    def change(self, options: dict[str, Any]) -> Callable[[str], Any]:
        """Return the function that deletes a workflow."""
        return with_children("delete_workflow", options)
