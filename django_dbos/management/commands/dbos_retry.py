"""manage.py dbos_retry: runs failed workflows again, from the steps that failed."""

from __future__ import annotations

from argparse import ArgumentParser
from collections.abc import Callable
from typing import Any

from django.db.models import Q

from django_dbos.core.status import Status
from django_dbos.management.changes import ChangeCommand, add_children, with_children
from django_dbos.models.workflows import WorkflowQuerySet


class Command(ChangeCommand):
    """Retries by id or by filters."""

    help = (
        "Runs failed workflows again, each from the step that failed; what it recorded from there "
        "on is deleted. Exits with 1 if one can't be retried or doesn't exist."
    )
    examples = (
        "0197a3f4-7c1e-7b7e-9d53-2f1c0e7a4b11",
        "--name shop.workflows.checkout --since 2h --yes",
    )
    verb, done, refusal = "Retry", "retried", "can't be retried"

    def add_own_options(self, parser: ArgumentParser) -> None:
        """Declare the option of a retry."""
        add_children(parser, "Also delete the workflows that later steps started.")

    def eligible(self, found: WorkflowQuerySet) -> WorkflowQuerySet:
        """Return those that have failed."""
        failed = (Status.ERROR.value, Status.MAX_RECOVERY_ATTEMPTS_EXCEEDED.value)
        return found.filter(Q(status__in=failed) | Q(is_quarantined=True))

    def change(self, options: dict[str, Any]) -> Callable[[str], Any]:
        """Return the function that retries a workflow."""
        return with_children("retry_workflow", options)
