"""What may be done to workflows: to cancel them, which asks first, and to resume them."""

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

# How many are asked for in one transaction.
BATCH = 500
# How many are named when it is asked whether to cancel them.
MAX_NAMED = 20
# In the form of that question: that it was answered, and the newest that it was about.
ANSWER, NEWEST = "post", "newest"
FIELDS = ("workflow_id", "name", "status", "created_at")


@dataclass(frozen=True, slots=True, kw_only=True)
class Named:
    """A workflow that is to be cancelled, as the question shows it."""

    url: str
    workflow_id: str
    name: str
    status: str


class ActingAdmin(EngineAdmin):
    """The actions of the list and the buttons of the page, each with its permission."""

    actions = ("cancel_selected", "cancel_with_children", "resume_selected")

    def has_cancel_permission(self, request: HttpRequest) -> bool:
        """Whether the user may cancel workflows."""
        return bool(request.user.has_perm("django_dbos.cancel_workflow"))

    def has_resume_permission(self, request: HttpRequest) -> bool:
        """Whether the user may resume workflows."""
        return bool(request.user.has_perm("django_dbos.resume_workflow"))

    # Of the list

    @admin.action(description=_("Cancel selected workflows"), permissions=["cancel"])
    def cancel_selected(self, request: HttpRequest, queryset: Any) -> HttpResponse | None:
        """Cancel those that are active."""
        return self._cancel_many(request, queryset, "cancel_selected", children=False)

    @admin.action(
        description=_("Cancel selected workflows and their children"), permissions=["cancel"]
    )
    def cancel_with_children(self, request: HttpRequest, queryset: Any) -> HttpResponse | None:
        """Cancel those that are active, and what they have started, at any depth."""
        return self._cancel_many(request, queryset, "cancel_with_children", children=True)

    @admin.action(description=_("Resume selected workflows"), permissions=["resume"])
    def resume_selected(self, request: HttpRequest, queryset: Any) -> None:
        """Resume those that can be."""
        self._resume(request, queryset)

    def _cancel_many(
        self, request: HttpRequest, queryset: Any, action: str, *, children: bool
    ) -> HttpResponse | None:
        if ANSWER in request.POST:
            self._cancel(request, _those_asked_about(request, queryset), children=children)
            return None
        chosen = list(queryset.values(*FIELDS)[:MAX_COUNTED])
        hidden = [(ACTION_CHECKBOX_NAME, one) for one in request.POST.getlist(ACTION_CHECKBOX_NAME)]
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

    # Of the page

    def cancel_view(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """Ask whether to cancel a workflow, with or without children; then do it."""
        if not self.has_cancel_permission(request):
            raise PermissionDenied
        workflow = self.get_workflow(request, object_id)
        workflow_id = str(workflow.workflow_id)
        url = Links(self.admin_site.name, workflow_id).workflow()
        asked = request.POST if request.method == "POST" else request.GET
        children = "children" in asked
        if request.method == "POST":
            self._cancel(request, only(workflow_id), children=children)
            return HttpResponseRedirect(url)
        return self._ask_first(
            request,
            [{name: getattr(workflow, name) for name in FIELDS}],
            hidden=[("children", "1")] if children else [],
            form_url=request.path,
            back_url=url,
            more=_of_children(workflow_id, children=children),
        )

    def resume_view(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """The button of the page that resumes."""
        if not self.has_resume_permission(request):
            raise PermissionDenied
        workflow_id = str(self.get_workflow(request, object_id).workflow_id)
        self._resume(request, only(workflow_id))
        return HttpResponseRedirect(Links(self.admin_site.name, workflow_id).workflow())

    def get_workflow(self, request: HttpRequest, object_id: str) -> Workflow:
        """The workflow of a page, for who may look at it."""
        raise NotImplementedError

    # What both share

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
        active = [one for one in chosen if one["status"] in ACTIVE]
        context = {
            **self.admin_site.each_context(request),
            "opts": self.opts,
            "media": self.media,
            "title": gettext("Cancel workflows?"),
            "active": len(active),
            "finished": len(chosen) - len(active),
            "named": [self._named(one) for one in active[:MAX_NAMED]],
            "unnamed": len(active[MAX_NAMED:]),
            "more": more,
            "hidden": [(ANSWER, "yes"), *hidden],
            "form_url": form_url,
            "back_url": back_url,
        }
        request.current_app = self.admin_site.name
        return TemplateResponse(request, "admin/django_dbos/cancel.html", context)

    def _named(self, row: dict[str, Any]) -> Named:
        workflow_id = str(row["workflow_id"])
        return Named(
            url=Links(self.admin_site.name, workflow_id).workflow(),
            workflow_id=workflow_id,
            name=str(row["name"]),
            status=str(Workflow.Status(row["status"]).label),
        )

    def _cancel(self, request: HttpRequest, queryset: Any, *, children: bool) -> None:
        log = "Cancelled, with its children." if children else "Cancelled."
        done, left = self._do(
            request, queryset, log, lambda ids: get_store().cancel_workflows(ids, children=children)
        )
        said = [ngettext("%d cancelled", "%d cancelled", done) % done]
        if left:
            said.append(ngettext("%d had finished already", "%d had finished already", left) % left)
        if children:
            said.append(gettext("their children are cancelled too"))
        self._tell(request, said, is_complete=not left)

    def _resume(self, request: HttpRequest, queryset: Any) -> None:
        done, left = self._do(
            request, queryset, "Resumed.", lambda ids: get_store().resume_workflows(ids)
        )
        said = [ngettext("%d resumed", "%d resumed", done) % done]
        if left:
            said.append(ngettext("%d can't be resumed", "%d can't be resumed", left) % left)
        self._tell(request, said, is_complete=not left)

    def _do(
        self,
        request: HttpRequest,
        queryset: Any,
        log: str,
        do: Callable[[list[str]], dict[str, bool]],
    ) -> tuple[int, int]:
        """Ask the store batch by batch, and log what was done: how many were, how many weren't."""
        done = left = 0
        user_pk: Any = request.user.pk
        # The newest, and no more than the list counts: that is what "select all" offered.
        workflows = list(queryset[:MAX_COUNTED])
        for first in range(0, len(workflows), BATCH):
            batch = workflows[first : first + BATCH]
            answers = do([str(one.workflow_id) for one in batch])
            changed = [one for one in batch if answers[str(one.workflow_id)]]
            if changed:
                LogEntry.objects.log_actions(user_pk, changed, CHANGE, log)
            done += len(changed)
            left += len(batch) - len(changed)
        return done, left

    def _tell(self, request: HttpRequest, said: list[str], *, is_complete: bool) -> None:
        level = messages.SUCCESS if is_complete else messages.WARNING
        self.message_user(request, f"{', '.join(said)}.", level)


def only(workflow_id: str) -> Any:
    """The rows of one workflow, without their values: one or none."""
    return rows_of(Workflow).filter(workflow_id=workflow_id).defer(*VALUES)


def _those_asked_about(request: HttpRequest, queryset: Any) -> Any:
    """Without those that were started since: nobody has agreed to cancel them."""
    if NEWEST not in request.POST:
        return queryset
    try:
        newest: datetime | None = parse_datetime(request.POST[NEWEST])
    except ValueError:
        newest = None
    if newest is None:
        raise BadRequest(f"{NEWEST} must be an instant.")
    return queryset.filter(created_at__lte=newest)


def _of_children(workflow_id: str, *, children: bool) -> str:
    """What becomes of the active ones that it has started itself."""
    found = rows_of(Workflow).filter(parent_id=workflow_id, status__in=sorted(ACTIVE))
    count = found[:MAX_COUNTED].count()
    if not count:
        return ""
    if children:
        said = ngettext(
            "Its %d active child is cancelled too, with all that it has started.",
            "Its %d active children are cancelled too, with all that they have started.",
            count,
        )
    else:
        said = ngettext("Its %d active child goes on.", "Its %d active children go on.", count)
    return said % count
