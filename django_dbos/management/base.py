"""The parts that the engine's commands share."""

from __future__ import annotations

import contextlib
import getpass
from argparse import ArgumentParser
from collections.abc import Sequence
from typing import Any, ClassVar

from django.core.management.base import BaseCommand, CommandParser

from django_dbos.executor.cli import command


class EngineCommand(BaseCommand):
    """A command that refuses abbreviated options, such as `--queue x` for `--queues x`."""

    def create_parser(self, prog_name: str, subcommand: str, **kwargs: Any) -> CommandParser:
        """Return a parser that takes whole names only."""
        return super().create_parser(prog_name, subcommand, allow_abbrev=False, **kwargs)


class ActionsCommand(EngineCommand):
    """A command with actions, all but `list` on one row that is named."""

    requires_system_checks = ()
    actions: ClassVar[dict[str, str]]
    """The help of each action."""
    noun: ClassVar[str]
    """A row as the help calls it, such as "queue"."""

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Declare the actions and their options."""
        actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
        for name, text in self.actions.items():
            action = actions.add_parser(name, help=text, description=text, allow_abbrev=False)
            if name != "list":
                action.add_argument("name", metavar="NAME", help=f"The name of the {self.noun}.")
            self.add_options(action, name)
            action.add_argument(
                "--database",
                help='The alias of the workflow database (default: DBOS["DATABASE"]).',
            )
            action.add_argument("--format", choices=("text", "json"), default="text")

    def add_options(self, parser: ArgumentParser, action: str) -> None:
        """Declare the options of one action."""

    def use_database(self, alias: str | None) -> None:
        """Use this workflow database; raise CommandError unless it is migrated."""
        if alias is not None:
            command.use_database(alias)
        command.check_migrations()


def flag_of(option: str) -> str:
    """Return the flag of an option, such as `--rate-limit` for `rate_limit`."""
    return f"--{option.replace('_', '-')}"


def system_user() -> str:
    """Return the name of the system's user; "manage.py" where there is none."""
    with contextlib.suppress(OSError, KeyError, ImportError):
        return getpass.getuser()
    return "manage.py"


def add_by(parser: ArgumentParser) -> None:
    """Declare `--by`, the name of who acts."""
    parser.add_argument("--by", help="Who pauses it (default: the system's user).")


def table_of(rows: Sequence[tuple[str, ...]]) -> list[str]:
    """Return the lines of a table with aligned columns; the first row has the headings."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    ]
