"""The progress of an action on all workflows that match a filter."""

from __future__ import annotations

from django.http import Http404, HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.urls import URLPattern, path
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from django_dbos.admin import bulk
from django_dbos.admin.act import Act
from django_dbos.admin.acts import ACTS, CANCEL
from django_dbos.admin.base import EngineAdmin, Links, badge, rows_of
from django_dbos.admin.notes import LiveExecutors, explain, read_queue_reasons
from django_dbos.admin.section import Rows
from django_dbos.admin.values import whole
from django_dbos.models import Event, Workflow


class ProgressAdmin(EngineAdmin):
    """The page that shows how far such an action is."""

    def get_urls(self) -> list[URLPattern]:
        """Add the address of the page."""
        view = self.admin_site.admin_view(self.progress_view)
        name = "django_dbos_workflow_progress"
        return [path("<path:object_id>/progress/", view, name=name), *super().get_urls()]

    def get_workflow(self, request: HttpRequest, object_id: str) -> Workflow:
        """Return the workflow of a page; raise PermissionDenied if the user may not view it."""
        raise NotImplementedError

    def progress_view(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """Return the page of an action that a workflow carries out."""
        workflow = self.get_workflow(request, object_id)
        if workflow.name != bulk.NAME:
            raise Http404(gettext("This workflow isn't an action of the list."))
        workflow_id = str(workflow.workflow_id)
        links = Links(self.admin_site.name, workflow_id)
        order = bulk.order_of(workflow_id)
        act, progress = ACTS[order["act"]], _read(workflow_id)
        context = {
            **self.admin_site.each_context(request),
            "opts": self.opts,
            "media": self.media,
            "original": workflow,
            "change": True,
            "has_view_permission": True,
            "title": act.title,
            "badge": badge(workflow),
            "is_active": workflow.is_active,
            "note": _note(workflow),
            "progress": progress,
            "seen": progress and _seen(progress),
            "counted": progress and _counted(progress),
            "said": progress and _said(act, progress),
            "section": self._unchanged(progress),
            "workflow_url": links.workflow(),
            "cancel_url": self._cancel_url(request, workflow, links),
        }
        request.current_app = self.admin_site.name
        return TemplateResponse(request, "admin/django_dbos/progress.html", context)

    def _cancel_url(self, request: HttpRequest, workflow: Workflow, links: Links) -> str:
        may_cancel = request.user.has_perm(f"django_dbos.{CANCEL.permission}")
        return links.action(CANCEL.name) if may_cancel and workflow.is_active else ""

    def _unchanged(self, progress: bulk.Progress | None) -> Rows | None:
        if not progress or not progress["named"]:
            return None
        return Rows(
            name="unchanged",
            title=_("Unchanged"),
            columns=(_("Workflow"), _("Reason")),
            rows=[(self.workflow_link(found), why) for found, why in progress["named"]],
            previous_url="",
            next_url="",
        )


def _read(workflow_id: str) -> bulk.Progress | None:
    """Return the numbers so far; None before the matching workflows were counted."""
    event = rows_of(Event).filter(workflow_id=workflow_id, key=bulk.PROGRESS).first()
    return None if event is None else event.value


def _seen(progress: bulk.Progress) -> int:
    """Return how many workflows were gone through; some may have begun to match meanwhile."""
    return int(min(progress["done"] + progress["unchanged"], progress["total"]))


def _counted(progress: bulk.Progress) -> str:
    numbers = {"seen": whole(_seen(progress)), "total": whole(progress["total"])}
    return gettext("%(seen)s of %(total)s workflows") % numbers


def _said(act: Act, progress: bulk.Progress) -> str:
    said = [act.done(progress["done"])]
    if progress["unchanged"]:
        said.append(act.unchanged(progress["unchanged"]))
    return f"{', '.join(said)}."


def _note(workflow: Workflow) -> str:
    executors = LiveExecutors.read()
    reasons = read_queue_reasons([workflow], executors).get(str(workflow.workflow_id), ())
    return explain(workflow, executors, queue_reasons=reasons)
