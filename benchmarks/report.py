"""Renders the tables, as text for a terminal and as Markdown for the docs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from benchmarks.results import Results, Row, is_ceiling, number, rows


def render(results: Results, *, is_markdown: bool = False) -> str:
    """Return all tables, then the systems' settings, then the machine."""
    heading = "### " if is_markdown else ""
    parts = []
    for name, workload in results.workloads.items():
        table = render_table(results, name, is_markdown=is_markdown)
        sentence = f"{workload['sentence']} {sizes(results, name)}"
        parts.append(f"{heading}{name}\n\n{sentence}\n\n{table}")
    parts.append(f"{heading}Settings\n\n" + bullets(results.settings.items()))
    parts.append(f"{heading}Machine\n\n" + bullets(results.machine.items()))
    return "\n\n".join(parts) + "\n"


def sizes(results: Results, workload: str) -> str:
    """Return the usual size, and the systems that were measured with another."""
    mine = {
        measured.system: measured.size
        for measured in results.measurements
        if measured.workload == workload
    }
    if not mine:
        return ""
    usual = Counter(mine.values()).most_common(1)[0][0]
    others = [f"{name} {size:,}" for name, size in mine.items() if size != usual]
    return f"({'; '.join([f'Size {usual:,}', *others])}.)"


def bullets(items: Iterable[tuple[str, object]]) -> str:
    return "\n".join(f"* {name}: {plain(value)}" for name, value in items)


def plain(value: object) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{name} {item}" for name, item in value.items())
    return str(value)


def render_table(results: Results, workload: str, *, is_markdown: bool) -> str:
    units, found = results.workloads[workload]["units"], rows(results, workload)
    compared = {metric for row in found for metric in row.ratios}
    header = ["system"]
    for metric, unit in units.items():
        header.append(title(metric, unit))
        if metric in compared:
            header.append("django_dbos is as good")
    lines = [header, *(cells_of(row, units, compared) for row in found)]
    table = markdown(lines) if is_markdown else text(lines)
    return "\n\n".join([table, *failures(results, workload)])


def failures(results: Results, workload: str) -> list[str]:
    """Return a line for each failed measurement."""
    return [
        f"{measured.system}, round {measured.round}: {first_line(measured.error)}"
        for measured in results.measurements
        if measured.workload == workload and measured.error
    ]


def first_line(error: str) -> str:
    return error.partition("\n")[0][:300]


def title(metric: str, unit: str) -> str:
    """Return a metric and its unit, or the one that implies the other."""
    if unit == "x":
        return metric
    return unit if metric == "rate" or unit.startswith(metric) else f"{metric}, {unit}"


def cells_of(row: Row, units: dict[str, str], compared: set[str]) -> list[str]:
    cells = [row.system]
    for metric in units:
        missing = "failed" if row.error else "-"
        cells.append(str(row.cells.get(metric, missing)))
        if metric in compared:
            cells.append(ratio(row, metric))
    return cells


def ratio(row: Row, metric: str) -> str:
    """Return a percentage of the ceiling, or a multiple of a peer."""
    if metric not in row.ratios:
        return ""
    value = row.ratios[metric]
    return f"{value:.0%}" if is_ceiling(row.system) else f"{number(value)}x"


def text(lines: list[list[str]]) -> str:
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
        for line in lines
    )


def markdown(lines: list[list[str]]) -> str:
    header, *body = (f"| {' | '.join(cell.replace('|', '/') for cell in line)} |" for line in lines)
    return "\n".join([header, "| --- " + "| ---: " * (len(lines[0]) - 1) + "|", *body])
