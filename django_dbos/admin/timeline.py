"""The timeline of a workflow's page: its steps, retries and waits as bars, and its children.

The bars are SVG, made by the server: the page needs no script, and no style of its own.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from django_dbos.admin import ages
from django_dbos.admin.bars import LEGEND, Bar, bars_of_step, bars_of_workflow
from django_dbos.admin.base import VALUES, Links, badge, rows_of, status_badge
from django_dbos.admin.columns import breakable, split_name
from django_dbos.admin.facts import Failure
from django_dbos.admin.look import Look
from django_dbos.admin.section import Label
from django_dbos.admin.time_scale import Scale
from django_dbos.admin.values import Value, attempts, outcome, with_values
from django_dbos.core.status import Status
from django_dbos.models import Checkpoint, Workflow

# The steps of a page, the children below them, and the children of these.
PAGE_STEPS = 50
MAX_CHILDREN = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """A line of the timeline: the workflow itself, a step, or a child below its step."""

    anchor: str = ""
    number: int | None = None
    depth: int = 0
    name: SafeString
    url: str = ""
    state: SafeString | str = ""
    bars: tuple[Bar, ...] = ()
    drawing: SafeString = field(default_factory=SafeString)
    lasted: str = ""
    details: tuple[tuple[Label, Any], ...] = ()
    outcome: Value | None = None
    failure: Failure | None = None
    attempts: int = 1
    errors: Value | None = None
    children: tuple[Entry, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Timeline:
    """A page of the timeline, ready for a template."""

    entries: list[Entry]
    ticks: list[tuple[float, str]]
    is_shortened: bool
    legend: Sequence[tuple[str, Label]] = field(default=LEGEND)
    first_url: str = ""
    earlier_url: str = ""
    later_url: str = ""
    last_url: str = ""


def build(workflow: Workflow, links: Links, page: Page, now: datetime, look: Look) -> Timeline:
    """Return the timeline of a page of a workflow's steps."""
    children = _read_children(workflow, page, links, now)
    entries = [_entry_of_step(step, links, children, now, look) for step in page.steps]
    if page.is_first:
        entries.insert(0, _entry_of_workflow(workflow, now))
    bars = [bar for entry in entries for bar in _bars_of(entry)]
    start = min([bar.start for bar in bars], default=workflow.created_at or now)
    end = max([bar.end for bar in bars], default=now)
    scale = Scale(start, end, [(bar.start, bar.end) for bar in bars if bar.is_work])
    base = links.workflow()
    return Timeline(
        entries=[_drawn(entry, scale, _drawing_of_gaps(scale)) for entry in entries],
        ticks=_ticks(scale),
        is_shortened=scale.is_shortened,
        first_url=f"{base}?after=0#timeline" if not page.is_first else "",
        earlier_url=f"{base}?before={page.first}#timeline" if not page.is_first else "",
        later_url=f"{base}?after={page.last}#timeline" if not page.is_last else "",
        last_url=f"{base}?before=last#timeline" if not page.is_last else "",
    )


def _ticks(scale: Scale) -> list[tuple[float, str]]:
    """Return the marks of the axis; in a short piece of work those that read alike are one."""
    found: list[tuple[float, str]] = []
    for at, after in scale.ticks():
        text = ages.in_words(after, 2)
        if len(found) > 1 and found[-1][1] == text:
            found.pop()
        found.append((at, text))
    return found


# --- The steps of a page, by key ---------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """Steps in order, and whether there are none before or behind them."""

    steps: list[Any]
    is_first: bool
    is_last: bool

    @property
    def first(self) -> int:
        """The number of the first step."""
        return int(self.steps[0].step_number) if self.steps else 0

    @property
    def last(self) -> int:
        """The number of the last step."""
        return int(self.steps[-1].step_number) if self.steps else 0


def read_page(workflow_id: str, query: Mapping[str, str], look: Look) -> Page:
    """Return the steps after or before a number; by default the last ones.

    Raises:
        ValueError: The number isn't one.
    """
    found = rows_of(Checkpoint).filter(workflow_id=workflow_id)
    found = with_values(found, "output_text", "error_text", "attempt_errors_text", look=look)
    if "after" in query:
        after = _number(query["after"])
        rows = list(found.filter(step_number__gt=after).order_by("step_number")[: PAGE_STEPS + 1])
        return Page(steps=rows[:PAGE_STEPS], is_first=after <= 0, is_last=len(rows) <= PAGE_STEPS)
    before = query.get("before", "last")
    if before != "last":
        found = found.filter(step_number__lt=_number(before))
    rows = list(found.order_by("-step_number")[: PAGE_STEPS + 1])
    return Page(
        steps=rows[:PAGE_STEPS][::-1],
        is_first=len(rows) <= PAGE_STEPS,
        is_last=before == "last",
    )


def _number(text: str) -> int:
    number = int(text)
    if not -1 <= number < 2**31:
        raise ValueError(gettext("There is no step %s.") % text)
    return number


# --- Its lines ---------------------------------------------------------------------------


def _entry_of_workflow(workflow: Workflow, now: datetime) -> Entry:
    return Entry(
        name=split_name(workflow.name),
        state=badge(workflow),
        bars=bars_of_workflow(workflow, now),
        lasted=ages.lasted(workflow.created_at, workflow.finished_at or now),
    )


