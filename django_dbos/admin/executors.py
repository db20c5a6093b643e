"""The list of executors and their pages: what each runs, how full it is, and its drain."""

from __future__ import annotations

from typing import Any

from django.contrib import admin, messages
from django.contrib.admin.helpers import ACTION_CHECKBOX_NAME
from django.contrib.admin.utils import quote, unquote
from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse
from django.utils.html import format_html
from django.utils.http import urlencode
from django.utils.safestring import SafeString
from django.utils.text import capfirst
from django.utils.translation import gettext, ngettext
from django.utils.translation import gettext_lazy as _

from django_dbos.admin import executor_words as words
from django_dbos.admin.asking import ANSWER
from django_dbos.admin.base import VALUES, EngineAdmin, EngineList, rows_of
from django_dbos.admin.named import log
from django_dbos.admin.section import Rows
from django_dbos.admin.values import instant
from django_dbos.core.status import Status
from django_dbos.models import Executor, Workflow
from django_dbos.store import get_store

# The number of runs on a page; an executor has CONCURRENCY slots. In addresses, the id of the last
# run of a page precedes the next one.
PAGE_RUNS = 100
AFTER = "after"
# What the page that asks before says of the action.
DRAIN = {
    "note": _(
        "They claim nothing more. Runs go on until they end or wait; then the process exits. This "
        "can't be taken back: start other workers for their queues."
    ),
    "confirm": _("Yes, drain"),
}


class ExecutorList(EngineList):
    """The list of executors, with the number of runs of each."""

    def get_results(self, request: HttpRequest) -> None:
        """Load a page of rows, and count what each one runs: one query."""
        super().get_results(request)
        rows = list(self.result_list)
        counts = get_store().count_runs_of_executors([row.executor_id for row in rows])
        for row in rows:
            row.runs = counts.get(row.executor_id, 0)
        self.result_list = rows


