"""The screen of `manage.py dbos_top`, drawn by Rich, which is an extra."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from django_dbos.management.top import Cells, Snapshot, summary, tables

COLOURS = {
    "alive": "green",
    "open": "green",
    "draining": "blue",
    "paused": "yellow",
    "silent": "red",
    "dead": "red",
}


def show(look: Callable[[], Snapshot | str], wait: Callable[[], bool], console: Console) -> None:
    """Draw looks until `wait()` returns True, or Ctrl-C.

    A look that is a text is an error, which is shown until there is another look.
    """
    with suppress(KeyboardInterrupt), Live(console=console, screen=console.is_terminal) as live:
        while True:
            found = look()
            live.update(Panel(Text(found, "red")) if isinstance(found, str) else drawn(found))
            live.refresh()
            if wait():
                return


def drawn(snapshot: Snapshot) -> RenderableType:
    """Return a look as it is drawn."""
    figures = Table.grid(padding=(0, 2))
    for name, text in summary(snapshot):
        figures.add_row(Text(name, "bold"), Text(text))
    title = f"{snapshot.at:%H:%M:%S}  Ctrl-C ends"
    found = (_table(*table) for table in tables(snapshot))
    return Group(Panel(figures, title=title, title_align="right"), *found)


def _table(title: str, headings: Cells, rows: Sequence[Cells]) -> Table:
    table = Table(title=title, title_justify="left", expand=True, box=None, header_style="bold dim")
    for heading in headings:
        is_number = heading in ("QUEUED", "RUNNING", "OLDEST", "FOR", "HEARTBEAT")
        table.add_column(heading, justify="right" if is_number else "left", overflow="ellipsis")
    for row in rows:
        # Text, not markup: a name may have brackets.
        table.add_row(*(Text(cell, COLOURS.get(cell, "")) for cell in row))
    return table
