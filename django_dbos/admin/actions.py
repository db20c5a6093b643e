"""The actions on workflows: in the list, and as buttons of the page."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import partial
from typing import Any
from uuid import UUID, uuid4

from django.contrib import admin, messages
from django.contrib.admin.models import CHANGE, LogEntry
from django.core.exceptions import BadRequest, PermissionDenied
from django.db import transaction
from django.http import HttpRequest, HttpResponse, HttpResponseNotAllowed, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import URLPattern, path
from django.utils import timezone
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString
from django.utils.translation import gettext, ngettext
from django.utils.translation import gettext_lazy as _

from django_dbos.admin import asking, bulk
from django_dbos.admin.act import Act, Options, Results, change_batch
from django_dbos.admin.act_forms import ActForm
from django_dbos.admin.acts import (
    ACTS,
    ACTS_ON_STEPS,
    CANCEL,
    CANCEL_WITH_CHILDREN,
    CHANGE_START,
    DELETE,
    FORK,
    RESUME,
    RESUME_IN_QUEUE,
    RETRY,
    REWIND,
    SEND_MESSAGE,
    note_on_children,
)
from django_dbos.admin.base import (
    MAX_COUNTED,
    VALUES,
    Links,
    rows_of,
    status_label,
)
from django_dbos.admin.bulk import applicable
from django_dbos.admin.progress import ProgressAdmin
from django_dbos.admin.section import Label
from django_dbos.conf import get_settings
from django_dbos.models import Workflow
from django_dbos.operations.options import HIGHEST_PRIORITY

# Workflows that are changed in one transaction.
BATCH = 500
# Workflows that the page which asks before lists, and that a report names.
MAX_LISTED, MAX_NAMED = 20, 10


@dataclass(frozen=True, slots=True, kw_only=True)
class Button:
    """A button of a workflow's page. With `asks_first` it links to a page with a form."""

    url: str
    label: Label
    asks_first: bool = False


