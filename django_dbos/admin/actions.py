"""The actions on workflows: in the list, and as buttons of the page."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from typing import Any

from django.contrib import admin, messages
from django.contrib.admin.helpers import ACTION_CHECKBOX_NAME
from django.contrib.admin.models import CHANGE, LogEntry
from django.core.exceptions import BadRequest, PermissionDenied
from django.http import HttpRequest, HttpResponse, HttpResponseNotAllowed, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import URLPattern, path
from django.utils.dateparse import parse_datetime
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString
from django.utils.translation import gettext, ngettext
from django.utils.translation import gettext_lazy as _

from django_dbos.admin.act_forms import ActForm
from django_dbos.admin.acts import (
    ACTS,
    CANCEL,
    CANCEL_WITH_CHILDREN,
    CHANGE_START,
    RESUME,
    RESUME_IN_QUEUE,
    SEND_MESSAGE,
    Act,
    Options,
    carry_out,
    note_on_children,
)
from django_dbos.admin.base import (
    MAX_COUNTED,
    VALUES,
    EngineAdmin,
    Links,
    rows_of,
    status_label,
)
from django_dbos.admin.section import Label
from django_dbos.models import Workflow

# Workflows that are changed in one transaction.
BATCH = 500
# Workflows that the page which asks before lists, and that a report names.
MAX_LISTED, MAX_NAMED = 20, 10
# Fields of the form that asks before: the answer, and the creation time of the newest workflow.
ANSWER, NEWEST = "post", "newest"
FIELDS = ("workflow_id", "name", "status", "is_quarantined", "created_at")


@dataclass(frozen=True, slots=True, kw_only=True)
class Button:
    """A button of a workflow's page. With `asks_first` it links to a page with a form."""

    url: str
    label: Label
    asks_first: bool = False


@dataclass(slots=True)
class Results:
    """The results of an action: how many workflows were changed, and which weren't, and why."""

    done: int = 0
    unchanged: list[tuple[str, str]] = field(default_factory=list)


