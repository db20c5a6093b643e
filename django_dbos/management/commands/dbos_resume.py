"""manage.py dbos_resume: resumes workflows."""

from __future__ import annotations

from argparse import ArgumentParser
from collections.abc import Sequence
from typing import Any

from django.db.models import Q

from django_dbos.core.engine import get_engine
from django_dbos.core.status import RESUMABLE
from django_dbos.management.base import refusing_values
from django_dbos.management.bulk import BulkCommand
from django_dbos.models.workflows import WorkflowQuerySet


class Command(BulkCommand):
    """Resumes by id or by filters."""

    help = (
        "Puts cancelled, given-up, quarantined, delayed and waiting workflows back in their "
        "queues. They continue after their last recorded step. Exits with 1 if one can't be "
        "resumed or doesn't exist."
    )
    examples = (
        "0197a3f4-7c1e-7b7e-9d53-2f1c0e7a4b11 --queue-name slow",
        "--status CANCELLED --queue mail --since 2h --yes",
        "--quarantined --name shop.workflows.checkout",
    )
    verb, done = "Resume", "resumed"
    refusal = (
        "can't be resumed: it runs, is enqueued or has ended, or another one has its deduplication "
        "id. dbos_retry and dbos_rewind go on with failed and finished ones"
    )

    def add_own_options(self, parser: ArgumentParser) -> None:
        """Declare the option of a resumption."""
        parser.add_argument(
            "--queue-name", metavar="NAME", help="The queue to put them in (default: their own)."
        )

    def eligible(self, found: WorkflowQuerySet) -> WorkflowQuerySet:
        """Return those that can be resumed."""
        return found.filter(
            Q(status__in=[status.value for status in RESUMABLE]) | Q(is_quarantined=True)
        )

    def act(self, workflow_ids: Sequence[str], options: dict[str, Any]) -> dict[str, bool]:
        """Resume them."""
        with refusing_values():
            answers: dict[str, bool] = get_engine().resume(
                list(workflow_ids), queue_name=options["queue_name"]
            )
        return answers
