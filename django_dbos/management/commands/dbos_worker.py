"""manage.py dbos_worker: runs workflows until it is told to stop."""

from __future__ import annotations

from argparse import ArgumentParser
from typing import Any

from django.core.checks import Tags
from django.core.management.base import BaseCommand, CommandError, CommandParser

from django_dbos.checks import TAG
from django_dbos.executor.cli import command


class Command(BaseCommand):
    """Arguments only: the work is in django_dbos.executor."""

    help = "Runs durable workflows. SIGTERM hands the work over and stops; a later second, at once."
    # Migrations are looked at by the command itself, on the workflow database alone. The checks of
    # URLs, middleware and templates would import what only a web process needs.
    requires_system_checks = (TAG, Tags.models)

    def create_parser(self, prog_name: str, subcommand: str, **kwargs: Any) -> CommandParser:
        """Return a parser that refuses abbreviations: `--queue x` isn't `--queues x`."""
        return super().create_parser(prog_name, subcommand, allow_abbrev=False, **kwargs)

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument(
            "--queues",
            action="append",
            metavar="NAME[,NAME]",
            help="The queues to serve (default: all). May be given several times.",
        )
        parser.add_argument(
            "--concurrency",
            type=int,
            help='How many workflows run at once in each process (default: DBOS["CONCURRENCY"]).',
        )
        parser.add_argument(
            "--processes", type=int, default=1, help="How many processes to run (default: 1)."
        )
        parser.add_argument(
            "--database", help='The alias of the workflow database (default: DBOS["DATABASE"]).'
        )
        parser.add_argument("--once", action="store_true", help="Run what is enqueued, then exit.")
        parser.add_argument(
            "--reload", action="store_true", help="For development: restart when code changes."
        )

    def handle(self, *args: Any, **options: Any) -> None:
        parts = options["queues"] or ()
        queues = [name.strip() for part in parts for name in part.split(",")]
        try:
            code = command.run(
                command.Arguments(
                    queues=queues or None,
                    concurrency=options["concurrency"],
                    processes=options["processes"],
                    database=options["database"],
                    once=options["once"],
                    reload=options["reload"],
                    verbosity=options["verbosity"],
                )
            )
        except (TypeError, ValueError) as error:
            raise CommandError(str(error)) from error
        if code:
            raise SystemExit(code)
