"""The overview: what waits and runs, how much is started and fails, and how long it takes.

Its cost doesn't grow with the tables: see store.statistics.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from django.contrib.admin.utils import quote
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse
from django.utils import timezone
from django.utils.http import urlencode
from django.utils.translation import gettext, ngettext
from django.utils.translation import gettext_lazy as _

from django_dbos.admin import executor_words, overview_charts, problems
from django_dbos.admin.base import EngineAdmin, Links, link, rows_of
from django_dbos.admin.section import Label, Rows
from django_dbos.admin.values import count, duration, instant, whole
from django_dbos.core.statistics import Count, FailureGroup, grouped
from django_dbos.core.status import Status
from django_dbos.models import Queue
from django_dbos.store import get_store
from django_dbos.store.statistics import MOST, MOST_FAILURES, Statistics

# Spans of time that the page can show: the width of a column, and names for a tab and a note.
COLUMNS = 24
WINDOWS: dict[str, tuple[timedelta, Label, Label]] = {
    "hour": (timedelta(seconds=150), _("Last hour"), _("last hour")),
    "day": (timedelta(hours=1), _("Last day"), _("last day")),
}
# The number of queues, of groups of failures and of executors that the page lists.
MAX_QUEUES, MAX_GROUPS = 10, 10
# The queues among which those with most workflows are found.
MAX_READ = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class Tile:
    """A number with its label, which leads to the list behind it."""

    label: Label
    number: str
    url: str
    status: str = ""
    note: str = ""


class OverviewAdmin(EngineAdmin):
    """The overview, beside the list of workflows."""

    def get_urls(self) -> list[URLPattern]:
        """Add the address of the overview."""
        view = self.admin_site.admin_view(self.overview_view)
        name = "django_dbos_workflow_overview"
        return [path("overview/", view, name=name), *super().get_urls()]

    def overview_view(self, request: HttpRequest) -> HttpResponse:
        """Return the overview of the last hour or the last day."""
        if not self.has_view_permission(request):
            raise PermissionDenied
        window = request.GET.get("window", "")
        window = window if window in WINDOWS else next(iter(WINDOWS))
        width, _title, note = WINDOWS[window]
        now = timezone.now()
        since = now - COLUMNS * width
        statistics = Statistics(get_store())
        buckets = statistics.read_buckets(since, width, COLUMNS)
        context = {
            **self.admin_site.each_context(request),
            "opts": self.opts,
            "media": self.media,
            "title": _("Overview"),
            "original": _("Overview"),
            "change": True,
            "has_view_permission": True,
            "windows": _tabs(window),
            "problems": problems.find(),
            "tiles": self._tiles(statistics, since, note),
            "charts": overview_charts.draw(buckets, now),
            "sections": [
                self._failures(grouped(statistics.read_failures(since))),
                self._queues(request),
                self._executors(request, statistics),
            ],
            "list_url": self._list(),
        }
        request.current_app = self.admin_site.name
        return TemplateResponse(request, "admin/django_dbos/overview.html", context)

    def _tiles(self, statistics: Statistics, since: datetime, window: Label) -> list[Tile]:
        active = statistics.count_active()
        labels: Mapping[str, Label] = {
            Status.ENQUEUED: _("queued"),
            Status.PENDING: _("running"),
            Status.WAITING: _("waiting"),
            Status.DELAYED: _("delayed"),
        }
        ended = statistics.count_ended_badly(since)
        words: Mapping[str, Label] = {
            Status.ERROR: _("failed"),
            Status.MAX_RECOVERY_ATTEMPTS_EXCEEDED: _("given up"),
            Status.CANCELLED: _("cancelled"),
        }
        return [
            *(
                self._tile(status, label, active[Status(status)])
                for status, label in labels.items()
            ),
            *(
                self._tile(status, label, ended[Status(status)], note=str(window))
                for status, label in words.items()
            ),
        ]

    def _tile(self, status: str, label: Label, found: Count, note: str = "") -> Tile:
        url = self._list(status=str(status))
        # A colour that alarms only where there is a reason for it.
        colour = str(status) if found.number or found.is_cut else ""
        return Tile(
            label=label,
            number=whole(found.number, is_cut=found.is_cut),
            url=url,
            status=colour,
            note=note,
        )

    def _failures(self, groups: Sequence[FailureGroup]) -> Rows:
        total = sum(group.count for group in groups)
        title = gettext("Failures by what raised them")
        if total >= MOST_FAILURES:
            title = gettext("The newest %d failures by what raised them") % MOST_FAILURES
        return Rows(
            name="failures",
            title=title,
            columns=(_("Failed"), _("Function"), _("Error"), _("Raised in"), _("Newest")),
            rows=[
                (
                    link(self._list(status="ERROR", name=group.newest.name), group.count),
                    group.newest.name,
                    group.newest.error or gettext("unknown"),
                    group.newest.place,
                    link(self._page(group.newest.workflow_id), _to_second(group.newest.at)),
                )
                for group in groups[:MAX_GROUPS]
            ],
            previous_url="",
            next_url="",
        )

    def _queues(self, request: HttpRequest) -> Rows:
        may_view = self._may_view(request, Queue)
        names = list(rows_of(Queue).order_by("name").values_list("name", "paused_at")[:MAX_READ])
        counts = get_store().read_queue_counts([name for name, _ in names], MOST)
        fullest = sorted(
            names, key=lambda row: (-counts[row[0]].queued, -counts[row[0]].running, row[0])
        )
        return Rows(
            name="queues",
            title=_("Fullest queues") if len(names) > MAX_QUEUES else _("Queues"),
            columns=(_("Queue"), _("State"), _("Queued"), _("Running"), _("Oldest that never ran")),
            rows=[
                (
                    self._linked("queue", name, name) if may_view else name,
                    gettext("open") if paused_at is None else gettext("paused"),
                    count(counts[name].queued),
                    count(counts[name].running),
                    "" if (age := counts[name].oldest_age) is None else duration(age),
                )
                for name, paused_at in fullest[:MAX_QUEUES]
            ],
            previous_url="",
            next_url=self._list_of("queue") if may_view and len(names) > MAX_QUEUES else "",
        )

    def _executors(self, request: HttpRequest, statistics: Statistics) -> Rows:
        rows = statistics.read_executors()
        workers = [row for row in rows if row.is_live and not row.is_inline]
        slots, runs = sum(row.concurrency for row in workers), sum(row.runs for row in workers)
        text = ngettext("%d live worker", "%d live workers", len(workers)) % len(workers)
        taken = gettext("%(runs)d of %(slots)d slots taken") % {"runs": runs, "slots": slots}
        may_view = request.user.has_perm("django_dbos.view_executor")
        busiest = sorted(rows, key=lambda row: (-row.runs, row.hostname, row.pid))
        return Rows(
            name="executors",
            title=f"{text}, {taken}" if workers else gettext("No live worker"),
            columns=(_("Process"), _("State"), _("Queues"), _("Running"), _("Last heartbeat")),
            rows=[
                (
                    self._linked("executor", row.executor_id, executor_words.process(row))
                    if may_view
                    else executor_words.process(row),
                    executor_words.badge(row),
                    executor_words.queues(row),
                    executor_words.running(row, row.runs),
                    executor_words.ago(row, row.heard_at),
                )
                for row in busiest[:MAX_QUEUES]
            ],
            previous_url="",
            next_url=self._list_of("executor") if may_view and len(rows) > MAX_QUEUES else "",
        )

    def _may_view(self, request: HttpRequest, model: Any) -> bool:
        name = f"django_dbos.view_{model._meta.model_name}"
        return self.admin_site.is_registered(model) and request.user.has_perm(name)

    def _linked(self, model: str, key: str, text: str) -> str:
        url = reverse(
            f"admin:django_dbos_{model}_change",
            args=[quote(key)],
            current_app=self.admin_site.name,
        )
        return link(url, text)

    def _list(self, **query: str) -> str:
        url = self._list_of("workflow")
        return f"{url}?{urlencode(query)}" if query else url

    def _list_of(self, model: str) -> str:
        return reverse(f"admin:django_dbos_{model}_changelist", current_app=self.admin_site.name)

    def _page(self, workflow_id: str) -> str:
        return Links(self.admin_site.name, workflow_id).workflow()


def _tabs(chosen: str) -> list[dict[str, Any]]:
    return [
        {"url": f"?window={name}", "label": label, "is_chosen": name == chosen}
        for name, (_width, label, _note) in WINDOWS.items()
    ]


def _to_second(value: datetime) -> str:
    return instant(value).partition(".")[0]
