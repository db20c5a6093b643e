"""manage.py dbos_health: shows whether workflows make progress, for people and for probes."""

from __future__ import annotations

from argparse import ArgumentParser
from typing import Any

from django.core.management.base import CommandError

from django_dbos import health
from django_dbos.executor.cli import command
from django_dbos.management.base import (
    REFUSED,
    DatabaseCommand,
    Unavailable,
    UsageError,
    with_code,
)


class Command(DatabaseCommand):
    """Prints the health, and exits with a code that a probe understands."""

    help = (
        "Shows whether workflows make progress. Exits with 0 if all is well, 1 if there are "
        "problems, and 3 if the database doesn't answer in time."
    )
    examples = ("", "--format json", "--live --timeout 2")

    def add_options(self, parser: ArgumentParser) -> None:
        """Declare what to ask for."""
        parser.add_argument(
            "--live", action="store_true", help="Exit with 0 as soon as the database answers."
        )
        parser.add_argument(
            "--timeout",
            type=float,
            default=health.TIMEOUT,
            metavar="SECONDS",
            help="The time for the database to answer (default: 5).",
        )

    def handle(self, *args: Any, **options: Any) -> None:
        """Check, print, and exit. Nothing asks the database but the check, which has a limit."""
        self.is_json = options["format"] == "json"
        if options["timeout"] <= 0:
            raise UsageError(f"--timeout must be more than 0, not {options['timeout']:g}.")
        if options["database"] is not None:
            with_code(command.use_database, UsageError, options["database"])
        found = health.check_health(timeout=options["timeout"])
        if not found.is_live:
            if self.is_json:
                self.answer(found.as_json())
            raise Unavailable(found.problems[0].text)
        texts = [problem.text for problem in found.problems]
        self.answer(found.as_json(), texts or ["No problems found."])
        if texts and not options["live"]:
            raise CommandError(f"Problems: {len(texts)}", returncode=REFUSED)
