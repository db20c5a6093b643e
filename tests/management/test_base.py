"""What all commands share: exit codes, formats, the database, errors, questions."""

from __future__ import annotations

import importlib
import io
import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from django.conf import settings as current
from django.core.exceptions import ImproperlyConfigured
from django.core.management import CommandError
from django.core.management.base import OutputWrapper
from django.db import OperationalError

from django_dbos.exceptions import DbosError, DuplicateWorkflow
from django_dbos.management import base

FOLDER = Path(base.__file__).parent / "commands"
NAMES = sorted(path.stem for path in FOLDER.glob("dbos_*.py"))
# They have no database or a life of their own.
APART = {"dbos_skills", "dbos_worker"}


@pytest.fixture(autouse=True)
def _connections_stay(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep the connection of the test, which a command from the command line closes at its end."""
    monkeypatch.setattr("django.core.management.base.connections", SimpleNamespace(close_all=int))


class Probe(base.DatabaseCommand):
    """A command that does as a test says."""

    def __init__(self, work: Any = None) -> None:
        super().__init__(stdout=OutputWrapper(io.StringIO()), stderr=OutputWrapper(io.StringIO()))
        self._work = work

    def add_options(self, parser: Any) -> None:
        base.add_confirmation(parser)

    def perform(self, options: dict[str, Any]) -> None:
        if self._work is not None:
            self._work()
        self.confirm("Do it?", options)
        self.answer({"name": "a\x1b[31mb"}, ["a\x1b[31mb"])


def exit_code(probe: Probe, *arguments: str) -> int:
    try:
        probe.run_from_argv(["manage.py", "probe", *arguments])
    except SystemExit as ended:
        return int(ended.code or 0)
    return 0


def written(probe: Probe) -> str:
    return str(probe.stdout._out.getvalue())  # type: ignore[attr-defined]


def complaints(probe: Probe) -> str:
    return str(probe.stderr._out.getvalue())  # type: ignore[attr-defined]


def raising(error: BaseException) -> Any:
    def fail() -> None:
        raise error

    return fail


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("error", "code"),
    [
        (CommandError("no"), 1),
        (DuplicateWorkflow("w"), 1),
        (DbosError("no"), 1),
        (base.UsageError("no"), 2),
        (OperationalError("server closed the connection\n"), 3),
        (ImproperlyConfigured("DBOS['X']"), 3),
        (base.Unfinished("no"), 4),
        (KeyboardInterrupt(), 130),
        (BrokenPipeError(), 141),
    ],
)
def test_each_kind_of_error_has_its_exit_code(
    error: BaseException, code: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "dup2", lambda *args: None)
    monkeypatch.setattr(sys, "stdout", _Stdout())
    probe = Probe(raising(error))

    assert exit_code(probe) == code
    assert code in {**base.EXIT_CODES, **base.SIGNAL_CODES}
    assert "Traceback" not in complaints(probe)


class _Stdout(io.StringIO):
    def fileno(self) -> int:
        return 1


@pytest.mark.django_db
def test_an_outage_names_the_database_on_one_line() -> None:
    probe = Probe(raising(OperationalError("refused\n\tIs it running?\n")))

    assert exit_code(probe, "--database", "default") == base.UNAVAILABLE
    assert "Database 'default' doesn't answer: refused Is it running?" in complaints(probe)


@pytest.mark.django_db
def test_a_mistake_in_the_code_keeps_its_traceback() -> None:
    with pytest.raises(ZeroDivisionError):
        Probe(lambda: 1 / 0).run_from_argv(["manage.py", "probe"])


@pytest.mark.django_db
def test_usage_errors_of_the_parser_have_the_same_code() -> None:
    assert exit_code(Probe(), "--formats", "json") == base.USAGE
    assert exit_code(Probe(), "--database", "nowhere") == base.USAGE


@pytest.mark.django_db
def test_text_steers_no_terminal_and_json_is_unchanged() -> None:
    as_text, as_json = Probe(), Probe()

    assert exit_code(as_text, "--yes") == exit_code(as_json, "--yes", "--format", "json") == 0
    assert written(as_text) == "a�[31mb\n"
    assert json.loads(written(as_json)) == {"name": "a\x1b[31mb"}


@pytest.mark.django_db
@pytest.mark.parametrize("flag", ["--yes", "--no-input", "--noinput"])
def test_a_question_needs_somebody_or_a_flag(flag: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO(""))
    asked = Probe()

    assert exit_code(asked) == base.USAGE
    assert "Add --yes" in complaints(asked)
    assert exit_code(Probe(), flag) == base.DONE


@pytest.mark.django_db
@pytest.mark.parametrize(("answer", "code"), [("y\n", 0), ("\n", 1), ("", 1), ("no\n", 1)])
def test_only_yes_is_yes(answer: str, code: int, monkeypatch: pytest.MonkeyPatch) -> None:
    stdin = io.StringIO(answer)
    monkeypatch.setattr(stdin, "isatty", lambda: True)
    monkeypatch.setattr(sys, "stdin", stdin)
    probe = Probe()

    assert exit_code(probe) == code
    assert "Do it? [y/N]" in complaints(probe)
    assert written(probe) == ("a�[31mb\n" if code == 0 else "")


@pytest.mark.django_db
def test_the_database_of_the_process_is_as_before() -> None:
    before, seen = current.DBOS, []

    assert (
        exit_code(Probe(lambda: seen.append(current.DBOS)), "--yes", "--database", "default") == 0
    )
    assert seen[0]["DATABASE"] == "default"
    assert current.DBOS is before


@pytest.mark.parametrize("name", sorted(set(NAMES) - APART))
def test_every_command_has_the_common_options(name: str) -> None:
    command = importlib.import_module(f"django_dbos.management.commands.{name}").Command()
    parser = command.create_parser("manage.py", name)
    groups = [action for action in parser._actions if hasattr(action.choices, "items")]
    parsers = list(groups[0].choices.values()) if groups else [parser]

    for each in parsers:
        assert {"database", "format"} <= {action.dest for action in each._actions}
        assert not each.allow_abbrev


@pytest.mark.parametrize("name", NAMES)
def test_examples_are_valid(name: str) -> None:
    command = importlib.import_module(f"django_dbos.management.commands.{name}").Command()
    command._called_from_command_line = False

    for example in getattr(command, "examples", ()):
        command.create_parser("manage.py", name).parse_args(shlex.split(example, comments=True))


DOCS = Path(__file__).parents[2] / "docs"
LINE = re.compile(r"^\$ python manage.py (dbos_\w+)(.*)$", re.MULTILINE)
TYPED = sorted(
    {found.groups() for page in DOCS.rglob("*.md") for found in LINE.finditer(page.read_text())}
)


@pytest.mark.parametrize(("name", "arguments"), TYPED)
def test_what_the_docs_type_is_valid(name: str, arguments: str) -> None:
    command = importlib.import_module(f"django_dbos.management.commands.{name}").Command()
    words = shlex.split(arguments, comments=True)
    ends = [position for position, word in enumerate(words) if word in ("|", ">", "<", "&&")]

    command._called_from_command_line = False
    command.create_parser("manage.py", name).parse_args(words[: min(ends, default=len(words))])


def test_a_reader_that_goes_leaves_no_traceback() -> None:
    """As `manage.py dbos_queues --help | head -1` does, with more output than a pipe holds."""
    code = (
        "import django; django.setup()\n"
        "from tests.management.test_base import Flood\n"
        "Flood().run_from_argv(['manage.py', 'flood'])\n"
    )
    environment = {**os.environ, "DJANGO_SETTINGS_MODULE": "tests.settings"}
    process = subprocess.Popen(
        [sys.executable, "-c", code],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=environment,
        text=True,
    )
    assert process.stdout is not None
    assert process.stderr is not None

    assert process.stdout.readline() == "line\n"
    process.stdout.close()

    assert process.stderr.read() == ""
    assert process.wait() == base.READER_GONE
    process.stderr.close()


class Flood(base.DatabaseCommand):
    """A command without a database that prints more than a pipe holds."""

    def handle(self, *args: Any, **options: Any) -> None:
        self.is_json = False
        self.answer(None, ["line"] * 100_000)
