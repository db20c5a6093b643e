"""The SQL of the stores: one statement a file.

A statement is in `<vendor>/sql/`, or in `sql/common/` where all databases have the same.
"""

from __future__ import annotations

import re
from functools import cache
from importlib.resources import files
from importlib.resources.abc import Traversable

from django_dbos.store.columns import SELECTED

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

    A line `-- columns: claim` stands for the columns of a record (see `columns.SELECTED`), and
    `-- columns: workflow.claim` for the same of a table or an alias; a comma may follow.
    """
    text = COLUMNS.sub(_columns, _file(vendor, name).read_text("utf-8"))
    lines = [line for line in text.splitlines() if not line.lstrip().startswith("--")]
    return "\n".join(lines)


def _columns(match: re.Match[str]) -> str:
    return SELECTED[match["record"]].select(match["table"] or "") + match["comma"]


def _file(vendor: str, name: str) -> Traversable:
    """Return the file of a statement: a database's own, or the one that all have in common."""
    found = [folder.joinpath(f"{name}.sql") for folder in _folders(vendor)]
    return next((file for file in found if file.is_file()), found[0])


def _folders(vendor: str) -> list[Traversable]:
    store = files("django_dbos.store")
    return [store.joinpath(vendor, "sql"), store.joinpath("sql", "common")]


def names(vendor: str) -> list[str]:
    """Return the names of all statements for a database."""
    found = [entry.name for folder in _folders(vendor) for entry in folder.iterdir()]
    return sorted(name.removesuffix(".sql") for name in found if name.endswith(".sql"))
