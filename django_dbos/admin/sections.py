"""The sections of a workflow's page: steps, messages, events, streams, children and values."""

from __future__ import annotations

from typing import Any

from django.db.models import OuterRef, Q, QuerySet, Subquery
from django.utils.translation import gettext, pgettext_lazy
from django.utils.translation import gettext_lazy as _

from django_dbos.admin.base import VALUES, Links, badge, link, rows_of, status_badge
from django_dbos.admin.look import Look
from django_dbos.admin.section import Cells, Section
from django_dbos.admin.values import (
    attempts,
    instant,
    outcome,
    seconds,
    shown,
    shown_json,
)
from django_dbos.core.status import CLOSING, Status
from django_dbos.models import (
    Checkpoint,
    Event,
    EventVersion,
    Inquiry,
    Message,
    PastRun,
    StreamEntry,
    Workflow,
)


def _linked(links: Links, workflow_id: str | None) -> str:
    return link(links.workflow(workflow_id), workflow_id) if workflow_id else ""


def _show_input(workflow: Any, links: Links, look: Look) -> Cells:
    return (shown(workflow, "input_text", look),)


def _show_outcome(workflow: Any, links: Links, look: Look) -> Cells:
    return (outcome(workflow, look),)


def _show_attributes(workflow: Any, links: Links, look: Look) -> Cells:
    return (shown_json(workflow, "attributes", look),)


def _show_step(step: Any, links: Links, look: Look) -> Cells:
    is_over = step.state != Checkpoint.State.WAITING
    return (
        step.step_number,
        step.step_name,
        _state_of(step),
        outcome(step, look),
        attempts(step, look),
        instant(step.started_at),
        instant(step.recorded_at),
        seconds(step.started_at, step.recorded_at) if is_over else "",
        _linked(links, step.related_workflow_id),
    )


def _state_of(step: Any) -> str:
    """Return the stored state, or a "failed" badge for an error, to be found at a glance."""
    if step.state == Checkpoint.State.RECORDED and step.error_text_size is not None:
        return status_badge(Status.ERROR, gettext("failed"))
    return str(step.get_state_display())


def _show_message(message: Any, links: Links, look: Look) -> Cells:
    return (
        message.message_id,
        message.topic,
        shown(message, "message_text", look),
        _linked(links, message.sender_id),
        instant(message.created_at),
        instant(message.consumed_at) or status_badge(Status.DELAYED, gettext("not consumed")),
        message.consumed_step_number,
    )


def _show_event(event: Any, links: Links, look: Look) -> Cells:
    return (
        event.key,
        shown(event, "value_text", look),
        link(links.rows("history", key=event.key), event.version),
        instant(event.updated_at),
    )


def _show_version(version: Any, links: Links, look: Look) -> Cells:
    return (
        version.key,
        version.version,
        shown(version, "value_text", look),
        version.step_number,
        instant(version.created_at),
    )


def _show_stream(first: Any, links: Links, look: Look) -> Cells:
    # The end of its workflow also closes a stream, without an entry.
    is_closed = first.is_ended or first.owner_status in CLOSING
    return (
        link(links.rows("entries", key=first.key), first.key),
        first.last_offset + (0 if first.is_ended else 1),
        gettext("closed") if is_closed else gettext("open"),
        instant(first.created_at),
        instant(first.last_at),
    )


def _show_entry(entry: Any, links: Links, look: Look) -> Cells:
    value = shown(entry, "value_text", look)
    return (
        entry.key,
        entry.offset,
        gettext("end of the stream") if entry.is_end else value,
        entry.step_number,
        instant(entry.created_at),
    )


def _show_child(child: Any, links: Links, look: Look) -> Cells:
    return (
        _linked(links, str(child.workflow_id)),
        child.name,
        badge(child),
        child.parent_step_number,
        instant(child.created_at),
        instant(child.finished_at),
    )


def _show_fork(fork: Any, links: Links, look: Look) -> Cells:
    return (
        _linked(links, str(fork.workflow_id)),
        badge(fork),
        fork.forked_at_step,
        instant(fork.created_at),
        instant(fork.finished_at),
    )


def _show_inquiry(inquiry: Any, links: Links, look: Look) -> Cells:
    url = links.inquiry(inquiry.pk)
    return (
        link(url, inquiry.pk) if url else inquiry.pk,
        inquiry.get_kind_display(),
        inquiry.title or inquiry.topic,
        Inquiry.State(inquiry.state).label,
        inquiry.step_number,
        instant(inquiry.created_at),
        instant(inquiry.expires_at),
        instant(inquiry.answered_at),
        inquiry.answered_by,
    )


def _show_past_run(run: Any, links: Links, look: Look) -> Cells:
    first, last = run.steps_before + 1, run.steps_before + run.steps
    return (
        run.run_number,
        shown(run, "input_text", look),
        gettext("%(first)d to %(last)d") % {"first": first, "last": last} if run.steps else "",
        instant(run.started_at),
        instant(run.ended_at),
        seconds(run.started_at, run.ended_at),
    )


def _one_row_per_stream(entries: QuerySet[Any]) -> QuerySet[Any]:
    """Return a row per stream: its first entry, annotated from its last one, without grouping."""
    same = rows_of(StreamEntry).filter(workflow_id=OuterRef("workflow_id"), key=OuterRef("key"))
    last = same.order_by("-offset")
    owner = rows_of(Workflow).filter(workflow_id=OuterRef("workflow_id"))
    streams: QuerySet[Any] = entries.filter(offset=0).annotate(
        last_offset=Subquery(last.values("offset")[:1]),
        is_ended=Subquery(last.values("is_end")[:1]),
        last_at=Subquery(last.values("created_at")[:1]),
        owner_status=Subquery(owner.values("status")),
    )
    return streams.defer("value_text")


