"""The list of workflows, and their pages."""

from __future__ import annotations

import re
from typing import Any, ClassVar

from django.contrib import admin
from django.contrib.admin.utils import quote, unquote
from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString, mark_safe
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from django_dbos.admin.actions import ActingAdmin, only
from django_dbos.admin.base import VALUES, Links, link, rows_of, status_label
from django_dbos.admin.filters import (
    MAX_SEARCHED,
    NameFilter,
    QueueFilter,
    ScheduleFilter,
    StatusFilter,
    WorkflowList,
)
from django_dbos.admin.look import Look, Unshowable
from django_dbos.admin.notes import LiveExecutors, explain, finality, read_queue_reasons
from django_dbos.admin.section import Label, preview, read, read_value
from django_dbos.admin.sections import SECTIONS
from django_dbos.admin.values import as_download, instant, seconds
from django_dbos.conf import get_settings
from django_dbos.exceptions import SerializationError
from django_dbos.models import Queue, Workflow

MAX_FOUND = 1_000


@admin.register(Workflow)
class WorkflowAdmin(ActingAdmin):
    """The workflows, newest first."""

    list_display = (
        "workflow_id",
        "name_and_queue",
        "status_shown",
        "created",
    )
    list_filter = (StatusFilter, NameFilter, QueueFilter, ScheduleFilter)
    # get_search_results() does the search; this only makes Django show the search field.
    search_fields = ("workflow_id",)
    search_help_text = _("The id of a workflow, or its beginning.")
    ordering = ("-created_at",)
    sortable_by: ClassVar[Any] = ("created",)

    class Media:
        css = {"all": ("django_dbos/admin.css",)}

    # The list

    def get_queryset(self, request: HttpRequest) -> Any:
        """Return the workflows without their values."""
        return super().get_queryset(request).defer(*VALUES)

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> type[WorkflowList]:
        """Return the class of the list."""
        return WorkflowList

    def get_search_results(
        self, request: HttpRequest, queryset: Any, search_term: str
    ) -> tuple[Any, bool]:
        """Search by the beginning of ids, as a range: LIKE doesn't use every database's index."""
        if not search_term:
            return queryset, False
        ids = rows_of(Workflow).filter(
            workflow_id__gte=search_term, workflow_id__lt=f"{search_term}\U0010ffff"
        )
        ids = ids.order_by("workflow_id").values_list("workflow_id", flat=True)
        # Not a subquery, for which a planner may walk the index on times to find a few matches.
        return queryset.filter(workflow_id__in=list(ids[:MAX_FOUND])), False

    def changelist_view(
        self, request: HttpRequest, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """Add the number of searched workflows to the context."""
        context = {"max_searched": MAX_SEARCHED, **(extra_context or {})}
        return super().changelist_view(request, context)

    @admin.display(description=_("status"))
    def status_shown(self, workflow: Any) -> SafeString:
        """Return the status with the note that WorkflowList has set."""
        if not workflow.note:
            return _badge(workflow)
        return format_html(
            '{0}<p class="dbos-why" title="{1}">{1}</p>', _badge(workflow), workflow.note
        )

    @admin.display(description=_("name"))
    def name_and_queue(self, workflow: Workflow) -> SafeString:
        """Return the function's name, breakable at its dots, and a queue other than the default."""
        name = format_html_join(
            mark_safe("<wbr>"), "{}", ((part,) for part in _parts(workflow.name))
        )
        if workflow.queue_name == get_settings().default_queue:
            return name
        queue = gettext("queue %s") % workflow.queue_name
        return format_html('{}<p class="dbos-why">{}</p>', name, queue)

    @admin.display(description=_("created"), ordering="created_at")
    def created(self, workflow: Workflow) -> str:
        """Return the creation time, and the duration from the first run to the end."""
        when = instant(workflow.created_at).partition(".")[0]
        if not (took := seconds(workflow.started_at, workflow.finished_at)):
            return when
        return format_html('{}<p class="dbos-why">{}</p>', when, gettext("took %s") % took)

    # The page of one workflow

    def get_urls(self) -> list[URLPattern]:
        """Add the addresses of the rows."""
        view = self.admin_site.admin_view
        return [
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
        """Return the page of a workflow."""
        workflow = self.get_workflow(request, object_id)
        workflow_id = str(workflow.workflow_id)
        links = Links(self.admin_site.name, workflow_id)
        executors, look = LiveExecutors.read(), Look.of(request)
        of_queue = read_queue_reasons([workflow], executors).get(workflow_id, ())
        context = {
            **self._context(request, workflow),
            "sections": [preview(section, links, workflow_id, look) for section in SECTIONS],
            "history_url": links.action("history"),
            "facts": _facts(workflow, links, self._queue(request, str(workflow.queue_name))),
            "buttons": self.buttons(request, workflow, links),
            "note": explain(workflow, executors, queue_reasons=of_queue) or finality(workflow),
            **(extra_context or {}),
        }
        request.current_app = self.admin_site.name
        return TemplateResponse(request, "admin/django_dbos/workflow.html", context)

    def rows_view(self, request: HttpRequest, object_id: str, section: str) -> HttpResponse:
        """Return a page of a section's rows, a single row with longer values, or a download."""
        workflow = self.get_workflow(request, object_id)
        found = next((known for known in SECTIONS if known.name == section), None)
        if found is None:
            raise Http404(gettext("A workflow has no section '%s'.") % section)
        workflow_id = str(workflow.workflow_id)
        links, look = Links(self.admin_site.name, workflow_id), Look.of(request)
        try:
            query = _without_nul(request.GET.dict())
            if "download" in query:
                return as_download(read_value(found, workflow_id, query, look), found.name)
            rows = read(found, links, workflow_id, query, look)
        except Unshowable as error:
            raise PermissionDenied(str(error)) from error
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
        """Return the workflow of a page; raise PermissionDenied or Http404."""
        if not self.has_view_permission(request):
            raise PermissionDenied
        workflow_id = unquote(object_id)
        found = only(workflow_id)
        workflow = found.first() if "\0" not in workflow_id else None
        if workflow is None:
            raise Http404(gettext("Workflow '%s' doesn't exist.") % workflow_id)
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

    def _queue(self, request: HttpRequest, name: str) -> str:
        """Return the name of a queue, which links to its page if there is one for this user."""
        may_view = request.user.has_perm("django_dbos.view_queue")
        if not (may_view and self.admin_site.is_registered(Queue)):
            return name
        if not rows_of(Queue).filter(name=name).exists():
            return name
        site = self.admin_site.name
        url = reverse("admin:django_dbos_queue_change", args=[quote(name)], current_app=site)
        return link(url, name)


def _without_nul(query: dict[str, str]) -> dict[str, str]:
    """Return a query string; raise ValueError for NUL, which databases refuse."""
    if any("\0" in text for text in query.values()):
        raise ValueError(gettext("A key can't contain NUL characters."))
    return query


def _badge(workflow: Workflow) -> SafeString:
    return format_html(
        '<span class="dbos-status" data-status="{}">{}</span>',
        workflow.status,
        status_label(workflow),
    )


def _parts(name: str) -> list[str]:
    return re.findall(r"[^._]*[._]?", name)


def _facts(workflow: Workflow, links: Links, queue: str) -> list[tuple[Label, Any]]:
    parent = workflow.parent_id
    facts: list[tuple[Label, Any]] = [
        (_("Name"), workflow.name),
        (_("Status"), _badge(workflow)),
        (_("Queue"), queue),
        (_("Partition key"), workflow.partition_key),
        (_("Priority"), workflow.priority),
        (_("Schedule"), workflow.schedule_name),
        (_("Scheduled"), instant(workflow.scheduled_at)),
        (_("User"), workflow.user_id),
        (_("Run"), workflow.run_number if workflow.run_number > 1 else ""),
        (_("Parent"), link(links.workflow(parent), parent) if parent else ""),
        (_("Parent's step"), workflow.parent_step_number),
        (_("Deduplication id"), workflow.deduplication_id),
        (_("Keeps that id until"), instant(workflow.unique_until)),
        (_("Debounce key"), workflow.debounce_key),
        (_("Debounced until, at the latest"), instant(workflow.debounce_until)),
        (_("Worker"), workflow.executor_id),
        (_("Times claimed or released"), workflow.claim_number),
        (_("Workers that died while running it"), workflow.recovery_attempts),
        (_("Created"), instant(workflow.created_at)),
        (_("First run"), instant(workflow.started_at)),
        (_("Due"), instant(workflow.due_at)),
        (_("Deadline"), instant(workflow.deadline_at)),
        (_("Finished"), instant(workflow.finished_at)),
        (_("Duration"), seconds(workflow.started_at, workflow.finished_at)),
    ]
    return [(label, value) for label, value in facts if value not in (None, "")]