class ActingAdmin(EngineAdmin):
    """The actions of the list and the buttons of the page, with their permissions."""

    actions = (
        "cancel_selected",
        "cancel_with_children",
        "resume_selected",
        "resume_in_queue",
        "change_start",
        "send_message",
    )

    def has_cancel_permission(self, request: HttpRequest) -> bool:
        """Return whether the user may cancel workflows."""
        return _may(request, CANCEL)

    def has_resume_permission(self, request: HttpRequest) -> bool:
        """Return whether the user may resume workflows."""
        return _may(request, RESUME)

    def has_reschedule_permission(self, request: HttpRequest) -> bool:
        """Return whether the user may change when delayed workflows start."""
        return _may(request, CHANGE_START)

    def has_send_permission(self, request: HttpRequest) -> bool:
        """Return whether the user may send messages to workflows."""
        return _may(request, SEND_MESSAGE)

    # Actions of the list

    @admin.action(description=_("Cancel selected workflows"), permissions=["cancel"])
    def cancel_selected(self, request: HttpRequest, queryset: Any) -> HttpResponse | None:
        """Cancel the selected workflows that are active."""
        return self._act_on_many(request, queryset, CANCEL)

    @admin.action(
        description=_("Cancel selected workflows and their children"), permissions=["cancel"]
    )
    def cancel_with_children(self, request: HttpRequest, queryset: Any) -> HttpResponse | None:
        """Cancel the selected workflows that are active, and their children at any depth."""
        return self._act_on_many(request, queryset, CANCEL_WITH_CHILDREN)

    @admin.action(description=_("Resume selected workflows"), permissions=["resume"])
    def resume_selected(self, request: HttpRequest, queryset: Any) -> HttpResponse | None:
        """Resume the selected workflows that can be resumed."""
        return self._act_on_many(request, queryset, RESUME)

    @admin.action(
        description=_("Resume selected workflows in another queue"), permissions=["resume"]
    )
    def resume_in_queue(self, request: HttpRequest, queryset: Any) -> HttpResponse | None:
        """Resume the selected workflows that can be resumed, in another queue."""
        return self._act_on_many(request, queryset, RESUME_IN_QUEUE)

    @admin.action(description=_("Change when selected workflows start"), permissions=["reschedule"])
    def change_start(self, request: HttpRequest, queryset: Any) -> HttpResponse | None:
        """Change when the selected workflows that are delayed start."""
        return self._act_on_many(request, queryset, CHANGE_START)

    @admin.action(description=_("Send a message to selected workflows"), permissions=["send"])
    def send_message(self, request: HttpRequest, queryset: Any) -> HttpResponse | None:
        """Send a message to the selected workflows that are active."""
        return self._act_on_many(request, queryset, SEND_MESSAGE)

    def _act_on_many(self, request: HttpRequest, queryset: Any, act: Act) -> HttpResponse | None:
        if not act.asks_first:
            self._act(request, queryset, act, {})
            return None
        form = act.form_class(request.POST if ANSWER in request.POST else None)
        if form.is_bound and form.is_valid():
            self._act(request, _confirmed(request, queryset), act, form.options)
            return None
        chosen = list(queryset.values(*FIELDS)[:MAX_COUNTED])
        passed_on = (ACTION_CHECKBOX_NAME, "action", "select_across", NEWEST)
        hidden = [(name, value) for name in passed_on for value in request.POST.getlist(name)]
        if chosen and NEWEST not in request.POST:
            hidden.append((NEWEST, chosen[0]["created_at"].isoformat()))
        url = request.get_full_path()
        return self._ask_first(
            request, act, form, chosen, hidden=hidden, form_url=url, back_url=url
        )

    # Buttons of the page

    def get_urls(self) -> list[URLPattern]:
        """Add the addresses of the buttons."""
        view = self.admin_site.admin_view
        buttons = [
            path(
                f"<path:object_id>/{name}/",
                view(partial(self.act_view, act=act)),
                name=f"django_dbos_workflow_{name}",
            )
            for name, act in ACTS.items()
        ]
        return [*buttons, *super().get_urls()]

    def buttons(self, request: HttpRequest, workflow: Workflow, links: Links) -> list[Button]:
        """Return the buttons for what the user may do with a workflow now."""
        status, is_quarantined = str(workflow.status), bool(workflow.is_quarantined)
        return [
            Button(url=links.action(name), label=act.button(status), asks_first=act.asks_first)
            for name, act in ACTS.items()
            if act.applies(status, is_quarantined) and _may(request, act)
        ]

    def act_view(self, request: HttpRequest, object_id: str, *, act: Act) -> HttpResponse:
        """Change a workflow, after a form or a confirmation."""
        if not _may(request, act):
            raise PermissionDenied
        workflow = self.get_workflow(request, object_id)
        if request.method != "POST" and not act.asks_first:
            return HttpResponseNotAllowed(["POST"])
        workflow_id = str(workflow.workflow_id)
        url = Links(self.admin_site.name, workflow_id).workflow()
        form = act.form_class(request.POST if request.method == "POST" else None)
        if form.is_bound and form.is_valid():
            self._act(request, only(workflow_id), act, form.options)
            return HttpResponseRedirect(url)
        chosen = [{name: getattr(workflow, name) for name in FIELDS}]
        more = note_on_children(act, workflow_id)
        return self._ask_first(
            request, act, form, chosen, form_url=request.path, back_url=url, more=more
        )

    def get_workflow(self, request: HttpRequest, object_id: str) -> Workflow:
        """Return the workflow of a page; raise PermissionDenied if the user may not view it."""
        raise NotImplementedError

    # Shared by both

    def _ask_first(
        self,
        request: HttpRequest,
        act: Act,
        form: ActForm,
        chosen: list[dict[str, Any]],
        *,
        form_url: str,
        back_url: str,
        hidden: Iterable[tuple[str, str]] = (),
        more: str = "",
    ) -> TemplateResponse:
        fit = [row for row in chosen if act.applies(row["status"], row["is_quarantined"])]
        unfit = len(chosen) - len(fit)
        context = {
            **self.admin_site.each_context(request),
            "opts": self.opts,
            "media": self.media,
            "title": act.title,
            "act": act,
            "form": form,
            "question": act.question(len(fit)) if fit else act.pointless,
            "left": act.left(unfit) if unfit else "",
            "has_any": bool(fit),
            "listed": [self._listed(row) for row in fit[:MAX_LISTED]],
            "unlisted": len(fit[MAX_LISTED:]),
            "more": more,
            "hidden": [(ANSWER, "yes"), *hidden],
            "form_url": form_url,
            "back_url": back_url,
        }
        request.current_app = self.admin_site.name
        return TemplateResponse(request, "admin/django_dbos/act.html", context)

    def _listed(self, row: dict[str, Any]) -> tuple[SafeString, str, str]:
        workflow = Workflow(**row)
        return self.workflow_link(row["workflow_id"]), row["name"], status_label(workflow)

    def _act(self, request: HttpRequest, queryset: Any, act: Act, options: Options) -> None:
        results = Results()
        # The newest ones, as many as the list counts: "select all" offered these.
        workflows = list(queryset[:MAX_COUNTED])
        for first in range(0, len(workflows), BATCH):
            change_batch(results, act, options, workflows[first : first + BATCH], request.user.pk)
        self._report(request, act, results)

    def _report(self, request: HttpRequest, act: Act, results: Results) -> None:
        unchanged = results.unchanged
        said = [act.done(results.done)]
        if unchanged:
            said.append(act.unchanged(len(unchanged)))
        level = messages.WARNING if unchanged else messages.SUCCESS
        self.message_user(request, f"{', '.join(said)}.", level)
        if unchanged:
            self.message_user(request, self._named(unchanged), messages.WARNING)

    def _named(self, unchanged: list[tuple[str, str]]) -> SafeString:
        """Return links to the first workflows that weren't changed, with the reasons."""
        named = format_html_join(
            ", ",
            "{} ({})",
            ((self.workflow_link(found), why) for found, why in unchanged[:MAX_NAMED]),
        )
        rest = len(unchanged[MAX_NAMED:])
        more = ngettext(" and %d more", " and %d more", rest) % rest if rest else ""
        return format_html("{} {}{}.", gettext("Unchanged:"), named, more)


