"""The admin: what runs, waits and has failed, and why; read-only but for cancel and resume.

A workflow's page shows at most 50 rows of each kind, with a paged view for the rest: inlines would
make a page of many megabytes out of a long stream. Everything is read from the workflow database
itself, never from a replica, and nothing counts or sorts a whole table.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

from django.contrib import admin, messages
from django.contrib.admin.utils import quote, unquote
from django.core.exceptions import PermissionDenied
from django.core.paginator import Paginator
from django.db import models
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse
from django.utils.functional import cached_property
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.translation import gettext, ngettext
from django.utils.translation import gettext_lazy as _
from django.views.decorators.http import require_POST

from django_dbos import serializers
from django_dbos.conf import get_settings
from django_dbos.core import registry
from django_dbos.core.status import Status
from django_dbos.models import (
    Checkpoint,
    Event,
    EventVersion,
    Executor,
    Message,
    StreamEntry,
    Workflow,
)
from django_dbos.store import get_store

# Text that is translated when it is shown.
Label = Any
PAGE_SIZE = 50
MAX_SHOWN = 2_000
# A list is counted up to here: more pages than that nobody turns.
MAX_COUNTED = 10_000


class BoundedPaginator(Paginator):  # type: ignore[type-arg]
    """Counts no further than anybody reads."""

    @cached_property
    def count(self) -> int:
        queryset: Any = self.object_list
        return int(queryset.order_by()[:MAX_COUNTED].count())


class EngineAdmin(admin.ModelAdmin):  # type: ignore[type-arg]
    """Rows of the engine: to be looked at."""

    show_full_result_count = False
    paginator = BoundedPaginator
    list_per_page = PAGE_SIZE

    def get_queryset(self, request: HttpRequest) -> Any:
        return super().get_queryset(request).using(get_settings().database)

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False


class NameFilter(admin.SimpleListFilter):
    """By the functions known here: finding all names in the table would read all of it."""

    title = _("name")
    parameter_name = "name"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [(name, name) for name in sorted(registry.workflows)]

    def queryset(self, request: HttpRequest, queryset: Any) -> Any:
        return queryset.filter(name=self.value()) if self.value() else queryset


@dataclass(frozen=True, slots=True, kw_only=True)
class Value:
    """A stored value as it is shown: plain JSON, cut where it is long."""

    text: str
    is_cut: bool = False
    traceback: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Section:
    """One kind of rows of a workflow."""

    name: str
    title: Label
    columns: tuple[Label, ...]
    find: Callable[[str], models.QuerySet[Any]]
    show: Callable[[Any, bool], tuple[Any, ...]]
    key: Callable[[Any], str]


def plain(text: str | None, is_whole: bool = False) -> Value:
    """A stored text as JSON for people."""
    if text is None:
        return Value(text="")
    shown = json.dumps(serializers.to_plain(text), indent=2, ensure_ascii=False)
    return _cut(shown, is_whole)


def outcome(output: str | None, error: str | None, is_whole: bool = False) -> Value:
    """What was returned, or what was raised with its traceback."""
    if error is None:
        return plain(output, is_whole)
    summary = serializers.summarize_error(error)
    value = _cut(f"{summary.class_path.replace(':', '.')}: {summary.message}", is_whole)
    return Value(text=value.text, is_cut=value.is_cut, traceback=summary.traceback)


def _cut(text: str, is_whole: bool) -> Value:
    if is_whole or len(text) <= MAX_SHOWN:
        return Value(text=text)
    return Value(text=f"{text[:MAX_SHOWN]}…", is_cut=True)


def _rows(model: Any) -> models.QuerySet[Any]:
    return model.objects.using(get_settings().database)  # type: ignore[no-any-return]


def _show_step(step: Checkpoint, is_whole: bool) -> tuple[Any, ...]:
    duration = None
    if step.started_at is not None and step.state != Checkpoint.State.WAITING:
        duration = f"{(step.recorded_at - step.started_at).total_seconds():.3f} s"
    return (
        step.step_number,
        step.step_name,
        step.get_state_display(),
        outcome(step.output, step.error, is_whole),
        step.attempts,
        step.recorded_at,
        duration,
        step.child_workflow_id or "",
    )


def _show_message(message: Message, is_whole: bool) -> tuple[Any, ...]:
    return (
        message.message_id,
        message.topic,
        plain(message.message, is_whole),
        message.sender_id or "",
        message.created_at,
        message.consumed_at or gettext("not consumed"),
        message.consumed_step_number or "",
    )


def _show_event(event: Event, is_whole: bool) -> tuple[Any, ...]:
    return event.key, plain(event.value, is_whole), event.version, event.updated_at


def _show_version(event: EventVersion, is_whole: bool) -> tuple[Any, ...]:
    return (
        event.key,
        event.version,
        plain(event.value, is_whole),
        event.step_number,
        event.created_at,
    )


def _show_entry(entry: StreamEntry, is_whole: bool) -> tuple[Any, ...]:
    value = Value(text=gettext("end")) if entry.is_end else plain(entry.value, is_whole)
    return entry.key, entry.offset, value, entry.step_number, entry.created_at


SECTIONS = (
    Section(
        name="steps",
        title=_("Steps"),
        columns=(
            _("Step"),
            _("Name"),
            _("State"),
            _("Outcome"),
            _("Attempts"),
            _("Recorded"),
            _("Duration"),
            _("Other workflow"),
        ),
        find=lambda one: _rows(Checkpoint).filter(workflow_id=one).order_by("step_number"),
        show=_show_step,
        key=lambda step: str(step.step_number),
    ),
    Section(
        name="messages",
        title=_("Messages"),
        columns=(
            _("Number"),
            _("Topic"),
            _("Message"),
            _("Sender"),
            _("Sent"),
            _("Consumed"),
            _("By step"),
        ),
        find=lambda one: _rows(Message).filter(workflow_id=one).order_by("message_id"),
        show=_show_message,
        key=lambda message: str(message.message_id),
    ),
    Section(
        name="events",
        title=_("Events"),
        columns=(_("Key"), _("Value"), _("Version"), _("Set")),
        find=lambda one: _rows(Event).filter(workflow_id=one).order_by("key"),
        show=_show_event,
        key=lambda event: str(event.event_id),
    ),
    Section(
        name="history",
        title=_("History of events"),
        columns=(_("Key"), _("Version"), _("Value"), _("Step"), _("Set")),
        find=lambda one: _rows(EventVersion).filter(workflow_id=one).order_by("key", "version"),
        show=_show_version,
        key=lambda event: f"{event.version}/{event.key}",
    ),
    Section(
        name="streams",
        title=_("Streams"),
        columns=(_("Key"), _("Offset"), _("Value"), _("Step"), _("Written")),
        find=lambda one: _rows(StreamEntry).filter(workflow_id=one).order_by("key", "offset"),
        show=_show_entry,
        key=lambda entry: f"{entry.offset}/{entry.key}",
    ),
    Section(
        name="children",
        title=_("Children"),
        columns=(_("Workflow"), _("Name"), _("Status"), _("By step")),
        find=lambda one: _rows(Workflow).filter(parent_id=one).order_by("parent_step_number"),
        show=lambda child, is_whole: (
            child.workflow_id,
            child.name,
            child.get_status_display(),
            child.parent_step_number,
        ),
        key=lambda child: str(child.workflow_id),
    ),
)
# Columns that hold ids of workflows, by section.
LINKED = {"steps": 7, "messages": 3, "children": 0}


@admin.register(Workflow)
class WorkflowAdmin(EngineAdmin):
    """Workflows, with the two things that an operator may do to them."""

    list_display = (
        "workflow_id",
        "name",
        "status_shown",
        "queue_name",
        "user_id",
        "created_at",
        "finished_at",
        "note",
    )
    list_filter: ClassVar[Any] = ("status", "is_set_aside", NameFilter)
    search_fields = ("workflow_id__startswith",)
    search_help_text = _("The id of a workflow, or how it begins.")
    ordering = ("-created_at",)
    actions = ("cancel_selected", "cancel_with_children", "resume_selected")

    class Media:
        css = {"all": ("django_dbos/admin.css",)}

    # Permissions

    def has_cancel_permission(self, request: HttpRequest) -> bool:
        """Whether the user may cancel workflows."""
        return bool(request.user.has_perm("django_dbos.cancel_workflow"))

    def has_resume_permission(self, request: HttpRequest) -> bool:
        """Whether the user may resume workflows."""
        return bool(request.user.has_perm("django_dbos.resume_workflow"))

    # The list

    @admin.display(description=_("status"), ordering="status")
    def status_shown(self, workflow: Workflow) -> SafeString:
        """The status, in words and in colour."""
        return _badge(workflow)

    @admin.display(description=_("note"))
    def note(self, workflow: Workflow) -> str:
        """Why it doesn't run, if that can be seen from its row."""
        if workflow.is_set_aside:
            return gettext("set aside by the engine: see the error")
        if workflow.is_active and workflow.name not in registry.workflows:
            return gettext("its function isn't known here")
        if workflow.status == Status.WAITING:
            return _waits_for(workflow)
        if workflow.recovery_attempts:
            return ngettext(
                "%d executor has died with it", "%d executors have died with it",
                workflow.recovery_attempts,
            ) % workflow.recovery_attempts  # fmt: skip
        return ""

    @admin.action(description=_("Cancel selected workflows"), permissions=["cancel"])
    def cancel_selected(self, request: HttpRequest, queryset: Any) -> None:
        """Cancel those that are active."""
        self._cancel(request, list(queryset), children=False)

    @admin.action(
        description=_("Cancel selected workflows and their children"), permissions=["cancel"]
    )
    def cancel_with_children(self, request: HttpRequest, queryset: Any) -> None:
        """Cancel those that are active, and what they have started."""
        self._cancel(request, list(queryset), children=True)

    @admin.action(description=_("Resume selected workflows"), permissions=["resume"])
    def resume_selected(self, request: HttpRequest, queryset: Any) -> None:
        """Resume those that can be."""
        self._resume(request, list(queryset))

    def _cancel(self, request: HttpRequest, workflows: list[Workflow], *, children: bool) -> None:
        ids = [str(one.workflow_id) for one in workflows]
        answers = get_store().cancel_workflows(ids, children=children)
        done = [one for one in workflows if answers[str(one.workflow_id)]]
        for workflow in done:
            self.log_change(request, workflow, "Cancelled.")
        text = ngettext("%d workflow is cancelled.", "%d workflows are cancelled.", len(done))
        self._tell(request, text % len(done), len(ids) - len(done), gettext("not active any more"))

    def _resume(self, request: HttpRequest, workflows: list[Workflow]) -> None:
        ids = [str(one.workflow_id) for one in workflows]
        answers = get_store().resume_workflows(ids)
        done = [one for one in workflows if answers[str(one.workflow_id)]]
        for workflow in done:
            self.log_change(request, workflow, "Resumed.")
        text = ngettext("%d workflow is resumed.", "%d workflows are resumed.", len(done))
        self._tell(request, text % len(done), len(ids) - len(done), gettext("not resumable"))

    def _tell(self, request: HttpRequest, text: str, left: int, why: str) -> None:
        if left:
            text = f"{text} {left}: {why}."
        self.message_user(request, text, messages.WARNING if left else messages.SUCCESS)

    # The page of one workflow

    def get_urls(self) -> list[URLPattern]:
        view = self.admin_site.admin_view
        return [
            path(
                "<path:object_id>/cancel/",
                view(require_POST(self.cancel_view)),
                name="django_dbos_workflow_cancel",
            ),
            path(
                "<path:object_id>/resume/",
                view(require_POST(self.resume_view)),
                name="django_dbos_workflow_resume",
            ),
            path(
                "<path:object_id>/rows/<slug:section>/",
                view(self.section_view),
                name="django_dbos_workflow_rows",
            ),
            *super().get_urls(),
        ]

    def change_view(
        self,
        request: HttpRequest,
        object_id: str,
        form_url: str = "",
        extra_context: dict[str, Any] | None = None,
    ) -> HttpResponse:
        workflow = self._workflow(request, object_id)
        quoted = quote(str(workflow.workflow_id))
        may_act = {
            "cancel": workflow.is_active and self.has_cancel_permission(request),
            "resume": _is_resumable(workflow) and self.has_resume_permission(request),
        }
        context = self._context(request, workflow) | {
            "sections": [self._page(one, workflow, 0) for one in SECTIONS],
            "facts": _facts(workflow),
            "input": plain(workflow.input),
            "outcome": outcome(workflow.output, workflow.error),
            "explanation": _explanation(workflow),
            "actions": [
                (name, reverse(f"admin:django_dbos_workflow_{name}", args=[quoted]), label)
                for name, label in (("cancel", _("Cancel")), ("resume", _("Resume")))
                if may_act[name]
            ],
        }
        return TemplateResponse(request, "admin/django_dbos/workflow.html", context)

    def section_view(self, request: HttpRequest, object_id: str, section: str) -> HttpResponse:
        """More rows of one kind; or a single one, whole."""
        workflow = self._workflow(request, object_id)
        found = next((one for one in SECTIONS if one.name == section), None)
        if found is None:
            raise Http404(f"There is no section {section!r}.")
        number = request.GET.get("p", "0")
        page = int(number) if number.isascii() and number.isdigit() and len(number) < 9 else 0
        context = self._context(request, workflow) | {
            "section": self._page(found, workflow, page, is_whole="whole" in request.GET),
            "title": f"{workflow.workflow_id}: {found.title}",
        }
        return TemplateResponse(request, "admin/django_dbos/rows.html", context)

    def cancel_view(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """The button on the page."""
        if not self.has_cancel_permission(request):
            raise PermissionDenied
        workflow = self._workflow(request, object_id)
        self._cancel(request, [workflow], children=False)
        return HttpResponseRedirect(_url_of(str(workflow.workflow_id)))

    def resume_view(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """The button on the page."""
        if not self.has_resume_permission(request):
            raise PermissionDenied
        workflow = self._workflow(request, object_id)
        self._resume(request, [workflow])
        return HttpResponseRedirect(_url_of(str(workflow.workflow_id)))

    def _workflow(self, request: HttpRequest, object_id: str) -> Workflow:
        workflow = self.get_queryset(request).filter(workflow_id=unquote(object_id)).first()
        if not self.has_view_permission(request, workflow):
            raise PermissionDenied
        if workflow is None:
            raise Http404(f"There is no workflow {unquote(object_id)!r}.")
        return workflow  # type: ignore[no-any-return]

    def _context(self, request: HttpRequest, workflow: Workflow) -> dict[str, Any]:
        return {
            **self.admin_site.each_context(request),
            "opts": self.opts,
            "workflow": workflow,
            "original": workflow,
            "change": True,
            "has_view_permission": True,
            "title": str(workflow.workflow_id),
            "url": _url_of(str(workflow.workflow_id)),
        }

    def _page(
        self, section: Section, workflow: Workflow, page: int, *, is_whole: bool = False
    ) -> dict[str, Any]:
        workflow_id = str(workflow.workflow_id)
        first = page * PAGE_SIZE
        found = list(section.find(workflow_id)[first : first + PAGE_SIZE + 1])
        url = reverse("admin:django_dbos_workflow_rows", args=[quote(workflow_id), section.name])
        return {
            "name": section.name,
            "title": section.title,
            "columns": section.columns,
            "rows": [_cells(section, row, is_whole) for row in found[:PAGE_SIZE]],
            "url": url,
            "page": page,
            "whole": f"{url}?p={page}&whole",
            "next": f"{url}?p={page + 1}" if len(found) > PAGE_SIZE else "",
            "previous": f"{url}?p={page - 1}" if page else "",
        }


def _cells(section: Section, row: Any, is_whole: bool) -> list[Any]:
    """The cells of a row; ids of workflows become links."""
    cells = list(section.show(row, is_whole))
    column = LINKED.get(section.name)
    if column is not None and cells[column]:
        cells[column] = format_html('<a href="{}">{}</a>', _url_of(cells[column]), cells[column])
    return cells


def _badge(workflow: Workflow) -> SafeString:
    return format_html(
        '<span class="dbos-status" data-status="{}">{}</span>',
        workflow.status,
        workflow.get_status_display(),
    )


def _url_of(workflow_id: str) -> str:
    return reverse("admin:django_dbos_workflow_change", args=[quote(workflow_id)])


def _is_resumable(workflow: Workflow) -> bool:
    return workflow.is_set_aside or workflow.status in (
        Status.CANCELLED,
        Status.MAX_RECOVERY_ATTEMPTS_EXCEEDED,
        Status.WAITING,
    )


def _facts(workflow: Workflow) -> list[tuple[Label, Any]]:
    parent = ""
    if workflow.parent_id:
        url = _url_of(workflow.parent_id)
        parent = format_html('<a href="{}">{}</a>', url, workflow.parent_id)
    attributes = json.dumps(workflow.attributes) if workflow.attributes else ""
    facts: list[tuple[Label, Any]] = [
        (_("Name"), workflow.name),
        (_("Status"), _badge(workflow)),
        (_("Queue"), workflow.queue_name),
        (_("Priority"), workflow.priority),
        (_("User"), workflow.user_id),
        (_("Attributes"), attributes),
        (_("Parent"), parent),
        (_("Deduplication id"), workflow.deduplication_id),
        (_("Executor"), workflow.executor_id),
        (_("Executors that died with it"), workflow.recovery_attempts),
        (_("Created"), workflow.created_at),
        (_("First run"), workflow.started_at),
        (_("Due"), workflow.due_at),
        (_("Deadline"), workflow.deadline_at),
        (_("Finished"), workflow.finished_at),
    ]
    return [(label, value) for label, value in facts if value not in (None, "")]


def _waits_for(workflow: Workflow) -> str:
    kinds = {
        "sleep": gettext("sleeps"),
        "message": gettext("waits for a message"),
        "event": gettext("waits for an event"),
        "result": gettext("waits for a result"),
    }
    parts = [kinds.get(str(workflow.wake_kind), gettext("waits"))]
    if workflow.wake_name:
        parts.append(repr(workflow.wake_name))
    if workflow.wake_workflow_id and workflow.wake_workflow_id != workflow.workflow_id:
        parts.append(gettext("of %s") % workflow.wake_workflow_id)
    return " ".join(parts)


def _explanation(workflow: Workflow) -> str:
    """Why it doesn't run at the moment, as far as can be told."""
    if workflow.is_set_aside:
        return gettext("The engine has set it aside. Resume it once the error below is fixed.")
    if workflow.status == Status.WAITING:
        return f"{_waits_for(workflow)}."
    if not workflow.is_active:
        return ""
    if workflow.name not in registry.workflows:
        return gettext("Its function isn't known in this process; another worker may know it.")
    if not get_store().has_executor_for(str(workflow.queue_name)):
        return gettext("No live executor listens to its queue. Run manage.py dbos_worker.")
    return ""


@admin.register(Message)
class MessageAdmin(EngineAdmin):
    """Messages of all workflows, the latest first."""

    list_display = ("message_id", "workflow_id", "topic", "created_at", "consumed_at")
    search_fields = ("workflow_id__exact",)
    ordering = ("-message_id",)
    fields = (
        "workflow_id",
        "topic",
        "value",
        "idempotency_key",
        "sender_id",
        "created_at",
        "consumed_at",
        "consumed_step_number",
    )
    readonly_fields = ("value",)

    @admin.display(description=_("message"))
    def value(self, message: Message) -> SafeString:
        """The message as plain JSON."""
        return format_html("<pre>{}</pre>", plain(message.message, is_whole=True).text)


@admin.register(Event)
class EventAdmin(EngineAdmin):
    """Events of all workflows, with their latest values."""

    list_display = ("event_id", "workflow_id", "key", "version", "updated_at")
    search_fields = ("workflow_id__exact",)
    ordering = ("-event_id",)
    fields = ("workflow_id", "key", "shown", "version", "updated_at")
    readonly_fields = ("shown",)

    @admin.display(description=_("value"))
    def shown(self, event: Event) -> SafeString:
        """The value as plain JSON."""
        return format_html("<pre>{}</pre>", plain(event.value, is_whole=True).text)


@admin.register(Executor)
class ExecutorAdmin(EngineAdmin):
    """The processes that run workflows."""

    list_display = (
        "executor_id",
        "hostname",
        "pid",
        "is_inline",
        "queue_names",
        "concurrency",
        "started_at",
        "heartbeat_at",
    )
    ordering = ("-started_at",)
