"""Write docs/reference/commands.md from the commands' parsers; `--check` only compares."""

from __future__ import annotations

import argparse
import importlib
import os
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

PROJECT = Path(__file__).resolve().parent.parent
COMMANDS = PROJECT / "django_dbos" / "management" / "commands"
PAGE = PROJECT / "docs" / "reference" / "commands.md"
WIDTH = 100
# Django's own options, which each command has.
OF_DJANGO = set(
    "help version verbosity settings pythonpath traceback no_color force_color skip_checks".split()  # noqa: SIM905
)
INTRODUCTION = """\
# Commands

This page lists the commands for operators: `python manage.py COMMAND`. All commands but
`dbos_worker` and `dbos_skills` take `--database ALIAS`, the workflow database (default:
`DBOS["DATABASE"]`), and `--format json`, for scripts: JSON goes to stdout, everything else to
stderr. Text output shows control characters as `�`; JSON keeps them. Options can't be abbreviated.
`make docs-api` generates this page from the parsers.

## Exit codes

The codes of `dbos_worker` are those of [its signals](../guides/workers.md); all other commands have
these. An error is one line on stderr, without a traceback, unless `--traceback` asks for it.

| code | meaning |
| --- | --- |
"""


def main() -> int:
    """Write or compare the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="Only compare; exit with 1 if stale.")
    page = text_of_page()
    if not parser.parse_args().check:
        PAGE.write_text(page, encoding="utf-8")
        return 0
    if PAGE.read_text(encoding="utf-8") == page:
        return 0
    print(f"{PAGE.relative_to(PROJECT)} is stale: run `make docs-api`.", file=sys.stderr)
    return 1


def text_of_page() -> str:
    """Return the whole page."""
    from django_dbos.management import base

    codes = {**base.EXIT_CODES, **base.SIGNAL_CODES}
    lines = [INTRODUCTION.rstrip()]
    lines += [f"| {code} | {meaning} |" for code, meaning in codes.items()]
    for path in sorted(COMMANDS.glob("dbos_*.py")):
        lines += ["", *_command(path.stem)]
    return "\n".join(lines) + "\n"


def _command(name: str) -> Iterator[str]:
    command = importlib.import_module(f"django_dbos.management.commands.{name}").Command()
    parser = command.create_parser("manage.py", name)
    yield f"## {name}"
    yield ""
    yield from textwrap.wrap(command.help, WIDTH)
    if examples := getattr(command, "examples", ()):
        yield from ("", "```console", *(f"$ python manage.py {name} {one}" for one in examples))
        yield "```"
    own = [action for action in parser._actions if action.dest not in OF_DJANGO]
    for action in own:
        if isinstance(action, argparse._SubParsersAction):
            yield from _actions(action)
            return
    yield from _table(own)


def _actions(group: Any) -> Iterator[str]:
    helps = {choice.dest: choice.help for choice in group._choices_actions}
    yield from ("", "| action | what it does | options |", "| --- | --- | --- |")
    for name, parser in group.choices.items():
        own = [action for action in parser._actions if action.dest not in (*OF_DJANGO, *COMMON)]
        options = ", ".join(f"`{_name(action)}`" for action in own)
        yield f"| `{name}` | {_cell(helps[name])} | {options} |"


COMMON = ("database", "format")


def _table(actions: list[Any]) -> Iterator[str]:
    own = [action for action in actions if action.dest not in COMMON]
    if not own:
        return
    yield from ("", "| option | what it does |", "| --- | --- |")
    for action in own:
        yield f"| `{_name(action)}` | {_cell(action.help or '')} |"


def _name(action: Any) -> str:
    flags = ", ".join(action.option_strings)
    if action.nargs == 0:
        return str(flags)
    value = action.metavar or (
        "\\|".join(map(str, action.choices)) if action.choices else action.dest.upper()
    )
    return f"{flags} {value}" if flags else str(value)


def _cell(text: str) -> str:
    return text.replace("%%", "%").replace("|", "\\|")


if __name__ == "__main__":
    sys.path.insert(0, str(PROJECT))
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "tests.settings")
    importlib.import_module("django").setup()
    sys.exit(main())
