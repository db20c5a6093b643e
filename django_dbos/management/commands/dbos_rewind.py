"""manage.py dbos_rewind: runs workflows again from a step on, under the same ids."""

from __future__ import annotations

from argparse import ArgumentParser
from collections.abc import Callable
from typing import Any

from django_dbos.core.status import Status
from django_dbos.management.changes import ChangeCommand, add_children, with_children
from django_dbos.models.workflows import WorkflowQuerySet
from django_dbos.operations.forking import check_step


class Command(ChangeCommand):
    """Rewinds by id or by filters."""

    help = (
        "Runs finished or waiting workflows again from a step on; what they recorded from there on "
        "is deleted. Exits with 1 if one can't be rewound or doesn't exist."
    )
    examples = (
        "0197a3f4-7c1e-7b7e-9d53-2f1c0e7a4b11 --to-step 4",
        "--name shop.workflows.checkout --since 2h --to-step 4 --children --yes",
    )
    verb, done, refusal = "Rewind", "rewound", "can't be rewound"

    def add_own_options(self, parser: ArgumentParser) -> None:
        """Declare the options of a rewind."""
        parser.add_argument(
            "--to-step",
            type=int,
            required=True,
            metavar="N",
            help="The first step that runs again.",
        )
        add_children(parser, "Also delete the workflows that the deleted steps started.")

    def eligible(self, found: WorkflowQuerySet) -> WorkflowQuerySet:
        """Return those that don't run, and have begun."""
        return found.exclude(status__in=(Status.PENDING.value, Status.DELAYED.value))

    def change(self, options: dict[str, Any]) -> Callable[[str], Any]:
        """Return the function that rewinds a workflow."""
        return with_children(
            "rewind_workflow", options, check_step(options["to_step"], "--to-step")
        )
