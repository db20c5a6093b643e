"""The SQL of the stores: one statement a file, `sql/<vendor>/<name>.sql`."""

from __future__ import annotations

from functools import cache
from importlib.resources import files


@cache
def load(vendor: str, name: str) -> str:
    """The text of a statement, without its comments, read once."""
    text = files("django_dbos.store").joinpath("sql", vendor, f"{name}.sql").read_text("utf-8")
    lines = [line for line in text.splitlines() if not line.lstrip().startswith("--")]
    return "\n".join(lines)


def names(vendor: str) -> list[str]:
    """Every statement there is."""
    folder = files("django_dbos.store").joinpath("sql", vendor)
    return sorted(entry.name[:-4] for entry in folder.iterdir() if entry.name.endswith(".sql"))
