"""The list of queues and their pages, on which operators edit, pause, resume and reset them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied, ValidationError
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import reverse
from django.utils.html import format_html
from django.utils.http import urlencode
from django.utils.safestring import SafeString
from django.utils.translation import gettext, ngettext
from django.utils.translation import gettext_lazy as _

from django_dbos.admin.base import MAX_COUNTED, EngineList, link, rows_of
from django_dbos.admin.named import NamedAdmin, log, paused_badge, plain
from django_dbos.admin.queue_form import QueueForm
from django_dbos.admin.section import Label
from django_dbos.admin.values import count, duration, instant
from django_dbos.core import queue_options
from django_dbos.core.queue_options import PlainOptions
from django_dbos.models import Queue
from django_dbos.store import get_store


class QueueList(EngineList):
    """The list of queues, with the counts of each."""

    def get_results(self, request: HttpRequest) -> None:
        """Load a page of rows, and count the workflows of each queue."""
        super().get_results(request)
        rows = list(self.result_list)
        counts = get_store().read_queue_counts([row.name for row in rows], MAX_COUNTED)
        for row in rows:
            row.counts = counts[row.name]
        self.result_list = rows


@admin.register(Queue)
class QueueAdmin(NamedAdmin):
    """The queues that workers know, by name."""

    list_display = ("name", "state", "queued", "running", "places", "oldest", "limits")
    actions = ("pause_selected", "resume_selected", "reset_selected")
    page_template = "admin/django_dbos/queue.html"
    form_class = QueueForm
    not_found = _("Queue '%s' doesn't exist.")

    # Permissions

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Return whether the user may edit and reset queues."""
        return bool(request.user.has_perm("django_dbos.change_queue"))

    def has_pause_permission(self, request: HttpRequest) -> bool:
        """Return whether the user may pause and resume queues."""
        return bool(request.user.has_perm("django_dbos.pause_queue"))

    # The list

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> type[QueueList]:
        """Return the class of the list."""
        return QueueList

    @admin.display(description=_("state"))
    def state(self, queue: Any) -> SafeString | str:
        """Return whether the queue is paused, since when and by whom."""
        return _badge(queue)

    @admin.display(description=_("queued"))
    def queued(self, queue: Any) -> str:
        """Return the number of enqueued workflows."""
        return count(queue.counts.queued)

    @admin.display(description=_("running"))
    def running(self, queue: Any) -> str:
        """Return the number of workflows that run."""
        return count(queue.counts.running)

    @admin.display(description=_("places taken"))
    def places(self, queue: Any) -> str:
        """Return the number of places that are taken, and how many there are."""
        if queue.concurrency is None:
            return count(queue.counts.places) if queue.is_managed else ""
        return gettext("%(taken)s of %(all)d") % {
            "taken": count(queue.counts.places),
            "all": queue.concurrency,
        }

    @admin.display(description=_("oldest"))
    def oldest(self, queue: Any) -> str:
        """Return the age of the oldest enqueued workflow that never ran."""
        age = queue.counts.oldest_age
        return "" if age is None else duration(age)

    @admin.display(description=_("limits"))
    def limits(self, queue: Queue) -> SafeString | str:
        """Return the options in force, with what is declared where it differs."""
        in_force = queue_options.merged(queue.declared, queue.edited)
        text = _options(in_force) or gettext("none")
        if not queue.edited:
            return text
        declared = gettext("edited; declared: %s") % (_options(queue.declared) or gettext("none"))
        return format_html('{}<p class="dbos-why">{}</p>', text, declared)

    @admin.action(description=_("Pause selected queues"), permissions=["pause"])
    def pause_selected(self, request: HttpRequest, queryset: Any) -> None:
        """Pause the selected queues."""
        self._act(request, queryset, "pause")

    @admin.action(description=_("Resume selected queues"), permissions=["pause"])
    def resume_selected(self, request: HttpRequest, queryset: Any) -> None:
        """Resume the selected queues."""
        self._act(request, queryset, "resume")

    @admin.action(
        description=_("Reset selected queues to what is declared"), permissions=["change"]
    )
    def reset_selected(self, request: HttpRequest, queryset: Any) -> None:
        """Drop the edits of the selected queues."""
        self._act(request, queryset, "reset")

    # The page of one queue

    def action_view(self, request: HttpRequest, object_id: str, action: str) -> HttpResponse:
        """Pause, resume or reset a queue, for the buttons of its page."""
        queue = self.find(request, object_id)
        if action not in _ACTIONS:
            raise Http404
        if not self._may(request, action):
            raise PermissionDenied
        self._act(request, rows_of(Queue).filter(name=queue.name), action)
        return HttpResponseRedirect(self.address("change", queue))

    def may_see(self, request: HttpRequest) -> bool:
        """Return whether the user may see the pages; those who may pause do, too."""
        return self.has_view_permission(request) or self.has_pause_permission(request)

    def save_form_of(self, request: HttpRequest, row: Any, form: Any) -> bool:
        """Save the changed options."""
        changes = form.changes
        if not changes:
            return True
        try:
            get_store().edit_queue(str(row.name), changes, pins_declared=False)
        except ValueError as error:
            # Somebody else has changed the queue since the form was shown.
            form.add_error(None, ValidationError(str(error)))
            return False
        log(request, [row], gettext("Set %s.") % _options(changes, with_none=True))
        self.message_user(request, gettext("The queue was changed; workers follow at once."))
        return True

    def _may(self, request: HttpRequest, action: str) -> bool:
        if action == "reset":
            return self.has_change_permission(request)
        return self.has_pause_permission(request)

    def _act(self, request: HttpRequest, queryset: Any, action: str) -> None:
        done = [queue for queue in queryset if _ACTIONS[action].applies(queue)]
        for queue in done:
            _ACTIONS[action].change(str(queue.name), request.user.get_username())
        if done:
            log(request, done, _ACTIONS[action].log)
        text = ngettext("%d queue was changed.", "%d queues were changed.", len(done)) % len(done)
        self.message_user(request, text, messages.SUCCESS if done else messages.WARNING)

    def facts(self, request: HttpRequest, row: Any) -> list[tuple[Label, Any]]:
        """Return the state, the depth and the places."""
        queue: Queue = row
        counts = get_store().read_queue_counts([str(queue.name)], MAX_COUNTED)[str(queue.name)]
        age = counts.oldest_age
        url = reverse("admin:django_dbos_workflow_changelist", current_app=self.admin_site.name)
        workflows = link(f"{url}?{urlencode({'queue_name': queue.name})}", gettext("Show"))
        return [
            (_("State"), _badge(queue)),
            (_("Queued"), count(counts.queued)),
            (_("Oldest that never ran"), "" if age is None else duration(age)),
            (_("Running"), count(counts.running)),
            (_("Waiting"), count(get_store().count_waiting(str(queue.name), MAX_COUNTED))),
            (_("Places taken"), count(counts.places)),
            (_("Workflows"), workflows),
            (_("Changed"), instant(queue.updated_at)),
        ]

    def buttons(self, request: HttpRequest, row: Any) -> list[dict[str, Any]]:
        """Return the buttons that the user may use now."""
        return [
            {"url": self.address("action", row, name), "label": action.label}
            for name, action in _ACTIONS.items()
            if action.applies(row) and self._may(request, name)
        ]


