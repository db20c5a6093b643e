"""The parts that the engine's commands share: the database, the two formats, the exit codes."""

from __future__ import annotations

import contextlib
import json
import os
import sys
from argparse import ArgumentParser
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, ClassVar

from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.core.serializers.json import DjangoJSONEncoder
from django.core.signals import setting_changed
from django.db import InterfaceError, OperationalError

from django_dbos.conf import get_settings
from django_dbos.exceptions import DbosError
from django_dbos.executor.cli import command
from django_dbos.management import audit

DONE, REFUSED, USAGE, UNAVAILABLE, UNFINISHED = range(5)
EXIT_CODES = {
    DONE: "Done.",
    REFUSED: "Refused, not found, or failed, for the reason on stderr; or the workflow that was "
    "waited for has failed.",
    USAGE: "Wrong usage: an unknown option, or an invalid value.",
    UNAVAILABLE: "The database doesn't answer, isn't migrated, or the settings are wrong.",
    UNFINISHED: "The time to wait is over, and the workflow hasn't ended.",
}
"""The exit codes of all commands but `dbos_worker`; `docs/reference/commands.md` lists them."""

INTERRUPTED, READER_GONE = 130, 141
SIGNAL_CODES = {
    INTERRUPTED: "Ctrl-C.",
    READER_GONE: "The reader of stdout has gone, as in `dbos_list \\| head -1`.",
}
"""As shells report SIGINT and SIGPIPE."""

FORMATS = ("text", "json")


class UsageError(CommandError):
    """The arguments are invalid; exit code 2, as argparse's own."""

    def __init__(self, message: str) -> None:
        super().__init__(message, returncode=USAGE)


class Unavailable(CommandError):
    """There is no database to work on; exit code 3."""

    def __init__(self, message: str) -> None:
        super().__init__(message, returncode=UNAVAILABLE)


class Unfinished(CommandError):
    """The workflow hasn't ended in time; exit code 4."""

    def __init__(self, message: str) -> None:
        super().__init__(message, returncode=UNFINISHED)


def refuse_empty(value: str | None, flag: str) -> None:
    """Raise UsageError if an option is given as an empty text."""
    if value == "":
        raise UsageError(f"{flag} can't be empty.")


class EngineCommand(BaseCommand):
    """A command that refuses abbreviated options, such as `--queue x` for `--queues x`."""

    def create_parser(self, prog_name: str, subcommand: str, **kwargs: Any) -> CommandParser:
        """Return a parser that takes whole names only."""
        return super().create_parser(prog_name, subcommand, allow_abbrev=False, **kwargs)


class DatabaseCommand(EngineCommand):
    """A command on the tables of one database, which prints text or JSON.

    A subclass declares its arguments in `add_options`, and does its work in `perform`: it prints by
    `answer()`, raises CommandError or a DbosError for a refusal, and UsageError for a value that
    can't be.
    """

    requires_system_checks = ()
    examples: ClassVar[tuple[str, ...]] = ()
    """Arguments as people type them, for the reference."""
    is_json: bool

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Declare the command's own options, then the common ones."""
        self.add_options(parser)
        add_common(parser)

    def add_options(self, parser: ArgumentParser) -> None:
        """Declare the options of this command."""

    def perform(self, options: dict[str, Any]) -> None:
        """Do the work of this command."""
        raise NotImplementedError

    def run_from_argv(self, argv: list[str]) -> None:
        """Run from the command line; Ctrl-C and a reader that has gone end it without a word."""
        for stream in (sys.stdout, sys.stderr):
            if hasattr(stream, "reconfigure"):
                # A letter that the terminal's encoding lacks must not end the command.
                stream.reconfigure(errors="backslashreplace")
        try:
            super().run_from_argv(argv)
            sys.stdout.flush()
        except BrokenPipeError:
            # Python flushes once more at its end, and would report that.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            raise SystemExit(READER_GONE) from None
        except KeyboardInterrupt:
            raise SystemExit(INTERRUPTED) from None

    def handle(self, *args: Any, **options: Any) -> None:
        """Perform the work in the chosen database."""
        self.is_json = options["format"] == "json"
        alias = options["database"]
        with reported(alias), using_database(alias):
            self.perform(options)

    def answer(self, data: Any, lines: Iterable[str] = ()) -> None:
        """Print the data with `--format json`, otherwise the lines."""
        if self.is_json:
            self.stdout.write(json.dumps(data, cls=DjangoJSONEncoder, indent=2))
            return
        for line in lines:
            self.stdout.write(printable(line))

    def audit(self, change: str, subjects: Iterable[str] | None = None) -> None:
        """Log a change that is done, such as "cancelled workflow", for each of its subjects."""
        audit.note(type(self).__module__.rpartition(".")[2], change, subjects)

    def confirm(self, question: str, options: dict[str, Any]) -> None:
        """Ask on stderr, unless `--yes` is given; raise CommandError unless the answer is yes."""
        if options["yes"]:
            return
        if not sys.stdin.isatty():
            raise UsageError(f"{question} Add --yes: there is nobody to ask.")
        self.stderr.write(f"{printable(question)} [y/N] ", self.style.WARNING, ending="")
        self.stderr.flush()
        if sys.stdin.readline().strip().lower() not in ("y", "yes"):
            raise CommandError("Nothing was changed.")


