"""manage.py dbos_fork: starts new workflows with the histories of others before a step."""

from __future__ import annotations

from argparse import ArgumentParser
from collections.abc import Callable
from typing import Any

from django_dbos.management.base import UsageError
from django_dbos.management.changes import ChangeCommand
from django_dbos.management.json_values import json_of
from django_dbos.models.workflows import WorkflowQuerySet
from django_dbos.operations.forking import make_fork, request_of


class Command(ChangeCommand):
    """Forks by id or by filters."""

    help = (
        "Forks workflows: starts a new one for each, with its history before a step. Exits with 1 "
        "if one can't be forked or doesn't exist."
    )
    examples = (
        "0197a3f4-7c1e-7b7e-9d53-2f1c0e7a4b11 --from-step 4",
        "--name shop.workflows.checkout --status ERROR --from-failure --queue-name repairs --yes",
        "0197a3f4-7c1e-7b7e-9d53-2f1c0e7a4b11 --from-step 1 --new-args '[2]'",
    )
    verb, done, refusal = "Fork", "forked", "can't be forked"

    def add_own_options(self, parser: ArgumentParser) -> None:
        """Declare the options of a fork."""
        parser.add_argument(
            "--from-step", type=int, metavar="N", help="The first step that runs; 1 repeats all."
        )
        parser.add_argument(
            "--from-failure", action="store_true", help="Run from the step that failed."
        )
        parser.add_argument(
            "--queue-name", metavar="NAME", help="The queue of the forks (default: the original's)."
        )
        parser.add_argument("--new-args", metavar="JSON", help="Other arguments, as a list.")
        parser.add_argument(
            "--new-kwargs", metavar="JSON", help="Other keyword arguments, as an object."
        )

    def eligible(self, found: WorkflowQuerySet) -> WorkflowQuerySet:
        """Return all of them."""
        return found

    def perform(self, options: dict[str, Any]) -> None:
        """Fork those that are named or found, and note the ids of the forks."""
        self._forks: dict[str, str] = {}
        if (options["from_step"] is None) != options["from_failure"]:
            raise UsageError("Give either --from-step N or --from-failure.")
        super().perform(options)

    def change(self, options: dict[str, Any]) -> Callable[[str], Any]:
        """Return the function that forks a workflow."""
        queue_name = options["queue_name"]
        args, kwargs = (
            None if options[name] is None else json_of(options[name], f"--{name.replace('_', '-')}")
            for name in ("new_args", "new_kwargs")
        )

        def fork(workflow_id: str) -> None:
            request = request_of(
                workflow_id,
                options["from_step"],
                from_failure=options["from_failure"],
                args=args,
                kwargs=kwargs,
                options={} if queue_name is None else {"queue_name": queue_name},
            )
            self._forks[workflow_id] = make_fork(request)

        return fork

    def new_id(self, workflow_id: str) -> str | None:
        """Return the id of the fork."""
        return self._forks.get(workflow_id)
