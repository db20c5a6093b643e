"""A section of a workflow's page: up to 50 rows of one kind, and pages with the rest."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from django.db.models import CompositePrimaryKey, Model, Q, QuerySet
from django.utils.translation import gettext

from django_dbos.admin.base import PAGE_SIZE, Links, rows_of
from django_dbos.admin.look import Look
from django_dbos.admin.values import Value, to_download, with_values

# In addresses, they precede the keys of the row beyond which a page lies.
AFTER, BEFORE = "after", "before"
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


@dataclass(frozen=True, slots=True)
class Edge:
    """The row that a page begins after or ends before, by its keys: deep pages cost no more."""

    name: str
    keys: list[str | int]

    @classmethod
    def read(cls, name: str, text: str) -> Edge:
        """Return the edge in an address; raise ValueError."""
        keys = json.loads(text)
        if not isinstance(keys, list) or not all(_is_key(key) for key in keys):
            raise ValueError(gettext("There is no row %s.") % text)
        return cls(name, keys)

    def condition(self, section: Section, workflow_id: str) -> Q:
        """Return the condition for the rows beyond the edge; raise ValueError."""
        if len(self.keys) != len(section.keys):
            raise ValueError(gettext("There is no row %s.") % self.keys)
        lookup = "gt" if self.name == AFTER else "lt"
        pk = section.model._meta.pk
        if isinstance(pk, CompositePrimaryKey) and len(pk.field_names) == len(section.keys) + 1:
            # A comparison of rows, for which the primary key's index is entered at the edge.
            return Q(**{f"pk__{lookup}": (workflow_id, *self.keys)})
        first, *others = zip(section.keys, self.keys, strict=True)
        beyond = Q(**{f"{first[0]}__{lookup}": first[1]})
        for key, value in others:
            beyond |= Q(**{first[0]: first[1], f"{key}__{lookup}": value})
        return beyond


def _is_key(key: Any) -> bool:
    if isinstance(key, str):
        return "\0" not in key
    return isinstance(key, int) and not isinstance(key, bool) and abs(key) < 2**63


def preview(section: Section, links: Links, workflow_id: str, look: Look) -> Rows:
    """Return the first rows, with shortened values."""
    return _read(section, links, workflow_id, {}, None, look)


def read(
    section: Section, links: Links, workflow_id: str, query: Mapping[str, str], look: Look
) -> Rows:
    """Return the rows that a query string selects by keys: those after or before a row.

    Raises:
        ValueError: A key is invalid, or the row.
    """
    chosen = {key: query[key] for key in section.keys if key in query}
    look = replace(look, is_whole=len(chosen) == len(section.keys))
    edge = next((Edge.read(name, query[name]) for name in (AFTER, BEFORE) if name in query), None)
    return _read(section, links, workflow_id, chosen, edge, look)


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
    edge: Edge | None,
    look: Look,
) -> Rows:
    found = rows_of(section.model).filter(**{section.owner: workflow_id, **chosen})
    found = section.narrow(found).order_by(*section.keys)
    found = with_values(found, *section.values, look=look)
    is_backward = edge is not None and edge.name == BEFORE
    if edge is not None:
        found = found.filter(edge.condition(section, workflow_id))
    rows = list((found.reverse() if is_backward else found)[: PAGE_SIZE + 1])
    has_more, rows = len(rows) > PAGE_SIZE, rows[:PAGE_SIZE]
    if is_backward:
        rows.reverse()
    has_previous = has_more if is_backward else edge is not None
    has_next = is_backward or has_more
    return Rows(
        name=section.name,
        title=section.title,
        columns=section.columns,
        rows=[_cells(section, row, links, look) for row in rows],
        previous_url=_turn(section, links, chosen, BEFORE, rows[:1]) if has_previous else "",
        next_url=_turn(section, links, chosen, AFTER, rows[-1:]) if has_next else "",
    )


def _turn(
    section: Section, links: Links, chosen: dict[str, str], name: str, rows: list[Any]
) -> str:
    """Return the address of the rows beyond a row; of the first ones if there is none."""
    if not rows:
        return links.rows(section.name, **chosen)
    keys = json.dumps([getattr(rows[0], key) for key in section.keys], separators=(",", ":"))
    return links.rows(section.name, **chosen, **{name: keys})


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
