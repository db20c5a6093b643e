"""The list of schedules and their pages, on which operators edit, pause and trigger them."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple
from uuid import UUID, uuid4, uuid5

from django import forms
from django.contrib import admin, messages
from django.contrib.admin.helpers import ACTION_CHECKBOX_NAME, ActionForm
from django.contrib.admin.models import CHANGE, DELETION
from django.contrib.admin.utils import quote
from django.core.exceptions import PermissionDenied, ValidationError
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse
from django.utils.html import format_html
from django.utils.http import urlencode
from django.utils.safestring import SafeString
from django.utils.translation import gettext, ngettext
from django.utils.translation import gettext_lazy as _

from django_dbos import schedules, serializers
from django_dbos.admin.asking import ANSWER
from django_dbos.admin.backfill import backfill_page
from django_dbos.admin.base import link, rows_of
from django_dbos.admin.look import Look, Unshowable, hidden, unshowable
from django_dbos.admin.named import NamedAdmin, log, paused_badge, plain
from django_dbos.admin.schedule_form import ScheduleForm
from django_dbos.admin.section import Label
from django_dbos.admin.values import as_download, instant
from django_dbos.exceptions import DbosError, DuplicateWorkflow, SerializationError
from django_dbos.models import Schedule
from django_dbos.operations import schedule_options
from django_dbos.operations import schedules as operations
from django_dbos.operations.schedules import edit

Shown = SafeString | str
# Characters of the arguments that are shown.
MAX_INPUT = 1_000


class _Given(NamedTuple):
    """The fields that the form of a button has sent."""

    reason: str
    form_id: str
    """The id of the form, as the page or the list was shown; "" from a script that sends none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Action:
    """An action on a schedule: its button, its permission, its entry in the log, its effect."""

    label: Label
    permission: str
    log: Label
    applies: Callable[[Schedule], bool]
    act: Callable[[str, str, _Given], Any]
    """Takes the schedule's and the user's names, and what the form has sent."""
    takes_reason: bool = False
    is_once: bool = False
    """It is done once, however often its form is sent."""
    flag: int = CHANGE


class _ListForm(ActionForm):
    """The form around the list's actions, which an act that is done once knows again."""

    form_id = forms.UUIDField(
        label="",
        required=False,
        initial=uuid4,
        # Firefox would fill the id of the form before into a page that is loaded again.
        widget=forms.HiddenInput({"autocomplete": "off"}),
    )


def _trigger(name: str, form_id: str) -> None:
    try:
        operations.trigger(name, str(uuid5(UUID(form_id), name)) if form_id else None)
    except DuplicateWorkflow:
        raise ValueError(gettext("This form was sent before.")) from None


_ACTIONS = {
    "pause": _Action(
        label=_("Pause"),
        permission="pause_schedule",
        log=_("Paused."),
        applies=lambda schedule: not schedule.is_paused,
        act=lambda name, user, given: schedules.pause(name, given.reason, by=user),
        takes_reason=True,
    ),
    "resume": _Action(
        label=_("Resume"),
        permission="pause_schedule",
        log=_("Resumed."),
        applies=lambda schedule: schedule.is_paused,
        act=lambda name, user, given: schedules.resume(name),
    ),
    "trigger": _Action(
        label=_("Trigger now"),
        permission="trigger_schedule",
        log=_("Triggered."),
        applies=lambda schedule: True,
        act=lambda name, user, given: _trigger(name, given.form_id),
        is_once=True,
    ),
    "reset": _Action(
        label=_("Reset to what is declared"),
        permission="change_schedule",
        log=_("Reset to what is declared."),
        applies=lambda schedule: schedule.is_edited,
        act=lambda name, user, given: schedules.reset(name),
    ),
    "delete": _Action(
        label=_("Delete"),
        permission="delete_schedule",
        log=_("Deleted."),
        applies=lambda schedule: True,
        act=lambda name, user, given: schedules.delete(name),
        flag=DELETION,
    ),
}


