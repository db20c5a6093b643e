"""manage.py dbos_worker: runs workflows until it receives a signal."""

from __future__ import annotations

from argparse import ArgumentParser
from typing import Any

from django.core.checks import Tags

from django_dbos.checks import TAG
from django_dbos.executor.cli import command
from django_dbos.management.base import EngineCommand


class Command(EngineCommand):
    """Parses the arguments. django_dbos.executor.cli does the work."""

    help = (
        "Runs durable workflows. After SIGTERM or SIGINT, running steps have DBOS['GRACE_PERIOD'] "
        "to finish, and unfinished workflows return to their queues. Another signal, at least a "
        "second later, stops at once."
    )
    # The command itself checks migrations, of the workflow database only. The checks of URLs,
    # middleware and templates would import modules that only web processes need.
    requires_system_checks = (TAG, Tags.models)

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Declare the options."""
        parser.add_argument(
            "--queues",
            action="append",
            metavar="NAME[,NAME]",
            help="The queues to serve (default: all). The option can be repeated.",
        )
        parser.add_argument(
            "--concurrency",
            type=int,
            help='Concurrent workflows per process (default: DBOS["CONCURRENCY"]).',
        )
        parser.add_argument(
            "--processes", type=int, default=1, help="The number of processes (default: 1)."
        )
        parser.add_argument(
            "--database", help='The alias of the workflow database (default: DBOS["DATABASE"]).'
        )
        parser.add_argument(
            "--metrics-port",
            type=int,
            metavar="PORT",
            help="Serve this process's Prometheus metrics at 127.0.0.1.",
        )
        parser.add_argument(
            "--once", action="store_true", help="Run the enqueued workflows, then exit."
        )
        parser.add_argument(
            "--reload", action="store_true", help="Restart when code changes, for development."
        )

    def handle(self, *args: Any, **options: Any) -> None:
        """Run workers, and exit with their code if it isn't 0."""
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
                    metrics_port=options["metrics_port"],
                )
            )
        except (TypeError, ValueError) as error:
            raise command.wrong_usage(str(error)) from error
        if code:
            raise SystemExit(code)
