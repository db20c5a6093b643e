"""Workflows: the list, and the page of each."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any, ClassVar

from django.contrib import admin
from django.contrib.admin.utils import unquote
from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.urls import URLPattern, path
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString, mark_safe
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _
from django.views.decorators.http import require_POST

from django_dbos.admin.actions import ActingAdmin, only
from django_dbos.admin.base import VALUES, Links, link, rows_of
from django_dbos.admin.filters import (
    LOOKED_THROUGH,
    NameFilter,
    QueueFilter,
    StatusFilter,
    WorkflowList,
)
from django_dbos.admin.notes import LiveExecutors, explain, finality
from django_dbos.admin.sections import SECTIONS, Label, preview, read, read_value
from django_dbos.admin.values import as_download, instant, seconds
from django_dbos.conf import get_settings
from django_dbos.core.status import RESUMABLE, Status
from django_dbos.exceptions import SerializationError
from django_dbos.models import Workflow

MAX_FOUND = 1_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Button:
    """Something that may be done to the workflow of a page; what asks first is a link."""

    url: str
    label: Label
    asks_first: bool = False


@admin.register(Workflow)
class WorkflowAdmin(ActingAdmin):
    """Workflows, newest first."""

    list_display = (
        "workflow_id",
        "name_and_queue",
        "status_shown",
        "created",
    )
    list_filter = (StatusFilter, NameFilter, QueueFilter)
    # Found by get_search_results(); the field is shown where there are names here.
    search_fields = ("workflow_id",)
    search_help_text = _("The id of a workflow, or how it begins.")
    ordering = ("-created_at",)
    sortable_by: ClassVar[Any] = ("created",)

    class Media:
        css = {"all": ("django_dbos/admin.css",)}

    # The list

    def get_queryset(self, request: HttpRequest) -> Any:
        return super().get_queryset(request).defer(*VALUES)

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> type[WorkflowList]:
        return WorkflowList

    def get_search_results(
        self, request: HttpRequest, queryset: Any, search_term: str
    ) -> tuple[Any, bool]:
        """Find by how ids begin: a range of the primary key, which LIKE can't be everywhere."""
        if not search_term:
            return queryset, False
        ids = rows_of(Workflow).filter(
            workflow_id__gte=search_term, workflow_id__lt=f"{search_term}\U0010ffff"
        )
        ids = ids.order_by("workflow_id").values_list("workflow_id", flat=True)
        # Found before they are sorted: else the index on times may be walked for the few.
        return queryset.filter(workflow_id__in=list(ids[:MAX_FOUND])), False

    def changelist_view(
        self, request: HttpRequest, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        context = {"looked_through": LOOKED_THROUGH, **(extra_context or {})}
        return super().changelist_view(request, context)

    @admin.display(description=_("status"))
    def status_shown(self, workflow: Any) -> SafeString:
        """The status, and why it isn't running or has failed, as WorkflowList has found out."""
        if not workflow.note:
            return _badge(workflow)
        return format_html(
            '{0}<p class="dbos-why" title="{1}">{1}</p>', _badge(workflow), workflow.note
        )

    @admin.display(description=_("name"))
    def name_and_queue(self, workflow: Workflow) -> SafeString:
        """The function's name, which may be broken at its dots, and the queue if it has its own."""
        name = format_html_join(mark_safe("<wbr>"), "{}", ((one,) for one in _parts(workflow.name)))
        if workflow.queue_name == get_settings().default_queue:
            return name
        queue = gettext("queue %s") % workflow.queue_name
        return format_html('{}<p class="dbos-why">{}</p>', name, queue)

    @admin.display(description=_("created"), ordering="created_at")
    def created(self, workflow: Workflow) -> str:
        """When it was started, and how long it took from its first run to its end."""
        when = instant(workflow.created_at).partition(".")[0]
        if not (took := seconds(workflow.started_at, workflow.finished_at)):
            return when
        return format_html('{}<p class="dbos-why">{}</p>', when, gettext("took %s") % took)

    # The page of one workflow

    def get_urls(self) -> list[URLPattern]:
        view = self.admin_site.admin_view
        return [
            path(
                "<path:object_id>/cancel/",
                view(self.cancel_view),
                name="django_dbos_workflow_cancel",
            ),
            path(
                "<path:object_id>/resume/",
                view(require_POST(self.resume_view)),
                name="django_dbos_workflow_resume",
            ),
            path(
                "<path:object_id>/rows/<slug:section>/",
                view(self.rows_view),
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
        workflow = self.get_workflow(request, object_id)
        workflow_id = str(workflow.workflow_id)
        links = Links(self.admin_site.name, workflow_id)
        context = {
            **self._context(request, workflow),
            "sections": [preview(one, links, workflow_id) for one in SECTIONS],
            "history_url": links.action("history"),
            "facts": _facts(workflow, links),
            "buttons": self._buttons(request, workflow, links),
            "note": explain(workflow, LiveExecutors.read()) or finality(workflow),
            **(extra_context or {}),
        }
        request.current_app = self.admin_site.name
        return TemplateResponse(request, "admin/django_dbos/workflow.html", context)

    def rows_view(self, request: HttpRequest, object_id: str, section: str) -> HttpResponse:
        """More rows of a section, those of one key, or one row: more of its value, or all."""
        workflow = self.get_workflow(request, object_id)
        found = next((one for one in SECTIONS if one.name == section), None)
        if found is None:
            raise Http404(gettext("A workflow has no section '%s'.") % section)
        workflow_id = str(workflow.workflow_id)
        links = Links(self.admin_site.name, workflow_id)
        try:
            asked = _storable(request.GET.dict())
            if "download" in asked:
                return as_download(read_value(found, workflow_id, asked), found.name)
            rows = read(found, links, workflow_id, asked)
        except (ValueError, SerializationError, RecursionError) as error:
            raise Http404(str(error)) from error
        context = {
            **self._context(request, workflow),
            "section": rows,
            "title": f"{found.title}: {workflow_id}",
            "url": links.workflow(),
        }
        request.current_app = self.admin_site.name
        return TemplateResponse(request, "admin/django_dbos/rows.html", context)

    def get_workflow(self, request: HttpRequest, object_id: str) -> Workflow:
        if not self.has_view_permission(request):
            raise PermissionDenied
        workflow_id = unquote(object_id)
        found = only(workflow_id)
        workflow = found.first() if "\0" not in workflow_id else None
        if workflow is None:
            raise Http404(gettext("There is no workflow '%s'.") % workflow_id)
        return workflow  # type: ignore[no-any-return]

    def _context(self, request: HttpRequest, workflow: Workflow) -> dict[str, Any]:
        return {
            **self.admin_site.each_context(request),
            "opts": self.opts,
            "original": workflow,
            "change": True,
            "has_view_permission": True,
            "title": str(workflow.workflow_id),
        }

    def _buttons(self, request: HttpRequest, workflow: Workflow, links: Links) -> list[Button]:
        buttons = []
        if workflow.is_active and self.has_cancel_permission(request):
            url = links.action("cancel")
            buttons = [
                Button(url=url, label=_("Cancel"), asks_first=True),
                Button(url=f"{url}?children=1", label=_("Cancel with children"), asks_first=True),
            ]
        if _is_resumable(workflow) and self.has_resume_permission(request):
            is_delayed = workflow.status == Status.DELAYED
            label = _("Run now") if is_delayed else _("Resume")
            buttons.append(Button(url=links.action("resume"), label=label))
        return buttons


def _storable(asked: dict[str, str]) -> dict[str, str]:
    """A query string without what no database can look for."""
    if any("\0" in text for text in asked.values()):
        raise ValueError(gettext("A key can't contain NUL characters."))
    return asked


def _badge(workflow: Workflow) -> SafeString:
    return format_html(
        '<span class="dbos-status" data-status="{}">{}</span>',
        workflow.status,
        workflow.get_status_display(),
    )


def _parts(name: str) -> list[str]:
    return re.findall(r"[^._]*[._]?", name)


def _is_resumable(workflow: Workflow) -> bool:
    return workflow.is_quarantined or workflow.status in RESUMABLE


def _facts(workflow: Workflow, links: Links) -> list[tuple[Label, Any]]:
    parent = workflow.parent_id
    facts: list[tuple[Label, Any]] = [
        (_("Name"), workflow.name),
        (_("Status"), _badge(workflow)),
        (_("Queue"), workflow.queue_name),
        (_("Priority"), workflow.priority),
        (_("User"), workflow.user_id),
        (_("Parent"), link(links.workflow(parent), parent) if parent else ""),
        (_("Parent's step"), workflow.parent_step_number),
        (_("Deduplication id"), workflow.deduplication_id),
        (_("Worker"), workflow.executor_id),
        (_("Times claimed or released"), workflow.claim_number),
        (_("Workers that died running it"), workflow.recovery_attempts),
        (_("Created"), instant(workflow.created_at)),
        (_("First run"), instant(workflow.started_at)),
        (_("Due"), instant(workflow.due_at)),
        (_("Deadline"), instant(workflow.deadline_at)),
        (_("Finished"), instant(workflow.finished_at)),
        (_("Duration"), seconds(workflow.started_at, workflow.finished_at)),
    ]
    return [(label, value) for label, value in facts if value not in (None, "")]
