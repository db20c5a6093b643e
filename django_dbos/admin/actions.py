"""The actions on workflows: cancelling them, which asks for confirmation, and resuming them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.contrib import admin, messages
from django.contrib.admin.helpers import ACTION_CHECKBOX_NAME
from django.contrib.admin.models import CHANGE, LogEntry
from django.core.exceptions import BadRequest, PermissionDenied
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.utils.dateparse import parse_datetime
from django.utils.translation import gettext, ngettext
from django.utils.translation import gettext_lazy as _

from django_dbos.admin.base import MAX_COUNTED, VALUES, EngineAdmin, Links, rows_of
from django_dbos.core.status import ACTIVE
from django_dbos.models import Workflow
from django_dbos.store import get_store

# Workflows that are cancelled or resumed in one transaction.
BATCH = 500
# Workflows that the confirmation page lists.
MAX_LISTED = 20
# Fields of the confirmation form: the answer, and the creation time of the newest workflow.
ANSWER, NEWEST = "post", "newest"
FIELDS = ("workflow_id", "name", "status", "created_at")


@dataclass(frozen=True, slots=True, kw_only=True)
class ListedWorkflow:
    """A workflow as the confirmation page lists it."""

    url: str
    workflow_id: str
    name: str
    status: str


class ActingAdmin(EngineAdmin):
    """The actions of the list and the buttons of the page, with their permissions."""

    actions = ("cancel_selected", "cancel_with_children", "resume_selected")

    def has_cancel_permission(self, request: HttpRequest) -> bool:
        """Return whether the user may cancel workflows."""
        return bool(request.user.has_perm("django_dbos.cancel_workflow"))

    def has_resume_permission(self, request: HttpRequest) -> bool:
        """Return whether the user may resume workflows."""
        return bool(request.user.has_perm("django_dbos.resume_workflow"))

    # Actions of the list

    @admin.action(description=_("Cancel selected workflows"), permissions=["cancel"])
    def cancel_selected(self, request: HttpRequest, queryset: Any) -> HttpResponse | None:
        """Cancel the selected workflows that are active."""
        return self._cancel_many(request, queryset, "cancel_selected", children=False)

    @admin.action(
        description=_("Cancel selected workflows and their children"), permissions=["cancel"]
    )
    def cancel_with_children(self, request: HttpRequest, queryset: Any) -> HttpResponse | None:
        """Cancel the selected workflows that are active, and their children at any depth."""
        return self._cancel_many(request, queryset, "cancel_with_children", children=True)

    @admin.action(description=_("Resume selected workflows"), permissions=["resume"])
    def resume_selected(self, request: HttpRequest, queryset: Any) -> None:
        """Resume the selected workflows that can be resumed."""
        self._resume(request, queryset)

    def _cancel_many(
        self, request: HttpRequest, queryset: Any, action: str, *, children: bool
    ) -> HttpResponse | None:
        if ANSWER in request.POST:
            self._cancel(request, _confirmed(request, queryset), children=children)
            return None
        chosen = list(queryset.values(*FIELDS)[:MAX_COUNTED])
        selected = request.POST.getlist(ACTION_CHECKBOX_NAME)
        hidden = [(ACTION_CHECKBOX_NAME, workflow_id) for workflow_id in selected]
        hidden += [("action", action), ("select_across", request.POST.get("select_across", "0"))]
        if chosen:
            hidden.append((NEWEST, chosen[0]["created_at"].isoformat()))
        return self._ask_first(
            request,
            chosen,
            hidden=hidden,
            form_url=request.get_full_path(),
            back_url=request.get_full_path(),
            more=gettext("Their children are cancelled too, at any depth.") if children else "",
        )

    # Buttons of the page

    def cancel_view(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """Ask for confirmation, then cancel a workflow with or without its children."""
        if not self.has_cancel_permission(request):
            raise PermissionDenied
        workflow = self.get_workflow(request, object_id)
        workflow_id = str(workflow.workflow_id)
        url = Links(self.admin_site.name, workflow_id).workflow()
        query = request.POST if request.method == "POST" else request.GET
        children = "children" in query
        if request.method == "POST":
            self._cancel(request, only(workflow_id), children=children)
            return HttpResponseRedirect(url)
        return self._ask_first(
            request,
            [{name: getattr(workflow, name) for name in FIELDS}],
            hidden=[("children", "1")] if children else [],
            form_url=request.path,
            back_url=url,
            more=_note_on_children(workflow_id, children=children),
        )

    def resume_view(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """Resume a workflow, for the button of its page."""
        if not self.has_resume_permission(request):
            raise PermissionDenied
        workflow_id = str(self.get_workflow(request, object_id).workflow_id)
        self._resume(request, only(workflow_id))
        return HttpResponseRedirect(Links(self.admin_site.name, workflow_id).workflow())

    def get_workflow(self, request: HttpRequest, object_id: str) -> Workflow:
        """Return the workflow of a page; raise PermissionDenied if the user may not view it."""
        raise NotImplementedError

    # Shared by both

    def _ask_first(
        self,
        request: HttpRequest,
        chosen: list[dict[str, Any]],
        *,
        hidden: list[tuple[str, str]],
        form_url: str,
        back_url: str,
        more: str,
    ) -> TemplateResponse:
        active = [row for row in chosen if row["status"] in ACTIVE]
        context = {
            **self.admin_site.each_context(request),
            "opts": self.opts,
            "media": self.media,
            "title": gettext("Cancel workflows?"),
            "active": len(active),
            "finished": len(chosen) - len(active),
            "listed": [self._listed(row) for row in active[:MAX_LISTED]],
            "unlisted": len(active[MAX_LISTED:]),
            "more": more,
            "hidden": [(ANSWER, "yes"), *hidden],
            "form_url": form_url,
            "back_url": back_url,
        }
        request.current_app = self.admin_site.name
        return TemplateResponse(request, "admin/django_dbos/cancel.html", context)

    def _listed(self, row: dict[str, Any]) -> ListedWorkflow:
        workflow_id = str(row["workflow_id"])
        return ListedWorkflow(
            url=Links(self.admin_site.name, workflow_id).workflow(),
            workflow_id=workflow_id,
            name=str(row["name"]),
            status=str(Workflow.Status(row["status"]).label),
        )

    def _cancel(self, request: HttpRequest, queryset: Any, *, children: bool) -> None:
        log = "Cancelled, with its children." if children else "Cancelled."
        done, unchanged = self._apply(
            request, queryset, log, lambda ids: get_store().cancel_workflows(ids, children=children)
        )
        results = [ngettext("%d cancelled", "%d cancelled", done) % done]
        if unchanged:
            text = ngettext("%d had already finished", "%d had already finished", unchanged)
            results.append(text % unchanged)
        if children:
            results.append(gettext("their children are cancelled too"))
        self._report(request, results, is_complete=not unchanged)

    def _resume(self, request: HttpRequest, queryset: Any) -> None:
        done, unchanged = self._apply(
            request, queryset, "Resumed.", lambda ids: get_store().resume_workflows(ids)
        )
        results = [ngettext("%d resumed", "%d resumed", done) % done]
        if unchanged:
            text = ngettext("%d can't be resumed", "%d can't be resumed", unchanged)
            results.append(text % unchanged)
        self._report(request, results, is_complete=not unchanged)

    def _apply(
        self,
        request: HttpRequest,
        queryset: Any,
        log: str,
        change: Callable[[list[str]], dict[str, bool]],
    ) -> tuple[int, int]:
        """Change workflows in batches, and log the changes.

        Returns:
            The number of changed workflows, and the number of those that couldn't be changed.
        """
        done = unchanged = 0
        user_pk: Any = request.user.pk
        # The newest ones, as many as the list counts: "select all" offered these.
        workflows = list(queryset[:MAX_COUNTED])
        for first in range(0, len(workflows), BATCH):
            batch = workflows[first : first + BATCH]
            answers = change([str(workflow.workflow_id) for workflow in batch])
            changed = [workflow for workflow in batch if answers[str(workflow.workflow_id)]]
            if changed:
                LogEntry.objects.log_actions(user_pk, changed, CHANGE, log)
            done += len(changed)
            unchanged += len(batch) - len(changed)
        return done, unchanged

    def _report(self, request: HttpRequest, results: list[str], *, is_complete: bool) -> None:
        level = messages.SUCCESS if is_complete else messages.WARNING
        self.message_user(request, f"{', '.join(results)}.", level)


def only(workflow_id: str) -> Any:
    """Return a queryset of one workflow, without its values."""
    return rows_of(Workflow).filter(workflow_id=workflow_id).defer(*VALUES)


def _confirmed(request: HttpRequest, queryset: Any) -> Any:
    """Exclude workflows that were started after the confirmation page was shown."""
    if NEWEST not in request.POST:
        return queryset
    try:
        newest: datetime | None = parse_datetime(request.POST[NEWEST])
    except ValueError:
        newest = None
    if newest is None:
        raise BadRequest(f"{NEWEST} must be a date and time in ISO format.")
    return queryset.filter(created_at__lte=newest)


def _note_on_children(workflow_id: str, *, children: bool) -> str:
    """Return a sentence on the fate of the workflow's active children."""
    found = rows_of(Workflow).filter(parent_id=workflow_id, status__in=sorted(ACTIVE))
    count = found[:MAX_COUNTED].count()
    if not count:
        return ""
    if children:
        text = ngettext(
            "Its %d active child is cancelled too, with all of its own children.",
            "Its %d active children are cancelled too, with all of their own children.",
            count,
        )
    else:
        text = ngettext("Its %d active child continues.", "Its %d active children continue.", count)
    return text % count