def _with_state(inquiries: QuerySet[Any]) -> QuerySet[Any]:
    rows: Any = inquiries
    return rows.with_state().defer("initial_text", "answer_text")  # type: ignore[no-any-return]


def _finished(workflows: QuerySet[Any]) -> QuerySet[Any]:
    is_over = Q(output_text__isnull=False) | Q(error_text__isnull=False)
    return _defer_values(workflows.filter(is_over))


def _with_attributes(workflows: QuerySet[Any]) -> QuerySet[Any]:
    return _defer_values(workflows.filter(attributes__isnull=False))


def _defer_values(workflows: QuerySet[Any]) -> QuerySet[Any]:
    return workflows.defer(*VALUES)


INPUT = Section(
    name="input",
    title=_("Input"),
    model=Workflow,
    keys=(),
    columns=(),
    show=_show_input,
    values=("input_text",),
    narrow=_defer_values,
)
ATTRIBUTES = Section(
    name="attributes",
    title=_("Attributes"),
    model=Workflow,
    keys=(),
    columns=(),
    show=_show_attributes,
    values=("attributes",),
    narrow=_with_attributes,
)
OUTCOME = Section(
    name="outcome",
    title=_("Outcome"),
    model=Workflow,
    keys=(),
    columns=(),
    show=_show_outcome,
    values=("output_text", "error_text"),
    narrow=_finished,
)
STEPS = Section(
    name="steps",
    title=_("Steps"),
    model=Checkpoint,
    keys=("step_number",),
    columns=(
        _("Step"),
        _("Name"),
        _("State"),
        _("Outcome"),
        _("Attempts"),
        _("Started"),
        _("Recorded"),
        _("Duration"),
        _("Related workflow"),
    ),
    show=_show_step,
    values=("output_text", "error_text", "attempt_errors_text"),
)
PAST_RUNS = Section(
    name="runs",
    title=_("Past runs"),
    model=PastRun,
    keys=("run_number",),
    columns=(
        pgettext_lazy("one of several runs of a workflow", "Run"),
        _("Input"),
        _("Steps"),
        _("Started"),
        _("Ended"),
        _("Duration"),
    ),
    show=_show_past_run,
    values=("input_text",),
)
MESSAGES = Section(
    name="messages",
    title=_("Messages"),
    model=Message,
    keys=("message_id",),
    columns=(
        _("Number"),
        _("Topic"),
        _("Message"),
        _("Sender"),
        _("Sent"),
        _("Consumed"),
        _("By step"),
    ),
    show=_show_message,
    values=("message_text",),
)
INQUIRIES = Section(
    name="people",
    title=_("Forms and callbacks"),
    model=Inquiry,
    keys=("inquiry_id",),
    columns=(
        _("Number"),
        _("Kind"),
        _("Question"),
        _("State"),
        _("By step"),
        _("Asked"),
        _("Until"),
        _("Answered"),
        _("By user"),
    ),
    show=_show_inquiry,
    narrow=_with_state,
)
EVENTS = Section(
    name="events",
    title=_("Events"),
    model=Event,
    keys=("key",),
    columns=(_("Key"), _("Value"), _("Version"), _("Set")),
    show=_show_event,
    values=("value_text",),
)
EVENT_HISTORY = Section(
    name="history",
    title=_("History of events"),
    model=EventVersion,
    keys=("key", "version"),
    columns=(_("Key"), _("Version"), _("Value"), _("By step"), _("Set")),
    show=_show_version,
    values=("value_text",),
)
STREAMS = Section(
    name="streams",
    title=_("Streams"),
    model=StreamEntry,
    keys=("key",),
    columns=(_("Key"), _("Values"), _("State"), _("First written"), _("Last written")),
    show=_show_stream,
    narrow=_one_row_per_stream,
)
ENTRIES = Section(
    name="entries",
    title=_("Stream entries"),
    model=StreamEntry,
    keys=("key", "offset"),
    columns=(_("Key"), _("Offset"), _("Value"), _("By step"), _("Written")),
    show=_show_entry,
    values=("value_text",),
)
CHILDREN = Section(
    name="children",
    title=_("Children"),
    model=Workflow,
    keys=("parent_step_number", "workflow_id"),
    columns=(
        _("Workflow"),
        _("Name"),
        _("Status"),
        _("By step"),
        _("Created"),
        _("Finished"),
    ),
    show=_show_child,
    owner="parent_id",
    narrow=_defer_values,
)
FORKS = Section(
    name="forks",
    title=_("Forks"),
    model=Workflow,
    keys=("workflow_id",),
    columns=(_("Workflow"), _("Status"), _("From step"), _("Created"), _("Finished")),
    show=_show_fork,
    owner="forked_from",
    narrow=_defer_values,
)
SECTIONS = (
    INPUT,
    ATTRIBUTES,
    OUTCOME,
    STEPS,
    PAST_RUNS,
    MESSAGES,
    INQUIRIES,
    EVENTS,
    EVENT_HISTORY,
    STREAMS,
    ENTRIES,
    CHILDREN,
    FORKS,
)