class ActingAdmin(ProgressAdmin):
    """The actions of the list and the buttons of the page, with their permissions."""

    actions = (
        "cancel_selected",
        "cancel_with_children",
        "resume_selected",
        "resume_in_queue",
        "retry_selected",
        "fork_selected",
        "rewind_selected",
        "delete_finished",
        "change_start",
        "send_message",
    )

    def has_cancel_permission(self, request: HttpRequest) -> bool:
        """Return whether the user may cancel workflows."""
        return _may(request, CANCEL)

    def has_resume_permission(self, request: HttpRequest) -> bool:
        """Return whether the user may resume workflows."""
        return _may(request, RESUME)

    def has_retry_permission(self, request: HttpRequest) -> bool:
        """Return whether the user may retry workflows."""
        return _may(request, RETRY)

    def has_fork_permission(self, request: HttpRequest) -> bool:
        """Return whether the user may fork workflows."""
        return _may(request, FORK)

    def has_rewind_permission(self, request: HttpRequest) -> bool:
        """Return whether the user may rewind workflows."""
        return _may(request, REWIND)

    def has_erase_permission(self, request: HttpRequest) -> bool:
        """Return whether the user may delete workflows; not as Django deletes rows."""
        return _may(request, DELETE)

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

    @admin.action(description=_("Retry selected workflows"), permissions=["retry"])
    def retry_selected(self, request: HttpRequest, queryset: Any) -> HttpResponse | None:
        """Retry the selected workflows that have failed."""
        return self._act_on_many(request, queryset, RETRY)

    @admin.action(description=_("Fork selected workflows"), permissions=["fork"])
    def fork_selected(self, request: HttpRequest, queryset: Any) -> HttpResponse | None:
        """Fork the selected workflows."""
        return self._act_on_many(request, queryset, FORK)

    @admin.action(description=_("Rewind selected workflows"), permissions=["rewind"])
    def rewind_selected(self, request: HttpRequest, queryset: Any) -> HttpResponse | None:
        """Rewind the selected workflows that don't run."""
        return self._act_on_many(request, queryset, REWIND)

    @admin.action(description=_("Delete selected workflows"), permissions=["erase"])
    def delete_finished(self, request: HttpRequest, queryset: Any) -> HttpResponse | None:
        """Delete the selected workflows that have finished."""
        return self._act_on_many(request, queryset, DELETE)

    @admin.action(description=_("Change when selected workflows start"), permissions=["reschedule"])
    def change_start(self, request: HttpRequest, queryset: Any) -> HttpResponse | None:
        """Change when the selected workflows that are delayed start."""
        return self._act_on_many(request, queryset, CHANGE_START)

    @admin.action(description=_("Send a message to selected workflows"), permissions=["send"])
    def send_message(self, request: HttpRequest, queryset: Any) -> HttpResponse | None:
        """Send a message to the selected workflows that are active."""
        return self._act_on_many(request, queryset, SEND_MESSAGE)

    def _act_on_many(self, request: HttpRequest, queryset: Any, act: Act) -> HttpResponse | None:
        if _is_for_background(request, queryset):
            return self._act_in_background(request, queryset, act)
        if not act.asks_first:
            self._act(request, queryset, act, {})
            return None
        form = act.form_class(request.POST if asking.ANSWER in request.POST else None)
        if form.is_bound and form.is_valid():
            confirmed = asking.confirmed(request, queryset)
            self._act(request, confirmed, act, _options(request, act, form))
            return None
        chosen = asking.chosen(queryset)
        url = request.get_full_path()
        return self._ask_first(
            request,
            act,
            form,
            chosen,
            hidden=[*asking.hidden(request, chosen), asking.shown(request, chosen)],
            form_url=url,
            back_url=url,
        )

    def _act_in_background(self, request: HttpRequest, queryset: Any, act: Act) -> HttpResponse:
        """Start the workflow that changes all that match, once the user has confirmed it."""
        form = act.form_class(request.POST if asking.ANSWER in request.POST else None)
        if form.is_bound and form.is_valid():
            order_id = self._order(request, act, form.options)
            return HttpResponseRedirect(Links(self.admin_site.name, order_id).action("progress"))
        found = applicable(queryset, act)[:MAX_COUNTED]
        chosen = asking.chosen(found)
        hidden = [
            *asking.hidden(request, asking.chosen(queryset[:1])),
            (asking.ORDER, str(uuid4())),
        ]
        more = gettext(
            "A workflow does this in the background, from the newest to the oldest. Its page shows "
            "the progress, and cancelling it stops it."
        )
        if len(chosen) == MAX_COUNTED:
            all_match = gettext("There are more: all that match are included.")
            more = f"{all_match} {more}"
        url = request.get_full_path()
        return self._ask_first(
            request, act, form, chosen, hidden=hidden, form_url=url, back_url=url, more=more
        )

    def _order(self, request: HttpRequest, act: Act, options: Options) -> str:
        """Start the workflow, once however often the form is sent; return its id."""
        try:
            order_id = f"admin-{UUID(request.POST.get(asking.ORDER, ''))}"
        except ValueError:
            raise BadRequest(f"{asking.ORDER} must be a UUID.") from None
        order = {
            "id": order_id,
            "act": act.name,
            "options": dict(options),
            "query": request.GET.urlencode(),
            "newest": asking.newest(request) or timezone.now(),
            "site": self.admin_site.name,
            "user": request.user.pk,
        }
        start = bulk.act_on_all.using(
            workflow_id=order_id, user=request.user, priority=HIGHEST_PRIORITY
        )
        with transaction.atomic(using=get_settings().database):
            # No worker sees it unsigned.
            start.start(order)
            bulk.sign(order_id)
        row = only(order_id).get()
        said = gettext("%(act)s: all that match '%(query)s'.")
        log = said % {"act": act.title, "query": order["query"]}
        user_pk: Any = request.user.pk
        LogEntry.objects.log_actions(user_pk, [row], CHANGE, log)
        return order_id

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

    def step_buttons(self, request: HttpRequest, workflow: Workflow, links: Links) -> list[Button]:
        """Return what the user may do from a step of a workflow on."""
        status, is_quarantined = str(workflow.status), bool(workflow.is_quarantined)
        return [
            Button(url=links.action(act.name), label=act.button(status), asks_first=True)
            for act in ACTS_ON_STEPS
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
        links = Links(self.admin_site.name, workflow_id)
        url = links.workflow()
        given = request.POST if request.method == "POST" else None
        chosen_before = {
            name: request.GET[name] for name in act.form_class.base_fields if name in request.GET
        }
        initial = {**act.form_class.initial_of(workflow), **chosen_before}
        form = act.form_class(given, initial=initial)
        if form.is_bound and form.is_valid():
            self._act(request, only(workflow_id), act, _options(request, act, form))
            is_gone = act.removes and not only(workflow_id).exists()
            return HttpResponseRedirect(links.all_workflows() if is_gone else url)
        chosen = [{name: getattr(workflow, name) for name in asking.FIELDS}]
        return self._ask_first(
            request,
            act,
            form,
            chosen,
            hidden=[asking.shown(request, chosen)],
            form_url=request.path,
            back_url=url,
            more=note_on_children(act, workflow_id),
        )

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
            "original": act.title,
            "change": True,
            "has_view_permission": True,
            "act": act,
            "form": form,
            "question": act.question(len(fit)) if fit else act.pointless,
            "left": act.left(unfit) if unfit else "",
            "has_any": bool(fit),
            "listed": [self._listed(row) for row in fit[:MAX_LISTED]],
            "unlisted": len(fit[MAX_LISTED:]),
            "more": more,
            "hidden": [(asking.ANSWER, "yes"), *hidden],
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
            (
                (self.workflow_link(one), why.removesuffix("."))
                for one, why in unchanged[:MAX_NAMED]
            ),
        )
        rest = len(unchanged[MAX_NAMED:])
        more = ngettext(" and %d more", " and %d more", rest) % rest if rest else ""
        return format_html("{} {}{}.", gettext("Unchanged:"), named, more)


def only(workflow_id: str) -> Any:
    """Return a queryset of one workflow, without its values."""
    return rows_of(Workflow).filter(workflow_id=workflow_id).defer(*VALUES)


def _options(request: HttpRequest, act: Act, form: ActForm) -> Options:
    """Return the options of an action, with the states in which the workflows were shown."""
    return {**form.options, asking.SEEN: asking.seen(request)} if act.is_of_moment else form.options


def _may(request: HttpRequest, act: Act) -> bool:
    return bool(request.user.has_perm(f"django_dbos.{act.permission}"))


def _is_for_background(request: HttpRequest, queryset: Any) -> bool:
    """Return whether all that match were chosen, and are too many for one request."""
    if request.POST.get("select_across") != "1":
        return False
    return asking.ORDER in request.POST or queryset[BATCH : BATCH + 1].exists()
