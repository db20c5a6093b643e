"""A section of a workflow's page: up to 50 rows of one kind, and pages with the rest."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from django.db.models import Model, QuerySet
from django.utils.translation import gettext

from django_dbos.admin.base import PAGE_SIZE, Links, rows_of
from django_dbos.admin.look import Look
from django_dbos.admin.values import Value, to_download, with_values

# Text that is translated when it is displayed.
Label = Any
Cells = tuple[Any, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Section:
    """One kind of rows of a workflow.

    Attributes:
        name: Its name in addresses.
        title: Its heading.
        model: The model of its rows.
        keys: The fields that identify a row of the workflow. An address with all of them shows one
            row with longer values; an address with some of them shows the matching rows.
        columns: The headings of its columns.
        show: Returns the cells of a row.
        owner: The field with the workflow's id.
        values: The columns with stored values.
        narrow: Restricts and annotates the rows.
    """

    name: str
    title: Label
    model: type[Model]
    keys: tuple[str, ...]
    columns: tuple[Label, ...]
    show: Callable[[Any, Links, Look], Cells]
    owner: str = "workflow_id"
    values: tuple[str, ...] = ()
    narrow: Callable[[QuerySet[Any]], QuerySet[Any]] = field(default=lambda rows: rows)


@dataclass(frozen=True, slots=True, kw_only=True)
class Rows:
    """A page of a section, ready for a template."""

    name: str
    title: Label
    columns: tuple[Label, ...]
    rows: list[Cells]
    previous_url: str
    next_url: str


def preview(section: Section, links: Links, workflow_id: str, look: Look) -> Rows:
    """Return the first rows, with shortened values."""
    return _read(section, links, workflow_id, {}, 0, look)


def read(
    section: Section, links: Links, workflow_id: str, query: Mapping[str, str], look: Look
) -> Rows:
    """Return the rows that a query string selects by keys, and page ``p`` of them.

    Raises:
        ValueError: A key or the page number is invalid.
    """
    chosen = {key: query[key] for key in section.keys if key in query}
    page = _page_number(query.get("p", "0"))
    look = replace(look, is_whole=len(chosen) == len(section.keys))
    return _read(section, links, workflow_id, chosen, page, look)


def read_value(section: Section, workflow_id: str, query: Mapping[str, str], look: Look) -> Any:
    """Return the complete value of the row that a query string selects, as plain JSON.

    Raises:
        ValueError: A key is invalid, or there is no such row.
        Unshowable: The user may not see it, or its redaction failed.
    """
    chosen = {key: query[key] for key in section.keys if key in query}
    found = rows_of(section.model).filter(**{section.owner: workflow_id, **chosen})
    row = section.narrow(found).only(*section.values).first() if section.values else None
    if row is None or len(chosen) < len(section.keys):
        raise ValueError(gettext("This value doesn't exist."))
    for column in section.values:
        stored = getattr(row, column)
        if stored is not None:
            return to_download(row, column, stored, look)
    raise ValueError(gettext("This value doesn't exist."))


def _read(
    section: Section,
    links: Links,
    workflow_id: str,
    chosen: dict[str, str],
    page: int,
    look: Look,
) -> Rows:
    found = rows_of(section.model).filter(**{section.owner: workflow_id, **chosen})
    found = section.narrow(found).order_by(*section.keys)
    found = with_values(found, *section.values, look=look)
    first = page * PAGE_SIZE
    rows = list(found[first : first + PAGE_SIZE + 1])
    return Rows(
        name=section.name,
        title=section.title,
        columns=section.columns,
        rows=[_cells(section, row, links, look) for row in rows[:PAGE_SIZE]],
        previous_url=links.rows(section.name, **chosen, p=page - 1) if page else "",
        next_url=links.rows(section.name, **chosen, p=page + 1) if rows[PAGE_SIZE:] else "",
    )


def _page_number(text: str) -> int:
    number = int(text)
    # No table is that long, and databases refuse much larger offsets.
    if not 0 <= number < 10**9:
        raise ValueError(f"Page {text} doesn't exist.")
    return number


def _cells(section: Section, row: Any, links: Links, look: Look) -> Cells:
    keys = {key: getattr(row, key) for key in section.keys}
    whole_url = "" if look.is_whole else links.rows(section.name, **keys)
    download_url = links.rows(section.name, **keys, download="1") if look.is_whole else ""
    return tuple(
        replace(cell, whole_url=whole_url, download_url=download_url)
        if isinstance(cell, Value) and cell.is_cut
        else cell
        for cell in section.show(row, links, look)
    )
