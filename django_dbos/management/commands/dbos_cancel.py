"""manage.py dbos_cancel: cancels workflows."""

from __future__ import annotations

from argparse import ArgumentParser
from collections.abc import Sequence
from typing import Any

from django_dbos.management.bulk import BulkCommand
from django_dbos.models.workflows import WorkflowQuerySet
from django_dbos.store import get_store


class Command(BulkCommand):
    """Cancels by id or by filters."""

    help = (
        "Cancels workflows, by id or by filters. Waiting ones stop at once, others before their "
        "next step; dbos_resume lets them go on. Exits with 1 if one had ended or doesn't exist."
    )
    examples = (
        "0197a3f4-7c1e-7b7e-9d53-2f1c0e7a4b11",
        "--queue mail --since 2h --yes",
        "--attribute customer=17 --children --format json --yes",
    )
    verb, done, refusal = "Cancel", "cancelled", "has ended already"

    def add_own_options(self, parser: ArgumentParser) -> None:
        """Declare the option of a cancellation."""
        parser.add_argument(
            "--children", action="store_true", help="Also cancel the workflows that they started."
        )

    def eligible(self, found: WorkflowQuerySet) -> WorkflowQuerySet:
        """Return the active ones."""
        return found.active()

    def act(self, workflow_ids: Sequence[str], options: dict[str, Any]) -> dict[str, bool]:
        """Cancel them."""
        return get_store().cancel_workflows(workflow_ids, children=options["children"])
