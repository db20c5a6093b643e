"""The SQL of the stores: one statement a file.

A statement is in `<vendor>/sql/`, or in `sql/common/` where all databases have the same. What
statements share, such as the fence, is written once, in `fragments/` beside them.
"""

from __future__ import annotations

import re
from functools import cache
from importlib.resources import files
from importlib.resources.abc import Traversable
from textwrap import indent

from django_dbos.store.columns import SELECTED

INCLUDE = re.compile(r"^(?P<indent> *)-- include: (?P<name>\w+)$", re.MULTILINE)
COLUMNS = re.compile(r"-- columns: (?:(?P<table>\w+)\.)?(?P<record>\w+)(?P<comma>,?)")
PLACEHOLDER = re.compile(r"%\((\w+)\)s")


@cache
def numbered(text: str) -> tuple[str, tuple[str, ...]]:
    """Return a statement as PREPARE takes it, and the names of its parameters in their order."""
    names = tuple(dict.fromkeys(PLACEHOLDER.findall(text)))
    places = {name: f"${number}" for number, name in enumerate(names, 1)}
    return PLACEHOLDER.sub(lambda match: places[match[1]], text).replace("%%", "%"), names


@cache
def load(vendor: str, name: str) -> str:
    """Return the text of a statement, complete and without its comments; it is read once.

    A line `-- include: fence` stands for the text of a fragment, which may include others. A line
    `-- columns: claim` stands for the columns of a record (see `columns.SELECTED`), and
    `-- columns: workflow.claim` for the same of a table or an alias; a comma may follow.
    """
    text = COLUMNS.sub(_columns, _completed(vendor, f"{name}.sql"))
    lines = [line for line in text.splitlines() if not line.lstrip().startswith("--")]
    return "\n".join(lines)


def load_all(vendor: str) -> None:
    """Read all statements now, so that no write waits for a file.

    A read releases the interpreter's lock, and among a hundred runs it takes a while to get back.
    """
    for name in names(vendor):
        load(vendor, name)


def _completed(vendor: str, path: str) -> str:
    """Return the text of a file with that of the fragments that it includes."""

    def included(match: re.Match[str]) -> str:
        text = _completed(vendor, f"fragments/{match['name']}.sql")
        return indent(text.rstrip("\n"), match["indent"])

    return INCLUDE.sub(included, _file(vendor, path).read_text("utf-8"))


def _columns(match: re.Match[str]) -> str:
    return SELECTED[match["record"]].select(match["table"] or "") + match["comma"]


def _file(vendor: str, path: str) -> Traversable:
    """Return the database's own file, or the file that all databases share."""
    own, common = (folder.joinpath(path) for folder in _folders(vendor))
    return common if common.is_file() else own


def _folders(vendor: str) -> tuple[Traversable, Traversable]:
    store = files("django_dbos.store")
    return store.joinpath(vendor, "sql"), store.joinpath("sql", "common")


def names(vendor: str) -> list[str]:
    """Return the names of all statements for a database."""
    found = [entry.name for folder in _folders(vendor) for entry in folder.iterdir()]
    return sorted(name.removesuffix(".sql") for name in found if name.endswith(".sql"))
