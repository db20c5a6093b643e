"""Workflows: the list, the page of each, and the two things that an operator may do to them."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

from django.contrib import admin, messages
from django.contrib.admin.models import CHANGE, LogEntry
from django.contrib.admin.utils import unquote
from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import URLPattern, path
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.translation import gettext, ngettext
from django.utils.translation import gettext_lazy as _
from django.views.decorators.http import require_POST

from django_dbos.admin.base import MAX_COUNTED, EngineAdmin, Links, link, rows_of
from django_dbos.admin.filters import (
    LOOKED_THROUGH,
    NameFilter,
    QueueFilter,
    StatusFilter,
    WorkflowList,
)
from django_dbos.admin.notes import LiveExecutors, explain
from django_dbos.admin.sections import SECTIONS, Label, preview, read
from django_dbos.admin.values import instant, seconds
from django_dbos.core.status import RESUMABLE
from django_dbos.models import Workflow
from django_dbos.store import get_store

VALUES = ("input_text", "output_text", "error_text", "attributes")
MAX_FOUND = 1_000
# How many are asked for in one transaction.
BATCH = 500


@dataclass(frozen=True, slots=True, kw_only=True)
class Button:
    """Something that may be done to the workflow of a page."""

    url: str
    label: Label
    name: str = ""


@admin.register(Workflow)
class WorkflowAdmin(EngineAdmin):
    """Workflows, newest first."""

    list_display = (
        "workflow_id",
        "name",
        "status_shown",
        "queue_name",
        "user_id",
        "created",
        "duration",
        "recovery_attempts",
    )
    list_filter = (StatusFilter, NameFilter, QueueFilter)
    # Found by get_search_results(); the field is shown where there are names here.
    search_fields = ("workflow_id",)
    search_help_text = _("The id of a workflow, or how it begins.")
    ordering = ("-created_at",)
    sortable_by: ClassVar[Any] = ("created",)
    actions = ("cancel_selected", "cancel_with_children", "resume_selected")

    class Media:
        css = {"all": ("django_dbos/admin.css",)}

    def has_cancel_permission(self, request: HttpRequest) -> bool:
        """Whether the user may cancel workflows."""
        return bool(request.user.has_perm("django_dbos.cancel_workflow"))

    def has_resume_permission(self, request: HttpRequest) -> bool:
        """Whether the user may resume workflows."""
        return bool(request.user.has_perm("django_dbos.resume_workflow"))

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
        """The status, and why it isn't running, as WorkflowList has found out."""
        if not workflow.note:
            return _badge(workflow)
        return format_html('{}<p class="dbos-why">{}</p>', _badge(workflow), workflow.note)

    @admin.display(description=_("created"), ordering="created_at")
    def created(self, workflow: Workflow) -> str:
        """When it was started."""
        return instant(workflow.created_at)

    @admin.display(description=_("duration"))
    def duration(self, workflow: Workflow) -> str:
        """From the first run to the end."""
        return seconds(workflow.started_at, workflow.finished_at)

    # What may be done

    @admin.action(description=_("Cancel selected workflows"), permissions=["cancel"])
    def cancel_selected(self, request: HttpRequest, queryset: Any) -> None:
        """Cancel those that are active."""
        self._cancel(request, queryset, children=False)

    @admin.action(
        description=_("Cancel selected workflows and their children"), permissions=["cancel"]
    )
    def cancel_with_children(self, request: HttpRequest, queryset: Any) -> None:
        """Cancel those that are active, and what they have started, at any depth."""
        self._cancel(request, queryset, children=True)

    @admin.action(description=_("Resume selected workflows"), permissions=["resume"])
    def resume_selected(self, request: HttpRequest, queryset: Any) -> None:
        """Resume those that can be."""
        self._resume(request, queryset)

    def _cancel(self, request: HttpRequest, queryset: Any, *, children: bool) -> None:
        log = "Cancelled, with its children." if children else "Cancelled."
        done, left = self._ask(
            request, queryset, log, lambda ids: get_store().cancel_workflows(ids, children=children)
        )
        said = [ngettext("%d cancelled", "%d cancelled", done) % done]
        if left:
            said.append(ngettext("%d had finished already", "%d had finished already", left) % left)
        if children:
            said.append(gettext("their children are cancelled too"))
        self._tell(request, said, is_complete=not left)

    def _resume(self, request: HttpRequest, queryset: Any) -> None:
        done, left = self._ask(
            request, queryset, "Resumed.", lambda ids: get_store().resume_workflows(ids)
        )
        said = [ngettext("%d resumed", "%d resumed", done) % done]
        if left:
            said.append(ngettext("%d can't be resumed", "%d can't be resumed", left) % left)
        self._tell(request, said, is_complete=not left)

    def _ask(
        self,
        request: HttpRequest,
        queryset: Any,
        log: str,
        ask: Callable[[list[str]], dict[str, bool]],
    ) -> tuple[int, int]:
        """Ask the store batch by batch, and log what was done: how many were, how many weren't."""
        done = left = 0
        user_pk: Any = request.user.pk
        # The newest, and no more than the list counts: that is what "select all" offered.
        workflows = list(queryset[:MAX_COUNTED])
        for first in range(0, len(workflows), BATCH):
            batch = workflows[first : first + BATCH]
            answers = ask([str(one.workflow_id) for one in batch])
            changed = [one for one in batch if answers[str(one.workflow_id)]]
            if changed:
                LogEntry.objects.log_actions(user_pk, changed, CHANGE, log)
            done += len(changed)
            left += len(batch) - len(changed)
        return done, left

    def _tell(self, request: HttpRequest, said: list[str], *, is_complete: bool) -> None:
        level = messages.SUCCESS if is_complete else messages.WARNING
        self.message_user(request, f"{', '.join(said)}.", level)

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
        workflow = self._workflow(request, object_id)
        workflow_id = str(workflow.workflow_id)
        links = Links(self.admin_site.name, workflow_id)
        context = {
            **self._context(request, workflow),
            "sections": [preview(one, links, workflow_id) for one in SECTIONS],
            "history_url": links.action("history"),
            "facts": _facts(workflow, links),
            "buttons": self._buttons(request, workflow, links),
            "note": explain(workflow, LiveExecutors.read()),
            **(extra_context or {}),
        }
        request.current_app = self.admin_site.name
        return TemplateResponse(request, "admin/django_dbos/workflow.html", context)

    def rows_view(self, request: HttpRequest, object_id: str, section: str) -> HttpResponse:
        """More rows of a section, those of one key, or one row with its values whole."""
        workflow = self._workflow(request, object_id)
        found = next((one for one in SECTIONS if one.name == section), None)
        if found is None:
            raise Http404(gettext("A workflow has no section '%s'.") % section)
        workflow_id = str(workflow.workflow_id)
        links = Links(self.admin_site.name, workflow_id)
        try:
            rows = read(found, links, workflow_id, _storable(request.GET.dict()))
        except ValueError as error:
            raise Http404(str(error)) from error
        context = {
            **self._context(request, workflow),
            "section": rows,
            "title": f"{found.title}: {workflow_id}",
            "url": links.workflow(),
        }
        request.current_app = self.admin_site.name
        return TemplateResponse(request, "admin/django_dbos/rows.html", context)

    def cancel_view(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """The buttons of the page that cancel, with or without children."""
        if not self.has_cancel_permission(request):
            raise PermissionDenied
        workflow_id = str(self._workflow(request, object_id).workflow_id)
        self._cancel(request, _only(workflow_id), children="children" in request.POST)
        return HttpResponseRedirect(Links(self.admin_site.name, workflow_id).workflow())

    def resume_view(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """The button of the page that resumes."""
        if not self.has_resume_permission(request):
            raise PermissionDenied
        workflow_id = str(self._workflow(request, object_id).workflow_id)
        self._resume(request, _only(workflow_id))
        return HttpResponseRedirect(Links(self.admin_site.name, workflow_id).workflow())

    def _workflow(self, request: HttpRequest, object_id: str) -> Workflow:
        if not self.has_view_permission(request):
            raise PermissionDenied
        workflow_id = unquote(object_id)
        found = _only(workflow_id).defer("input_text", "output_text", "error_text")
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
                Button(url=url, label=_("Cancel")),
                Button(url=url, label=_("Cancel with children"), name="children"),
            ]
        if _is_resumable(workflow) and self.has_resume_permission(request):
            buttons.append(Button(url=links.action("resume"), label=_("Resume")))
        return buttons


def _only(workflow_id: str) -> Any:
    return rows_of(Workflow).filter(workflow_id=workflow_id)


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


def _is_resumable(workflow: Workflow) -> bool:
    return workflow.is_set_aside or workflow.status in RESUMABLE


def _facts(workflow: Workflow, links: Links) -> list[tuple[Label, Any]]:
    parent = workflow.parent_id
    attributes = workflow.attributes
    facts: list[tuple[Label, Any]] = [
        (_("Name"), workflow.name),
        (_("Status"), _badge(workflow)),
        (_("Queue"), workflow.queue_name),
        (_("Priority"), workflow.priority),
        (_("User"), workflow.user_id),
        (_("Attributes"), json.dumps(attributes, ensure_ascii=False) if attributes else ""),
        (_("Parent"), link(links.workflow(parent), parent) if parent else ""),
        (_("Parent's step"), workflow.parent_step_number),
        (_("Deduplication id"), workflow.deduplication_id),
        (_("Executor"), workflow.executor_id),
        (_("Claims so far"), workflow.claim_number),
        (_("Executors that died with it"), workflow.recovery_attempts),
        (_("Created"), instant(workflow.created_at)),
        (_("First run"), instant(workflow.started_at)),
        (_("Due"), instant(workflow.due_at)),
        (_("Deadline"), instant(workflow.deadline_at)),
        (_("Finished"), instant(workflow.finished_at)),
        (_("Duration"), seconds(workflow.started_at, workflow.finished_at)),
    ]
    return [(label, value) for label, value in facts if value not in (None, "")]