@admin.register(Schedule)
class ScheduleAdmin(NamedAdmin):
    """The schedules, by name."""

    list_display = ("name", "times", "state", "next_shown", "last_shown", "workflow")
    page_template = "admin/django_dbos/schedule.html"
    form_class = ScheduleForm
    action_form = _ListForm
    not_found = _("Schedule '%s' doesn't exist.")
    actions = (
        "pause_selected",
        "resume_selected",
        "trigger_selected",
        "reset_selected",
        "remove_selected",
    )

    # Permissions

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Return whether the user may edit and reset schedules."""
        return _may(request, "change_schedule")

    def has_pause_permission(self, request: HttpRequest) -> bool:
        """Return whether the user may pause and resume schedules."""
        return _may(request, "pause_schedule")

    def has_trigger_permission(self, request: HttpRequest) -> bool:
        """Return whether the user may trigger and backfill schedules."""
        return _may(request, "trigger_schedule")

    def has_remove_permission(self, request: HttpRequest) -> bool:
        """Return whether the user may delete schedules."""
        return _may(request, "delete_schedule")

    # The list

    @admin.display(description=_("times"))
    def times(self, schedule: Schedule) -> Shown:
        """Return the times in words, with those that are declared where they differ."""
        if not schedule.is_edited:
            return schedule.describe(gettext)
        note = gettext("edited: %s") % ", ".join(sorted(schedule.edited or {}))
        return format_html('{}<p class="dbos-why">{}</p>', schedule.describe(gettext), note)

    @admin.display(description=_("state"))
    def state(self, schedule: Schedule) -> Shown:
        """Return whether it is paused, since when, by whom and why."""
        return _state(schedule)

    @admin.display(description=_("next"))
    def next_shown(self, schedule: Schedule) -> str:
        """Return the next instant."""
        return instant(schedule.next_at).partition(".")[0]

    @admin.display(description=_("last"))
    def last_shown(self, schedule: Schedule) -> Shown:
        """Return the last instant, which links to its workflow."""
        return self._last(schedule)

    @admin.display(description=_("workflow"))
    def workflow(self, schedule: Schedule) -> Shown:
        """Return the name of the workflow, which links to those that were started."""
        return self._history(schedule, schedule.workflow_name)

    @admin.action(description=_("Pause selected schedules"), permissions=["pause"])
    def pause_selected(self, request: HttpRequest, queryset: Any) -> None:
        """Pause the selected schedules."""
        self._act(request, queryset, "pause")

    @admin.action(description=_("Resume selected schedules"), permissions=["pause"])
    def resume_selected(self, request: HttpRequest, queryset: Any) -> None:
        """Resume the selected schedules."""
        self._act(request, queryset, "resume")

    @admin.action(description=_("Trigger selected schedules now"), permissions=["trigger"])
    def trigger_selected(self, request: HttpRequest, queryset: Any) -> None:
        """Start a workflow of each selected schedule."""
        self._act(request, queryset, "trigger")

    @admin.action(
        description=_("Reset selected schedules to what is declared"), permissions=["change"]
    )
    def reset_selected(self, request: HttpRequest, queryset: Any) -> None:
        """Drop the edits of the selected schedules."""
        self._act(request, queryset, "reset")

    @admin.action(description=_("Delete selected schedules"), permissions=["remove"])
    def remove_selected(self, request: HttpRequest, queryset: Any) -> HttpResponse | None:
        """Ask for confirmation, then delete the selected schedules that aren't declared."""
        selected = request.POST.getlist(ACTION_CHECKBOX_NAME)
        hidden = [(ACTION_CHECKBOX_NAME, name) for name in selected]
        hidden += [("action", "remove_selected")]
        hidden += [("select_across", request.POST.get("select_across", "0"))]
        return self._delete(request, queryset, hidden, back_url=request.get_full_path())

    # The page of one schedule

    def get_urls(self) -> list[URLPattern]:
        """Add the addresses of the complete arguments and of the backfill."""
        views = {"download": self.download_view, "backfill": self.backfill_view}
        return [
            path(
                f"<path:object_id>/{name}/",
                self.admin_site.admin_view(view),
                name=f"django_dbos_schedule_{name}",
            )
            for name, view in views.items()
        ] + super().get_urls()

    def backfill_view(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """Start the workflows of past instants, for the button of the page."""
        schedule = self.find(request, object_id)
        if not self.has_trigger_permission(request):
            raise PermissionDenied
        return backfill_page(self, request, schedule)

    def download_view(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """Return the complete arguments as a file."""
        schedule, look = self.find(request, object_id), Look.of(request)
        if not look.may_see:
            raise PermissionDenied
        try:
            return as_download(_plain_arguments(schedule, look), "arguments")
        except Unshowable as error:
            raise PermissionDenied(str(error)) from error
        except (SerializationError, RecursionError) as error:
            raise Http404(str(error)) from error

    def action_view(self, request: HttpRequest, object_id: str, action: str) -> HttpResponse:
        """Act on a schedule, for the buttons of its page."""
        schedule = self.find(request, object_id)
        if action not in _ACTIONS:
            raise Http404
        if not _may(request, _ACTIONS[action].permission):
            raise PermissionDenied
        found = rows_of(Schedule).filter(name=schedule.name)
        if action == "delete":
            page = self._delete(request, found, [], back_url=self.address("change", schedule))
            if page is not None:
                return page
        else:
            self._act(request, found, action)
        if found.exists():
            return HttpResponseRedirect(self.address("change", schedule))
        return HttpResponseRedirect(self._url("schedule"))

    def save_form_of(self, request: HttpRequest, row: Any, form: Any) -> bool:
        """Save the changed options."""
        changes = form.changes
        if not changes:
            return True
        try:
            edit(str(row.name), changes, pins_declared=False)
        except (DbosError, ImportError, TypeError, ValueError) as error:
            form.add_error(None, ValidationError(str(error)))
            return False
        shown = ", ".join(f"{name} {plain(value)}" for name, value in changes.items())
        log(request, [row], gettext("Set %s.") % shown)
        self.message_user(request, gettext("The schedule was changed."))
        return True

    def _delete(
        self, request: HttpRequest, queryset: Any, hidden: list[tuple[str, str]], *, back_url: str
    ) -> HttpResponse | None:
        """Delete schedules, once the user has confirmed it; return the page that asks before."""
        deletable = [schedule for schedule in queryset if _may_go(schedule)]
        if ANSWER in request.POST or not deletable:
            # What can't be deleted is refused with its reason, and not asked for before.
            self._act(request, queryset, "delete")
            return None
        context = {
            **self.admin_site.each_context(request),
            "opts": self.opts,
            "media": self.media,
            "title": gettext("Delete schedules?"),
            "schedules": [
                (found.name, found.describe(gettext), found.workflow_name) for found in deletable
            ],
            "hidden": [(ANSWER, "yes"), *hidden],
            "form_url": request.get_full_path(),
            "back_url": back_url,
        }
        request.current_app = self.admin_site.name
        return TemplateResponse(request, "admin/django_dbos/delete_schedules.html", context)

    def _act(self, request: HttpRequest, queryset: Any, name: str) -> None:
        action, user = _ACTIONS[name], request.user.get_username()
        post = request.POST
        given = _Given(post.get("reason", "").strip(), post.get("form_id", ""))
        done, refused = [], False
        for schedule in queryset:
            if not action.applies(schedule):
                continue
            try:
                action.act(str(schedule.name), user, given)
            except (DbosError, ValueError) as error:
                self.message_user(request, str(error), messages.ERROR)
                refused = True
            else:
                done.append(schedule)
        if refused and not done:
            return
        if done:
            log(request, done, action.log, action.flag)
        count = len(done)
        text = ngettext("%d schedule: %s", "%d schedules: %s", count) % (count, action.log)
        self.message_user(request, text, messages.SUCCESS if done else messages.WARNING)

    def facts(self, request: HttpRequest, row: Any) -> list[tuple[Label, Any]]:
        """Return the times, the state and what was started."""
        schedule: Schedule = row
        return [
            (_("Times"), schedule.describe(gettext)),
            (_("State"), _state(schedule)),
            (_("Next"), instant(schedule.next_at)),
            (_("Last"), self._last(schedule)),
            (_("Workflow"), schedule.workflow_name),
            (_("Workflows started"), self._history(schedule, gettext("Show"))),
            (
                _("Arguments"),
                _arguments(schedule, Look.of(request), self.address("download", schedule)),
            ),
            (_("Time-zone data"), schedule.tzdata),
            (_("Decided up to"), instant(schedule.settled_at)),
            (_("Changed"), instant(schedule.updated_at)),
        ]

    def buttons(self, request: HttpRequest, row: Any) -> list[dict[str, Any]]:
        """Return the buttons that the user may use now."""
        schedule: Schedule = row
        url = self.address("backfill", schedule)
        backfill = {"url": url, "label": _("Backfill"), "asks_first": True}
        return [
            {
                "url": self.address("action", schedule, name),
                "label": action.label,
                "takes_reason": action.takes_reason,
                "form_id": uuid4() if action.is_once else None,
            }
            for name, action in _ACTIONS.items()
            if action.applies(schedule)
            and _may(request, action.permission)
            and (name != "delete" or _may_go(schedule))
        ] + ([backfill] if self.has_trigger_permission(request) else [])

    def _last(self, schedule: Schedule) -> Shown:
        if schedule.last_workflow_id is None:
            return ""
        when = instant(schedule.last_at).partition(".")[0]
        url = self._url("workflow", "change", quote(str(schedule.last_workflow_id)))
        return link(url, when)

    def _history(self, schedule: Schedule, text: object) -> Shown:
        query = urlencode({"schedule_name": schedule.name})
        return link(f"{self._url('workflow')}?{query}", text)

    def _url(self, model: str, name: str = "changelist", *args: str) -> str:
        return reverse(
            f"admin:django_dbos_{model}_{name}", args=args, current_app=self.admin_site.name
        )


def _arguments(schedule: Schedule, look: Look, download_url: str) -> Shown:
    """Return the arguments of its workflows as plain JSON, as this user may see them.

    Long ones are cut, and can be downloaded.
    """
    if not look.may_see:
        return hidden()
    try:
        text = json.dumps(_plain_arguments(schedule, look), ensure_ascii=False)
    except (SerializationError, Unshowable, RecursionError) as error:
        return unshowable(error)
    if len(text) <= MAX_INPUT:
        return text
    whole = link(download_url, gettext("Download the complete value"))
    return format_html("{}… {}", text[:MAX_INPUT], whole)


def _plain_arguments(schedule: Schedule, look: Look) -> Any:
    return look.redacted(schedule, "input", serializers.to_plain(schedule.definition.input))


def _may_go(schedule: Schedule) -> bool:
    """Return whether a schedule may be deleted: one that code declares would come back."""
    return schedule.declared is None or not schedule_options.is_declared(str(schedule.name))


def _may(request: HttpRequest, permission: str) -> bool:
    return bool(request.user.has_perm(f"django_dbos.{permission}"))


def _state(schedule: Schedule) -> Shown:
    if not schedule.is_paused:
        return gettext("active") if schedule.next_at is not None else gettext("ended")
    parts = [gettext("since %s") % instant(schedule.paused_at).partition(".")[0]]
    if schedule.paused_by:
        parts.append(gettext("by %s") % schedule.paused_by)
    if schedule.paused_reason:
        parts.append(schedule.paused_reason)
    return paused_badge(", ".join(parts))