def only(workflow_id: str) -> Any:
    """Return a queryset of one workflow, without its values."""
    return rows_of(Workflow).filter(workflow_id=workflow_id).defer(*VALUES)


def change_batch(
    results: Results, act: Act, options: Options, workflows: list[Workflow], user_pk: Any
) -> None:
    """Change workflows, log the changes, and add the results."""
    if not workflows:
        return
    answers = carry_out(act, [str(workflow.workflow_id) for workflow in workflows], options)
    changed = []
    for workflow in workflows:
        answer = answers[str(workflow.workflow_id)]
        if answer is True:
            changed.append(workflow)
        else:
            could = act.applies(str(workflow.status), bool(workflow.is_quarantined))
            why = answer if answer and could else status_label(workflow)
            results.unchanged.append((str(workflow.workflow_id), why))
    if changed:
        LogEntry.objects.log_actions(user_pk, changed, CHANGE, act.log(options))
    results.done += len(changed)


def _may(request: HttpRequest, act: Act) -> bool:
    return bool(request.user.has_perm(f"django_dbos.{act.permission}"))


def _confirmed(request: HttpRequest, queryset: Any) -> Any:
    """Exclude workflows that were started after the page which asked was shown."""
    if NEWEST not in request.POST:
        return queryset
    try:
        newest: datetime | None = parse_datetime(request.POST[NEWEST])
    except ValueError:
        newest = None
    if newest is None:
        raise BadRequest(f"{NEWEST} must be a date and time in ISO format.")
    return queryset.filter(created_at__lte=newest)
