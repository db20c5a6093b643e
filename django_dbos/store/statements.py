"""The SQL of the stores: one statement a file, `<vendor>/sql/<name>.sql`."""

from __future__ import annotations

import re
from functools import cache
from importlib.resources import files

PLACEHOLDER = re.compile(r"%\((\w+)\)s")


@cache
def numbered(text: str) -> tuple[str, tuple[str, ...]]:
    """A statement as PREPARE takes it, and the names of its parameters in their order."""
    names = tuple(dict.fromkeys(PLACEHOLDER.findall(text)))
    places = {name: f"${number}" for number, name in enumerate(names, 1)}
    return PLACEHOLDER.sub(lambda match: places[match[1]], text).replace("%%", "%"), names


@cache
def load(vendor: str, name: str) -> str:
    """The text of a statement, without its comments, read once."""
    text = files("django_dbos.store").joinpath(vendor, "sql", f"{name}.sql").read_text("utf-8")
    lines = [line for line in text.splitlines() if not line.lstrip().startswith("--")]
    return "\n".join(lines)


def names(vendor: str) -> list[str]:
    """Every statement there is."""
    folder = files("django_dbos.store").joinpath(vendor, "sql")
    return sorted(entry.name[:-4] for entry in folder.iterdir() if entry.name.endswith(".sql"))