class _Action:
    """An action on queues: its button, its entry in the log, and what it does."""

    def __init__(
        self,
        label: Label,
        log: Label,
        *,
        applies: Callable[[Queue], bool],
        change: Callable[[str, str], Any],
    ) -> None:
        self.label = label
        self.log = log
        self.applies = applies
        self.change = change


_ACTIONS = {
    "pause": _Action(
        _("Pause"),
        _("Paused."),
        applies=lambda queue: queue.paused_at is None,
        change=lambda name, user: get_store().pause_queue(name, user),
    ),
    "resume": _Action(
        _("Resume"),
        _("Resumed."),
        applies=lambda queue: queue.paused_at is not None,
        change=lambda name, user: get_store().resume_queue(name),
    ),
    "reset": _Action(
        _("Reset to what is declared"),
        _("Reset to what is declared."),
        applies=lambda queue: bool(queue.edited),
        change=lambda name, user: get_store().reset_queue(name),
    ),
}


def _badge(queue: Queue) -> SafeString | str:
    if queue.paused_at is None:
        return gettext("open")
    since = instant(queue.paused_at).partition(".")[0]
    by = gettext("since %(since)s by %(by)s") if queue.paused_by else gettext("since %(since)s")
    return paused_badge(by % {"since": since, "by": queue.paused_by})


def _options(options: PlainOptions | None, *, with_none: bool = False) -> str:
    shown = {
        name: value
        for name, value in queue_options.merged(options, None).items()
        if with_none or value not in (None, False)
    }
    return ", ".join(f"{name} {plain(value)}" for name, value in shown.items())