@admin.register(Executor)
class ExecutorAdmin(EngineAdmin):
    """The processes that run workflows."""

    list_display = (
        "process",
        "state",
        "kind",
        "version",
        "queues",
        "running",
        "started",
        "last_heartbeat",
    )
    ordering = ("-started_at",)
    actions = ("drain_selected",)

    class Media:
        css = {"all": ("django_dbos/admin.css",)}

    def get_queryset(self, request: HttpRequest) -> Any:
        """Return the rows, annotated with their liveness."""
        return super().get_queryset(request).judged()

    def has_drain_permission(self, request: HttpRequest) -> bool:
        """Return whether the user may drain executors."""
        return bool(request.user.has_perm("django_dbos.drain_executor"))

    # The list

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> type[ExecutorList]:
        """Return the class of the list."""
        return ExecutorList

    def changelist_view(
        self, request: HttpRequest, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """Add the title to the context."""
        context = {"title": capfirst(self.opts.verbose_name_plural), **(extra_context or {})}
        return super().changelist_view(request, context)

    @admin.display(description=_("state"))
    def state(self, executor: Any) -> SafeString:
        """Return whether it lives, drains, is silent or was declared dead."""
        return words.badge(executor)

    @admin.display(description=_("process"))
    def process(self, executor: Executor) -> SafeString:
        """Return its host and process id, with the executor's id."""
        text = '{}<p class="dbos-why">{}</p>'
        return format_html(text, words.process(executor), executor.executor_id)

    @admin.display(description=_("kind"))
    def kind(self, executor: Executor) -> Any:
        """Return "worker" if it claims workflows from queues, else "runs inline"."""
        return words.kind(executor)

    @admin.display(description=_("version"))
    def version(self, executor: Executor) -> SafeString | str:
        """Return the project's version, and that of django_dbos; the page has the others."""
        own, package = words.version(executor), words.runs_on(executor, "django_dbos")
        return format_html('{}<p class="dbos-why">{}</p>', own, package) if package else own

    @admin.display(description=_("queues"))
    def queues(self, executor: Executor) -> Any:
        """Return the queues that it serves."""
        return words.queues(executor)

    @admin.display(description=_("running"))
    def running(self, executor: Any) -> str:
        """Return the number of workflows that it runs, and of its slots."""
        return words.running(executor, executor.runs)

    @admin.display(description=_("started"))
    def started(self, executor: Any) -> str:
        """Return the time since its start."""
        return words.ago(executor, executor.started_at)

    @admin.display(description=_("last heartbeat"))
    def last_heartbeat(self, executor: Any) -> str:
        """Return the time since its last heartbeat, unless it was declared dead."""
        return words.ago(executor, executor.heard_at) or gettext("declared dead")

    @admin.action(description=_("Drain selected executors"), permissions=["drain"])
    def drain_selected(self, request: HttpRequest, queryset: Any) -> HttpResponse | None:
        """Ask for confirmation, then have the selected executors end when their runs have."""
        passed_on = (ACTION_CHECKBOX_NAME, "action", "select_across")
        hidden = [(name, value) for name in passed_on for value in request.POST.getlist(name)]
        url = request.get_full_path()
        return self._drain(request, list(queryset), hidden, back_url=url)

    # The page of one executor

    def get_urls(self) -> list[URLPattern]:
        """Add the address of the button."""
        view = self.admin_site.admin_view(self.drain_view)
        name = "django_dbos_executor_drain"
        return [path("<path:object_id>/drain/", view, name=name), *super().get_urls()]

    def change_view(
        self,
        request: HttpRequest,
        object_id: str,
        form_url: str = "",
        extra_context: dict[str, Any] | None = None,
    ) -> HttpResponse:
        """Return the page of an executor: its facts, and what it runs."""
        executor = self._find(request, object_id)
        buttons = []
        if words.may_drain(executor) and self.has_drain_permission(request):
            url = self._url("drain", executor)
            buttons = [{"url": url, "label": _("Drain"), "asks_first": True}]
        number = get_store().count_runs_of_executors([executor.executor_id])
        runs = self._runs(executor, request.GET.get(AFTER, ""))
        context = {
            **self.admin_site.each_context(request),
            "opts": self.opts,
            "original": executor,
            "change": True,
            "has_view_permission": True,
            "title": words.process(executor),
            "note": words.note(executor),
            "facts": words.facts(executor, number.get(executor.executor_id, 0)),
            "buttons": buttons,
            "sections": [runs],
            "history_url": self._url("history", executor),
            **(extra_context or {}),
        }
        request.current_app = self.admin_site.name
        return TemplateResponse(request, "admin/django_dbos/executor.html", context)

    def drain_view(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """Ask for confirmation, then drain an executor, for the button of its page."""
        if not self.has_drain_permission(request):
            raise PermissionDenied
        executor = self._find(request, object_id)
        url = self._url("change", executor)
        page = self._drain(request, [executor], [], back_url=url)
        return page or HttpResponseRedirect(url)

    def _drain(
        self,
        request: HttpRequest,
        executors: list[Any],
        hidden: list[tuple[str, str]],
        *,
        back_url: str,
    ) -> HttpResponse | None:
        """Drain executors, once the user has confirmed it; return the page that asks before."""
        fit = [executor for executor in executors if words.may_drain(executor)]
        if ANSWER in request.POST:
            answers = get_store().drain_executors([str(found.executor_id) for found in fit])
            done = [executor for executor in fit if answers[executor.executor_id]]
            if done:
                log(request, done, gettext("Drained."))
            self._report(request, len(done), len(executors) - len(done))
            return None
        unfit = len(executors) - len(fit)
        context = {
            **self.admin_site.each_context(request),
            "opts": self.opts,
            "media": self.media,
            "title": _("Drain executors"),
            "original": _("Drain"),
            "change": True,
            "has_view_permission": True,
            "act": DRAIN,
            "question": _question(len(fit)),
            "left": _stays(unfit) if unfit else "",
            "has_any": bool(fit),
            "listed": [
                (words.process(found), words.queues(found), words.badge(found)) for found in fit
            ],
            "hidden": [(ANSWER, "yes"), *hidden],
            "form_url": request.get_full_path(),
            "back_url": back_url,
        }
        request.current_app = self.admin_site.name
        return TemplateResponse(request, "admin/django_dbos/act.html", context)

    def _report(self, request: HttpRequest, done: int, unchanged: int) -> None:
        text = ngettext("%d executor drains", "%d executors drain", done) % done
        if unchanged:
            rest = ngettext("%d stays", "%d stay", unchanged) % unchanged
            text = f"{text}, {rest}"
        self.message_user(request, f"{text}.", messages.WARNING if unchanged else messages.SUCCESS)

    def _find(self, request: HttpRequest, object_id: str) -> Any:
        if not self.has_view_permission(request):
            raise PermissionDenied
        executor_id = unquote(object_id)
        found = self.get_queryset(request).filter(executor_id=executor_id)
        executor = found.first() if "\0" not in executor_id else None
        if executor is None:
            said = gettext("Executor '%s' doesn't exist: it has stopped, or its row was deleted.")
            raise Http404(said % executor_id)
        return executor

    def _runs(self, executor: Executor, after: str) -> Rows:
        """Return a page of what an executor runs, by workflow id: the oldest first."""
        if "\0" in after:
            raise Http404
        found = rows_of(Workflow).filter(status=Status.PENDING, executor_id=executor.executor_id)
        found = found.filter(workflow_id__gt=after).order_by("workflow_id").defer(*VALUES)
        runs = list(found[: PAGE_RUNS + 1])
        has_more, runs = len(runs) > PAGE_RUNS, runs[:PAGE_RUNS]
        url = self._url("change", executor)
        return Rows(
            name="runs",
            title=_("What it runs"),
            columns=(_("Workflow"), _("Name"), _("Queue"), _("First run"), _("Recoveries")),
            rows=[
                (
                    self.workflow_link(str(found.workflow_id)),
                    found.name,
                    found.queue_name,
                    instant(found.started_at),
                    found.recovery_attempts or "",
                )
                for found in runs
            ],
            previous_url=url if after else "",
            next_url=f"{url}?{urlencode({AFTER: runs[-1].workflow_id})}" if has_more else "",
        )

    def _url(self, view: str, executor: Executor) -> str:
        return reverse(
            f"admin:django_dbos_executor_{view}",
            args=[quote(str(executor.executor_id))],
            current_app=self.admin_site.name,
        )


def _question(number: int) -> str:
    if not number:
        return gettext("None of these executors is a live worker that could drain.")
    text = ngettext("%d executor will drain.", "%d executors will drain.", number)
    return text % number


def _stays(number: int) -> str:
    text = ngettext(
        "%d isn't a live worker, or drains already.",
        "%d aren't live workers, or drain already.",
        number,
    )
    return text % number
