"""manage.py dbos_top: shows in the terminal what waits and runs, again and again."""

from __future__ import annotations

import json
import threading
from argparse import ArgumentParser, ArgumentTypeError
from importlib.util import find_spec
from typing import Any, cast

from django.core.management.base import CommandError
from django.core.serializers.json import DjangoJSONEncoder
from django.db import Error, connections

from django_dbos.conf import get_settings
from django_dbos.exceptions import DbosError
from django_dbos.management import top
from django_dbos.management.base import (
    EngineCommand,
    add_common,
    printable,
    reported,
    using_database,
)

# Seconds between two looks.
SHORTEST, USUAL, LONGEST = 0.5, 2.0, 3_600.0


class Command(EngineCommand):
    """Looks at the tables, and draws or prints what it finds."""

    help = (
        "Shows queues, rates, workers and the longest runs, until Ctrl-C. It only reads, and costs "
        "the same with millions of workflows. The screen needs Rich: pip install "
        '"django-durable-workflows[top]"; --once and --format json don\'t.'
    )
    examples = ("--interval 5", "--once", "--format json")
    requires_system_checks = ()

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Declare the options."""
        parser.add_argument(
            "--interval",
            type=_interval,
            default=USUAL,
            metavar="SECONDS",
            help=f"The time between two updates (default: {USUAL:g}).",
        )
        parser.add_argument("--once", action="store_true", help="Print the figures once, as text.")
        add_common(parser)

    def handle(self, *args: Any, **options: Any) -> None:
        """Look once and print it, or draw looks until Ctrl-C."""
        alias = options["database"]
        with reported(alias), using_database(alias):
            self._look(options)

    def _look(self, options: dict[str, Any]) -> None:
        is_once = options["once"] or options["format"] == "json"
        if not is_once and find_spec("rich") is None:
            raise CommandError(
                'The screen needs Rich: pip install "django-durable-workflows[top]". '
                "dbos_top --once prints one look without it."
            )
        if options["format"] == "json":
            self.stdout.write(json.dumps(top.take().as_dict(), cls=DjangoJSONEncoder, indent=2))
        elif is_once:
            for line in top.text_of(top.take()):
                self.stdout.write(line)
        else:
            self._show(options["interval"])

    def _show(self, interval: float) -> None:
        from rich.console import Console

        from django_dbos.management.top_screen import show

        stop = threading.Event()
        show(_look, lambda: stop.wait(interval), Console(file=cast(Any, self.stdout._out)))


def _look() -> top.Snapshot | str:
    """Return a look, or why there is none; the next one uses another connection then."""
    try:
        return top.take()
    except (Error, DbosError) as error:
        connections[get_settings().database].close()
        return f"The database doesn't answer, trying again: {printable(str(error))}"


def _interval(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0.0
    if not SHORTEST <= seconds <= LONGEST:
        raise ArgumentTypeError(
            f"{text!r} must be a number of seconds from {SHORTEST:g} to {LONGEST:g}."
        )
    return seconds