class ActionsCommand(DatabaseCommand):
    """A command with actions, all but some on one row that is named."""

    actions: ClassVar[dict[str, str]]
    """The help of each action."""
    noun: ClassVar[str]
    """A row as the help calls it, such as "queue"."""
    nameless: ClassVar[tuple[str, ...]] = ("list",)
    """The actions without a name."""

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Declare the actions and their options."""
        actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
        for name, text in self.actions.items():
            action = actions.add_parser(name, help=text, description=text, allow_abbrev=False)
            if name not in self.nameless:
                action.add_argument("name", metavar="NAME", help=f"The name of the {self.noun}.")
            self.add_action_options(action, name)
            add_common(action)

    def add_action_options(self, parser: ArgumentParser, action: str) -> None:
        """Declare the options of one action."""


def add_common(parser: ArgumentParser) -> None:
    """Declare `--database` and `--format`."""
    parser.add_argument(
        "--database", help='The alias of the workflow database (default: DBOS["DATABASE"]).'
    )
    parser.add_argument("--format", choices=FORMATS, default="text", help="Default: text.")


def add_confirmation(parser: ArgumentParser) -> None:
    """Declare `--yes`, also as Django names it."""
    parser.add_argument(
        "--yes", "--no-input", "--noinput", action="store_true", dest="yes", help="Don't ask."
    )


def add_by(parser: ArgumentParser) -> None:
    """Declare `--by`, the name of who acts."""
    parser.add_argument("--by", help="Who pauses it (default: the system's user).")


@contextlib.contextmanager
def reported(alias: str | None) -> Iterator[None]:
    """Turn errors that are no mistakes of the code into a CommandError with its exit code."""
    try:
        yield
    except CommandError:
        raise
    except DbosError as error:
        raise CommandError(str(error), returncode=REFUSED) from error
    except (OperationalError, InterfaceError) as error:
        text, name = " ".join(str(error).split()), alias or get_settings().database
        raise Unavailable(f"Database {name!r} doesn't answer: {text}") from error
    except ImproperlyConfigured as error:
        raise Unavailable(str(error)) from error


@contextlib.contextmanager
def refusing_values() -> Iterator[None]:
    """Report a TypeError or a ValueError of the API about what the user gave as wrong usage."""
    try:
        yield
    except (TypeError, ValueError) as error:
        if isinstance(error, DbosError):
            raise
        raise UsageError(str(error)) from error


@contextlib.contextmanager
def using_database(alias: str | None) -> Iterator[None]:
    """Use this workflow database in the block; raise CommandError unless it is migrated."""
    before = getattr(settings, "DBOS", None)
    try:
        if alias is not None:
            with_code(command.use_database, UsageError, alias)
        with_code(command.check_migrations, Unavailable)
        yield
    finally:
        if alias is not None and getattr(settings, "DBOS", None) is not before:
            _restore(before)


def with_code(function: Any, kind: type[CommandError], *args: Any) -> None:
    """Call a function, and raise its CommandError as one of this kind."""
    try:
        function(*args)
    except CommandError as error:
        raise kind(str(error)) from error


def _restore(before: Any) -> None:
    # A caller of call_command() goes on in the database that it had.
    if before is None:
        del settings.DBOS
    else:
        settings.DBOS = before
    setting_changed.send(sender=DatabaseCommand, setting="DBOS", value=before, enter=False)


def read_document(path: str) -> Any:
    """Return the JSON in a file, "-" for standard input; raise CommandError."""
    try:
        text = sys.stdin.read() if path == "-" else Path(path).read_text(encoding="utf-8")
        return json.loads(text)
    except OSError as error:
        raise CommandError(f"{path!r} can't be read: {error.strerror}.") from error
    except (ValueError, RecursionError) as error:
        raise CommandError(f"{path!r} can't be read as JSON: {error}") from error


def flag_of(option: str) -> str:
    """Return the flag of an option, such as `--rate-limit` for `rate_limit`."""
    return f"--{option.replace('_', '-')}"


def printable(text: str) -> str:
    """Return a text without what would steer a terminal."""
    return "".join(letter if letter.isprintable() else "�" for letter in text)


def table_of(rows: Sequence[tuple[str, ...]]) -> list[str]:
    """Return the lines of a table with aligned columns; the first row has the headings."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    ]
