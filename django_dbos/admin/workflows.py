"""The list of workflows, and their pages."""

from __future__ import annotations

from typing import Any, ClassVar

from django.contrib import admin
from django.contrib.admin.utils import quote, unquote
from django.core.exceptions import PermissionDenied
from django.forms.widgets import Script
from django.http import Http404, HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse
from django.utils.text import capfirst
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from django_dbos.admin import searching
from django_dbos.admin.actions import only
from django_dbos.admin.base import VALUES, Links, link, rows_of
from django_dbos.admin.columns import WorkflowColumns
from django_dbos.admin.filters import (
    AgeFilter,
    BeforeFilter,
    NameFilter,
    QueueFilter,
    ScheduleFilter,
    StatusFilter,
    ViewFilter,
)
from django_dbos.admin.look import Look, Unshowable
from django_dbos.admin.overview import OverviewAdmin
from django_dbos.admin.page import page_context
from django_dbos.admin.section import read, read_value
from django_dbos.admin.sections import SECTIONS
from django_dbos.admin.values import as_download
from django_dbos.admin.versions import VersionsAdmin
from django_dbos.admin.workflow_list import MAX_SEARCHED, WorkflowList, searched
from django_dbos.exceptions import SerializationError
from django_dbos.models import Queue, Workflow


@admin.register(Workflow)
class WorkflowAdmin(OverviewAdmin, VersionsAdmin, WorkflowColumns):
    """The workflows, newest first."""

    list_display = (
        "workflow_shown",
        "status_shown",
        "queue_shown",
        "age_shown",
        "duration_shown",
        "attempts_shown",
    )
    list_filter = (
        ViewFilter,
        StatusFilter,
        NameFilter,
        QueueFilter,
        ScheduleFilter,
        AgeFilter,
        BeforeFilter,
    )
    # get_search_results() does the search; this only makes Django show the search field.
    search_fields = ("workflow_id",)
    search_help_text = _(
        "The beginning of an id, a part of a function's name, or an attribute such as order=17."
    )
    ordering = ("-created_at",)
    sortable_by: ClassVar[Any] = ("age_shown",)

    class Media:
        css = {"all": ("django_dbos/admin.css",)}
        js = (Script("django_dbos/admin.js", type="module"),)

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
        """Search for the beginning of an id, a name, an attribute or a user."""
        if not search_term:
            return queryset, False
        return searched(request, search_term).narrow(queryset), False

    def changelist_view(
        self, request: HttpRequest, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """Add the title, and the number of searched workflows, to the context."""
        context = {
            "title": capfirst(self.opts.verbose_name_plural),
            "max_searched": MAX_SEARCHED,
            "max_found": searching.MAX_FOUND,
            **(extra_context or {}),
        }
        return super().changelist_view(request, context)

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
        queue = self._queue(request, str(workflow.queue_name))
        try:
            page = page_context(
                workflow, links, queue, _without_nul(request.GET.dict()), Look.of(request)
            )
        except ValueError as error:
            raise Http404(str(error)) from error
        context = {
            **self._context(request, workflow),
            **page,
            "history_url": links.action("history"),
            "buttons": self.buttons(request, workflow, links),
            "step_buttons": self.step_buttons(request, workflow, links),
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
            "media": self.media,
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