def _entry_of_step(
    step: Any, links: Links, children: Mapping[int, list[Entry]], now: datetime, look: Look
) -> Entry:
    is_over = step.state != Checkpoint.State.WAITING
    start = step.started_at or step.recorded_at or now
    end = step.recorded_at or start if is_over else now
    whole_url = links.rows("steps", step_number=step.step_number)
    tried = attempts(step, look)
    found = _linked(outcome(step, look), whole_url)
    nested = tuple(children.get(step.step_number, ()))
    return Entry(
        anchor=f"step-{step.step_number}",
        number=step.step_number,
        name=_name_of(step.step_name),
        state=_state_of(step),
        bars=tuple(bars_of_step(step, start, max(start, end))),
        lasted=ages.lasted(start, end),
        details=_details(step, start),
        outcome=found,
        failure=Failure.of(found),
        attempts=step.attempts,
        errors=_linked(tried, whole_url) if isinstance(tried, Value) else None,
        url=_url_of_related(step, links, nested),
        children=nested,
    )


def _linked(value: Value, whole_url: str) -> Value:
    return replace(value, whole_url=whole_url) if value.is_cut else value


def _name_of(name: str) -> SafeString:
    """Return the name of a step; the engine's own operations are less conspicuous."""
    if name.startswith("dbos."):
        return format_html('<span class="dbos-module">{}</span>', breakable(name))
    return split_name(name)


def _details(step: Any, start: datetime) -> tuple[tuple[Label, str], ...]:
    found = [(_("Started"), ages.with_zone(start))]
    if step.state != Checkpoint.State.WAITING:
        found.append((_("Recorded"), ages.with_zone(step.recorded_at)))
    elif step.deadline_at is not None:
        found.append((_("Waits until"), ages.with_zone(step.deadline_at)))
    return tuple(found)


def _url_of_related(step: Any, links: Links, children: Sequence[Entry]) -> str:
    """Return the page of the other workflow of a step, unless that is listed below it."""
    related = step.related_workflow_id
    return links.workflow(related) if related and not children else ""


def _state_of(step: Any) -> SafeString | str:
    """Return a badge for what isn't plain: failures, waits, and waits that ran out of time."""
    if step.state == Checkpoint.State.WAITING:
        return status_badge(Status.WAITING, gettext("waiting"))
    if step.error_text_size is not None:
        return status_badge(Status.ERROR, gettext("failed"))
    if step.state != Checkpoint.State.RECORDED:
        return status_badge(Status.CANCELLED, str(step.get_state_display()))
    return ""


# --- Its children ------------------------------------------------------------------------


def _read_children(
    workflow: Workflow, page: Page, links: Links, now: datetime
) -> dict[int, list[Entry]]:
    """Return the children that the steps of a page have started, by step."""
    if not page.steps:
        return {}
    found = rows_of(Workflow).filter(parent_id=workflow.workflow_id)
    rows = _listed(found.filter(parent_step_number__range=(page.first, page.last)))
    below: dict[str, list[Entry]] = {}
    ids = [row.workflow_id for row in rows]
    for row in _listed(rows_of(Workflow).filter(parent_id__in=ids)) if ids else ():
        below.setdefault(row.parent_id, []).append(_entry_of_child(row, links, now, 2))
    children: dict[int, list[Entry]] = {}
    for row in rows:
        entry = _entry_of_child(row, links, now, 1)
        nested = tuple(below.get(row.workflow_id, ()))
        children.setdefault(row.parent_step_number, []).append(replace(entry, children=nested))
    return children


def _listed(workflows: Any) -> list[Any]:
    rows = workflows.defer(*VALUES).order_by("parent_id", "parent_step_number", "workflow_id")
    return list(rows[:MAX_CHILDREN])


def _entry_of_child(child: Any, links: Links, now: datetime, depth: int) -> Entry:
    return Entry(
        depth=depth,
        name=split_name(child.name),
        url=links.workflow(child.workflow_id),
        state=badge(child),
        bars=bars_of_workflow(child, now),
        lasted=ages.lasted(child.created_at, child.finished_at or now),
    )


# --- Its drawing -------------------------------------------------------------------------


def _bars_of(entry: Entry) -> list[Bar]:
    return [*entry.bars, *(bar for child in entry.children for bar in _bars_of(child))]


def _drawn(entry: Entry, scale: Scale, gaps: SafeString) -> Entry:
    """Return the line with its bars drawn: by Python, as a template takes many times as long."""
    bars = format_html_join(
        "",
        '<rect class="dbos-bar-{}" x="{}%" y="3" width="{}%" height="10" rx="2"></rect>',
        ((bar.kind, *bar.place(scale)) for bar in entry.bars),
    )
    return replace(
        entry,
        drawing=SafeString(f"{gaps}{bars}"),
        children=tuple(_drawn(child, scale, gaps) for child in entry.children),
    )


def _drawing_of_gaps(scale: Scale) -> SafeString:
    gap = '<rect class="dbos-gap" x="{}%" y="0" width="{}%" height="16"></rect>'
    return format_html_join("", gap, scale.gaps())
